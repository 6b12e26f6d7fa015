"""Activations that are no numbers are refused: every comparison with them is false, so they would pass for silence."""

from torch import Tensor

from interpretable.errors import MetricError


def refuse_nan(name: str, x: Tensor) -> None:
    """Raises a MetricError where x has NaN.

    Args:
        name: What x is, in the plural, for the message: ``"peak activations"``.
        x: Any floating-point tensor; maps may be represented by their peaks, which carry a map's NaN.
    """
    if x.isnan().any():
        image = int(x.isnan().flatten(1).any(1).nonzero()[0]) if x.ndim > 1 else int(x.isnan().nonzero()[0])
        raise MetricError(
            f"The {name} must be numbers, got NaN in row {image} of {len(x)}; look for a diverged network or a wrong "
            "normalisation of the images."
        )
