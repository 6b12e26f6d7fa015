"""Theoretical receptive field of a convolutional network: what each unit of a feature map can see of the image."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from interpretable.errors import ModelError
from interpretable.receptive_field.positive_weights import PositiveWeights

_LONGEST = 2**13
"""Pixels along one axis beyond which a field counts as unbounded."""


class ReceptiveField(NamedTuple):
    """Where the units of a feature map lie in the image, the same along both axes.

    Image coordinates are continuous: pixel i spans [i, i + 1).
    """

    size: int
    """Side of the square that a unit depends on, in pixels."""
    stride: int
    """Distance between neighbouring units, in pixels."""
    offset: float
    """Centre of unit 0, in pixels; below 0 where padding outweighs the kernel."""

    def centres(self, n: int) -> Tensor:
        """Centres offset + stride·j of the first n units, (n,) in pixels."""
        return self.offset + self.stride * torch.arange(n, dtype=torch.get_default_dtype())

    def positions(self, index: Tensor, width: int) -> Tensor:
        """Centres (..., 2), x and y in pixels, of units given by row-major index (...) in maps ``width`` units wide."""
        return self.offset + self.stride * torch.stack([index % width, index // width], -1)


def theoretical_receptive_field(module: nn.Module, in_channels: int = 3) -> ReceptiveField:
    """Receptive field of the units of ``module``'s output, the largest over branches and channels.

    Measured, so it holds for any directed graph of layers: ones are back-propagated in float64 from two neighbouring
    units through a run in which every weight is positive, and the field is the bounding box of the gradient. In that
    run a convolution averages and has no bias, max-pooling is average-pooling, normalisation and pointwise
    activations are the identity, sums, differences, products and quotients add what depends on the image, and
    pooling to 1×1 yields a constant, so that squeeze-and-excitation gates, which see the whole image, do not count.

    The run takes neither the module's weights nor its buffers, so the module is left as it was and may live on any
    device, the meta device included. Forward hooks run as in any other pass.

    Args:
        module: Maps images (B, C, H, W) to feature maps (B, C', h, w) by two-dimensional convolution and pooling.
        in_channels: Channels C of its images.

    Raises:
        ModelError: The module has an operation that this run does not know, its output is no feature map, does not
            depend on the image, or depends on all of it, or its field is not the same along both axes.
    """
    with torch.inference_mode(False), torch.enable_grad():
        along_height, along_width = (_measure(module, in_channels, axis) for axis in (-2, -1))
    if along_height != along_width:
        raise ModelError(
            f"The receptive field must be the same along both axes, got {along_height} along the height and "
            f"{along_width} along the width; use square kernels, strides and paddings."
        )
    return along_height


def _measure(module: nn.Module, in_channels: int, axis: int) -> ReceptiveField:
    """The field along one axis, on strips as narrow as the module takes and longer than the field."""
    breadth = _narrowest(module, in_channels)
    length = 2 * breadth
    while length <= _LONGEST:
        size = (length, breadth) if axis == -2 else (breadth, length)
        image = _ones(in_channels, *size)
        units = _run(module, image).sum((0, 1)).movedim(axis, -1).sum(0)  # (n,)
        first = (len(units) - 1) // 2
        if len(units) > 1:
            (start, stop), (next_start, next_stop) = (
                _bounds(torch.autograd.grad(units[unit], image, retain_graph=True)[0], axis)
                for unit in (first, first + 1)
            )
            stride = next_start - start
            # Up to a stride of pixels at the far end is seen by no unit, so a cut-off field may stop that early.
            if stride > 0 and start >= stride and next_stop <= length - stride:
                return ReceptiveField(stop - start, stride, (start + stop) / 2 - stride * first)
        length *= 2
    raise ModelError(
        f"The receptive field must fit into {_LONGEST} pixels, got units that see more; measure the module without "
        "its global layers (attention, pooling to a fixed size)."
    )


def _ones(in_channels: int, height: int, width: int) -> Tensor:
    return torch.ones(1, in_channels, height, width, dtype=torch.float64, device="cpu", requires_grad=True)


def _bounds(gradient: Tensor, axis: int) -> tuple[int, int]:
    """First pixel along an axis with a gradient, and the one after the last."""
    seen = gradient.sum((0, 1)).movedim(axis, -1).sum(0).nonzero()
    return int(seen[0]), int(seen[-1]) + 1


def _narrowest(module: nn.Module, in_channels: int) -> int:
    """A side, to a factor of two, of the smallest square image that the module takes."""
    side = 1
    while True:
        try:
            _run(module, _ones(in_channels, side, side))
        except ModelError:
            # A kernel larger than its input is indistinguishable from other failures until the image is large.
            if side >= 512:
                raise
            side *= 2
        else:
            return side


def _run(module: nn.Module, image: Tensor) -> Tensor:
    """The module's output in the run with positive weights; its gradient is positive where a unit sees the image."""
    # Detached: only what depends on the image asks for gradients. Cloned: updates of running statistics are lost.
    state = {name: parameter.detach() for name, parameter in module.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), PositiveWeights():
            output = functional_call(module, state, (image.clone(),))
    except ModelError:
        raise
    except Exception as error:  # whatever a layer raises that this run has no stand-in for
        raise ModelError(
            "The receptive field is known for two-dimensional convolution, pooling, normalisation and pointwise layers "
            f"on {image.shape[1]}-channel images, got '{error}'; measure the module up to the layer that raised it."
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 4:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"The receptive field is that of a feature map (B, C, h, w), got {found}; cut the module earlier."
        )
    if not output.requires_grad:
        raise ModelError(
            "The receptive field needs an output that depends on the image by more than pooling to 1×1, got one that "
            "does not; measure the module without its global pooling."
        )
    return output
