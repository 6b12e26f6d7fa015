"""How often filters fire, how strongly and where: sparsity, dead filters and the spread of their peaks."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from interpretable.metrics.finite import refuse_nan
from interpretable.templates import peaks

_ROUNDING = 1e-12
"""Variance of positions below this share of their mean square is what cancellation leaves."""


class FilterActivityCounts(NamedTuple):
    """Sums over images, int64 and float64; those of several batches add up."""

    images: Tensor
    cells: Tensor
    """Cells of one filter's maps."""
    inactive_cells: Tensor
    """(C,) cells at 0 or less."""
    silent_images: Tensor
    """(C,) images with a peak of 0 or less."""
    peaks: Tensor
    """(C,) Σ of the peaks, each at least 0."""
    squared_peaks: Tensor
    """(C,) Σ of their squares."""
    positions: Tensor
    """(C, 2) Σ of x and y, from the image's centre, over its diagonal, of the peaks on images that are not silent."""
    squared_positions: Tensor
    """(C,) Σ of their squared lengths."""
    distinct_cells: Tensor
    """Σ of the numbers of cells in which the peaks of an image lie."""


class FilterActivityResult(NamedTuple):
    """Activity of each filter; NaN throughout where there is no image."""

    sparsity: Tensor
    """(C,) share of cells at 0 or less."""
    silent: Tensor
    """(C,) share of images on which the filter is silent: its peak is 0 or less."""
    dead: Tensor
    """Share of filters that are silent on every image."""
    treves_rolls: Tensor
    """(C,) (mean peak)² / mean squared peak: 1 where all images excite it alike, 1/N where one does; NaN if dead."""
    spread: Tensor
    """(C,) root mean squared distance of the peaks from their mean position, over the diagonal; NaN if dead."""
    mean_spread: Tensor
    """Mean over the filters that are not dead."""
    distinct_cells: Tensor
    """Mean over images of the number of different cells that hold the peaks of filters that are not silent."""


def filter_activity(
    maps: Float[Tensor, "image filter h w"], offset: float, stride: int, image_size: tuple[int, int]
) -> FilterActivityCounts:
    """The sums that `activity` turns into sparsity, dead filters and spread.

    Args:
        maps: Raw maps after the ReLU, before any mask.
        offset: Centre of unit 0 in pixels.
        stride: Distance between neighbouring units in pixels.
        image_size: (H, W) of the images in pixels.

    Raises:
        MetricError: There are NaN activations.
    """
    maps = maps.detach()
    images, _, h, w = maps.shape
    values, cell = peaks(maps)
    values = values.double()
    refuse_nan("feature maps", values)
    silent = values <= 0
    values = values.clamp(min=0)
    height, width = image_size
    x = offset + stride * (cell % w).double() - width / 2
    y = offset + stride * (cell // w).double() - height / 2
    position = torch.where(silent, 0, torch.stack([x, y]) / math.hypot(height, width))  # (2, N, C)
    # The peaks of silent filters go to a cell of their own, which is not counted.
    occupied = torch.zeros(images, h * w + 1, dtype=torch.bool, device=maps.device)
    occupied.scatter_(1, torch.where(silent, h * w, cell), True)
    return FilterActivityCounts(
        images=cell.new_tensor(images),
        cells=cell.new_tensor(images * h * w),
        inactive_cells=(maps <= 0).sum((0, 2, 3)),
        silent_images=silent.sum(0),
        peaks=values.sum(0),
        squared_peaks=values.square().sum(0),
        positions=position.sum(1).T,
        squared_positions=position.square().sum((0, 1)),
        distinct_cells=occupied[:, :-1].sum(),
    )


def activity(counts: FilterActivityCounts) -> FilterActivityResult:
    """Sparsity, dead filters, lifetime sparseness (Treves & Rolls 1991) and spread of the peaks."""
    images = counts.images.double()
    firing = counts.images - counts.silent_images
    mean = counts.positions / firing[:, None]  # NaN for a dead filter, like all that follows from it
    square = counts.squared_positions / firing
    variance = square - mean.square().sum(1)
    # A filter that always fires in one place has no spread, but a difference of two equal sums may be 1e-17.
    spread = torch.where(variance <= _ROUNDING * square, 0, variance).sqrt()
    return FilterActivityResult(
        sparsity=counts.inactive_cells / counts.cells.double(),
        silent=counts.silent_images / images,
        dead=torch.where(images > 0, (firing == 0).double().mean(), torch.nan),
        treves_rolls=(counts.peaks / images) ** 2 / (counts.squared_peaks / images),
        spread=spread,
        mean_spread=spread.nanmean(),
        distinct_cells=counts.distinct_cells / images,
    )


class FilterActivity(Metric):
    """Activity of a layer's filters; its states are the sums of `FilterActivityCounts`.

    Args:
        num_filters: Number of filters C.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, num_filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = filter_activity(torch.zeros(0, num_filters, 1, 1), offset=0.0, stride=1, image_size=(1, 1))
        for name, zeros in empty._asdict().items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self,
        maps: Float[Tensor, "image filter h w"],
        offset: float,
        stride: int,
        image_size: tuple[int, int],
    ) -> None:
        """Takes in a batch; arguments as for `filter_activity`."""
        for name, count in filter_activity(maps, offset, stride, image_size)._asdict().items():
            setattr(self, name, getattr(self, name) + count)

    def compute(self) -> FilterActivityResult:
        """Activity over all images seen."""
        return activity(FilterActivityCounts(*(getattr(self, name) for name in FilterActivityCounts._fields)))
