"""The pixels that network dissection counts: what a filter's mask and a concept share (Bau et al. 2017)."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics.quantiles import excess, live_maps
from interpretable.receptive_field import ReceptiveField
from interpretable.upsampling import interpolation_weights

_PIXELS_AT_A_TIME = 2**21


class DissectionCounts(NamedTuple):
    """Pixels counted over images; int64, additive over images."""

    intersection: Tensor
    """(C, L): pixels of concept l in the mask of filter c."""
    unit_area: Tensor
    """(C, Q): pixels in the mask of filter c, on the images that show any concept of category q."""
    concept_area: Tensor
    """(L,): pixels of concept l."""


def dissection_counts(
    maps: Float[Tensor, "image filter h w"],
    thresholds: Float[Tensor, " filter"],
    label_maps: Int[Tensor, "image layer H W"],
    concept_category: Int64[Tensor, " concept"],
    num_categories: int,
    field: ReceptiveField,
    image_size: tuple[int, int],
) -> DissectionCounts:
    """What the intersections over unions of all filters and concepts are made of.

    The mask of a filter is where its map, upsampled to the resolution of the labels, exceeds its threshold strictly.

    Args:
        maps: Feature maps.
        thresholds: Thresholds T of the filters, as `ActivationQuantile` gives them.
        label_maps: Concepts of each pixel, −1 for none; in layers, as several concepts may share a pixel, each at
            most once. A concept of the whole image fills a layer.
        concept_category: Category of each of the L concepts, below ``num_categories``.
        num_categories: Number of categories Q.
        field: Where the units lie in the image.
        image_size: Height and width of the input images in pixels.

    Raises:
        MetricError: An activation is NaN, or a label is no concept.
    """
    images, filters = maps.shape[:2]
    concepts = len(concept_category)
    _refuse_unknown(label_maps, concepts)
    area = _concept_areas(label_maps, concepts)
    shown = area.new_zeros(images, num_categories).index_add_(1, concept_category, area) > 0
    intersection = area.new_zeros(filters, concepts + 1)  # the first column takes pixels without a concept
    mask_area = area.new_zeros(images, filters)
    height, width = label_maps.shape[-2:]
    labels = label_maps.movedim(1, -1).to(torch.int64, memory_format=torch.contiguous_format)
    labels = labels.reshape(-1, label_maps.shape[1])  # (N·H·W, M)
    for image, filter_, row, mask in _mask_rows(maps, thresholds, (height, width), field, image_size):
        mask_area.view(-1).scatter_add_(0, image * filters + filter_, mask.sum(1))
        first_pixel, first_pair = (image * height + row) * width, filter_ * (concepts + 1) + 1
        which, column = mask.nonzero(as_tuple=True)
        pairs = labels.index_select(0, first_pixel[which] + column)
        pairs = pairs.add_(first_pair[which][:, None]).flatten()
        intersection.view(-1).scatter_add_(0, pairs, pairs.new_ones(()).expand_as(pairs))
    # float64 is exact for counts below 2⁵³ and, unlike int64, multiplied on every device.
    unit_area = (mask_area.T.double() @ shown.double()).long()
    return DissectionCounts(intersection[:, 1:].contiguous(), unit_area, area.sum(0))


def _refuse_unknown(label_maps: Tensor, concepts: int) -> None:
    if not label_maps.numel():
        return
    for label in map(int, label_maps.aminmax()):
        if not -1 <= label < concepts:
            raise MetricError(
                f"The labels must be concepts from 0 to {concepts - 1}, or -1 for none, got {label}; look for labels "
                "of another list of concepts."
            )


def _concept_areas(label_maps: Tensor, concepts: int) -> Tensor:
    """Pixels of each concept in each image, (N, L)."""
    dtype = torch.promote_types(label_maps.dtype, torch.int32)
    first = torch.arange(len(label_maps), device=label_maps.device, dtype=dtype) * (concepts + 1) + 1
    places = (label_maps + first[:, None, None, None]).flatten()
    return torch.bincount(places, minlength=len(label_maps) * (concepts + 1)).view(-1, concepts + 1)[:, 1:]


def _mask_rows(
    maps: Tensor, thresholds: Tensor, size: tuple[int, int], field: ReceptiveField, image_size: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Rows of the masks that may have a pixel: image, filter and row (R,), and the pixels (R, W), in chunks.

    Interpolation exceeds a threshold only between cells of which one does, so that maps without such a cell are not
    upsampled at all, and the others, once upsampled along their height, only in the rows that have one. On noise at a
    quantile of 0.005 this leaves an eightieth of the pixels.
    """
    down, across = (
        interpolation_weights(cells, pixels, field, image_pixels).to(
            maps.device, torch.promote_types(maps.dtype, torch.float32)
        )
        for cells, pixels, image_pixels in zip(maps.shape[-2:], size, image_size, strict=True)
    )
    pairs = live_maps(maps, thresholds).nonzero()
    for chunk in torch.split(pairs, max(1, _PIXELS_AT_A_TIME // (size[0] * maps.shape[-1]))):
        image, filter_ = chunk.unbind(1)
        above = excess(maps[image, filter_], thresholds[filter_])
        # The columns of cells come first: their maximum is then one over long rows.
        strips = (above.permute(2, 0, 1) @ down.T).flatten(1)  # (w, m·H)
        for live in torch.split((strips.amax(0) > 0).nonzero().squeeze(1), max(1, _PIXELS_AT_A_TIME // size[1])):
            pair = live // size[0]
            yield image[pair], filter_[pair], live % size[0], strips[:, live].T @ across.T > 0
