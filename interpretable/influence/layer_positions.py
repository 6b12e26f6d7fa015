"""A layer's weight gradient as a sum over positions: what each position reads, and the gradient of what it gives."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Layer = nn.Linear | nn.Conv2d

_NUMBERS_AT_ONCE = 2**24
"""Bounds what is computed at once, 64 MB in float32, so that memory does not grow with the number of images."""


class Positions(NamedTuple):
    """Of some images: the gradient of a group's weights and bias is Σ over positions of signal · inputᵀ."""

    inputs: Float[Tensor, "image group input position"]
    """What a position reads: the patch under a convolution's kernel, or a row; with a last 1 where there is a bias."""
    signals: Float[Tensor, "image group output position"]
    """Gradient of the loss at what the layer gives there."""


class LayerCalls(NamedTuple):
    """The calls of a layer in one pass, in order."""

    inputs: list[Tensor]
    """(N, ..., in) or (N, C, H, W)."""
    gradients: list[Tensor]
    """Of the loss at the outputs (N, ..., out) or (N, C, H, W)."""


def gradient_shape(layer: Layer) -> tuple[int, int, int]:
    """Groups, outputs and inputs of a layer's weight gradient; the bias is a last input."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return groups, layer.weight.shape[0] // groups, layer.weight[0].numel() + (layer.bias is not None)


def layer_inputs(layer: Layer, inputs: Tensor) -> Float[Tensor, "image group input position"]:
    """What each position of a layer reads of its input (N, ..., in) or (N, C, H, W)."""
    if isinstance(layer, nn.Conv2d):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(inputs, _padding(layer), mode)
        patches = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
        rows = patches.reshape(len(patches), layer.groups, -1, patches.shape[-1])
    else:
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1]).mT.unsqueeze(1)
    return rows if layer.bias is None else F.pad(rows, (0, 0, 0, 1), value=1.0)


def layer_signals(layer: Layer, gradients: Tensor) -> Float[Tensor, "image group output position"]:
    """The gradients at a layer's output (N, ..., out) or (N, C, H, W), by position."""
    if isinstance(layer, nn.Conv2d):
        cells = gradients[0, 0].numel()
        return gradients.reshape(len(gradients), layer.groups, layer.out_channels // layer.groups, cells)
    return gradients.reshape(len(gradients), -1, gradients.shape[-1]).mT.unsqueeze(1)


def position_chunks(layer: Layer, calls: LayerCalls, queries: int = 1) -> Iterator[tuple[slice, Positions]]:
    """The positions of all calls of a layer, for as many images at once as memory is meant for.

    Args:
        layer: The layer.
        calls: Its calls in a pass.
        queries: How many gradients each image's is multiplied with.
    """
    groups, outputs, width = gradient_shape(layer)
    number = sum(gradient[0].numel() for gradient in calls.gradients) // (groups * outputs)
    largest = groups * max(outputs * width, width * number, queries * outputs * number)
    at_once = max(1, _NUMBERS_AT_ONCE // largest)
    for start in range(0, len(calls.inputs[0]), at_once):
        some = slice(start, start + at_once)
        inputs = [layer_inputs(layer, given[some]) for given in calls.inputs]
        signals = [layer_signals(layer, gradient[some]) for gradient in calls.gradients]
        yield some, Positions(torch.cat(inputs, -1), torch.cat(signals, -1))


def _padding(layer: nn.Conv2d) -> list[int]:
    """Left, right, top, bottom."""
    if isinstance(layer.padding, str):
        same = layer.padding == "same"
        reach = [d * (k - 1) * same for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [side for total in reversed(reach) for side in (total // 2, total - total // 2)]
    return [side for width in reversed(layer.padding) for side in (width, width)]
