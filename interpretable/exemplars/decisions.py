"""The largest of many values that are rounded, as if they were not."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

Sharper = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Some of the values by number, computed more exactly, and how far from the true ones they can be."""


def first_of_largest(values: np.ndarray, most: float, *sharper: Sharper) -> int:
    """Number of the largest value, the lowest of those that are equal.

    Values that lie so close to the largest that their rounding could hide a larger one are computed again, by one way
    after the other until one is left, so that the choice is the same in float32 and float64, on every device and for
    every order of summation.

    Args:
        values: (n,) float64, −∞ where there is no choice; they may be written to.
        most: How far from its true value any of them can be.
        sharper: Ways to compute some of them, the last one in float64.
    """
    place = int(values.argmax())
    threshold = values[place] - 2 * most
    values[place], largest = -np.inf, values[place]
    if values.max() < threshold:
        return place
    values[place] = largest
    near = np.flatnonzero(values >= threshold)
    for compute in sharper:
        if len(near) > 1:
            near = near[_could_be_largest(*compute(near))]
    return int(near[0])


def _could_be_largest(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    largest: np.ndarray = values + bounds >= (values - bounds).max()
    return largest


class RoundedMeans:
    """Column means with bounds on their rounding, of which single ones are made exact.

    Args:
        values: (n,) float64.
        rounding: (n,) bound on the relative rounding of each.
        exactly: Their values in float64, by number.
        exact_rounding: The relative rounding that those have.
    """

    def __init__(
        self, values: Tensor, rounding: Tensor, exactly: Callable[[Tensor], Tensor], exact_rounding: float
    ) -> None:
        self.values = values.clone()
        self.bounds = values.abs() * rounding
        self.most = float(self.bounds.max())
        self._exactly, self._exact_rounding = exactly, exact_rounding
        self._known = rounding <= exact_rounding

    def sharpen(self, numbers: Tensor) -> None:
        """Makes these exact where they are not."""
        new = numbers[~self._known[numbers]]
        if len(new):
            self.values[new] = self._exactly(new)
            self.bounds[new] = self.values[new].abs() * self._exact_rounding
            self._known[new] = True
