"""Bootstrap of a mean R²: how far it might lie elsewhere on other images of the same kind."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

_DRAWS_AT_ONCE = 2**20
"""Bounds how many images are drawn at once, so that memory does not grow with their number."""


def interval(resampled: Float[Tensor, " resample"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The 2.5 % and 97.5 % quantiles over resamples, NaN where all are."""
    low, high = torch.nanquantile(resampled, resampled.new_tensor([0.025, 0.975]))
    return low, high


def resampled_mean_r2(
    squares: Iterable[tuple[Float[Tensor, "_ part"], Float[Tensor, "_ part"]]], resamples: int
) -> Float[Tensor, " resample"]:
    """Mean over classes and parts of 1 − Σ residual / Σ spread, on each of many resamples of the images.

    A resample draws as many images of each class as there are, with replacement, by a generator seeded 0 on the CPU:
    two networks are measured on the same resamples of the same images, and the difference is that of paired samples.
    A class and part without spread in the images drawn is left out of that resample's mean.

    Args:
        squares: Squared residual and squared spread of each image and part, by class.
        resamples: Number of resamples.

    Returns:
        (resamples,) float64 on the CPU, NaN where nothing has spread.
    """
    generator = torch.Generator().manual_seed(0)
    total, number = torch.zeros(2, resamples, dtype=torch.float64)
    for residual, spread in squares:
        images, parts = residual.shape
        if images == 0:
            continue
        both = torch.cat([residual, spread], 1).cpu()
        for rows in torch.split(torch.arange(resamples), max(1, _DRAWS_AT_ONCE // images)):
            drawn = torch.randint(images, (len(rows), images), generator=generator)
            times = torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(
                1, drawn, torch.ones_like(drawn).double()
            )
            residuals, spreads = torch.split(times @ both, parts, dim=1)
            total[rows] += torch.where(spreads > 0, 1 - residuals / spreads, 0).sum(1)
            number[rows] += (spreads > 0).sum(1)
    means: Tensor = total / number
    return means
