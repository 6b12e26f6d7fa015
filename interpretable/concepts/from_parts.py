"""Part masks as concepts: each part, and each class as the union of its parts."""

import numpy as np

from interpretable.concepts.fingerprints import digest
from interpretable.concepts.resizing import Size, check_sizes, make_concept_sample, nearest_pixels
from interpretable.concepts.samples import ConceptSample, concept_table
from interpretable.data.samples import PartsDataset
from interpretable.errors import DataError


class PartConcepts:
    """Concepts of a data set whose samples have part masks: categories part (each part) and object (each class).

    An object is what its parts cover together. There is a layer for each part, since masks may overlap, and one for the
    object.

    Args:
        dataset: Samples with masks and one class an image.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps.

    Raises:
        DataError: Samples have no part masks, or several classes.
    """

    def __init__(self, dataset: PartsDataset, image_size: Size, size: Size) -> None:
        check_sizes(image_size, size)
        name = type(dataset).__name__
        if dataset.labels.ndim != 1:
            raise DataError(
                f"{name} was expected to give each image one class, to name the object that its parts form, found "
                f"{dataset.labels.shape[1]} yes-or-no labels; use a set with one class an image"
            )
        if not dataset.parts or "masks" not in dataset[0]:
            raise DataError(
                f"{name} was expected to have pixel masks of parts, which concepts are made of, but has none; add them "
                "as masks/<image stem>/<part>.png or use another set of concepts"
            )
        table = concept_table({"part": dataset.parts, "object": dataset.classes})
        self.concepts, self.categories, self.concept_category, _ = table
        self.classes = dataset.classes
        self._dataset = dataset
        self._image_size, self._size = image_size, size

    def fingerprint(self) -> str:
        """Hex digest of the data set behind and of the sizes."""
        return digest((self._dataset.fingerprint(), self._image_size, self._size))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> ConceptSample:
        sample = self._dataset[index]
        label = int(sample["label"])
        masks = nearest_pixels(sample["masks"].numpy(), self._size)
        parts = len(masks)
        label_maps = np.full((parts + 1, *self._size), -1)
        label_maps[:parts] = np.where(masks, np.arange(parts)[:, None, None], -1)
        label_maps[parts][masks.any(0)] = parts + label
        return make_concept_sample(sample["image"], label_maps, label, sample["index"], self._image_size)
