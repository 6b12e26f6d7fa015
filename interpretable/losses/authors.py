"""What the authors' published code optimises, which is not the loss of their paper."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpretable.distributed import concatenate_over_ranks, sum_over_ranks
from interpretable.losses.fitness import (
    Statistics,
    at_least_float32,
    largest_over_images,
    log_sum_over_images,
    over_ranks,
)
from interpretable.templates import centroid, templates_at

TEMPERATURE = 0.5
"""The authors' α: divides the mean of x·T, taken over cells, in their exponentials."""

SLOPES = (1.5, 3.0)
"""Limits of the authors' learned slope, in coordinates that run from −1 to 1 over the map."""

SPREAD = 3.0
"""Slope times mean spread in cells that the slope is drawn to."""


def authors_loss(
    x: Float[Tensor, "batch filter h w"],
    members: Bool[Tensor, "batch filter"],
    *,
    beta: Float[Tensor, " filter"],
    share: Float[Tensor, " filter"] | None = None,
    statistics: Statistics = "global",
) -> Float[Tensor, " filter"]:
    """A surrogate with the gradient of the published code: the mean over images of −w·Σ x·T_μ̂, or of +w·Σ x.

    Images of a filter's category are drawn to the template at their centroid and all others pushed down, each with a
    constant weight w = g/mean g from g = e^{s/a}(s − log Z + a): s is the mean over cells of x·T_μ̂ (of −x for the
    others), a = 0.5, the mean runs over the members (the others), and Z⁺ is estimated with the template of another
    filter and image, both counted from the end.

    Args:
        x: Feature maps after the ReLU, before the mask, at their own scale.
        members: Whether an image belongs to the category of a filter.
        beta: Slope of each filter's templates.
        share: Share of each filter's category among the images, which weighs members by 0.5/share and others by
            0.5/(1 − share); omitted where there is one category alone, and neither is weighted.
        statistics: ``"global"`` takes all sums and the pairing over all ranks, ``"local"`` over this rank's images.

    Returns:
        (C,), without bounds. The published gradient is this one times 1e-6/t · images in epoch t.
    """
    h, w = x.shape[-2:]
    x = at_least_float32(x)
    positions = centroid(x)
    with torch.no_grad():
        template = templates_at(x, positions, beta)
        paired = templates_at(x, _from_the_end(positions, statistics), beta.flip(0))
        foreign = (x * paired).mean((-2, -1))
    fit, mass = (x * template).sum((-2, -1)), x.sum((-2, -1))
    with torch.no_grad():
        images = over_ranks(x.new_tensor(len(x)), statistics)
        drawn = _weight(fit / (h * w), foreign, members, images, statistics)
        pushed = _weight(-mass / (h * w), -mass / (h * w), ~members, images, statistics)
        if share is not None:
            drawn, pushed = drawn * (0.5 / share), pushed * (0.5 / (1 - share))
    return over_ranks((pushed * mass - drawn * fit).sum(0), statistics) / images


@torch.no_grad()
def slope_target(
    x: Float[Tensor, "batch filter h w"],
    members: Bool[Tensor, "batch filter"],
    beta: Float[Tensor, " filter"],
) -> Float[Tensor, " filter"]:
    """The slope that the authors' update draws each filter's templates to; NaN for a filter without members.

    Inverse to the spread √(Σ‖p − μ̂‖² x / Σ x) of the maps around their centroid, in cells, averaged over the members
    with their fit to the template as weights. Their slope, between 1.5 and 3, is per half of a map of n cells in steps
    of 2/(n − 1): as β it is 2n/(n − 1) times as large, with n = √(h·w).
    """
    h, w = x.shape[-2:]
    x = at_least_float32(x)
    positions = centroid(x)
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) for n in (h, w))
    distance = (rows - (positions // w)[..., None]).square()[..., :, None]
    distance = distance + (columns - (positions % w)[..., None]).square()[..., None, :]
    mass = x.sum((-2, -1)).clamp(min=1e-9)
    spread = ((distance * x).sum((-2, -1)) / mass).sqrt()
    fit = (x * templates_at(x, positions, beta)).mean((-2, -1)) * members
    sums = sum_over_ranks(torch.stack([(fit * spread).sum(0), fit.sum(0), members.sum(0).to(x)]))
    slope = (SPREAD / (sums[0] / sums[1])).nan_to_num(nan=SLOPES[1], posinf=SLOPES[1]).clamp(*SLOPES)
    side = (h * w) ** 0.5
    return torch.where(sums[2] > 0, slope * 2 * side / (side - 1), torch.nan)


def _from_the_end(positions: Tensor, statistics: Statistics) -> Tensor:
    """Positions (B, C) with the images of all ranks and the filters in reversed order."""
    everyone, start = concatenate_over_ranks(positions) if statistics == "global" else (positions, 0)
    return everyone.flip(0, 1)[start : start + len(positions)]


def _weight(strength: Tensor, foreign: Tensor, chosen: Tensor, images: Tensor, statistics: Statistics) -> Tensor:
    """g/mean g over the chosen images, (B, C); 0 for others and where the mean is 0."""
    log_z = TEMPERATURE * (log_sum_over_images(foreign / TEMPERATURE, statistics) - images.log())
    exponent = (strength / TEMPERATURE).masked_fill(~chosen, -torch.inf)
    # A factor common to all images cancels in the ratio.
    g = (exponent - largest_over_images(exponent, statistics)).exp() * (strength - log_z + TEMPERATURE)
    total, count = over_ranks(torch.stack([g.sum(0), chosen.sum(0).to(g)]), statistics)
    weight = g * (count / total)
    return torch.where(weight.isfinite(), weight, 0)
