"""What each function of torch is to a rule: the kind of operation, its operands, and how it runs out of place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from interpretable.attribution.operations import Kind, followed, follows


class Reading(NamedTuple):
    """A call as an operation on its operands."""

    kind: Kind
    run: Callable[..., Tensor]
    operands: tuple[Tensor | None, ...]
    factor: float = 1
    """Of the second summand."""
    needs_input: bool = True
    """Whether the operation's own gradient needs its input."""


Function = Callable[..., Any]
Reader = Callable[[Function, dict[str, Any]], Reading | None]
"""Reads a function and its arguments by name; None where they are no such operation."""


def _weighted(function: Function, given: dict[str, Any]) -> Reading | None:
    operands = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    if not follows(operands[0]) or follows(operands[1:]):
        return None
    if function is not F.linear and operands[0].ndim != operands[1].ndim:  # of a single image
        return None

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output: Tensor = function(x, weight, bias, **given)
        return output

    return Reading(Kind.WEIGHTED, run, operands)


def _matrix_product(function: Function, given: dict[str, Any]) -> Reading | None:
    x, matrix = given["input"], given["other"]
    if not follows(x) or follows(matrix) or matrix.ndim != 2:
        return None
    return Reading(Kind.WEIGHTED, F.linear, (x, matrix.T, None))


def _of_one(kind: Kind) -> Reader:
    def read(function: Function, given: dict[str, Any]) -> Reading | None:
        x = given.pop("input")
        return None if given.get("return_indices") else Reading(kind, partial(_run, function, given), (x,))

    return read


def _run(function: Function, settings: dict[str, Any], x: Tensor) -> Tensor:
    output: Tensor = function(x, **settings)
    return output


def _clip(function: Function, given: dict[str, Any]) -> Reading | None:
    """Functions that clip between two numbers, of which the lower one makes a rectifier if it is 0."""
    defaults = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0)}.get(function.__name__, (None, None))
    low = given.get("min", given.get("min_val", defaults[0]))
    high = given.get("max", given.get("max_val", defaults[1]))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return None
    if low != 0:
        return Reading(Kind.ACTIVATION, partial(torch.clamp, min=low, max=high), (given["input"],))
    if high is None:
        return _rectifier(function, given)
    # Unlike clamp's, its gradient at 0 is 0.
    return Reading(Kind.RECTIFIER, partial(F.hardtanh, min_val=0.0, max_val=high), (given["input"],))


def _rectifier(function: Function, given: dict[str, Any]) -> Reading:
    return Reading(Kind.RECTIFIER, torch.relu, (given["input"],), needs_input=False)


def _threshold(function: Function, given: dict[str, Any]) -> Reading:
    at, value = given["threshold"], given["value"]
    if at == value == 0:
        return _rectifier(function, given)
    return Reading(Kind.ACTIVATION, partial(F.threshold, threshold=at, value=value), (given["input"],))


def _sum(sign: int, reverse: bool = False) -> Reader:
    def read(function: Function, given: dict[str, Any]) -> Reading:
        a, b = _tensors(given["input"], given["other"])
        factor = sign * given.get("alpha", 1)
        return Reading(Kind.SUM, torch.add, (b, a) if reverse else (a, b), factor, needs_input=False)

    return read


def _product(function: Function, given: dict[str, Any]) -> Reading:
    a, b = _tensors(given["input"], given["other"])
    if follows(a) and follows(b):
        return Reading(Kind.PRODUCT, torch.mul, (a, b))
    return Reading(Kind.SCALING, torch.mul, (a, b) if follows(a) else (b, a), needs_input=False)


def _quotient(function: Function, given: dict[str, Any]) -> Reading | None:
    a, b = _tensors(given["input"], given["other"])
    if follows(b) or given.get("rounding_mode") is not None:
        return None
    return Reading(Kind.SCALING, torch.mul, (a, b.reciprocal()), needs_input=False)


def _negation(function: Function, given: dict[str, Any]) -> Reading:
    return Reading(Kind.SCALING, torch.mul, _tensors(given["input"], -1), needs_input=False)


