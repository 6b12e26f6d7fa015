"""The rescale rule of DeepLIFT: multipliers of images against their baselines, which run in the same batch."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interpretable.attribution.operations import Call, Kind, Rule, as_is
from interpretable.errors import AttributionError

_ROUNDINGS = 4
"""How many roundings of its values a change may be off by."""


class RescaleRules:
    """Rules under which the gradient at the images is their multiplier, that at the baselines 0.

    Args:
        images: How many rows of the batch are images, the first ones.
        baselines: How many are baselines: one for all images, or as many as there are.
    """

    def __init__(self, images: int, baselines: int) -> None:
        self._images = images
        self._rows = images + baselines

    def rules(self) -> Mapping[Kind, Rule]:
        """The rule of each kind."""
        linear = (Kind.WEIGHTED, Kind.SUM, Kind.LINEAR, Kind.AFFINE)
        return {
            **dict.fromkeys(linear, as_is),
            Kind.RECTIFIER: self._rule(self._of_function),
            Kind.ACTIVATION: self._rule(self._of_function),
            Kind.PRODUCT: self._rule(self._of_product),
            Kind.SCALING: self._scaling,
            Kind.MAX_POOL: lambda call: _MaxPool.apply(call.operands[0], call, self),
        }

    def pair(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Images (B, ...) and baselines (B or 1, ...) of a tensor.

        Args:
            x: The tensor.
            name: The operation that it belongs to, for the message.

        Raises:
            AttributionError: Its first dimension is not that of the batch.
        """
        if x.ndim == 0 or len(x) != self._rows:
            raise AttributionError(
                f"DeepLIFT needs the images, {self._rows} with their baselines, along the first dimension everywhere, "
                f"but {name} has an operand of shape {tuple(x.shape)}; choose a method without rules, such as "
                "integrated_gradients."
            )
        return x[: self._images], x[self._images :]

    def with_zeros(self, multipliers: Tensor) -> Tensor:
        """Multipliers (B, ...) of images as those of all rows."""
        return torch.cat([multipliers, multipliers.new_zeros(self._rows - self._images, *multipliers.shape[1:])])

    def _rule(self, multipliers: Callable[[Call, Tensor], tuple[Tensor, ...]]) -> Rule:
        return lambda call: cast(Tensor, _Rescaled.apply(call, multipliers, *call.operands))

    def _of_function(self, call: Call, output: Tensor) -> tuple[Tensor, ...]:
        """Δy/Δx, or the derivative in between where that is the same but for rounding, as where Δx = 0."""
        x, x0 = self.pair(cast(Tensor, call.operands[0]), call.name)
        y, y0 = self.pair(output, call.name)
        with torch.enable_grad():
            between = ((x + x0) / 2).requires_grad_()
            (derivative,) = torch.autograd.grad(call.run(between).sum(), between)
        moved, change = x - x0, y - y0
        rounding = (x.abs() + x0.abs() + y.abs() + y0.abs()) * (_ROUNDINGS * torch.finfo(x.dtype).eps)
        same = (derivative * moved - change).abs() <= rounding
        return (self.with_zeros(torch.where(same, derivative, change / moved)),)

    def _of_product(self, call: Call, output: Tensor) -> tuple[Tensor, ...]:
        """The mean of the other factor, each."""
        (a, a0), (b, b0) = (self.pair(cast(Tensor, x), call.name) for x in call.operands)
        return self.with_zeros((b + b0) / 2), self.with_zeros((a + a0) / 2)

    def _scaling(self, call: Call) -> Tensor:
        x, factor = cast(tuple[Tensor, Tensor], call.operands)
        shared = factor.ndim == 0 or factor.ndim < x.ndim or len(factor) == 1
        return as_is(call) if shared else self._rule(self._of_scaling)(call)

    def _of_scaling(self, call: Call, output: Tensor) -> tuple[Tensor, ...]:
        """The mean factor; the factor's own share has nowhere to go."""
        factor, factor0 = self.pair(cast(Tensor, call.operands[1]), call.name)
        return (self.with_zeros((factor + factor0) / 2),)


class _Rescaled(torch.autograd.Function):
    """An operation whose derivatives are replaced by multipliers."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, multipliers: Callable[[Call, Tensor], tuple[Tensor, ...]], *operands: Tensor
    ) -> Tensor:
        output = call.value()
        ctx.multipliers = multipliers(call, output)
        ctx.shapes = [x.shape for x in operands]
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        passed = zip(ctx.multipliers, ctx.shapes, strict=False)
        gradients = [(gradient * multiplier).sum_to_size(shape) for multiplier, shape in passed]
        return (None, None, *gradients, *(None,) * (len(ctx.shapes) - len(gradients)))


class _MaxPool(torch.autograd.Function):
    """Max pooling, whose change goes to the winners that made it.

    The change of a window's maximum goes to the winner in the image where it is a rise, to that in the baseline where
    it is a fall, divided by that one's own Δ, which is at least as large. Windows that share a winner add up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, rules: RescaleRules) -> Tensor:
        images, baselines = rules.pair(x, call.name)
        both, moved = torch.cat([images, baselines.expand_as(images)]), images - baselines
        with torch.enable_grad():
            ctx.both = both.requires_grad_()
            ctx.maxima = call.run(ctx.both)
            # Passing something back to the winners is linear in it, and the gradient by it reads at the winners.
            signal = torch.zeros_like(ctx.maxima, requires_grad=True)
            (passed,) = torch.autograd.grad(ctx.maxima, ctx.both, signal, create_graph=True)
        (of_winners,) = torch.autograd.grad(passed, signal, torch.cat([moved, moved]), retain_graph=True)
        y, y0 = ctx.maxima.detach().chunk(2)
        moved, moved0 = of_winners.chunk(2)
        unmoved = ((y == y0) & (moved == 0)).to(x)  # the pool's own derivative
        multiplier = torch.where(y > y0, (y - y0) / moved, unmoved)
        multiplier0 = torch.where(y < y0, (y - y0) / moved0, 0)
        ctx.multipliers = torch.cat([multiplier, multiplier0])
        ctx.rules, ctx.name = rules, call.name
        return torch.cat([y, y0[: len(baselines)]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        images, _ = ctx.rules.pair(gradient, ctx.name)
        shares = ctx.multipliers * torch.cat([images, images])
        (passed,) = torch.autograd.grad(ctx.maxima, ctx.both, shares, retain_graph=True)
        return ctx.rules.with_zeros(sum(passed.chunk(2))), None, None
