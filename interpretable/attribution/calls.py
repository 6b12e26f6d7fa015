"""Rules on calls: a method's backward pass through any network, with nothing hung on its modules."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakTensorKeyDictionary

from interpretable.attribution.operations import Call, Kind, PassLength, Rule, followed, follows
from interpretable.attribution.readers import Reading, moves, read
from interpretable.errors import AttributionError


class Calls(TorchFunctionMode):
    """Within its block every operation on what depends on an image is done by the rule of its kind.

    Rules act on calls of functions and not on modules, so that functional operations, layers that are used twice or
    work in place, shared weights and residual sums need nothing of their own, and no network is touched. What only
    moves numbers is left as it is. An operation without a rule, or one that is not known, is refused by its name.

    Args:
        rules: The rule of each kind.
        method: What the method is called in messages.
        fold: Give a batch norm on the very output of a weighted call to the rule of weighted calls again, as one call
            with folded weights, which then takes the place of both.
    """

    def __init__(self, rules: Mapping[Kind, Rule], method: str, fold: bool = False) -> None:
        super().__init__()
        self._length = PassLength()
        self._rules = rules
        self._method = method
        self._fold = fold
        # Of every output of a weighted call the call, and the version that it then had.
        self._origins = WeakTensorKeyDictionary()
        # Of every tensor, with all views of it, the version that the last known call left.
        self._versions = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Does a call by the rule of its kind."""
        kwargs = kwargs or {}
        given = followed([args, [*kwargs.values()]]) if torch.is_grad_enabled() else []
        name = _name_of(func) if given else ""
        if not given or name == "__set__":  # torch's own, of the hooks of what is written to
            return func(*args, **kwargs)
        if not all(map(self._is_known, given)):
            self._refuse("one that is no function of torch's, such as a scripted layer or an autograd.Function")
        result = self._done(name, func, args, kwargs)
        for x in followed([result, args]):  # what was given may have been written to
            self._versions[_whole(x)] = x._version
        return result

    def _is_known(self, x: Tensor) -> bool:
        """Whether it is the image, or what known calls gave and nothing else has written to."""
        version = self._versions.get(_whole(x), x._version if x.is_leaf else None)  # type: ignore[no-untyped-call]
        return bool(version == x._version)

    def _done(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if moves(name, kwargs):
            return func(*args, **kwargs)
        reading = read(name, func, args, kwargs)
        if reading is None:
            result = func(*args, **kwargs)
            if follows(result):
                self._refuse(name)
            return result
        if not _in_place(name, kwargs):
            return self._by_rule(name, reading)
        target: Tensor = args[0] if args else kwargs["input"]
        if reading.needs_input:  # its gradient's, which is written over below
            copy = target.clone()
            origin = self.origin(target)
            if origin is not None:
                self._origins[copy] = origin, copy._version
            reading = reading._replace(operands=tuple(copy if x is target else x for x in reading.operands))
        output = self._by_rule(name, reading)
        if not target._is_view():
            target.detach_()  # or zeros would go back to what is written over
        return target.copy_(output)

    def _by_rule(self, name: str, reading: Reading) -> Tensor:
        kind, run, operands = reading.kind, reading.run, reading.operands
        if kind is Kind.SUM and reading.factor != 1:
            operands = operands[0], self._scaled(operands[1], reading.factor)
        origin = self.origin(operands[0]) if kind is Kind.AFFINE and self._fold else None
        if origin is not None and _folds(origin, operands[0]):
            call = _folded(origin, run, operands)
        else:
            call = Call(name, kind, run, operands)
            if kind is Kind.WEIGHTED:
                call = replace(call, position=self._length.weighted, of=self._length)
                self._length.weighted += 1
        if call.kind not in self._rules:
            self._refuse(name)
        output = self._rules[call.kind](call)
        if call.kind is Kind.WEIGHTED:
            self._origins[output] = call, output._version
        return output

    def _scaled(self, x: Tensor | None, factor: float) -> Tensor:
        """A summand with its sign and factor, by the rule of scaling where it depends on the image."""
        assert x is not None
        operands = x, torch.as_tensor(factor, dtype=x.dtype, device=x.device)
        return self._by_rule("mul", Reading(Kind.SCALING, torch.mul, operands)) if follows(x) else torch.mul(*operands)

    def origin(self, x: Tensor | None) -> Call | None:
        """The weighted call whose very output this is, unless it has been written to since."""
        call, version = self._origins.get(x, (None, 0))  # type: ignore[no-untyped-call]
        return call if x is not None and version == x._version else None

    def _refuse(self, name: str) -> None:
        raise AttributionError(
            f"{self._method} needs a rule for every operation between the image and the logits, but has none for "
            f"{name}; choose a method without rules, such as integrated_gradients or occlusion."
        )


def _name_of(function: Callable[..., Any]) -> str:
    """The last part of a function's name; of a property, its name too."""
    parts = (resolve_name(function) or str(function)).split(".")
    return ".".join(parts[-2:] if parts[-1] == "__get__" else parts[-1:])


def _whole(x: Tensor) -> Tensor:
    """What a tensor is a view of, or itself."""
    return x if x._base is None else x._base


def _in_place(name: str, kwargs: Mapping[str, Any]) -> bool:
    return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _folds(call: Call, output: Tensor | None) -> bool:
    """Whether the first dimension of the weight is that of the channels that are normalised."""
    weight = call.operands[1]
    aligned = weight is not None and output is not None and weight.ndim == output.ndim
    return aligned and "transpose" not in call.name


def _folded(call: Call, run: Callable[..., Tensor], operands: tuple[Tensor | None, ...]) -> Call:
    """A weighted call and the batch norm on its output as one weighted call."""
    x, weight, bias = cast(tuple[Tensor, Tensor, Tensor | None], call.operands)
    output, *affine = cast(tuple[Tensor, Tensor, Tensor], operands)
    scale, shift = (value.flatten() for value in affine)
    weight = weight * scale.view(-1, *(1,) * (weight.ndim - 1))
    bias = shift if bias is None else bias * scale + shift
    return replace(call, operands=(x, weight, bias), known=run(output.detach(), *affine))
