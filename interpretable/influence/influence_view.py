"""What pictures of influence show, as plain data."""

from typing import NamedTuple

import numpy as np


class InfluentialImage(NamedTuple):
    """A training image."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    index: int  # type: ignore[assignment]  # hides the method of tuples
    """In the data set."""
    label: str
    predicted: str
    influence: float


class InfluenceRow(NamedTuple):
    """An image whose loss is looked at, with the training images that lowered and raised it most, strongest first."""

    name: str
    image: np.ndarray
    """(h, w, 3) uint8."""
    label: str
    """Whose loss it is."""
    predicted: str
    loss: float
    helpful: tuple[InfluentialImage, ...]
    harmful: tuple[InfluentialImage, ...]


class InfluenceWords(NamedTuple):
    """What the numbers of a sheet mean."""

    helpful: str
    """Heading of the helpful images."""
    harmful: str
    meaning: str
    """What stands below."""
