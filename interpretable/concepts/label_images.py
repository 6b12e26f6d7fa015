"""Label images whose pixel values each stand for a concept or for nothing."""

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from interpretable.data.images import UNREADABLE
from interpretable.errors import DataError

UNKNOWN = -2
"""Meaning of a pixel value that a set does not define."""


def decode_label_map(target: PIL.Image.Image, image: PIL.Image.Image, meaning: NDArray[np.int64]) -> NDArray[np.int64]:
    """(H, W) label map of an image, whose pixel values stand for what ``meaning`` (256,) says.

    Raises:
        DataError: It cannot be decoded, has another size than the image, or a value without meaning.
    """
    name = getattr(target, "filename", "a label image")
    try:
        with target:  # torchvision leaves the file open, and Pillow too where it cannot decode it
            values = np.asarray(target)
    except UNREADABLE as error:
        raise DataError(
            f"{name} was expected to be a label image, but cannot be decoded ({error}); replace it"
        ) from error
    if values.dtype != np.uint8 or values.shape != (image.height, image.width):
        raise DataError(
            f"{name} was expected to have one byte for each of the {image.width}x{image.height} pixels of its image, "
            f"found the mode {target.mode} and {target.width}x{target.height} pixels; replace it by the distributed one"
        )
    label_map: NDArray[np.int64] = meaning[values]
    if (label_map == UNKNOWN).any():
        found = int(values[label_map == UNKNOWN][0])
        raise DataError(
            f"{name} was expected to have the values {_ranges(meaning)}, found {found}; replace it by the distributed "
            "one"
        )
    return label_map


def _ranges(meaning: NDArray[np.int64]) -> str:
    known = np.flatnonzero(meaning != UNKNOWN)
    runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return " and ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
