"""Layer-wise relevance propagation by composites of rules, with every loss of relevance accounted for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.lrp_input_rules import Bound, Flat, ZBox
from interpretable.attribution.lrp_rules import (
    AlphaBeta,
    Epsilon,
    Gamma,
    WeightRule,
    ZPlus,
    by_rule,
    check_not_negative,
)
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network
from interpretable.attribution.operations import Call, Kind, PassLength
from interpretable.attribution.relevance import relevance_of
from interpretable.attribution.sharing import Sharing, by_affine, by_average, by_summands
from interpretable.errors import AttributionError


@dataclass(frozen=True, kw_only=True)
class Composite:
    """Which rule each convolution and linear layer has, by what it is and by how deep it lies.

    Args:
        convolution: The rule of convolutions, transposed ones included.
        dense: The rule of linear layers and products with matrices.
        upper: The rule of convolutions in the upper half of all convolutions and linear layers, in the order in which a
            network calls them, if it is another.
        first: The rule of the first of either that a network calls, in the place of its own; `ZBox` itself for the box
            that the method is given.
    """

    convolution: WeightRule
    dense: WeightRule
    upper: WeightRule | None = None
    first: WeightRule | type[ZBox] | None = None


COMPOSITES: Mapping[str, Composite] = MappingProxyType(
    {
        "epsilon": Composite(convolution=Epsilon(), dense=Epsilon()),
        "epsilon_flat": Composite(convolution=Epsilon(), dense=Epsilon(), first=Flat()),
        "epsilon_plus": Composite(convolution=ZPlus(), dense=Epsilon()),
        "epsilon_plus_flat": Composite(convolution=ZPlus(), dense=Epsilon(), first=Flat()),
        "epsilon_alpha2_beta1": Composite(convolution=AlphaBeta(2, 1), dense=Epsilon()),
        "epsilon_alpha2_beta1_flat": Composite(convolution=AlphaBeta(2, 1), dense=Epsilon(), first=Flat()),
        "epsilon_gamma": Composite(convolution=Gamma(), dense=Epsilon()),
        "epsilon_gamma_flat": Composite(convolution=Gamma(), dense=Epsilon(), first=Flat()),
        "gamma_below_epsilon": Composite(convolution=Gamma(), upper=Epsilon(), dense=Epsilon()),
        "gamma_below_epsilon_box": Composite(convolution=Gamma(), upper=Epsilon(), dense=Epsilon(), first=ZBox),
        "epsilon_gamma_box": Composite(convolution=Gamma(), dense=Epsilon(), first=ZBox),
    }
)
"""Composites by name."""


class LRPExplanation(NamedTuple):
    """Relevance of the pixels, and of what is none."""

    attributions: Tensor
    """(B, K, C, H, W)."""
    absorbed: Tensor
    """(B, K), relevance that biases, constants, stabilisers and units without any part received: the logit is the sum
    of the attributions and this."""


@dataclass(frozen=True, kw_only=True)
class LRP(ExplainingMethod[LRPExplanation]):
    """Layer-wise relevance propagation: the logit, shared layer by layer among inputs (Bach et al. 2015).

    Convolutions and linear layers have the rules of a composite, with a batch norm on their output folded into them.
    Rectifiers pass relevance on. Residual sums, averages and other batch norms share it in proportion to what they add
    up, max pooling gives it to its winners, and other activations and products are refused. What
    constants receive that are added, concatenated or padded is absorbed.

    Args:
        rule: A composite, or the name of one of `COMPOSITES`.
        low: The least value of each channel that an image can have, in the units of the images, for a first layer with
            the rule of the box; else none.
        high: The largest.
        stabiliser: ε of sums, averages and batch norms that are not folded.
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.

    Raises:
        AttributionError: An option is none such, or bounds are missing or not needed.
    """

    rule: str | Composite = "epsilon_plus"
    low: Bound | None = None
    high: Bound | None = None
    stabiliser: float = 1e-6

    def __post_init__(self) -> None:
        check_not_negative("stabiliser", self.stabiliser)
        if isinstance(self.rule, str) and self.rule not in COMPOSITES:
            raise AttributionError(f"rule must be a Composite or one of {', '.join(COMPOSITES)}, got {self.rule!r}.")
        if self._composite().first is ZBox and (self.low is None or self.high is None):
            raise AttributionError(
                "A first layer with the rule of the box needs low and high, the least and the largest value of each "
                "channel in the units of the images; give them, or choose another rule such as epsilon_plus."
            )
        if self._composite().first is not ZBox and (self.low is not None or self.high is not None):
            raise AttributionError(
                "low and high are for a first layer with the rule of the box, as in epsilon_gamma_box, got them for "
                f"{self.rule}; leave them out."
            )

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> LRPExplanation:
        sharings: Mapping[Kind, Callable[[Call], Sharing]] = {
            Kind.WEIGHTED: lambda call: by_rule(self._rule_of(call)),
            Kind.SUM: lambda call: partial(by_summands, epsilon=self.stabiliser),
            Kind.LINEAR: lambda call: partial(by_average, epsilon=self.stabiliser),
            Kind.AFFINE: lambda call: partial(by_affine, epsilon=self.stabiliser),
        }

        def explain(chunk: slice) -> tuple[Tensor, Tensor]:
            return relevance_of(network, images[chunk], classes[chunk], sharings, "LRP")

        chunks = in_chunks(explain, len(images), self._size(network), self.track, "images")
        relevance, absorbed = zip(*chunks, strict=True)
        return LRPExplanation(torch.cat(relevance), torch.cat(absorbed))

    def _composite(self) -> Composite:
        return COMPOSITES[self.rule] if isinstance(self.rule, str) else self.rule

    def _rule_of(self, call: Call) -> WeightRule:
        composite = self._composite()
        if call.position == 0 and composite.first is not None:
            if isinstance(composite.first, type):
                return ZBox(cast(Bound, self.low), cast(Bound, self.high))  # there are both, or it had been refused
            return composite.first
        if not call.name.startswith("conv"):
            return composite.dense
        if composite.upper is None or call.of is None:
            return composite.convolution
        return partial(_by_depth, composite.convolution, composite.upper, call.position, call.of)


def _by_depth(
    lower: WeightRule, upper: WeightRule, position: int, of: PassLength, *given: Any
) -> tuple[Tensor, Tensor]:
    """The rule of a position, which is known when the pass is over."""
    return (lower if 2 * position < of.weighted else upper)(*given)
