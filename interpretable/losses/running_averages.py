"""Running statistics of a part layer: equal on all ranks, moved in place, never differentiated."""

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.distributed import sum_over_ranks
from interpretable.losses.fitness import at_least_float32

MOMENTUM = 0.9
"""Share of the old value in every moving average of the loss (the authors' category statistic uses the same)."""


SILENT = 1e-30
"""Maps that nowhere exceed this are silent: their inverse would not be finite in float32."""


@torch.no_grad()
def mean_peak(x: Float[Tensor, "batch filter h w"]) -> Float[Tensor, " filter"]:
    """Mean of the maxima of a filter's maps, over those that fire and over all ranks, (C,); 0 where none does."""
    peaks = at_least_float32(x).amax((-2, -1))
    fires = (peaks > SILENT) & peaks.isfinite()  # NaN in one batch must not stay in a running mean
    sums = sum_over_ranks(torch.stack([torch.where(fires, peaks, 0).sum(0), fires.sum(0).to(peaks)]))
    return sums[0] / sums[1].clamp(min=1)


@torch.no_grad()
def class_means(
    responses: Float[Tensor, "batch filter"], membership: Float[Tensor, "batch classes"]
) -> tuple[Float[Tensor, "filter classes"], Float[Tensor, "filter classes"]]:
    """Mean finite response of each filter to the images of a class over all ranks, NaN without any; their number."""
    finite = responses.isfinite()
    total = torch.where(finite, responses, 0).T @ membership
    total, count = sum_over_ranks(torch.stack([total, finite.to(membership).T @ membership]))
    return total / count, count


@torch.no_grad()
def class_shares(membership: Float[Tensor, "batch classes"]) -> Float[Tensor, " classes"]:
    """Share of the images of all ranks that carry a class."""
    return sum_over_ranks(membership.sum(0)) / sum_over_ranks(membership.new_tensor(len(membership)))


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