def _tensors(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two operands, of the type that their result has; a number becomes a tensor where the other one is."""
    dtype, device = torch.result_type(a, b), followed([a, b])[0].device
    return torch.as_tensor(a, dtype=dtype, device=device), torch.as_tensor(b, dtype=dtype, device=device)


def _batch_norm(function: Function, given: dict[str, Any]) -> Reading | None:
    x, mean, variance = given["input"], given["running_mean"], given["running_var"]
    # torch.batch_norm has another order of arguments; over a batch its images would depend on one another.
    if function is not F.batch_norm or given.get("training") or mean is None:
        return None
    scale = torch.rsqrt(variance + given.get("eps", 1e-5))
    scale = scale if given.get("weight") is None else scale * given["weight"]
    shift = -mean * scale
    shift = shift if given.get("bias") is None else shift + given["bias"]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return Reading(Kind.AFFINE, _affine, (x, scale.view(shape), shift.view(shape)))


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The scaled and shifted input, as a batch norm, which is faster than a product and a sum."""
    weight, bias = scale.flatten(), shift.flatten()
    return F.batch_norm(x, torch.zeros_like(weight), torch.ones_like(weight), weight, bias, eps=0.0)


_CONVOLUTION = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_POOL = "input kernel_size stride padding"

# Names of the positional arguments beside the reader; an underscore at the end of a function's name is left out.
_READERS: dict[str, tuple[Reader, str]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (_weighted, _CONVOLUTION)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (_weighted, _TRANSPOSED)),
    "linear": (_weighted, "input weight bias"),
    **dict.fromkeys(("matmul", "mm", "__matmul__"), (_matrix_product, "input other")),
    "relu": (_rectifier, "input inplace"),
    **dict.fromkeys(("clamp", "clip"), (_clip, "input min max")),
    "clamp_min": (_clip, "input min"),
    "hardtanh": (_clip, "input min_val max_val inplace"),
    "relu6": (_clip, "input inplace"),
    "threshold": (_threshold, "input threshold value inplace"),
    **dict.fromkeys(
        ("sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "mish", "selu", "logsigmoid", "softsign", "tanhshrink"),
        (_of_one(Kind.ACTIVATION), "input inplace"),
    ),
    "gelu": (_of_one(Kind.ACTIVATION), "input approximate"),
    **dict.fromkeys(("elu", "celu"), (_of_one(Kind.ACTIVATION), "input alpha inplace")),
    "leaky_relu": (_of_one(Kind.ACTIVATION), "input negative_slope inplace"),
    "softplus": (_of_one(Kind.ACTIVATION), "input beta threshold"),
    **dict.fromkeys(("add", "__add__", "__radd__", "__iadd__"), (_sum(1), "input other alpha")),
    **dict.fromkeys(("sub", "subtract", "__sub__", "__isub__"), (_sum(-1), "input other alpha")),
    **dict.fromkeys(("rsub", "__rsub__"), (_sum(-1, reverse=True), "input other alpha")),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__", "__imul__"), (_product, "input other")),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__", "__itruediv__"), (_quotient, "input other")),
    **dict.fromkeys(("neg", "negative", "__neg__"), (_negation, "input")),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d"),
        (_of_one(Kind.MAX_POOL), f"{_POOL} dilation ceil_mode return_indices"),
    ),
    **dict.fromkeys(
        ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        (_of_one(Kind.MAX_POOL), "input output_size return_indices"),
    ),
    "avg_pool1d": (_of_one(Kind.LINEAR), f"{_POOL} ceil_mode count_include_pad"),
    **dict.fromkeys(
        ("avg_pool2d", "avg_pool3d"), (_of_one(Kind.LINEAR), f"{_POOL} ceil_mode count_include_pad divisor_override")
    ),
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
        (_of_one(Kind.LINEAR), "input output_size"),
    ),
    **dict.fromkeys(("mean", "sum"), (_of_one(Kind.LINEAR), "input dim keepdim")),
    "interpolate": (_of_one(Kind.LINEAR), "input size scale_factor mode align_corners recompute_scale_factor"),
    "batch_norm": (_batch_norm, "input running_mean running_var weight bias training momentum eps"),
}

_MOVING = frozenset(
    """
    alpha_dropout cat chunk clone concat concatenate contiguous double dropout dropout1d dropout2d dropout3d dsplit
    expand expand_as feature_alpha_dropout feature_dropout flatten flip float gather __getitem__ hsplit hstack
    index_select moveaxis movedim narrow pad permute pixel_shuffle pixel_unshuffle repeat repeat_interleave reshape
    reshape_as roll select __setitem__ split split_with_sizes squeeze stack swapaxes swapdims t T.__get__ mT.__get__
    tensor_split tile to transpose type type_as unbind unflatten unfold unsqueeze view view_as vsplit vstack
    """.split()  # noqa: SIM905
)
"""Functions that only move numbers, whose gradient moves them back."""


def moves(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a function only moves numbers; dropout does in evaluation mode."""
    return _plain(name) in _MOVING and not ("dropout" in name and arguments.get("training", True))


def read(name: str, function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Reading | None:
    """The operation that a call is, or None for a function that has no kind.

    Args:
        name: The function's own name, such as ``"relu_"``.
        function: The function.
        args: Its positional arguments.
        kwargs: The others.
    """
    if _plain(name) not in _READERS:
        return None
    reader, names = _READERS[_plain(name)]
    given = {**dict(zip(names.split(), args, strict=False)), **kwargs}
    if len(args) > len(names.split()) or "out" in kwargs:  # sizes as several numbers, and other spellings
        return None
    given.pop("inplace", None)
    return reader(_out_of_place(name, function), given)


def _plain(name: str) -> str:
    """The name of the function that does the same out of place."""
    return name if name.endswith("__") else name.removesuffix("_")


def _out_of_place(name: str, function: Function) -> Function:
    """The function that does not write into its input."""
    if _plain(name) == name:
        return function
    plain: Function = getattr(torch, _plain(name), None) or getattr(F, _plain(name))
    return plain
