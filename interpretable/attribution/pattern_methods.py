"""PatternNet and PatternAttribution (Kindermans et al. 2018)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interpretable.attribution.calls import Calls
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, logits_and_gradients
from interpretable.attribution.operations import Call, Kind, Rule, as_is
from interpretable.attribution.pattern_fit import Patterns
from interpretable.errors import AttributionError


class _Replaced(torch.autograd.Function):
    """A weighted call whose backward pass has another weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, call: Call) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.call = call
        return call.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.call.run(leaf, weight, None), leaf, signal)
        return gradient, None, None


@dataclass(frozen=True, kw_only=True)
class _PatternMethod(Method):
    patterns: Patterns

    @abstractmethod
    def _weight(self, weight: Tensor, pattern: Tensor) -> Tensor:
        """What a weight is replaced by in the backward pass."""

    @abstractmethod
    def _affine(self, call: Call) -> Tensor:
        """The rule of a batch norm that is not folded: of single weights, whose patterns are their inverses."""

    def _weighted(self, call: Call) -> Tensor:
        weight = call.operands[1]
        tensors = self.patterns.tensors
        pattern = tensors[call.position] if call.position < len(tensors) else None
        if weight is None or pattern is None or pattern.shape != weight.shape:
            raise AttributionError(
                f"Patterns must be those of this network, but its weighted call {call.position} has no pattern of its "
                "shape; estimate them with Patterns.fit on this network."
            )
        return _Replaced.apply(call.operands[0], self._weight(weight, pattern.to(weight)), call)  # type: ignore[no-any-return]

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        kinds = (Kind.RECTIFIER, Kind.SUM, Kind.SCALING, Kind.MAX_POOL, Kind.LINEAR)
        rules: Mapping[Kind, Rule] = {
            **dict.fromkeys(kinds, as_is),
            Kind.WEIGHTED: self._weighted,
            Kind.AFFINE: self._affine,
        }

        self.patterns.check(network.module)

        def signals(chunk: slice) -> Tensor:
            calls = Calls(rules, type(self).__name__, fold=True)
            logits, products = logits_and_gradients(network, images[chunk], classes[chunk], rules=calls)
            signal = products * logits.view(*logits.shape, *(1,) * (images.ndim - 1))
            if not bool(torch.isfinite(signal).all()):
                raise AttributionError(
                    f"{type(self).__name__}'s signal must stay finite, but it has left the range of {signal.dtype} on "
                    "its way down; give network and images in float64, or estimate patterns from more images."
                )
            return signal

        return torch.cat(in_chunks(signals, len(images), self._size(network), self.track, "images"))


@dataclass(frozen=True, kw_only=True)
class PatternNet(_PatternMethod):
    """The signal that a class's logit was made from (Kindermans et al. 2018): the gradient with patterns as weights.

    It starts from the logit. Rectifiers, pools, sums and factors pass it as they pass a gradient; a batch norm is
    folded into the layer below it, or undone where there is none.

    Args:
        patterns: The network's, of `Patterns.fit`.
    """

    def _weight(self, weight: Tensor, pattern: Tensor) -> Tensor:
        return pattern

    def _affine(self, call: Call) -> Tensor:
        x, scale, _ = call.operands
        assert scale is not None
        inverse = torch.where(scale != 0, scale.reciprocal(), 0)
        return _Scaled.apply(x, inverse, call)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class PatternAttribution(_PatternMethod):
    """What each pixel's signal contributed to a class's logit (Kindermans et al. 2018): weights times their patterns.

    It starts from the logit and leaves biases out. Rectifiers, pools, sums and factors pass it as they pass a gradient;
    a batch norm is folded into the layer below it, or passes it as it is where there is none.

    Args:
        patterns: The network's, of `Patterns.fit`.
    """

    def _weight(self, weight: Tensor, pattern: Tensor) -> Tensor:
        return weight * pattern

    def _affine(self, call: Call) -> Tensor:
        x, scale, _ = call.operands
        assert scale is not None
        return _Scaled.apply(x, (scale != 0).to(scale), call)  # type: ignore[no-any-return]


class _Scaled(torch.autograd.Function):
    """A call whose backward pass is a product with a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, call: Call) -> Tensor:
        ctx.save_for_backward(factor)
        return call.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        return signal * ctx.saved_tensors[0], None, None
