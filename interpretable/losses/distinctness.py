"""How far the filters that fire strongest in an image share one place: what no part-template objective asks."""

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.distributed import sum_over_ranks
from interpretable.losses.fitness import at_least_float32

STRONGEST = 10
"""Filters of an image that are to differ: a class's parts are few, and most filters belong to other classes."""


def filter_overlap(
    x: Float[Tensor, "batch filter h w"], *, scale: float | Tensor, strongest: int = STRONGEST
) -> Float[Tensor, ""]:
    """Chance that two of the filters that fire strongest in an image fire in the same cell, mean over images.

    A filter fires in cell u with chance p_f(u), the softmax over cells of scale · x_f, and two filters f and g in the
    same one with chance Σ_u p_f(u) p_g(u). The mean is over the pairs of an image's strongest filters, by scale · max
    x_f; a silent filter is none of them, and an image with fewer than two has an overlap of 0. Competition between
    parts has the same aim in part discovery (van der Klis et al. 2023), whose softmax over parts leaves each cell to
    one of them; here only filters that would be seen together are kept apart.

    Args:
        x: Feature maps after the ReLU, before the mask. Half precision is computed in float32.
        scale: A float or a (C,) tensor, as of the fitness: 1 / (mean peak · temperature).
        strongest: Filters per image whose pairs count.

    Returns:
        A scalar in [0, 1], the same on all ranks; DDP's averaged gradients equal the one-process gradient.
    """
    fitness = at_least_float32(x).flatten(2)
    fitness = fitness * (scale.to(fitness)[:, None] if isinstance(scale, Tensor) else scale)
    peaks, filters = fitness.detach().amax(-1).topk(min(strongest, fitness.shape[1]), dim=1)
    cells = fitness.gather(1, filters[..., None].expand(-1, -1, fitness.shape[-1])).softmax(-1)
    fires = (peaks > 0).to(cells)
    cells = cells * fires[..., None]
    number = fires.sum(1)
    same = cells.sum(1).square().sum(-1) - cells.square().sum((-2, -1))
    overlap = same / (number * (number - 1)).clamp(min=1)
    total, images = sum_over_ranks(torch.stack([overlap.sum(), overlap.new_tensor(float(len(x)))]))
    mean: Tensor = total / images
    return mean
