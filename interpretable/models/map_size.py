"""The size of the map at the end of a trunk, from shapes alone."""

import torch
from torch import nn
from torch.func import functional_call

from interpretable.errors import ModelError

SMALLEST_MAP = 7
"""Cells along each side of a map below which a filter's position says too little about a part."""

_LARGEST_INPUT = 1024


def map_shape(trunk: nn.Module, in_channels: int, height: int, width: int) -> tuple[int, int, int]:
    """Shape (C, h, w) of the trunk's map for images of a size in pixels, from shapes alone.

    Raises:
        ModelError: The trunk refuses images of that size, or its output is no map.
    """
    own = [*trunk.named_parameters(), *trunk.named_buffers()]
    state = {name: tensor.to("meta") for name, tensor in own}
    dtype = next((tensor.dtype for _, tensor in own if tensor.is_floating_point()), None)
    images = torch.empty(2, in_channels, height, width, dtype=dtype, device="meta")  # batch norm refuses one 1×1 map
    try:
        with torch.no_grad():
            output = functional_call(trunk, state, (images,))
    except RuntimeError as error:
        raise ModelError(f"The trunk takes no images of {height}×{width} px: {error}") from error
    if output.ndim != 4:
        raise ModelError(
            f"The cut must be at a feature map (B, C, h, w), got {output.ndim} dimensions; cut the network earlier."
        )
    channels, h, w = output.shape[1:]
    return channels, h, w


def smallest_input(trunk: nn.Module, in_channels: int) -> int:
    """Side in pixels of the smallest square image whose map at the end of the trunk is at least 7×7.

    Raises:
        ModelError: There is none of up to 1024 pixels, or the output is no map.
    """
    if min(map_shape(trunk, in_channels, _LARGEST_INPUT, _LARGEST_INPUT)[1:]) < SMALLEST_MAP:
        raise ModelError(
            f"The map at the cut must be at least {SMALLEST_MAP}×{SMALLEST_MAP}, got less from images of "
            f"{_LARGEST_INPUT}×{_LARGEST_INPUT} px; cut the network earlier."
        )
    too_small, enough = 0, _LARGEST_INPUT
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        too_small, enough = (too_small, middle) if _suffices(trunk, in_channels, middle) else (middle, enough)
    return enough


def _suffices(trunk: nn.Module, in_channels: int, side: int) -> bool:
    try:
        return min(map_shape(trunk, in_channels, side, side)[1:]) >= SMALLEST_MAP
    except ModelError:
        return False


def describe_map(trunk: nn.Module, in_channels: int, height: int, width: int) -> str:
    """The size h×w of the trunk's map for images of a size in pixels, or that there is none, for a sentence."""
    try:
        _, h, w = map_shape(trunk, in_channels, height, width)
    except ModelError:
        return "none"
    return f"{h}×{w}"
