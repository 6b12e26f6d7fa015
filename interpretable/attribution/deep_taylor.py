"""Deep Taylor decomposition, with the root rule of each layer chosen by what values its inputs can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.lrp_input_rules import Bound, WSquare, ZBox
from interpretable.attribution.lrp_rules import WeightRule, ZPlus, by_rule
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network
from interpretable.attribution.operations import Call, Kind, follows
from interpretable.attribution.relevance import relevance_of
from interpretable.attribution.sharing import Run, Shares, Sharing, by_average, by_factor, by_summands
from interpretable.errors import AttributionError

_SLACK = 1e-5
"""By how much of the box's width rounding may carry a value out of it."""


class DeepTaylorExplanation(NamedTuple):
    """Relevance of the pixels, and of what is none."""

    attributions: Tensor
    """(B, K, C, H, W), 0 or more."""
    dropped: Tensor
    """(B, K), relevance of units that have no root, as those without a positive weight, and of constants that are
    concatenated or padded: the rectified logit is the sum of the attributions and this."""


@dataclass(frozen=True, kw_only=True)
class DeepTaylor(ExplainingMethod[DeepTaylorExplanation]):
    """Deep Taylor decomposition: the rectified logit as first-order terms at roots of each unit (Montavon et al. 2017).

    The first layer has z^B where the images' box is known, else w². Any later layer, the last too, has z⁺ for an image
    whose values there are all 0 or more, else w². Biases have no part in the sums, so that none of the relevance is
    lost to them; the theory is for biases of 0 or less, and with larger ones roots may lie outside of the domain.
    Operations with one input for each output pass relevance on: rectifiers, batch norms that are not folded, factors
    and constant summands. Max pooling gives it to its winners; averages and residual sums share it among what is
    positive of what they add up. All other activations, and products, are refused.

    Args:
        low: The least value of each channel that an image can have, in the units of the images; none if omitted.
        high: The largest.
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.

    Raises:
        AttributionError: One bound is given without the other, or, when called, images are not within them.
    """

    low: Bound | None = None
    high: Bound | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise AttributionError("low and high must be given both or neither, got one of them.")

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> DeepTaylorExplanation:
        sharings: Mapping[Kind, Callable[[Call], Sharing]] = {
            Kind.WEIGHTED: lambda call: by_rule(self._image_rule(call) if call.position == 0 else _by_domain),
            Kind.SUM: lambda call: _by_positive_summands if all(map(follows, call.operands)) else _past_constants(call),
            Kind.LINEAR: lambda call: _by_positive_average,
            Kind.AFFINE: lambda call: _by_scale,
        }

        def explain(chunk: slice) -> tuple[Tensor, Tensor]:
            start = partial(torch.clamp, min=0)
            return relevance_of(network, images[chunk], classes[chunk], sharings, "Deep Taylor decomposition", start)

        chunks = in_chunks(explain, len(images), self._size(network), self.track, "images")
        relevance, dropped = zip(*chunks, strict=True)
        return DeepTaylorExplanation(torch.cat(relevance), torch.cat(dropped))

    def _image_rule(self, call: Call) -> WeightRule:
        if self.low is None or self.high is None:
            return WSquare()
        box, x = ZBox(self.low, self.high), cast(Tensor, call.operands[0]).detach()
        low, high = box.bounds(x)
        slack = _SLACK * (high - low)
        if bool(((x < low - slack) | (x > high + slack)).any()):
            raise AttributionError(
                f"What the first layer reads must be within low and high, got values from {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}; give the bounds in the units of the images as the network takes them."
            )
        return lambda run, x, *others: box(run, x.clamp(low, high), *others)


def _by_domain(run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """z⁺ without bias for images whose inputs are all 0 or more, w² for others."""
    positive = x.flatten(1).amin(1) >= 0
    if positive.all():
        return ZPlus()(run, x, weight, None, relevance)
    positive = positive.view(-1, *(1,) * (relevance.ndim - 1))
    share, dropped = ZPlus()(run, x.clamp(min=0), weight, None, relevance * positive)
    signed_share, signed_dropped = WSquare()(run, x, weight, None, relevance * ~positive)
    return share + signed_share, dropped + signed_dropped


def _by_positive_summands(run: Run, a: Tensor, b: Tensor, relevance: Tensor) -> Shares:
    return by_summands(run, a.clamp(min=0), b.clamp(min=0), relevance)


def _past_constants(call: Call) -> Sharing:
    """All of it to the summand that depends on the image."""
    wanted = [follows(x) for x in call.operands]

    def share(run: Run, a: Tensor, b: Tensor, relevance: Tensor) -> Shares:
        return Shares(tuple(relevance if each else None for each in wanted), torch.zeros_like(relevance))

    return share


def _by_positive_average(run: Run, x: Tensor, relevance: Tensor) -> Shares:
    shares = by_average(run, x.clamp(min=0), relevance)
    if bool((cast(Tensor, shares.of_operands[0]) < 0).any()):
        raise AttributionError(
            "Deep Taylor decomposition needs averages whose weights are 0 or more, but one has negative weights, as a "
            "bicubic interpolation has; choose lrp."
        )
    return shares


def _by_scale(run: Run, x: Tensor, scale: Tensor, shift: Tensor, relevance: Tensor) -> Shares:
    (share, _), dropped = by_factor(run, x, scale, relevance)
    return Shares((share, None, None), dropped)
