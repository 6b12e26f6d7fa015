"""DeconvNet and guided backpropagation: gradients with another backward pass through rectifiers."""

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


class _Deconvolution(torch.autograd.Function):
    """Passes what is positive of the signal, whatever the rectifier's input was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> Tensor:
        return call.value()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None]:
        return signal.clamp(min=0), None


def _guided(call: Call) -> Tensor:
    """The rectifier's own gradient of what is positive of the signal."""
    output = as_is(call)
    output.register_hook(lambda signal: signal.clamp(min=0))  # type: ignore[no-untyped-call]
    return output


_AS_IS: Mapping[Kind, Rule] = dict.fromkeys(
    (Kind.WEIGHTED, Kind.SUM, Kind.SCALING, Kind.MAX_POOL, Kind.LINEAR, Kind.AFFINE), as_is
)


@dataclass(frozen=True, kw_only=True)
class _RectifiedGradient(Method):
    @abstractmethod
    def _rules(self) -> Mapping[Kind, Rule]: ...

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        rules = self._rules()

        def gradients(chunk: slice) -> Tensor:
            calls = Calls(rules, type(self).__name__)
            return logits_and_gradients(network, images[chunk], classes[chunk], rules=calls)[1]

        return torch.cat(in_chunks(gradients, len(images), self._size(network), self.track, "images"))


@dataclass(frozen=True, kw_only=True)
class DeconvNet(_RectifiedGradient):
    """The signal of a class sent back through a deconvolutional network (Zeiler & Fergus 2014).

    A rectifier passes what is positive of the signal, whatever its input was; max pooling sends it to its winners. What
    arrives at the image is not rectified. Hardly depends on the class.
    """

    def _rules(self) -> Mapping[Kind, Rule]:
        return {**_AS_IS, Kind.RECTIFIER: lambda call: _Deconvolution.apply(call.operands[0], call)}


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(_RectifiedGradient):
    """Guided backpropagation: a rectifier passes what is positive where its input was (Springenberg et al. 2015).

    What arrives at the image is not rectified. Hardly depends on the class, nor on the weights of upper layers (Adebayo
    et al. 2018).
    """

    def _rules(self) -> Mapping[Kind, Rule]:
        return {**_AS_IS, Kind.RECTIFIER: _guided}
