"""The activation that a filter exceeds on a given share of all places: a quantile of a stream, in bounded memory."""

import math
from fractions import Fraction
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric

from interpretable.errors import MetricError
from interpretable.metrics.finite import refuse_nan

BINS = 2**16
"""Bit patterns of a float16: bins of a filter's histogram, and the number of kept activations it replaces."""

_LARGEST_HALF = 65504.0
_FILTERS_AT_A_TIME = 64


def merge_topk(
    kept: Float[Tensor, "kept filter"], maps: Float[Tensor, "image filter h w"]
) -> Float[Tensor, "kept filter"]:
    """The largest activations of each filter among those kept so far, −∞ where there are none yet, and new maps.

    Exact, in any order. Only activations above the least kept one are sorted, which soon are few.
    """
    values = maps.movedim(1, 0).flatten(1)  # (C, N·h·w)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    least = kept.amin(0)
    bound = least.to(values.dtype)
    bound = torch.where(bound > least, bound.nextafter(bound.new_tensor(-math.inf)), bound)  # never rounded up
    above = values > bound[:, None]
    number = above.sum(1)
    if 4 * number.amax() < values.shape[1]:
        filters, places = above.nonzero(as_tuple=True)
        slots = torch.arange(len(places), device=values.device) - (number.cumsum(0) - number)[filters]
        candidates = values.new_full((len(values), int(number.amax())), -math.inf)
        candidates[filters, slots] = values[filters, places]
    else:
        candidates = values
    return torch.cat([kept.T, candidates], 1).topk(len(kept), dim=1, sorted=False).values.T


def add_to_histogram(
    histogram: Int64[Tensor, "filter bin"], maps: Float[Tensor, "image filter h w"]
) -> Int64[Tensor, "filter bin"]:
    """Counts each filter's activations by their bits as float16, in place.

    The bins are in the order of the numbers they stand for, from −∞ to ∞: a float16's bits read as an integer
    already grow with its magnitude, so only those of negative numbers are turned round. Activations beyond ±65504 are
    counted there.
    """
    values = maps.movedim(1, 0).flatten(1).clamp(-_LARGEST_HALF, _LARGEST_HALF).half()
    first = BINS * torch.arange(len(values), device=values.device) + BINS // 2
    places = (_turned(values.view(torch.int16)) + first[:, None]).flatten()
    histogram.view(-1).scatter_add_(0, places, torch.ones_like(places))
    return histogram


def _turned(bits: Tensor) -> Tensor:
    """Between a float16's bits and its rank among all float16, both as int16; its own inverse."""
    return bits ^ ((bits >> 15) & 0x7FFF)


