"""Running statistics of a part layer: equal on all ranks, moved in place, never differentiated."""

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.losses.fitness import Statistics, at_least_float32, over_ranks

MOMENTUM = 0.9
"""Share of the old value in every moving average of the loss (the authors' category statistic uses the same)."""


@torch.no_grad()
def mean_peak(x: Float[Tensor, "batch filter h w"], statistics: Statistics = "global") -> Float[Tensor, " filter"]:
    """Mean over a filter's positive maps of their maximum, (C,); 0 for a filter that is silent on every image."""
    peaks = at_least_float32(x).amax((-2, -1))
    positive = (peaks > 0) & peaks.isfinite()  # NaN in one batch must not stay in a running mean
    total = over_ranks(torch.where(positive, peaks, 0).sum(0), statistics)
    count = over_ranks(positive.sum(0).to(peaks.dtype), statistics)
    return total / count.clamp(min=1)


@torch.no_grad()
def class_means(
    responses: Float[Tensor, "batch filter"], membership: Float[Tensor, "batch classes"]
) -> tuple[Float[Tensor, "filter classes"], Float[Tensor, " classes"], Float[Tensor, ""]]:
    """Over all ranks: each filter's mean response to the images of a class, their number, and that of all images.

    The mean is NaN for a class without images.
    """
    count = over_ranks(membership.sum(0), "global")
    images = over_ranks(membership.new_tensor(len(membership)), "global")
    return over_ranks(responses.T @ membership, "global") / count, count, images


@torch.no_grad()
def update_average(average: Tensor, new: Tensor, observed: Tensor, started: Tensor) -> None:
    """Moves the average in place towards what was observed; a first observation is taken as it is.

    Args:
        average: Any shape, moved in place.
        new: What this step saw.
        observed: bool, whether there was something to see.
        started: bool, whether the average holds an earlier observation.
    """
    moved = torch.where(started, MOMENTUM * average + (1 - MOMENTUM) * new, new.to(average.dtype))
    average.copy_(torch.where(observed, moved, average))
