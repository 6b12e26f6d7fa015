"""The gradient that the paper descends: that of the template which an image is assigned to, alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpretable.losses.fitness import (
    Statistics,
    at_least_float32,
    log_likelihood,
    over_ranks,
    template_fitness,
    uniform_log_prior,
)
from interpretable.losses.information import information
from interpretable.templates import peak, templates_at


def paper_information(
    x: Float[Tensor, "batch filter h w"],
    members: Bool[Tensor, "batch filter"],
    *,
    beta: float = 4.0,
    scale: float | Tensor | None = None,
    statistics: Statistics = "global",
) -> Float[Tensor, " filter"]:
    """The mutual information with the paper's approximate gradient (Zhang et al. 2018, Eq. 4 and the text below).

    The value is that of `mutual_information`. Its gradient by x_ij, however, is p(T̂) t̂_ij p(x|T̂) {log p(x|T̂) −
    log p(x)}: Z_T is held constant and of all templates only the assigned one counts, T̂ = T_μ at the map's maximum
    for the images of a filter's category and T⁻ for all others.

    Args:
        x: Feature maps after the ReLU, before the mask.
        members: Whether an image belongs to the category of a filter.
        beta: Slope β of the templates.
        scale: Factor of the fitness, a float or a (C,) tensor; the paper's τ = 0.5/(h·w) where omitted.
        statistics: As for `mutual_information`.

    Returns:
        (C,) nats.
    """
    h, w = x.shape[-2:]
    x = at_least_float32(x).contiguous()  # as the templates lie
    positions = peak(x)
    with torch.no_grad():
        fitness, log_prior = template_fitness(x, beta, scale), uniform_log_prior(x)
        value, log_evidence = information(fitness, log_prior, statistics)
        assigned = torch.where(members, positions, h * w)
        likelihood = log_likelihood(fitness, statistics).gather(-1, assigned[..., None])[..., 0]  # log p(x|T̂)
        weight = (likelihood + log_prior[-1]).exp() * (likelihood - log_evidence)
        template = torch.where(members[..., None, None], templates_at(positions, h, w, beta, dtype=x.dtype), -1)
        weight *= 0.5 / (h * w) if scale is None else scale
    assigned_fitness = (x * template).sum((-2, -1))
    surrogate = over_ranks((weight * assigned_fitness).sum(0), statistics)
    return surrogate + (value - surrogate).detach()