def histogram_order_statistic(histogram: Int64[Tensor, "filter bin"], larger: int) -> Float[Tensor, " filter"]:
    """The activation of each filter that ``larger`` others are at least as large as, rounded to float16; float64."""
    bins = torch.cat(
        [
            torch.searchsorted(counts.flip(1).cumsum(1), counts.new_full((len(counts), 1), larger), right=True)
            for counts in torch.split(histogram, _FILTERS_AT_A_TIME)
        ]
    )
    return _turned((BINS // 2 - 1 - bins[:, 0]).to(torch.int16)).view(torch.float16).double()


def _merge_ranks(kept: Tensor) -> Tensor:
    """(R, k, C) of all ranks to the (k, C) largest."""
    return kept.flatten(0, 1).topk(kept.shape[1], dim=0, sorted=False).values


class ActivationQuantile(Metric):
    """Threshold T of each filter with P(activation > T) at most ``quantile`` over all images and places.

    T is the (⌊quantile · n⌋ + 1)-th largest of a filter's n activations, so that at most ⌊quantile · n⌋ lie strictly
    above it (Bau et al. 2017, §2.3, on maps at their native resolution).

    With ``count`` the largest activations are kept, which is exact and takes 8 · quantile · count bytes per filter.
    Without it, or where 65,536 or more had to be kept, activations are counted by their bits as float16 in 512 kB
    per filter: exact for float16 maps within ±65504, else T is the exact threshold rounded to float16, that is to a
    relative 4.9e-4 between 6.1e-5 and 65504 and to an absolute 3e-8 below, and then the share above T may be larger
    by the activations that are rounded to it. Torchmetrics keeps either twice.

    Args:
        num_filters: Number of filters C.
        quantile: Share of activations above the threshold, between 0 and 1.
        count: Activations per filter to expect at the most (images · h · w).
        kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        MetricError: The quantile is not between 0 and 1.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    activations: Tensor
    kept: Tensor
    histogram: Tensor

    def __init__(self, num_filters: int, quantile: float = 0.005, count: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < quantile < 1:
            raise MetricError(f"The quantile must be a share between 0 and 1, got {quantile}; the usual one is 0.005.")
        self.num_filters = num_filters
        self.quantile = quantile
        self.exact = count is not None and self._larger(count) + 1 < BINS
        self.add_state("activations", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        if count is not None and self.exact:
            kept = torch.full((self._larger(count) + 1, num_filters), -math.inf, dtype=torch.float64)
            self.add_state("kept", kept, dist_reduce_fx=_merge_ranks)
        else:
            self.add_state("histogram", torch.zeros(num_filters, BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def _larger(self, count: int) -> int:
        """⌊quantile · count⌋ of the quantile as it is written: 0.29 of 100 is 29, not 28."""
        return math.floor(Fraction(str(self.quantile)) * count)

    def update(self, maps: Float[Tensor, "image filter h w"]) -> None:
        """Takes in the maps of a batch.

        Raises:
            MetricError: An activation is NaN.
        """
        maps = maps.detach()
        refuse_nan("activations", maps)
        self.activations += maps.numel() // maps.shape[1]
        if self.exact:
            self.kept = merge_topk(self.kept, maps)
        else:
            self.histogram = add_to_histogram(self.histogram, maps)

    def compute(self) -> Float[Tensor, " filter"]:
        """Thresholds (C,), float64; NaN, which no activation exceeds, if there was none.

        As from every torchmetrics class, a single number comes as a scalar.

        Raises:
            MetricError: More activations came than were expected, so that those needed were not kept.
        """
        if not self.activations:
            return torch.full((self.num_filters,), torch.nan, dtype=torch.float64, device=self.device)
        larger = self._larger(int(self.activations))
        if not self.exact:
            return histogram_order_statistic(self.histogram, larger)
        if larger >= len(self.kept):
            raise MetricError(
                f"A quantile of {self.quantile} of {int(self.activations)} activations needs the {larger + 1} largest, "
                f"got {len(self.kept)} kept; give the number of activations per filter as count, or none."
            )
        return self.kept.topk(larger + 1, dim=0).values[-1]


def live_maps(
    maps: Float[Tensor, "image filter h w"], thresholds: Float[Tensor, " filter"]
) -> Bool[Tensor, "image filter"]:
    """Which maps exceed their filter's threshold anywhere, strictly.

    Raises:
        MetricError: An activation is NaN.
    """
    peaks = maps.to(torch.promote_types(maps.dtype, torch.float32)).flatten(2).amax(-1)
    refuse_nan("activations", peaks)
    return peaks.double() > thresholds.double()


def excess(maps: Float[Tensor, "*map h w"], thresholds: Float[Tensor, "*map"]) -> Float[Tensor, "*map h w"]:
    """Activations minus their filter's threshold, in float32 or better.

    Its sign is exact, so an interpolation of it by non-negative weights is positive nowhere between cells that are
    not; an interpolation of the activations themselves may exceed a threshold that they equal by a rounding error.
    """
    difference = maps.double() - thresholds.double()[..., None, None]
    return difference.to(torch.promote_types(maps.dtype, torch.float32))
