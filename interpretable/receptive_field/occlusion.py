"""What hiding a small square of one image does to a network's strongest units."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.receptive_field.theoretical import ReceptiveField
from interpretable.templates import peak


class Occluder(NamedTuple):
    """A square of random noise that slides over an image (Zhou et al. 2015: 11×11 pixels in steps of 3)."""

    side: int = 11
    """Its side in pixels."""
    stride: int = 3
    """Its step along rows and columns, in pixels."""
    seed: int = 0
    """Seed of the noise, which is drawn anew for each place and is the same on every image of a size."""

    def corners(self, length: int) -> Tensor:
        """First pixels (n,) of its places along an axis of ``length`` pixels; what is left over at the end stays."""
        if length < self.side:
            raise MetricError(
                f"Images must be at least as large as the occluder, got {length} pixels for one of {self.side}; take "
                "larger images or a smaller occluder."
            )
        return torch.arange(0, length - self.side + 1, self.stride)

    def noise(self, places: int, channels: int) -> Tensor:
        """Uniform numbers (places, channels, side, side) in [0, 1), on the CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(places, channels, self.side, self.side, generator=generator)


ZHOU_2015 = Occluder()


Box = tuple[slice, slice]
"""Rows and columns of an image."""


class OccludedPeaks(NamedTuple):
    """The strongest unit of each of F filters on one image, and how it changes with the place of the occluder."""

    values: Tensor
    """(F,) activations on the whole image."""
    positions: Tensor
    """(F, 2), x and y in pixels of the units' centres."""
    discrepancy: Tensor
    """(F, rows, columns) |a(x) − a(occluded x)| for each place of the occluder; 0 for a silent filter."""


def occluded_peaks(
    run: Callable[[Tensor], Tensor],
    image: Float[Tensor, "channel height width"],
    filters: Int64[Tensor, " filter"],
    field: ReceptiveField,
    occluder: Occluder = ZHOU_2015,
    batch_size: int = 256,
) -> OccludedPeaks:
    """Discrepancy of the filters' strongest units on one image, an occluder's place at a time (Zhou et al. 2015).

    The noise is uniform between the image's own extremes in each channel. A place that does not touch a unit's
    theoretical field counts as no change of it, and one that touches none is not run. Either the whole image is run
    for all filters at once or each unit's own field alone, whichever are fewer pixels.

    Args:
        run: Maps images (B, C, H, W) to feature maps (B, C', h, w), without gradients.
        image: One image on the network's device.
        filters: Channels of the feature map, F of them.
        field: Theoretical receptive field of the feature map.
        occluder: What slides over the image.
        batch_size: Occluded images in one forward pass.

    Raises:
        MetricError: The image is smaller than the occluder.
    """
    filters = filters.to(image.device)
    rows, columns = (occluder.corners(length).to(image.device) for length in image.shape[-2:])
    maps = run(image[None])
    index = peak(maps[:, filters])[0]
    units = torch.stack([index // maps.shape[-1], index % maps.shape[-1]], -1)  # (F, 2)
    values = maps[0, filters, units[:, 0], units[:, 1]]
    positions = field.positions(index, maps.shape[-1])
    touched = _overlaps(rows, occluder, positions[:, 1], field)[:, :, None]
    touched = touched & _overlaps(columns, occluder, positions[:, 0], field)[:, None] & (values > 0)[:, None, None]
    touched = touched.flatten(1)  # (F, places)
    low, high = (extreme[:, None, None] for extreme in image.flatten(1).aminmax(dim=1))
    patches = low + (high - low) * occluder.noise(touched.shape[1], len(image)).to(image)

    def read(images: Tensor, chosen: Tensor, box: Box) -> Tensor:
        """The chosen filters' units (B, G), seen through a window that starts at whole strides."""
        shift = units.new_tensor([box[0].start, box[1].start]) // field.stride
        row, column = (units[chosen] - shift).T
        return run(images[:, :, box[0], box[1]])[:, filters[chosen], row, column]

    discrepancy = torch.zeros_like(touched, dtype=values.dtype)
    for chosen, box in _views(read, image, touched, positions, values, field):
        before = read(image[None], chosen, box)
        for places in torch.split(touched[chosen].any(0).nonzero()[:, 0], batch_size):
            hidden = _hide(image, rows[places // len(columns)], columns[places % len(columns)], patches[places])
            discrepancy[chosen[:, None], places] = (read(hidden, chosen, box) - before).abs().T
    discrepancy = torch.where(touched, discrepancy, 0).reshape(-1, len(rows), len(columns))
    return OccludedPeaks(values, positions, discrepancy)


def _overlaps(corners: Tensor, occluder: Occluder, centres: Tensor, field: ReceptiveField) -> Tensor:
    """Where occluders (n,) along an axis share pixels with the fields of units (F,); (F, n)."""
    start, stop = (centres[:, None] + sign * field.size / 2 for sign in (-1, 1))
    return (corners < stop) & (corners + occluder.side > start)


def _views(
    read: Callable[[Tensor, Tensor, Box], Tensor],
    image: Tensor,
    touched: Tensor,
    positions: Tensor,
    values: Tensor,
    field: ReceptiveField,
) -> list[tuple[Tensor, Box]]:
    """Filters (G,) that are run together, and what is run for them: the whole image, or a unit's field."""
    size = positions.new_tensor(image.shape[-2:])
    start, stop = (positions.flip(-1) + sign * field.size / 2 for sign in (-1, 1))
    # At whole strides, for units and all layers below them to fall on the pixels that they fall on in the image.
    start = (start / field.stride).floor().mul(field.stride).clamp(min=0)
    stop = torch.minimum((stop / field.stride).ceil() * field.stride, size)
    active = touched.any(1).nonzero()[:, 0]
    apart = (touched.sum(1) * (stop - start).prod(-1)).sum()
    views: list[tuple[Tensor, Box]] = []
    rest: list[Tensor] = []
    if apart < touched.any(0).sum() * size.prod():
        corners = torch.cat([start, stop], -1).long().tolist()
        for chosen in torch.split(active, 1):
            top, left, bottom, right = corners[int(chosen)]
            box = slice(top, bottom), slice(left, right)
            # Not so below gates and norms over the whole map, which make a unit see more than its field.
            same = torch.allclose(read(image[None], chosen, box)[0], values[chosen], rtol=1e-3, atol=0)
            if same:
                views.append((chosen, box))
            else:
                rest.append(chosen)
        active = torch.cat([active[:0], *rest])
    whole = slice(0, image.shape[-2]), slice(0, image.shape[-1])
    return [*views, (active, whole)] if len(active) else views


def _hide(image: Tensor, top: Tensor, left: Tensor, patches: Tensor) -> Tensor:
    """Copies (B, C, H, W) of an image, each with its patch (B, C, side, side) at its corner (top, left)."""
    copies = image.expand(len(patches), -1, -1, -1).clone()
    side = torch.arange(patches.shape[-1], device=image.device)
    copy = torch.arange(len(patches), device=image.device)[:, None, None]
    rows, columns = (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None, :]
    copies[copy, :, rows, columns] = patches.permute(0, 2, 3, 1)
    return copies
