"""What pictures of prototypes and criticisms show, as plain data."""

from typing import NamedTuple

import numpy as np


class ShownExemplar(NamedTuple):
    """An image that was chosen."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    index: int  # type: ignore[assignment]  # hides the method of tuples
    """In the data set."""
    witness: float
    """f at it: positive where the data are denser than the prototypes, negative where the prototypes are."""
    label: str


class ExemplarSheet(NamedTuple):
    """What was chosen of one set of images, in the order in which it was."""

    name: str
    """A class, ``all classes`` or ``filter 17``."""
    prototypes: tuple[ShownExemplar, ...]
    criticisms: tuple[ShownExemplar, ...]


class Mmd2Curve(NamedTuple):
    """MMD² between a set of images and the first 1..m of its prototypes, beside as many images picked at random."""

    name: str
    prototypes: np.ndarray
    """(m,)."""
    random_mean: np.ndarray
    """(m,)."""
    random_deviation: np.ndarray
    """(m,), standard deviation over the picks."""


class ErrorCurve(NamedTuple):
    """Share of test images that the nearest of 1..m reference images, prototypes or picked at random, misclassifies."""

    name: str
    prototypes: np.ndarray
    """(m,) of the first 1..m prototypes."""
    random_mean: np.ndarray
    """(m,)."""
    random_deviation: np.ndarray
    """(m,), standard deviation over the picks."""
    all_rows: float
    """With every training image as reference."""


class ClassCounts(NamedTuple):
    """How many images of each class there are, and how many of them were chosen."""

    classes: tuple[str, ...]
    data: np.ndarray
    """(K,)."""
    prototypes: np.ndarray
    """(K,)."""
    criticisms: np.ndarray
    """(K,)."""
