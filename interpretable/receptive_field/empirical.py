"""Empirical receptive field: which part of the image changes a unit when it is hidden (Zhou et al. 2015)."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from interpretable.errors import MetricError
from interpretable.receptive_field.feature_maps import feature_maps
from interpretable.receptive_field.occlusion import ZHOU_2015, OccludedPeaks, Occluder, occluded_peaks
from interpretable.receptive_field.theoretical import ReceptiveField


@runtime_checkable
class Images(Protocol):
    """What yields image i as (C, H, W): a tensor (N, C, H, W), a list, a view of a data set."""

    def __getitem__(self, index: int, /) -> Tensor: ...


class EmpiricalReceptiveField(NamedTuple):
    """Fields of F filters, on windows of A×B pixels (both odd) round the pixel that holds the strongest unit's centre.

    Pixel (r, c) of a window lies r − A // 2 rows and c − B // 2 columns from that pixel. Tensors are on the CPU.
    """

    size: Tensor
    """(F,) float64, root of the region's area in pixels; 0 where hiding changes nothing, NaN without an image."""
    region: Tensor
    """(F, A, B) bool, where the discrepancy exceeds its threshold; `region_masks` lays it over the images."""
    discrepancy: Tensor
    """(F, A, B) float64, mean |a(x) − a(occluded x)| over the images that had an occluder centred there, 0 if none."""
    positions: Tensor
    """(F, K, 2), x and y in pixels of the strongest unit's centre; NaN on images on which the filter is silent."""
    images: Tensor
    """(F,) int64, the images that count: those on which the filter is not silent."""


def empirical_receptive_field(
    module: nn.Module,
    images: Images,
    filters: Int64[Tensor, " filter"],
    top: Int64[Tensor, "filter rank"],
    field: ReceptiveField,
    *,
    occluder: Occluder = ZHOU_2015,
    threshold: float = 0.2,
    batch_size: int = 256,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> EmpiricalReceptiveField:
    """What changes a filter's strongest unit when random noise hides it, averaged over images (Zhou et al. 2015).

    Each image is visited once for all filters that ask for it. A discrepancy belongs to the occluder's centre and the
    stride×stride pixels about it, so a region is at most as wide as theoretical field and occluder together, less one
    pixel, rounded up to whole strides. An occluder outside a unit's theoretical field counts as no change.

    Args:
        module: Maps images (B, C, H, W) to feature maps (B, C', h, w); run in evaluation mode and left as it was.
        images: Images of one size on the module's device, read when it is their turn.
        filters: Channels of the feature map, F of them.
        top: For each filter the indices of its K images, usually those on which it is strongest.
        field: Theoretical receptive field of the feature map.
        occluder: What slides over the images.
        threshold: Share of the largest mean discrepancy above which a pixel belongs to the region.
        batch_size: Occluded images in one forward pass.
        progress: Hands on the indices of the images as they are visited, as `rich.progress.track` does.

    Raises:
        ModelError: The output is no feature map.
        MetricError: There is no image, or images differ in size, are smaller than the occluder or give NaN.
    """
    top = top.cpu()
    order = torch.unique(top).tolist()
    if not order:
        raise MetricError(
            f"The empirical receptive field is a mean over images, got filters and images {tuple(top.shape)}; give it "
            "one of each at least."
        )
    size = images[order[0]].shape[-2:]
    # No place of the occluder that touches the field lies farther from its centre, and none outside the image.
    half = [min(-(-(field.size + occluder.side) // 2) + occluder.stride, length) for length in size]
    total = torch.zeros(len(top), 2 * half[0] + 1, 2 * half[1] + 1, dtype=torch.float64)
    reached = torch.zeros(total.shape, dtype=torch.int32)
    positions = torch.full((*top.shape, 2), torch.nan)
    with torch.inference_mode(), feature_maps(module) as run:
        for number in progress(order):
            image = images[number]
            _check_size(number, image, size)
            wanted = (top == number).any(1)
            seen = occluded_peaks(run, image, filters[wanted], field, occluder, batch_size)
            seen = OccludedPeaks(*(part.cpu() for part in seen))
            _check_numbers(number, seen)
            rows = wanted.nonzero()[:, 0][seen.values > 0]
            seen = OccludedPeaks(*(part[seen.values > 0] for part in seen))
            window, inside = _recentre(seen, occluder, half)
            total[rows] += window
            reached[rows] += inside
            positions[rows] = torch.where((top[rows] == number)[..., None], seen.positions[:, None], positions[rows])
    discrepancy = total / reached.clamp(min=1)
    region = discrepancy > threshold * discrepancy.amax((1, 2), keepdim=True)
    counted = (~positions.isnan().any(-1)).sum(1)
    area = region.sum((1, 2)).double()
    return EmpiricalReceptiveField(
        torch.where(counted > 0, area.sqrt(), torch.nan), region, discrepancy, positions, counted
    )


def region_masks(
    region: Bool[Tensor, "filter rows columns"], positions: Float[Tensor, "filter rank 2"], image_size: tuple[int, int]
) -> Bool[Tensor, "filter rank {image_size[0]} {image_size[1]}"]:
    """Regions round the strongest units as masks (F, K, H, W) of the images; empty where the position is NaN.

    Args:
        region: Regions of some filters, as `empirical_receptive_field` gives them.
        positions: Centres of their strongest units on K images, x and y in pixels.
        image_size: Height and width (H, W) of the images.
    """
    known = ~positions.isnan().any(-1)
    pixel = positions.nan_to_num().floor().long()
    (rows, row_inside), (columns, column_inside) = (
        _inside(torch.arange(length, device=region.device) - pixel[..., axis, None] + width // 2, width)
        for length, axis, width in zip(image_size, (1, 0), region.shape[1:], strict=True)
    )
    of_filter = torch.arange(len(region), device=region.device)[:, None, None, None]
    masks = region[of_filter, rows[..., :, None], columns[..., None, :]]
    return masks & row_inside[..., :, None] & (column_inside & known[..., None])[..., None, :]


def _recentre(seen: OccludedPeaks, occluder: Occluder, half: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Discrepancies (F, A, B) by the pixels' displacement from the strongest unit, and where there is one."""
    pixel = seen.positions.floor().long()
    (rows, row_inside), (columns, column_inside) = (
        _inside(
            (pixel[:, axis, None] + torch.arange(-reach, reach + 1) - (occluder.side - occluder.stride) // 2)
            // occluder.stride,
            places,
        )
        for axis, reach, places in zip((1, 0), half, seen.discrepancy.shape[1:], strict=True)
    )
    of_filter = torch.arange(len(pixel))[:, None, None]
    inside = row_inside[:, :, None] & column_inside[:, None]
    return torch.where(inside, seen.discrepancy[of_filter, rows[:, :, None], columns[:, None]], 0).double(), inside


def _inside(index: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Indices clamped to [0, length), and which of them lay there."""
    return index.clamp(0, length - 1), (index >= 0) & (index < length)


def _check_size(number: int, image: Tensor, size: Sequence[int]) -> None:
    if image.shape[-2:] != size:
        raise MetricError(
            f"The images must be of one size, got {tuple(image.shape[-2:])} pixels for image {number} after "
            f"{tuple(size)}; resize or crop them to one."
        )


def _check_numbers(number: int, seen: OccludedPeaks) -> None:
    if seen.values.isnan().any() or seen.discrepancy.isnan().any():
        raise MetricError(
            f"The activations must be numbers, got NaN on image {number}; look for a diverged network or a wrong "
            "normalisation of the images."
        )
