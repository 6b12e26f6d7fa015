"""The largest of many values that are rounded, as if they were not."""

from collections.abc import Callable

from torch import Tensor


def first_of_largest(values: Tensor, bounds: Tensor, exactly: Callable[[Tensor], tuple[Tensor, Tensor]]) -> int:
    """Number of the largest value, the lowest of those that are equal.

    Values that lie so close to the largest that their rounding could hide a larger one are computed again in float64,
    so that the choice is the same in float32 and float64, on every device and for every order of summation.

    Args:
        values: (n,) float64, −∞ where there is no choice.
        bounds: (n,) how far from the true value each can be at the most.
        exactly: Values in float64, and their bounds, by number.
    """
    near = _near(values, bounds)
    if len(near) > 1:
        near = near[_near(*exactly(near))]
    return int(near[0])


def _near(values: Tensor, bounds: Tensor) -> Tensor:
    """Numbers of the values that could be the largest, ascending."""
    return (values + bounds >= (values - bounds).max()).nonzero().squeeze(1)


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
        self._exactly, self._exact_rounding = exactly, exact_rounding
        self._known = rounding <= exact_rounding

    def sharpen(self, numbers: Tensor) -> None:
        """Makes these exact where they are not."""
        new = numbers[~self._known[numbers]]
        if len(new):
            self.values[new] = self._exactly(new)
            self.bounds[new] = self.values[new].abs() * self._exact_rounding
            self._known[new] = True
