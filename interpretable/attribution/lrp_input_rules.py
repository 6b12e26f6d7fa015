"""Rules for the layer that reads the image: by the box of its values, by the weights alone, or to all the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from interpretable.attribution.sharing import Run, shared
from interpretable.errors import AttributionError

Bound = float | Sequence[float] | Tensor
"""A number, or one for each channel (C,), in the units of the images as the network takes them."""


@dataclass(frozen=True, eq=False)
class ZBox:
    """R_i = Σ_j q_ij / Σ q_j R_j of q_ij = x_i w_ij − l_i w⁺_ij − h_i w⁻_ij (Montavon et al. 2017), for the images.

    The bias has no part, and neither has the padding of a convolution.

    Args:
        low: l, the least value that an image can have: (0 − mean) / standard deviation for normalised ones.
        high: h, the largest.

    Raises:
        AttributionError: When called, if there is not one bound for each channel.
    """

    low: Bound
    high: Bound

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `lrp_rules.WeightRule` says."""
        low, high = self.bounds(x)
        positive, negative = weight.clamp(min=0), weight.clamp(max=0)
        return shared(run, [(x - low, positive), (x - high, negative)], None, relevance)

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds of each value of images (N, C, ...), or of images that were flattened, (N, D)."""
        return _expanded(self.low, x), _expanded(self.high, x)


@dataclass(frozen=True)
class WSquare:
    """R_i = Σ_j w²_ij / Σ w²_j R_j (Montavon et al. 2017): the inputs do not matter, the bias has no part."""

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `lrp_rules.WeightRule` says."""
        return shared(run, [(torch.ones_like(x), weight.square())], None, relevance)


@dataclass(frozen=True)
class Flat:
    """The same to all inputs that an output is connected with (Lapuschkin et al. 2019); the bias has no part."""

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `lrp_rules.WeightRule` says."""
        return shared(run, [(torch.ones_like(x), torch.ones_like(weight))], None, relevance)


def _expanded(bound: Bound, x: Tensor) -> Tensor:
    """A bound of each channel at each value."""
    of_channels = torch.as_tensor(bound).to(x).reshape(-1)
    channels = len(of_channels)
    if channels == 1 or channels == x.shape[1]:
        return of_channels.view(1, -1, *(1,) * (x.ndim - 2)).expand_as(x)
    if x.ndim == 2 and x.shape[1] % channels == 0:
        return of_channels.repeat_interleave(x.shape[1] // channels).expand_as(x)
    raise AttributionError(
        f"low and high must be numbers, or one for each of the {x.shape[1]} channels, got {channels} of them."
    )
