"""The loss of one part layer as a module: it holds the running statistics and calls the objective."""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.errors import ConfigurationError
from interpretable.losses.authors import authors_loss, slope_target
from interpretable.losses.distinctness import filter_overlap
from interpretable.losses.fitness import at_least_float32, membership_log_prior, template_fitness, uniform_log_prior
from interpretable.losses.information import information, perplexity
from interpretable.losses.paper import with_papers_gradient
from interpretable.losses.running_averages import class_means, class_shares, mean_peak, update_average

Objective = Literal["mutual_information", "class_aware", "paper", "authors"]

SLOPE_RATE = 0.016
"""How far the authors' slopes move to their target in a step: their rate for VGG-16 at the start, with momentum."""

LEAST_SHARE = 0.01
"""Share of a category's images, and of the others, that they are weighted by at least: a batch may show one class."""

LEAST_RESPONSE = 0.1
"""Least first entry of the authors' table of categories."""

MANY_CLASSES = 10
"""Above as many the authors take all classes for equally frequent."""


class PartTemplateTerms(NamedTuple):
    """What one call of the loss knows of each filter, (C,) tensors; only ``loss`` carries gradients."""

    loss: Tensor
    """Scalar, the mean over filters of −MI or the authors' surrogate, and the weighted overlap."""
    mutual_information: Tensor
    """Nats; that of the class-aware objective is its own, all others have the label-free one."""
    effective_images: Tensor
    """exp H(p(x)) between 1 and the batch size; NaN for a filter that is silent on the whole batch."""
    dead: Tensor
    """1.0 for a filter that is silent on the whole batch, else 0.0."""
    overlap: Tensor
    """Scalar in [0, 1]: how often the filters that fire strongest in an image share a cell (`filter_overlap`)."""


