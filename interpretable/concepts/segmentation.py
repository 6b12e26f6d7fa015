"""torchvision's segmentation sets as concepts: Pascal VOC and the Oxford-IIIT Pets."""

import os
from pathlib import Path

import numpy as np
import torch
import torchvision

from interpretable.concepts.fingerprints import digest
from interpretable.concepts.label_images import UNKNOWN, decode_label_map
from interpretable.concepts.resizing import Size, check_sizes, make_concept_sample, nearest_pixels
from interpretable.concepts.samples import ConceptSample, concept_table
from interpretable.data.splits import Split, check_split, rows_of_split
from interpretable.data.torchvision_labels import class_names, read_item, read_labels
from interpretable.data.torchvision_splits import open_set

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_VOC_SPLITS = {"train": "train", "validation": "val", "test": "val"}

_VOC_VALUES = np.full(256, UNKNOWN)
_VOC_VALUES[: len(VOC_CLASSES)] = np.arange(len(VOC_CLASSES))
_VOC_VALUES[255] = -1

_TRIMAP_VALUES = np.full(256, UNKNOWN)
_TRIMAP_VALUES[1:4] = 0, -1, -1  # the animal, what is behind it, and its border, which may be either

_HELD_OUT = 0.1  # of the pets' training images, as TorchvisionImages takes for validation


class VOCConcepts:
    """The 21 classes of Pascal VOC 2012, the background among them, as concepts of the category object.

    Void pixels (255), the outlines, show nothing. Images have no label. There is no public test split: as in the
    literature, test is val.

    Args:
        root: Folder that holds ``VOCdevkit/VOC2012``.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps.
        split: "train", "validation" or "test".
        download: Fetch the set into root first.

    Raises:
        DataError: The set is not below root as it is distributed.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self,
        root: str | os.PathLike[str],
        image_size: Size,
        size: Size,
        split: Split = "validation",
        download: bool = False,
    ) -> None:
        check_split(split)
        check_sizes(image_size, size)
        self.concepts, self.categories, self.concept_category, _ = concept_table({"object": VOC_CLASSES})
        arguments = {"root": str(root), "image_set": _VOC_SPLITS[split], "download": download}
        self._images = open_set(torchvision.datasets.VOCSegmentation, arguments)
        self._image_size, self._size = image_size, size

    def fingerprint(self) -> str:
        """Hex digest of the sizes of all files, and of the sizes of images and label maps."""
        files = [Path(name) for name in (*self._images.images, *self._images.masks)]
        return digest(("VOCSegmentation", self._image_size, self._size), files)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ConceptSample:
        image, target = read_item(self._images, index)
        label_map = decode_label_map(target, image, _VOC_VALUES)
        return make_concept_sample(image, nearest_pixels(label_map, self._size)[None], -1, index, self._image_size)


class PetConcepts:
    """The Oxford-IIIT Pets: cat and dog as concepts of the category object, the 37 breeds of the category breed.

    The two categories have a layer each. The border of the trimaps shows nothing, like the background: it may be
    either. Images are labelled by breed; validation is the tenth of the training images that a classifier trained on
    the set by this package is validated on.

    Args:
        root: Folder that holds ``oxford-iiit-pet``.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps.
        split: "train", "validation" or "test".
        download: Fetch the set into root first.

    Raises:
        DataError: The set is not below root as it is distributed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        image_size: Size,
        size: Size,
        split: Split = "test",
        download: bool = False,
    ) -> None:
        check_split(split)
        check_sizes(image_size, size)
        pets = torchvision.datasets.OxfordIIITPet
        own = "test" if split == "test" else "trainval"
        arguments = {"root": str(root), "split": own, "download": download}
        breeds = open_set(pets, arguments)
        labels = read_labels(breeds)
        self.classes = class_names(breeds, labels)
        table = concept_table({"object": ("cat", "dog"), "breed": self.classes})
        self.concepts, self.categories, self.concept_category, self._first = table
        splits = np.full(len(labels), "test" if split == "test" else "train")
        self._rows = rows_of_split(split, splits, labels, torch.arange(len(labels)), _HELD_OUT)
        self._labels = labels[self._rows]
        self._images = open_set(pets, {**arguments, "target_types": ["category", "binary-category", "segmentation"]})
        self._folder = Path(root) / "oxford-iiit-pet"
        self._image_size, self._size = image_size, size

    def fingerprint(self) -> str:
        """Hex digest of the rows, their labels, the sizes of all files, and of the sizes of images and label maps."""
        facts = ("OxfordIIITPet", self.concepts, self._rows.tolist(), self._labels.tolist())
        files = sorted([*self._folder.glob("images/*.jpg"), *self._folder.glob("annotations/trimaps/*.png")])
        return digest((*facts, self._image_size, self._size), files)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> ConceptSample:
        image, (breed, species, trimap) = read_item(self._images, int(self._rows[index]))
        animal = nearest_pixels(decode_label_map(trimap, image, _TRIMAP_VALUES), self._size)
        of_object, of_breed = self._first
        label_maps = np.stack(
            [np.where(animal == 0, concept, -1) for concept in (of_object + species, of_breed + breed)]
        )
        return make_concept_sample(image, label_maps, breed, index, self._image_size)
