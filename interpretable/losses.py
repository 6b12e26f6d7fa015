"""The part-template mutual-information loss (Zhang et al. 2018, §3), exact and in log space.

Symbols: x a feature map, T a template (h·w positive ones T_μ and the negative T⁻), s(x, T) = scale · Σ x·T the
fitness, p(x|T) the softmax of s over the images of the batch, p(T) the prior, p(x) = Σ_T p(T) p(x|T).
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.distributed import max_over_ranks, sum_over_ranks
from interpretable.errors import ConfigurationError
from interpretable.templates import part_templates

Statistics = Literal["global", "local"]
Objective = Literal["mutual_information", "class_aware"]

MOMENTUM = 0.9
"""Share of the old value in every moving average of the loss (the authors' category statistic uses the same)."""


class MutualInformationTerms(NamedTuple):
    """MI = prior − inter_category − spatial, each (C,) in nats (the paper's decomposition of the loss, negated)."""

    prior: Tensor
    """H(T), the entropy of the templates' prior."""
    inter_category: Tensor
    """H({T⁻, T⁺}|X): low when an image either has the part or has not."""
    spatial: Tensor
    """Σ_x p(T⁺, x) H(T⁺|X=x): low when a filter fires in one place."""


class PartTemplateTerms(NamedTuple):
    """What one call of the loss knows of each filter, (C,) tensors; only ``loss`` carries gradients."""

    loss: Tensor
    """Scalar, the mean over filters of −MI."""
    mutual_information: Tensor
    """Nats, of the objective that is optimised."""
    effective_images: Tensor
    """exp H(p(x)) between 1 and the batch size; NaN for a filter that is silent on the whole batch."""
    dead: Tensor
    """1.0 for a filter that is silent on the whole batch, else 0.0."""


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
            softmax over this rank's images alone.

    Returns:
        (C,) nats, between 0 and log(min(h·w + 1, images)).
    """
    return _information(_log_likelihood(x, beta, scale, statistics), _uniform_log_prior(x), statistics)


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
    joint = _log_likelihood(x, beta, scale, statistics) + _uniform_log_prior(x)  # log p(x, T), (B, C, T)
    evidence = joint.logsumexp(-1)  # log p(x)
    positive = joint[..., :-1].logsumexp(-1)  # log p(x, T⁺)
    negative = joint[..., -1]  # log p(x, T⁻)
    either = positive.exp() * (positive - evidence) + negative.exp() * (negative - evidence)
    where = (joint[..., :-1].exp() * (joint[..., :-1] - positive[..., None])).sum(-1)
    inter_category, spatial = (_reduce(-term.sum(0), statistics) for term in (either, where))
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
    likelihood = _log_likelihood(x, beta, scale, statistics)
    return _effective_images(likelihood, _uniform_log_prior(x), statistics)


@torch.no_grad()
def mean_peak(x: Float[Tensor, "batch filter h w"], statistics: Statistics = "global") -> Float[Tensor, " filter"]:
    """Mean over a filter's positive maps of their maximum, (C,); 0 for a filter that is silent on every image."""
    peaks = _at_least_float32(x).amax((-2, -1))
    positive = (peaks > 0) & peaks.isfinite()  # NaN in one batch must not stay in a running mean
    total = _reduce(torch.where(positive, peaks, 0).sum(0), statistics)
    count = _reduce(positive.sum(0).to(peaks.dtype), statistics)
    return total / count.clamp(min=1)


class PartTemplateLoss(nn.Module):
    """−MI of one part layer, mean over filters; lower is better. Called on the raw map (after the ReLU, unmasked).

    The fitness is Σ (x / r_c)·T / temperature with r_c the running mean peak of filter c, so that it depends neither
    on the scale of a layer nor on the size of its map. r_c is detached and equal on all ranks.

    With ``objective="class_aware"`` filter c stands for one category, the class on whose images its maps have the
    largest mean sum (the paper's ĉ): positive templates range over that category's images alone,
    p(x|T_μ) = softmax over members, and T⁻ over all images with the share of other images as its prior. The category
    enters the paper only through the approximate gradient; this is its exact counterpart. It is above 0 even for
    equal maps, since the members alone can have shown the part.

    Args:
        num_filters: Channels C of the part layer.
        objective: ``"mutual_information"`` (needs no labels) or ``"class_aware"``.
        temperature: Divides the fitness; the peak of an average map has fitness 1/temperature.
        beta: Slope β of the templates.
        num_classes: Size of the table of categories, needed by ``"class_aware"``.

    Raises:
        ConfigurationError: The objective is unknown, or lacks the classes or labels it needs.
    """

    running_peak: Tensor
    class_response: Tensor

    def __init__(
        self,
        num_filters: int,
        objective: Objective = "mutual_information",
        temperature: float = 0.2,
        beta: float = 4.0,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if objective not in get_args(Objective):
            raise ConfigurationError(
                f"The part-template objective must be one of {', '.join(get_args(Objective))}, got {objective!r}."
            )
        if temperature <= 0:
            raise ConfigurationError(f"The temperature of the part-template loss must be above 0, got {temperature}.")
        if objective == "class_aware" and not num_classes:
            raise ConfigurationError("The class-aware objective needs num_classes, the number of categories.")
        self.objective = objective
        self.temperature = temperature
        self.beta = beta
        self.register_buffer("running_peak", torch.zeros(num_filters))
        categories = (num_classes or 0) if objective == "class_aware" else 0
        self.register_buffer("class_response", torch.full((num_filters, categories), torch.nan))

    @property
    def category(self) -> Tensor:
        """(C,) int64, each filter's category; −1 for a filter that has seen no class yet."""
        seen = ~self.class_response.isnan()
        best = torch.where(seen, self.class_response, -torch.inf).argmax(1)
        return torch.where(seen.any(1), best, -1)

    def forward(self, x: Float[Tensor, "batch filter h w"], labels: Tensor | None = None) -> Float[Tensor, ""]:
        """The loss, a scalar; in training mode the running statistics take in the batch first.

        Args:
            x: Raw maps of the part layer.
            labels: (B,) int64 or (B, K) multi-hot, needed by the class-aware objective alone.
        """
        return self.terms(x, labels).loss

    def terms(self, x: Float[Tensor, "batch filter h w"], labels: Tensor | None = None) -> PartTemplateTerms:
        """The loss with the statistics that belong beside it; arguments as for `forward`."""
        batch_peak = mean_peak(x)
        if self.training:
            _update_average(self.running_peak, batch_peak, batch_peak > 0, self.running_peak > 0)
        members, log_prior = None, _uniform_log_prior(x)
        if self.objective == "class_aware":
            members = self._members(x, labels)
            log_prior = _membership_log_prior(x, members)
        peaks = self.running_peak.to(_at_least_float32(x).dtype)
        scale = torch.where(peaks > 0, 1 / (peaks * self.temperature), 0)
        likelihood = _log_likelihood(x, self.beta, scale, "global", members)
        # A filter that has never fired knows nothing; the class-aware priors alone would earn it some nats.
        information = torch.where(peaks > 0, _information(likelihood, log_prior, "global"), 0)
        with torch.no_grad():
            images = _effective_images(likelihood, log_prior, "global")
        return PartTemplateTerms(
            loss=-information.mean(),
            mutual_information=information.detach(),
            effective_images=torch.where(batch_peak > 0, images, torch.nan),
            dead=(batch_peak == 0).to(information.dtype),
        )

    @torch.no_grad()
    def _members(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C) bool, whether an image carries the category of a filter; updates the table in training mode."""
        if labels is None:
            raise ConfigurationError("The class-aware objective needs the labels of the batch, got none.")
        num_classes = self.class_response.shape[1]
        membership = (labels if labels.ndim == 2 else F.one_hot(labels, num_classes)).to(_at_least_float32(x).dtype)
        if self.training:
            count = _reduce(membership.sum(0), "global")  # (K,)
            total = _reduce(x.to(membership.dtype).sum((-2, -1)).T @ membership, "global")  # (C, K)
            _update_average(self.class_response, total / count, count > 0, ~self.class_response.isnan())
        return (membership[:, self.category.clamp(min=0)] > 0) & (self.category >= 0)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _reduce(x: Tensor, statistics: Statistics) -> Tensor:
    return sum_over_ranks(x) if statistics == "global" else x


@torch.no_grad()
def _update_average(average: Tensor, new: Tensor, observed: Tensor, started: Tensor) -> None:
    """Moves the average in place towards what was observed; a first observation is taken as it is."""
    moved = torch.where(started, MOMENTUM * average + (1 - MOMENTUM) * new, new.to(average.dtype))
    average.copy_(torch.where(observed, moved, average))


def _uniform_log_prior(x: Tensor) -> Tensor:
    """(T,) log p(T): the paper's α makes all h·w + 1 templates equally likely."""
    templates = x.shape[-2] * x.shape[-1] + 1
    return torch.full((templates,), -math.log(templates), dtype=_at_least_float32(x).dtype, device=x.device)


@torch.no_grad()
def _membership_log_prior(x: Tensor, members: Tensor) -> Tensor:
    """(C, T) log p(T): T⁻ has the share of images outside the filter's category, the T_μ share the rest equally."""
    cells = x.shape[-2] * x.shape[-1]
    counts = torch.stack([members.sum(0), (~members).sum(0)]).to(_at_least_float32(x).dtype)
    inside, outside = _reduce(counts, "global")
    share = inside / (inside + outside)
    return torch.cat([(share / cells)[:, None].expand(-1, cells), (1 - share)[:, None]], 1).log()


def _log_likelihood(
    x: Tensor, beta: float, scale: float | Tensor | None, statistics: Statistics, members: Tensor | None = None
) -> Tensor:
    """(B, C, T) log p(x|T), the negative template last; −inf where a positive template excludes an image."""
    x = _at_least_float32(x)
    h, w = x.shape[-2:]
    templates = part_templates(h, w, beta, dtype=x.dtype, device=x.device).flatten(1)
    templates = torch.cat([templates, -torch.ones_like(templates[:1])])
    scale = 0.5 / (h * w) if scale is None else scale
    if isinstance(scale, Tensor):
        scale = scale.to(x)[:, None]
    with torch.autocast(x.device.type, enabled=False):  # autocast would take the product in half precision
        fitness = (x.flatten(2) * scale) @ templates.T  # s(x, T)
    if members is not None:
        excluded = ~members[..., None] & (torch.arange(len(templates), device=x.device) < h * w)
        fitness = fitness.masked_fill(excluded, -torch.inf)
    # log Z_T over images; ranks exchange one maximum and one sum per filter and template.
    largest = fitness.detach().amax(0)
    largest = max_over_ranks(largest) if statistics == "global" else largest
    largest = torch.where(largest == -torch.inf, 0, largest)
    total = _reduce((fitness - largest).exp().sum(0), statistics)
    tiny = torch.finfo(total.dtype).tiny  # a template that excludes every image: −inf − (finite) stays −inf
    return fitness - (largest + total.clamp(min=tiny).log())


def _information(likelihood: Tensor, log_prior: Tensor, statistics: Statistics) -> Tensor:
    """(C,) Σ_T p(T) Σ_x p(x|T) log(p(x|T)/p(x)), zero-probability terms counting 0."""
    joint = likelihood + log_prior
    evidence = joint.logsumexp(-1, keepdim=True)
    # 0 · log 0 is 0, in the gradient as well: the infinite logarithm is replaced before it is multiplied.
    ratio = likelihood.masked_fill(joint.detach() == -torch.inf, 0) - evidence
    return _reduce((joint.exp() * ratio).sum((0, -1)), statistics)


def _effective_images(likelihood: Tensor, log_prior: Tensor, statistics: Statistics) -> Tensor:
    """(C,) exp of the entropy of p(x)."""
    evidence = (likelihood + log_prior).logsumexp(-1)
    return _reduce(-(evidence.exp() * evidence).sum(0), statistics).exp()
