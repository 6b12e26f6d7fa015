"""Objects cut out of photographs, and what becomes of points and masks when they are."""

import math
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from interpretable.errors import ConfigurationError

MINIMUM_AREA = 50 * 50
"""Pixels of an object's box below which the authors of interpretable CNNs leave the object out."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; continuous pixels."""


def check_size(size: int | None) -> None:
    """Raise a ConfigurationError unless a size is a positive number of pixels or None."""
    if size is not None and size < 1:
        raise ConfigurationError(
            f"size was expected to be a positive number of pixels, or none to keep each crop's own, found {size}"
        )


@dataclass(frozen=True)
class Crop:
    """The pixels left <= x < right, top <= y < bottom of an image, scaled to width x height."""

    pixels: tuple[int, int, int, int]
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the crop per pixel of the image, along x and y."""
        left, top, right, bottom = self.pixels
        return self.width / (right - left), self.height / (bottom - top)

    def picture(self, image: PIL.Image.Image) -> PIL.Image.Image:
        """The cropped and scaled image."""
        return image.crop(self.pixels).resize((self.width, self.height), PIL.Image.Resampling.BILINEAR)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(height, width) of an (H, W) mask; each pixel is the one under its centre."""
        cropped = PIL.Image.fromarray(mask).crop(self.pixels)
        return np.asarray(cropped.resize((self.width, self.height), PIL.Image.Resampling.NEAREST), dtype=bool)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point of the image in pixels of the crop."""
        return (x - self.pixels[0]) * self.scale[0], (y - self.pixels[1]) * self.scale[1]

    def box(self, box: Box) -> tuple[tuple[float, float], tuple[float, float]]:
        """Centre, and width and height, of a box of the image in pixels of the crop."""
        left, top, right, bottom = box
        sides = (right - left) * self.scale[0], (bottom - top) * self.scale[1]
        return self.point((left + right) / 2, (top + bottom) / 2), sides


def crop_of_box(box: Box, image_size: tuple[int, int], size: int | None) -> Crop | None:
    """The pixels that a box touches within an image, both sides scaled to a size (None keeps theirs).

    None where the box covers fewer than ``MINIMUM_AREA`` pixels of the image.
    """
    left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    right, bottom = min(math.ceil(box[2]), image_size[0]), min(math.ceil(box[3]), image_size[1])
    if right <= left or bottom <= top or (right - left) * (bottom - top) < MINIMUM_AREA:
        return None
    return Crop((left, top, right, bottom), size or right - left, size or bottom - top)


def box_of_mask(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds a mask's pixels; None where it has none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
