"""Integrated gradients, exact to a tolerance that is checked for each image and class."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import roots_legendre
from torch import Tensor

from interpretable.attribution.baselines import Baseline, StraightPath
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network, check_classes, logits_and_gradients
from interpretable.errors import AttributionError


class IntegratedGradientsExplanation(NamedTuple):
    """Integrated gradients and how exact they are."""

    attributions: Tensor
    """(B, K, C, H, W)."""
    delta: Tensor
    """(B, K), f(x) − f(x₀) minus the sum of the attributions: 0 were the integral exact."""
    steps: Tensor
    """(B, K) int64, points that the integral was taken at."""


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(ExplainingMethod[IntegratedGradientsExplanation]):
    """(x − x₀) times the mean gradient of the logit between x₀ and x (Sundararajan et al. 2017, eq. 1).

    The mean is taken by Gauss-Legendre quadrature. It sums to f(x) − f(x₀); the points are doubled for each image and
    class whose sum is further off than the tolerance allows, until it is not or ``max_steps`` is reached. How far each
    one is off `explain` gives. Memory is that of ``batch_size`` images, whatever the number of points.

    Args:
        baseline: x₀: a number, one image, or an image for each; zeros if omitted, the mean colour where images are
            normalised.
        steps: Points to begin with.
        tolerance: Largest difference allowed over |f(x) − f(x₀)|, or over a tenth of the larger of |f(x)| and |f(x₀)|
            where the logit changes by less than that; None for ``steps`` points whatever the difference.
        max_steps: Points at the most.
        batch_size: Points in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in points, once for each doubling.

    Raises:
        AttributionError: An option is out of its range.
    """

    baseline: Baseline = None
    steps: int = 32
    tolerance: float | None = 0.05
    max_steps: int = 256

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise AttributionError(f"steps must be 1 or more, got {self.steps}.")
        if self.tolerance is not None and not 0 < self.tolerance < float("inf"):
            raise AttributionError(
                f"tolerance must be a share of the logit's change, above 0, or None for none, got {self.tolerance}."
            )
        if self.tolerance is not None and self.steps > self.max_steps:
            raise AttributionError(f"max_steps must be no fewer than steps, {self.steps}, got {self.max_steps}.")

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> IntegratedGradientsExplanation:
        path = StraightPath(self.baseline, images)
        logits = self._logits(network, images)
        check_classes(classes, logits.shape[1])
        after = logits.gather(1, classes)
        before = self._logits(network, path.start).expand_as(logits).gather(1, classes)
        scale = torch.stack([(after - before).abs(), after.abs() / 10, before.abs() / 10]).amax(0)
        mean = images.new_zeros(*classes.shape, *images.shape[1:])
        taken = torch.zeros_like(classes)
        pending = torch.ones_like(classes, dtype=torch.bool)
        steps = self.steps
        while True:
            mean[pending] = 0
            taken[pending] = steps
            self._add_mean_gradients(mean, network, path, classes, pending, steps)
            delta = after - before - (mean * path.difference[:, None]).flatten(2).sum(2)
            if self.tolerance is None or 2 * steps > self.max_steps:
                break
            pending = delta.abs() > self.tolerance * scale
            if not pending.any():
                break
            steps *= 2
        return IntegratedGradientsExplanation(mean.mul_(path.difference[:, None]), delta, taken)

    def _add_mean_gradients(
        self, mean: Tensor, network: Network, path: StraightPath, classes: Tensor, pending: Tensor, steps: int
    ) -> None:
        """Adds the mean gradient between x₀ and x to ``mean`` (B, K, C, H, W) where it is pending (B, K)."""
        nodes, weights = (torch.from_numpy(each).to(mean) for each in roots_legendre(steps))
        rows = pending.any(1).nonzero().squeeze(1)
        # Pending classes first, and as many columns as any image has of them.
        columns = pending.int().argsort(dim=1, descending=True, stable=True)[:, : int(pending.sum(1).max())]

        def add(chunk: slice) -> None:
            points = torch.arange(chunk.start, chunk.stop, device=mean.device)
            image, step = rows[points // steps], points % steps
            column = columns[image]
            at = path.at(image, (1 + nodes[step]) / 2)
            gradients = logits_and_gradients(network, at, classes[image].gather(1, column), weights[step] / 2)[1]
            wanted = pending[image].gather(1, column)
            place = image[:, None] * classes.shape[1] + column
            mean.flatten(0, 1).index_add_(0, place[wanted], gradients[wanted])

        in_chunks(add, len(rows) * steps, self._size(network), self.track, f"integrated gradients at {steps} points")

    def _logits(self, network: Network, images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat(in_chunks(lambda chunk: network(images[chunk]), len(images), self._size(network)))
