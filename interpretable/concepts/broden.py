"""Broden, the broadly and densely labelled images of network dissection (Bau et al. 2017), read from a local folder."""

import os
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from interpretable.concepts.broden_tables import LARGEST_NUMBER, BrodenImage, read_broden
from interpretable.concepts.fingerprints import digest
from interpretable.concepts.resizing import Size, check_sizes, make_concept_sample, nearest_pixels
from interpretable.concepts.samples import ConceptSample
from interpretable.data.images import UNREADABLE, open_image
from interpretable.data.splits import Split, check_split
from interpretable.errors import DataError

_SPLITS = {"train": "train", "validation": "val", "test": "val"}
_UNKNOWN = -2  # a number that label.csv does not have


class BrodenConcepts:
    """Every label of Broden as a concept, in a layer for each of the label images and numbers that an image has.

    As in the published dissections a label that several categories use is one concept, of the category in which it
    covers most, and images without any label are left out. Labels of whole images, scenes and textures, are on all
    pixels. Images have no class. There is no test split: test is val.

    Args:
        root: A folder as broden1_224.zip, broden1_227.zip or broden1_384.zip unpacks to.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps; as distributed they have half the resolution of the images.
        split: "train", "validation" or "test"; None for all images, as published.

    Raises:
        DataError: A table is missing or contradicts another, or there is no image; from an image, where a file is
            missing or is not what the tables say.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, root: str | os.PathLike[str], image_size: Size, size: Size, split: Split | None = None) -> None:
        check_sizes(image_size, size)
        if split is not None:
            check_split(split)
        tables = read_broden(root)
        self.concepts, self.categories = tables.names, tables.categories
        self.concept_category = torch.tensor(tables.label_category)
        chosen = [image for image in tables.images if split is None or image.split == _SPLITS[split]]
        self._images = tuple(image for image in chosen if image.labels)
        if not self._images:
            raise DataError(
                f"{tables.root / 'index.csv'} was expected to have labelled images of the split {split or 'any'}, but "
                "has none; choose another split or restore the distributed file"
            )
        self._layers = max(len(image.labels) for image in self._images)
        self._concept_of = np.full(LARGEST_NUMBER + 1, _UNKNOWN)
        self._concept_of[0] = -1
        self._concept_of[list(tables.numbers)] = np.arange(len(tables.numbers))
        self._root = tables.root
        self._image_size, self._size = image_size, size

    def fingerprint(self) -> str:
        """Hex digest of the concepts, the rows, the sizes of all their files, and of images and label maps.

        Raises:
            DataError: A file is missing.
        """
        facts = (self.concepts, self.categories, self.concept_category.tolist(), self._images)
        files = [self._root / "images" / name for image in self._images for name in image.files()]
        return digest((*facts, self._image_size, self._size), files)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ConceptSample:
        row = self._images[index]
        image = open_image(self._root / "images" / row.name, self._where(row))
        label_maps = np.full((self._layers, *self._size), -1)
        for layer, label in zip(label_maps, row.labels, strict=False):
            layer[:] = self._concepts(row, label)
        for later in range(1, len(row.labels)):  # the same label may come from several categories
            label_maps[later][(label_maps[:later] == label_maps[later]).any(0)] = -1
        return make_concept_sample(image, label_maps, -1, index, self._image_size)

    def _where(self, row: BrodenImage) -> str:
        return f"{self._root / 'index.csv'}:{row.line}"

    def _concepts(self, row: BrodenImage, label: str | int) -> NDArray[np.int64]:
        """The concepts of a label image at the size of the label maps, or of a number as one value."""
        if isinstance(label, int):
            return np.asarray(self._concept_of[label])
        path = self._root / "images" / label
        numbers = nearest_pixels(_read_numbers(path, row.size, self._where(row)), self._size)
        concepts: NDArray[np.int64] = self._concept_of[numbers]
        if (concepts == _UNKNOWN).any():
            found = int(numbers[concepts == _UNKNOWN][0])
            raise DataError(f"{path} was expected to hold labels of label.csv, but has {found}; restore both files")
        return concepts


def _read_numbers(path: Path, size: Size, source: str) -> NDArray[np.int64]:
    """Label numbers (sh, sw) from an RGB image: red + 256 · green.

    Raises:
        DataError: It is missing, cannot be decoded or has another form.
    """
    try:
        with PIL.Image.open(path) as image:
            values = np.asarray(image)
    except UNREADABLE as error:
        found = "cannot be decoded" if path.is_file() else "does not exist"
        raise DataError(
            f"{path}, named at {source}, was expected to be a label image, but it {found}; unpack Broden again"
        ) from error
    if values.shape != (*size, 3) or values.dtype != np.uint8:
        raise DataError(
            f"{path} was expected to be an RGB image of {size[1]}x{size[0]} pixels, as {source} says, found the shape "
            f"{values.shape}; unpack Broden again"
        )
    numbers: NDArray[np.int64] = values[..., 0] + 256 * values[..., 1].astype(np.int64)
    return numbers