class PartTemplateLoss(nn.Module):
    """Part-template loss of one layer, mean over filters; lower is better. Called on the raw map (ReLU, unmasked).

    The fitness is Σ (x / r_c)·T / temperature with r_c the running mean peak of filter c, so that it depends neither
    on the scale of a layer nor on the size of its map. r_c is detached and, as all statistics, equal on all ranks.

    Objectives; all but the first give each filter a category, the class with the largest running mean response:

    - ``"mutual_information"``: −MI, exact and label-free.
    - ``"class_aware"``: positive templates range over the category's images alone, p(x|T_μ) = softmax over members,
      and T⁻ over all images with the share of other images as its prior. The category enters the paper only through
      the approximate gradient; this is its exact counterpart. It is above 0 even for equal maps, since the members
      alone can have shown the part.
    - ``"paper"``: −MI with the paper's gradient, see `paper_information`.
    - ``"authors"``: what the authors' code optimises, see `authors_loss`, on activations at their own scale; neither
      temperature nor beta matter but for the MI that is reported. Slopes of templates are learned (``slope``). Their
      masks sit at the centroid, and the weight of this loss has another scale: see docs/loss.md.

    No objective asks filters to differ; ``distinctness`` adds so much of their `filter_overlap`.

    The running statistics are as fine as the type of the buffers: mixed precision keeps them in float32, a module that
    is half precision altogether does not.

    Args:
        num_filters: Channels C of the part layer.
        objective: One of the above.
        temperature: Divides the fitness; the peak of an average map has fitness 1/temperature.
        beta: Slope β of the templates.
        num_classes: Size of the table of categories, which all objectives but the first need.
        distinctness: Weight, beside the objective, of the overlap of the filters that fire strongest in an image.

    Raises:
        ConfigurationError: The objective is unknown, or lacks the classes or labels it needs.
    """

    running_peak: Tensor
    """(C,) r_c."""
    class_response: Tensor
    """(C, K) running mean over the images of a class of Σ x, or of max x for the authors' objective; NaN unseen."""
    class_share: Tensor
    """(K,) running share of the images that carry a class; kept for the authors' objective."""
    slope: Tensor
    """(C,) learned slope β of each filter's templates; kept for the authors' objective."""

    def __init__(
        self,
        num_filters: int,
        objective: Objective = "mutual_information",
        temperature: float = 0.2,
        beta: float = 4.0,
        num_classes: int | None = None,
        distinctness: float = 0.0,
    ) -> None:
        super().__init__()
        if objective not in get_args(Objective):
            raise ConfigurationError(
                f"The part-template objective must be one of {', '.join(get_args(Objective))}, got {objective!r}."
            )
        for name, value in (("temperature", temperature), ("beta", beta)):
            if value <= 0:
                raise ConfigurationError(f"The {name} of the part-template loss must be above 0, got {value}.")
        if distinctness < 0:
            raise ConfigurationError(f"The distinctness of filters must be 0 or more, got {distinctness}.")
        if objective != "mutual_information" and not num_classes:
            raise ConfigurationError(f"The {objective} objective needs num_classes, the number of categories.")
        self.objective = objective
        self.temperature = temperature
        self.beta = beta
        self.distinctness = distinctness
        categories = (num_classes or 0) if objective != "mutual_information" else 0
        as_published = objective == "authors"
        self.register_buffer("running_peak", torch.zeros(num_filters))
        self.register_buffer("class_response", torch.full((num_filters, categories), torch.nan))
        self.register_buffer("class_share", torch.full((categories if as_published else 0,), torch.nan))
        self.register_buffer("slope", torch.full((num_filters if as_published else 0,), float(beta)))

    @property
    def category(self) -> Tensor:
        """(C,) int64, each filter's category; −1 for a filter that has seen no class yet, or needs none."""
        if not self.class_response.shape[1]:
            return torch.full_like(self.running_peak, -1, dtype=torch.int64)
        seen = ~self.class_response.isnan()
        best = torch.where(seen, self.class_response, -torch.inf).argmax(1)
        return torch.where(seen.any(1), best, -1)

    def forward(self, x: Float[Tensor, "batch filter h w"], labels: Tensor | None = None) -> Float[Tensor, ""]:
        """The loss, a scalar; in training mode the running statistics take in the batch first.

        Args:
            x: Raw maps of the part layer.
            labels: (B,) int64 or (B, K) multi-hot, needed by all objectives but the label-free one.
        """
        return self.terms(x, labels).loss

    def terms(self, x: Float[Tensor, "batch filter h w"], labels: Tensor | None = None) -> PartTemplateTerms:
        """The loss with the statistics that belong beside it; arguments as for `forward`."""
        if x.shape[1] != len(self.running_peak):
            raise ConfigurationError(
                f"The part-template loss was made for {len(self.running_peak)} filters, got maps of {x.shape[1]}: give "
                "it the channels of the part filters."
            )
        x = at_least_float32(x)
        batch_peak = mean_peak(x)
        if self.training:
            update_average(self.running_peak, batch_peak, batch_peak > 0, self.running_peak > 0)
        members = None if self.objective == "mutual_information" else self._members(x, labels)
        peaks = self.running_peak.to(x.dtype)
        scale = torch.where(peaks > 0, 1 / (peaks * self.temperature), 0)
        exact = self.objective in ("mutual_information", "class_aware")
        ranged_over = members if exact else None
        log_prior = uniform_log_prior(x) if ranged_over is None else membership_log_prior(x, ranged_over, "global")
        with torch.set_grad_enabled(torch.is_grad_enabled() and exact):
            fitness = template_fitness(x, self.beta, scale, ranged_over)
            known = information(fitness, log_prior, "global")
        # A filter that has never fired knows nothing; the class-aware priors alone would earn it some nats.
        value = torch.where(peaks > 0, known.value, 0)
        loss = -value
        if members is not None and self.objective == "paper":
            loss = -with_papers_gradient(x, members, fitness, known, beta=self.beta, scale=scale, statistics="global")
        elif members is not None and self.objective == "authors":
            loss = self._authors_loss(x, members)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.distinctness > 0):
            overlap = filter_overlap(x, scale=scale)
        with torch.no_grad():
            images = perplexity(known.log_evidence, "global")
        return PartTemplateTerms(
            loss=loss.mean() + self.distinctness * overlap,
            mutual_information=value.detach(),
            effective_images=torch.where(batch_peak > 0, images, torch.nan),
            dead=(batch_peak == 0).to(x.dtype),
            overlap=overlap.detach(),
        )

    @torch.no_grad()
    def summary(self) -> dict[str, Tensor]:
        """What the running statistics come to, scalars by name: all that steers the loss beside the batch itself."""
        found = {"running_peak": self.running_peak.mean()}
        if self.objective != "mutual_information":
            held = F.one_hot(self.category + 1, self.class_response.shape[1] + 1)[:, 1:].any(0)
            found["categories"] = held.sum().to(self.running_peak.dtype)
        if self.objective == "authors":
            found["slope"] = self.slope.mean()
        return found

    def _authors_loss(self, x: Tensor, members: Tensor) -> Tensor:
        """(C,) of the authors' surrogate; their slopes take in the batch first."""
        classes = self.class_share.numel()
        known = ~self.class_share.isnan() & (classes <= MANY_CLASSES)
        share = torch.where(known, self.class_share, 1 / classes)[self.category.clamp(min=0)]
        share = share.clamp(LEAST_SHARE, 1 - LEAST_SHARE).to(x.dtype)
        if self.training:  # before it is read: torch.compile may read a buffer again on the way back (pytorch 197039)
            target = slope_target(x.detach(), members, self.slope)
            self.slope.lerp_(torch.where(target.isfinite(), target, self.slope).to(self.slope.dtype), SLOPE_RATE)
        return authors_loss(x, members, beta=self.slope, share=share if classes > 1 else None)

    @torch.no_grad()
    def _members(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C) bool, whether an image carries the category of a filter; updates the table in training mode."""
        if labels is None:
            raise ConfigurationError(f"The {self.objective} objective needs the labels of the batch, got none.")
        membership = (labels if labels.ndim == 2 else F.one_hot(labels, self.class_response.shape[1])).to(x.dtype)
        if self.training:
            as_published = self.objective == "authors"
            means, count = class_means(x.amax((-2, -1)) if as_published else x.sum((-2, -1)), membership)
            started = ~self.class_response.isnan()
            if as_published:
                means = torch.where(started, means, means.clamp(min=LEAST_RESPONSE))
                known = ~self.class_share.isnan()
                update_average(self.class_share, class_shares(membership), torch.ones_like(known), known)
            update_average(self.class_response, means, count > 0, started)
        return (membership[:, self.category.clamp(min=0)] > 0) & (self.category >= 0)
