"""Gradients at noisy copies of the image: their mean, mean square, or variance."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, logits_and_gradients
from interpretable.errors import AttributionError

Kind = Literal["mean", "squared", "variance"]


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Method):
    """Gradients of the logit at noisy copies of the image, averaged (Smilkov et al. 2017, "SmoothGrad", eq. 1).

    The standard deviation of the noise is a share of the range, largest minus smallest value, of each image, so a
    constant image gets none. Each image gets the same standard normal noise, scaled: what a result is depends neither
    on the other images nor on the size of chunks, nor does it change the random state.

    Args:
        samples: Noisy copies of an image. Their noise is in memory at once, as large as so many images.
        noise: Standard deviation of the noise over the range of the image.
        kind: "mean" of the signed gradients (SmoothGrad); mean of their "squared" values (SmoothGrad²), or their
            "variance" over the samples, divided by their number (VarGrad, Adebayo et al. 2018), both 0 or more.
        seed: Of the noise, which is drawn on the CPU in float32 whatever the device and the type.
        batch_size: Noisy copies in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in noisy copies.

    Raises:
        AttributionError: An option is out of its range.
    """

    samples: int = 25
    noise: float = 0.15
    kind: Kind = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise AttributionError(f"samples must be 1 or more, got {self.samples}.")
        if not 0 <= self.noise < float("inf"):
            raise AttributionError(f"noise must be a share of the image's range, 0 or more, got {self.noise}.")
        if self.kind not in get_args(Kind):
            raise AttributionError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}.")

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(self.samples, *images.shape[1:], generator=generator).to(images)
        deviation = self.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        total = images.new_zeros(*classes.shape, *images.shape[1:])
        collect = _SquaredDeviations(total).add if self.kind == "variance" else partial(total.index_add_, 0)

        def add(chunk: slice) -> None:
            copies = torch.arange(chunk.start, chunk.stop, device=images.device)
            image, sample = copies // self.samples, copies % self.samples
            noisy = images[image] + deviation[image] * noise[sample]
            gradients = logits_and_gradients(network, noisy, classes[image])[1]
            collect(image, gradients.square_() if self.kind == "squared" else gradients)

        in_chunks(add, len(images) * self.samples, self._size(network), self.track, "noisy copies")
        return total.div_(self.samples)


class _SquaredDeviations:
    """Sums over values of each group of squared deviations from the group's mean, as the values come.

    Welford's recurrence for several values at once (Chan, Golub and LeVeque 1979, eq. 2.1): squares alone are added,
    so no sum is below 0, and equal values give exactly 0.
    """

    def __init__(self, total: Float[Tensor, "group ..."]) -> None:
        self._total = total
        self._mean = torch.zeros_like(total)
        self._count = total.new_zeros(len(total), *[1] * (total.ndim - 1))

    def add(self, group: Int64[Tensor, " value"], values: Float[Tensor, "value ..."]) -> None:
        """Takes in values, those of a group beside one another."""
        rows, index, number = torch.unique_consecutive(group, return_inverse=True, return_counts=True)
        before = self._count[rows]
        new = number.to(before).view_as(before)
        after = before + new
        # A group's first value stands for the mean that it does not have yet, so that equal values differ by 0 from it.
        mean = torch.where(before == 0, values[number.cumsum(0) - number], self._mean[rows])
        shift = values - mean[index]
        step = torch.zeros_like(mean).index_add_(0, index, shift) / new
        within = torch.zeros_like(mean).index_add_(0, index, (shift - step[index]).square_())
        total = self._total[rows] + within + step.square() * (before * new / after)
        # Written last: what does not fit into memory is done again.
        self._total[rows], self._mean[rows], self._count[rows] = total, mean + step * (new / after), after
