"""Labels and class names of torchvision's data sets, which keep them under many names."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpretable.data.images import UNREADABLE
from interpretable.errors import DataError

LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y", "attr", "_samples", "samples")
CLASS_ATTRIBUTES = ("classes", "categories", "attr_names")


def read_item(images: Any, row: int) -> tuple[Any, Any]:
    """An image of a set and its label; a DataError where the image cannot be decoded."""
    try:
        item = images[row]
    except UNREADABLE as error:
        raise DataError(
            f"image {row} of torchvision's {type(images).__name__} under {getattr(images, 'root', None)} cannot be "
            f"decoded ({error}); replace it"
        ) from error
    return item[0], item[1]


def read_labels(images: Any) -> Tensor:
    """Labels (N,) int64 or (N, K) float of all images of a set, from the attribute that holds them.

    An attribute is believed if its length is the set's and its first entry is the label of the first image, which is
    decoded to see; where none is, every image is decoded.

    Raises:
        DataError: if the set is empty, or what comes with an image is neither a class nor a vector of classes.
    """
    name = type(images).__name__
    if len(images) == 0:
        raise DataError(f"torchvision's {name} was expected to hold images, but this split is empty; add some")
    first_label = read_item(images, 0)[1]
    first = _as_numbers([first_label])
    if first is None:
        raise DataError(
            f"torchvision's {name} gives a {type(first_label).__name__}, not a class, for an image; use another"
        )
    held = (_as_numbers(getattr(images, attribute, None)) for attribute in LABEL_ATTRIBUTES)
    labels = next((values for values in held if values is not None and _agrees(values, first, len(images))), None)
    if labels is None:
        labels = np.stack([np.asarray(read_item(images, row)[1]) for row in range(len(images))])
    return torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.float32))


def _as_numbers(values: Any) -> NDArray[Any] | None:
    """(N,) or (N, K) numbers, also from (image, label) pairs; None for anything else."""
    if values is None or len(values) == 0:
        return None
    if isinstance(values[0], tuple) and len(values[0]) == 2:
        values = [label for _, label in values]
    try:
        numbers = np.asarray(values)
    except (ValueError, TypeError):
        return None
    return numbers if numbers.dtype.kind in "iufb" and numbers.ndim in (1, 2) else None


def _agrees(values: NDArray[Any], first: NDArray[Any], length: int) -> bool:
    return len(values) == length and values.shape[1:] == first.shape[1:] and bool((values[0] == first[0]).all())


def class_names(images: Any, labels: Tensor) -> tuple[str, ...]:
    """One name a class, all different; of several synonyms the first, and numbers where a set has no names."""
    count = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    held = (getattr(images, attribute, None) for attribute in CLASS_ATTRIBUTES)
    names: Sequence[Any] = next((names for names in held if names is not None and len(names) >= count), range(count))
    first = [str(name[0]) if isinstance(name, tuple) else str(name) for name in names]
    if labels.ndim == 2:
        # CelebA's list of attributes ends in an empty name.
        first = first[:count]
    repeated = {name for name, times in Counter(first).items() if times > 1}
    # ImageNet's bird and machine are both called crane.
    return tuple(f"{name} ({position})" if name in repeated else name for position, name in enumerate(first))
