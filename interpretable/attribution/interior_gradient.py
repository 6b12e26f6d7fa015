"""Gradients between a baseline and the image, where the network has not saturated yet."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.attribution.baselines import Baseline, StraightPath
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network, logits_and_gradients
from interpretable.errors import AttributionError

REACHED = 0.9
"""Share of a logit's change from the baseline to the image at which it counts as saturated."""


class InteriorGradientCurves(NamedTuple):
    """The interior gradient and what happens from the baseline (α = 0) to the image (α = 1), on S + 1 even steps."""

    attributions: Tensor
    """Gradients (B, K, C, H, W) at the method's own α."""
    alphas: Tensor
    """(B, K, S + 1), the same for all: 0, 1/S, ..., 1."""
    logits: Tensor
    """(B, K, S + 1)."""
    slopes: Tensor
    """(B, K, S + 1), derivative of the logit by α, (x − x₀)·gradient; its mean over α is f(x) − f(x₀)."""
    norms: Tensor
    """(B, K, S + 1), Euclidean norm of the gradient over channels and pixels."""
    saturation: Tensor
    """(B, K), smallest α of the curve from which on 90 % of f(x) − f(x₀) is reached; NaN where that is 0."""


@dataclass(frozen=True, kw_only=True)
class InteriorGradient(ExplainingMethod[InteriorGradientCurves]):
    """Gradient of the logit at x₀ + α(x − x₀) (Sundararajan et al. 2016, "Gradients of Counterfactuals", §2).

    At the image itself a logit that has saturated has no gradient for what decides it; nearer to the baseline it has.
    `explain` gives the curves that α is chosen by. Integrated gradients are (x − x₀) times the mean over α.

    Args:
        alpha: From 0, the baseline, to 1, the image, where it is the saliency. A quarter of the way by default.
        baseline: x₀: a number, one image, or an image for each; zeros if omitted, the mean colour where images are
            normalised.
        steps: Steps S of the curves, which take S + 1 forward and backward passes for each image, beside that at α.
        batch_size: Points in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in points.

    Raises:
        AttributionError: An option is out of its range.
    """

    alpha: float = 0.25
    baseline: Baseline = None
    steps: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise AttributionError(f"alpha must be from 0, the baseline, to 1, the image, got {self.alpha}.")
        if self.steps < 1:
            raise AttributionError(f"steps must be 1 or more, got {self.steps}.")

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        path = StraightPath(self.baseline, images)

        def gradients(chunk: slice) -> Tensor:
            image = torch.arange(chunk.start, chunk.stop, device=images.device)
            points = path.at(image, images.new_full(image.shape, self.alpha))
            return logits_and_gradients(network, points, classes[chunk])[1]

        return torch.cat(in_chunks(gradients, len(images), self._size(network), self.track, "interior gradients"))

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> InteriorGradientCurves:
        path = StraightPath(self.baseline, images)
        alphas = torch.linspace(0, 1, self.steps + 1, dtype=images.dtype, device=images.device)

        def values(chunk: slice) -> Tensor:
            points = torch.arange(chunk.start, chunk.stop, device=images.device)
            image, step = points // len(alphas), points % len(alphas)
            logits, gradients = logits_and_gradients(network, path.at(image, alphas[step]), classes[image])
            slopes = (gradients * path.difference[image, None]).flatten(2).sum(2)
            return torch.stack([logits, slopes, gradients.flatten(2).norm(dim=2)])

        found = in_chunks(values, len(images) * len(alphas), self._size(network), self.track, "points of the curves")
        curves = torch.cat(found, 1).reshape(3, len(images), len(alphas), -1).transpose(2, 3)
        logits, slopes, norms = curves.contiguous()
        return InteriorGradientCurves(
            self._attributions(network, images, classes),
            alphas.expand_as(logits),
            logits,
            slopes,
            norms,
            saturation(alphas, logits),
        )


def saturation(alphas: Float[Tensor, " point"], logits: Float[Tensor, "*batch point"]) -> Float[Tensor, "*batch"]:
    """Smallest α from which on a logit has made `REACHED` of its change from the first point to the last.

    Args:
        alphas: Increasing.
        logits: Curves over them.

    Returns:
        One of ``alphas``; NaN where the last logit is the first one, but for what rounding makes of it.
    """
    change = logits[..., -1:] - logits[..., :1]
    rounding = 8 * torch.finfo(logits.dtype).eps * logits.abs().amax(-1, keepdim=True)
    short = (logits - logits[..., :1]) * change.sign() < REACHED * change.abs() - rounding
    reached = (short.flip(-1).cumsum(-1) == 0).sum(-1)  # points at the end of the curve that are not short of it
    return torch.where((change.abs() > rounding).squeeze(-1), alphas[len(alphas) - reached], torch.nan)
