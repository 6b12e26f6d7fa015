"""The model behind every part-template objective: fitness, its normalisation over images, priors of templates."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpretable.distributed import max_over_ranks, sum_over_ranks
from interpretable.templates import part_templates

Statistics = Literal["global", "local"]


def at_least_float32(x: Tensor) -> Tensor:
    """Float64 stays as it is, all else becomes float32."""
    return x if x.dtype == torch.float64 else x.float()


def over_ranks(x: Tensor, statistics: Statistics) -> Tensor:
    """Sum of x over the ranks that the statistics take in."""
    return sum_over_ranks(x) if statistics == "global" else x


def template_fitness(
    x: Float[Tensor, "batch filter h w"],
    beta: float,
    scale: float | Tensor | None,
    members: Bool[Tensor, "batch filter"] | None = None,
) -> Float[Tensor, "batch filter templates"]:
    """s(x, T) = scale · Σ x·T for all h·w positive templates in row-major order and, last, the negative one.

    Args:
        x: Feature maps; half precision is computed in float32, also under autocast.
        beta: Slope β of the templates.
        scale: A float or a (C,) tensor, the paper's τ = 0.5/(h·w) where omitted.
        members: Images that the positive templates range over; the fitness of others is so low that it weighs nothing.
    """
    x = at_least_float32(x)
    h, w = x.shape[-2:]
    templates = part_templates(h, w, beta, dtype=x.dtype, device=x.device).flatten(1)
    templates = torch.cat([templates, -torch.ones_like(templates[:1])])
    scale = 0.5 / (h * w) if scale is None else scale
    if isinstance(scale, Tensor):
        scale = scale.to(x)[:, None]
    with torch.autocast(x.device.type, enabled=False):  # autocast would take the product in half precision
        fitness = (x.flatten(2) * scale) @ templates.T
    if members is None:
        return fitness
    # Finite, since an infinite logarithm times its zero weight would be no number.
    penalty = (1 - members.to(x.dtype)) * (torch.finfo(x.dtype).min / 4)
    return fitness + penalty[..., None] * (torch.arange(len(templates), device=x.device) < h * w)


def largest_over_images(
    exponent: Float[Tensor, "batch filter ..."], statistics: Statistics
) -> Float[Tensor, "filter ..."]:
    """What exponentials are taken relative to: the maximum over images, detached; 0 where no image counts."""
    largest = exponent.detach().amax(0)
    largest = max_over_ranks(largest) if statistics == "global" else largest
    return torch.where(largest == -torch.inf, 0, largest)


def log_sum_over_images(
    exponent: Float[Tensor, "batch filter ..."], statistics: Statistics
) -> Float[Tensor, "filter ..."]:
    """Logarithm of the sum of exponentials over images; ranks exchange one maximum and one sum per entry."""
    largest = largest_over_images(exponent, statistics)
    return largest + over_ranks((exponent - largest).exp().sum(0), statistics).log()


def log_likelihood(
    fitness: Float[Tensor, "batch filter templates"], statistics: Statistics
) -> Float[Tensor, "batch filter templates"]:
    """The softmax over images, log p(x|T) = s(x, T) − log Z_T."""
    return fitness - log_sum_over_images(fitness, statistics)


def uniform_log_prior(x: Float[Tensor, "batch filter h w"]) -> Float[Tensor, " templates"]:
    """The paper's prior log p(T): its α makes all h·w + 1 templates equally likely."""
    templates = x.shape[-2] * x.shape[-1] + 1
    return torch.full((templates,), -math.log(templates), dtype=at_least_float32(x).dtype, device=x.device)


@torch.no_grad()
def membership_log_prior(
    x: Float[Tensor, "batch filter h w"], members: Bool[Tensor, "batch filter"], statistics: Statistics
) -> Float[Tensor, "filter templates"]:
    """The class-aware prior log p(T): T⁻ has the share of images outside a filter's category, the T_μ the rest."""
    cells = x.shape[-2] * x.shape[-1]
    counts = torch.stack([members.sum(0), (~members).sum(0)]).to(at_least_float32(x).dtype)
    inside, outside = over_ranks(counts, statistics)
    share = inside / (inside + outside)
    return torch.cat([(share / cells)[:, None].expand(-1, cells), (1 - share)[:, None]], 1).log()
