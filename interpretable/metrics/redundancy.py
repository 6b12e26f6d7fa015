"""In which order filters tell something new: greedy selection of columns of their correlation matrix."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics.finite import refuse_nan

_CONSTANT = 1e-12
"""Variance below this share of the mean square is rounding."""

_DEPENDENT = 1e-9
"""Residual variance of a standardised filter, and relative difference of two gains, below which both are rounding."""

_COMPACTION = 64
"""Steps after which the rows and columns of filters already taken are dropped: a third of the work is left."""


class RedundancyOrder(NamedTuple):
    """The first filter represents most of the others; the last is the first to prune."""

    order: Tensor
    """(C,) int64, indices of the filters."""
    explained: Tensor
    """(C,) float64 in [0, 1], cumulative: the share of the variance of all standardised filters that a linear map of
    the filters so far accounts for; NaN where every filter is constant."""


def redundancy_order(features: Float[Tensor, "image filter"]) -> RedundancyOrder:
    """Order of the filters by what each adds to those before it, by correlation (Farahat et al. 2011).

    Each step takes the filter whose residual r_j explains most of what is left, argmax_j ‖R_:j‖²/R_jj of the residual
    correlation matrix, and projects it out, R ← R − R_:j R_j:/R_jj. The filters of a step whose gains differ by less
    than 1e-9 of the largest are tied: the lowest index is taken. Filters that depend linearly on those before them
    add nothing and follow in the order of their indices; constant ones come last.

    Args:
        features: One number per image and filter, such as the map's mean.

    Raises:
        MetricError: There are NaN features, or no image.
    """
    refuse_nan("pooled features", features)
    features = features.double()
    return order_by_moments(len(features), features.sum(0), features.T @ features)


def order_by_moments(
    images: int, total: Float[Tensor, " filter"], products: Float[Tensor, "filter filter"]
) -> RedundancyOrder:
    """`redundancy_order` from the number of images, Σ f and Σ f fᵀ, all of them float64 sums over images.

    Raises:
        MetricError: There is no image.
    """
    if images == 0:
        raise MetricError("The redundancy order needs at least one image, got none; update it with features first.")
    mean = total / images
    covariance = products / images - torch.outer(mean, mean)
    varies = covariance.diagonal() > _CONSTANT * products.diagonal() / images
    deviation = torch.where(varies, covariance.diagonal(), torch.inf).sqrt()
    residual = covariance / torch.outer(deviation, deviation)
    order, gains = _greedy(residual, varies.nonzero()[:, 0])
    explained = torch.zeros_like(mean)
    explained[: len(gains)] = gains
    return RedundancyOrder(
        torch.cat([order, (~varies).nonzero()[:, 0]]), (explained.cumsum(0) / varies.sum()).clamp(max=1)
    )


def _greedy(
    residual: Float[Tensor, "filter filter"], left: Int64[Tensor, " left"]
) -> tuple[Int64[Tensor, " left"], Float[Tensor, " left"]]:
    """The filters ``left`` in the order in which they are taken, and what each explains."""
    order, gains = torch.empty_like(left), residual.new_empty(len(left))
    residual = residual[left][:, left]
    for step in range(len(order)):
        if step % _COMPACTION == 0:
            remain = (left >= 0).nonzero()[:, 0]
            left, residual = left[remain], residual[remain][:, remain]
        variance = residual.diagonal()
        dependent = variance <= _DEPENDENT
        gain = torch.where(dependent, 0, torch.linalg.vector_norm(residual, dim=1).square() / variance)
        gain = torch.where(left < 0, -1, gain)
        largest = gain.max()
        chosen = (gain >= largest * (1 - _DEPENDENT)).long().argmax()
        order[step], gains[step] = left[chosen], gain[chosen]
        column = residual[chosen] / torch.where(dependent[chosen], torch.inf, variance[chosen]).sqrt()
        residual.addr_(column, column, alpha=-1)
        left[chosen] = -1
    return order, gains
