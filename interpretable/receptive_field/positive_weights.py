"""A stand-in for every layer through which gradients stay positive, so that they show what depends on what."""

from collections.abc import Callable
from typing import Any, TypeGuard

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from interpretable.errors import ModelError


class PositiveWeights(TorchFunctionMode):
    """While it is active, every layer on a tensor that asks for gradients passes on positive gradients alone.

    A convolution or linear layer averages and has no bias, max-pooling is average-pooling, normalisation, dropout and
    pointwise activations are the identity, sums, differences, products and quotients add those operands that ask for
    gradients, and pooling to 1×1 yields a constant. The layers' weights lend their shapes alone.

    Raises:
        ModelError: Max-pooling is dilated or returns indices.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        if name in _SUMS and any(_sees_image(operand) for operand in args[:2]):
            return _sum(*args[:2], in_place=func.__name__.endswith("_") and not func.__name__.startswith("_"))
        if name in _STAND_INS:
            return _STAND_INS[name](*args, **kwargs)
        result = func(*args, **kwargs)
        if name in _POOLS and args[0].ndim == 4 and args[0].shape[-2:].numel() > 1:
            is_global = result.ndim < 4 or result.shape[-2:].numel() == 1
            return result.detach() if is_global else result
        return result


def _sees_image(operand: object) -> TypeGuard[Tensor]:
    return isinstance(operand, Tensor) and operand.requires_grad


def _sum(x: Tensor, other: Tensor | int | float, *, in_place: bool) -> Tensor:
    """The sum of those operands that depend on the image, in the shape of the arithmetic that it stands for."""
    if in_place:
        return x.add_(other) if _sees_image(other) else x
    if _sees_image(other):
        return x + other if _sees_image(x) else other + other.new_zeros(x.shape)
    return x + x.new_zeros(getattr(other, "shape", ()))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    kernel = weight.shape[-2:]
    dilation = (dilation, dilation) if isinstance(dilation, int) else dilation
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        top, left = total[0] // 2, total[1] // 2
        pad = (left, total[1] - left, top, total[0] - top)
    else:
        vertical, horizontal = (padding, padding) if isinstance(padding, int) else padding
        pad = (horizontal, horizontal, vertical, vertical)
    # Channels of a group see the same, so one stands for all. The replicated border leaves a mark on the border pixels
    # where a field is cut off, also when the kernel is dilated.
    x = F.pad(input.reshape(len(input), groups, -1, *input.shape[-2:]).mean(2), pad, mode="replicate")
    average = x.new_full((groups, 1, *kernel), 1 / kernel.numel())
    x = F.conv2d(x, average, None, stride, 0, dilation, groups)
    return x.repeat_interleave(len(weight) // groups, 1)  # no view: the network may add to it in place


def _max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if dilation not in (1, (1, 1)) or return_indices:
        raise ModelError("The receptive field is not known for max-pooling with dilation or indices; use it without.")
    return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return input.mean(-1, keepdim=True).repeat_interleave(len(weight), -1)


def _identity(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input.clone()  # else a sum in place above it would reach the layers below


# Keys are names of functions of torch and torch.nn.functional, without the underscores of in-place and reflected forms.
_IDENTITIES = """
    relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign threshold hardtanh hardswish
    hardsigmoid sigmoid logsigmoid tanh clamp clip clamp_min clamp_max exp log sqrt rsqrt square pow abs
    batch_norm layer_norm group_norm instance_norm local_response_norm rms_norm normalize
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
"""
_STAND_INS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(_IDENTITIES.split(), _identity),
    "conv2d": _conv2d,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
}
_SUMS = {"add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "rdiv", "true_divide"}
_POOLS = {"mean", "adaptive_avg_pool2d", "adaptive_max_pool2d"}
