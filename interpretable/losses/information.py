"""Mutual information between images and part templates, exact, with its gradient in closed form.

Symbols: x a feature map, T a template (h·w positive ones T_μ and the negative T⁻), s(x, T) = scale · Σ x·T the
fitness, p(x|T) the softmax of s over the images of the batch, p(T) the prior, p(x) = Σ_T p(T) p(x|T).
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from interpretable.losses.fitness import (
    Statistics,
    largest_over_images,
    log_likelihood,
    over_ranks,
    template_fitness,
    uniform_log_prior,
)


class MutualInformationTerms(NamedTuple):
    """MI = prior − inter_category − spatial, each (C,) in nats (the paper's decomposition of the loss, negated)."""

    prior: Tensor
    """H(T), the entropy of the templates' prior."""
    inter_category: Tensor
    """H({T⁻, T⁺}|X): low when an image either has the part or has not."""
    spatial: Tensor
    """Σ_x p(T⁺, x) H(T⁺|X=x): low when a filter fires in one place."""


def mutual_information(
    x: Float[Tensor, "batch filter h w"],
    *,
    beta: float = 4.0,
    scale: float | Tensor | None = None,
    statistics: Statistics = "global",
) -> Float[Tensor, " filter"]:
    """Mutual information between the images of a batch and the part templates, per filter (Zhang et al. 2018, Eq. 2).

    Exact over all h·w positive templates and the negative one, each with prior 1/(h·w + 1). It is 0 for a batch of
    one, for equal maps and for maps of zeros; NaN in a filter's maps gives NaN for that filter and no other.

    Args:
        x: Feature maps after the ReLU, before the mask. Half precision is computed in float32.
        beta: Slope β of the templates.
        scale: Factor of the fitness, a float or a (C,) tensor; the paper's τ = 0.5/(h·w) where omitted.
        statistics: ``"global"`` takes the softmax over the images of all ranks: every rank returns the same value,
            and DDP's averaged gradients equal the one-process gradient. ``"local"`` is another objective: the
            softmax over this rank's images alone. Accumulated gradients do not enlarge either: the images of one
            step and of all ranks are the population.

    Returns:
        (C,) nats, between 0 and log(min(h·w + 1, images)).
    """
    return information(template_fitness(x, beta, scale), uniform_log_prior(x), statistics).value


def decompose(
    x: Float[Tensor, "batch filter h w"],
    *,
    beta: float = 4.0,
    scale: float | Tensor | None = None,
    statistics: Statistics = "global",
) -> MutualInformationTerms:
    """The three entropies that make up `mutual_information`; same arguments (Zhang et al. 2018, Eq. 3).

    Returns:
        ``(prior, inter_category, spatial)``, each (C,) in nats, with MI = prior − inter_category − spatial.
    """
    joint = log_likelihood(template_fitness(x, beta, scale), statistics) + uniform_log_prior(x)  # log p(x, T)
    evidence = joint.logsumexp(-1)  # log p(x)
    positive = joint[..., :-1].logsumexp(-1)  # log p(x, T⁺)
    negative = joint[..., -1]  # log p(x, T⁻)
    either = positive.exp() * (positive - evidence) + negative.exp() * (negative - evidence)
    where = (joint[..., :-1].exp() * (joint[..., :-1] - positive[..., None])).sum(-1)
    inter_category, spatial = (over_ranks(-term.sum(0), statistics) for term in (either, where))
    return MutualInformationTerms(torch.full_like(spatial, math.log(joint.shape[-1])), inter_category, spatial)


def effective_images(
    x: Float[Tensor, "batch filter h w"],
    *,
    beta: float = 4.0,
    scale: float | Tensor | None = None,
    statistics: Statistics = "global",
) -> Float[Tensor, " filter"]:
    """Effective number of images exp H(p(x)) that a filter's mutual information rests on; same arguments.

    Returns:
        (C,) between 1 and the number of images. A high mutual information on few images is earned by loud ones.
    """
    likelihood = log_likelihood(template_fitness(x, beta, scale), statistics)
    return perplexity((likelihood + uniform_log_prior(x)).logsumexp(-1), statistics)


def perplexity(log_evidence: Float[Tensor, "batch filter"], statistics: Statistics) -> Float[Tensor, " filter"]:
    """The exponential of the entropy of p(x), from log p(x)."""
    return over_ranks(-(log_evidence.exp() * log_evidence).sum(0), statistics).exp()


class Information(NamedTuple):
    """Mutual information of any templates and priors; only ``value`` carries gradients."""

    value: Tensor
    """(C,) nats."""
    log_evidence: Tensor
    """(B, C) log p(x)."""
    log_z: Tensor
    """(C, T) log Z_T."""


def information(
    fitness: Float[Tensor, "batch filter templates"],
    log_prior: Float[Tensor, "... templates"],
    statistics: Statistics,
) -> Information:
    """Mutual information of any templates and priors, with what it is made of.

    Args:
        fitness: s(x, T).
        log_prior: log p(T), of each filter or of all; −∞ for a template that is never used.
        statistics: As for `mutual_information`.
    """
    return Information(*_Information.apply(fitness, log_prior, statistics))


class _Information(torch.autograd.Function):
    """Σ_T p(T) Σ_x p(x|T) ℓ(x, T) with ℓ = log p(x|T) − log p(x), and its gradient by the fitness.

    The derivative by s(x, T), Z_T included, is p(T) p(x|T) (ℓ(x, T) − KL_T) with KL_T = Σ_x p(x|T) ℓ(x, T): all of it
    is at hand when the value is computed. So one tensor as large as the fitness is kept for the way back, where
    autograd would keep six and take every exponential again. Ranks exchange one maximum and two sums per filter and
    template.
    """

    @staticmethod
    def forward(ctx: Any, fitness: Tensor, log_prior: Tensor, statistics: Statistics) -> tuple[Tensor, ...]:
        tiny = torch.finfo(fitness.dtype).tiny
        prior = log_prior.exp()
        largest = largest_over_images(fitness, statistics)
        # Exponentials that are nothing beside the largest one are kept from being denormal: a CPU computes those a
        # hundred times more slowly, in this and in every later product.
        exponent = (fitness - largest).clamp_(min=0.7 * math.log(tiny))
        joint = exponent.exp()
        total = over_ranks(joint.sum(0), statistics)
        joint *= prior / total  # p(x, T)
        log_evidence = joint.sum(-1).clamp(min=tiny).log()
        log_total = total.log()
        ratio = exponent.sub_(log_total).sub_(log_evidence[..., None])
        weighted = ratio.mul_(joint)
        divergence = over_ranks(weighted.sum(0), statistics)  # p(T) KL_T
        ctx.save_for_backward(weighted.addcmul_(joint, divergence / prior.clamp(min=tiny), value=-1))
        ctx.statistics = statistics
        log_z = largest + log_total
        ctx.mark_non_differentiable(log_evidence, log_z)
        return divergence.sum(-1), log_evidence, log_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        # Every rank holds the value, so the losses of all ranks depend on this rank's images (see `sum_over_ranks`).
        return over_ranks(gradients[0], ctx.statistics)[:, None] * derivative, None, None
