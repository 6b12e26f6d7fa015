"""The gradient that the paper descends: that of the template which an image is assigned to, alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpretable.losses.fitness import Statistics, at_least_float32, over_ranks, template_fitness, uniform_log_prior
from interpretable.losses.information import Information, information
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
    x = at_least_float32(x)
    scale = 0.5 / (x.shape[-2] * x.shape[-1]) if scale is None else scale
    with torch.no_grad():
        fitness = template_fitness(x, beta, scale)
        known = information(fitness, uniform_log_prior(x), statistics)
    return with_papers_gradient(x, members, fitness, known, beta=beta, scale=scale, statistics=statistics)


def with_papers_gradient(
    x: Float[Tensor, "batch filter h w"],
    members: Bool[Tensor, "batch filter"],
    fitness: Float[Tensor, "batch filter templates"],
    known: Information,
    *,
    beta: float,
    scale: float | Tensor,
    statistics: Statistics,
) -> Float[Tensor, " filter"]:
    """`paper_information` where fitness and information of the maps are known already, without gradients."""
    h, w = x.shape[-2:]
    positions = peak(x)
    with torch.no_grad():
        assigned = torch.where(members, positions, h * w)
        filters = torch.arange(x.shape[1], device=x.device)
        likelihood = fitness.gather(-1, assigned[..., None])[..., 0] - known.log_z[filters, assigned]  # log p(x|T̂)
        weight = likelihood.exp() * (likelihood - known.log_evidence) / (h * w + 1) * scale
        template = torch.where(members[..., None, None], templates_at(x, positions, beta), -1)
    surrogate = over_ranks((weight * (x * template).sum((-2, -1))).sum(0), statistics)
    return surrogate + (known.value - surrogate).detach()
