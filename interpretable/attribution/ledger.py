"""Account of the relevance that reaches no image: what operations absorb, and what constants receive."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from interpretable.attribution.calls import Calls
from interpretable.attribution.operations import Kind, Rule, follows
from interpretable.errors import AttributionError


class Ledger:
    """What operations absorb of the relevance of each image, in one backward pass after the other."""

    def __init__(self, images: Tensor) -> None:
        self._absorbed = images.new_zeros(len(images))

    def book(self, relevance: Tensor) -> None:
        """Adds relevance (N, ...) to what the images have lost.

        Raises:
            AttributionError: The relevance is not that of N images.
        """
        if relevance.shape[:1] != self._absorbed.shape:
            raise AttributionError(
                f"Images must come first in what a network computes, got shape {tuple(relevance.shape)} for "
                f"{len(self._absorbed)} images; give them one by one."
            )
        self._absorbed += relevance.flatten(1).sum(1) if relevance.ndim > 1 else relevance

    def closed(self) -> Tensor:
        """What has been booked (N,) since this was last asked for."""
        absorbed, self._absorbed = self._absorbed, torch.zeros_like(self._absorbed)
        return absorbed


class BookedCalls(Calls):
    """Rules on calls that also book what constants receive that are put beside what depends on an image.

    Args:
        rules: The rule of each kind.
        method: What the method is called in messages.
        ledger: Where it is booked.
    """

    def __init__(self, rules: Mapping[Kind, Rule], method: str, ledger: Ledger) -> None:
        super().__init__(rules, method, fold=True)
        self._ledger = ledger

    def _done(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if name == "__setitem__" and not (follows(args[0]) and follows(args[2])):
            self._refuse("writing constants beside what depends on the image, or that into constants")
        result = super()._done(name, func, args, kwargs)
        if name not in _JOINING or not follows(result):
            return result
        constant = _JOINING[name](func, args, kwargs)
        return _Booked.apply(result, constant, self._ledger) if constant is not None else result


class _Booked(torch.autograd.Function):
    """Identity that books the relevance of what is constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, constant: Tensor, ledger: Ledger) -> Tensor:
        ctx.constant, ctx.ledger = constant, ledger
        return x.clone()  # not a view, so that the network may write to it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None]:
        ctx.ledger.book(relevance * ctx.constant)
        return relevance, None, None


def _joined(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Which values of a concatenation do not depend on the image."""
    given = {**dict(zip(("tensors", "dim"), args, strict=False)), **kwargs}
    tensors = given.pop("tensors")
    if all(map(follows, tensors)):
        return None
    return func([torch.full_like(x, not follows(x), dtype=torch.bool) for x in tensors], **given)


def _padded(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Which values of a padded tensor do not depend on the image."""
    given = {**dict(zip(("input", "pad", "mode", "value"), args, strict=False)), **kwargs}
    if given.get("mode", "constant") != "constant":
        return None
    return func(torch.zeros_like(given["input"]), given["pad"], value=1) > 0


# How to tell the constants in the result of functions that put them beside what depends on an image.
_JOINING = {
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), _joined),
    "pad": _padded,
}
