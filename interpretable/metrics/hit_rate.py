"""Hit rate: how often a filter's peak falls inside a part's box, beside that of the best constant position."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from interpretable.metrics.peak_table import PeakTable, rows_of_class


class HitRate(NamedTuple):
    """Of one class and each of its P parts."""

    filters: Int64[Tensor, " part"]
    """The candidate that hits the part in most training images (ties: the lower index), −1 without any box there."""
    rates: Float[Tensor, " part"]
    """Share of the test images with a box of the part in which that filter hits it, NaN where there is none."""
    constant_rates: Float[Tensor, " part"]
    """The same of the pixel that lies in most training boxes (ties: the lowest row, then column)."""


def hit_rate(train: PeakTable, test: PeakTable, label: int, candidates: Int64[Tensor, " candidate"]) -> HitRate:
    """Hit rates of one class: filter and pixel are chosen on the training images and counted on the test images.

    Args:
        train: Images to choose on.
        test: Images to count on.
        label: The class.
        candidates: Filters to choose from, in ascending order.
    """
    train_hits, train_boxes = _hits(train, label, candidates)
    test_hits, test_boxes = _hits(test, label, candidates)
    best = train_hits.argmax(0)  # of equal ones the first
    chosen_hits = test_hits.gather(0, best[None]).squeeze(0)
    constant_hits = _constant_hits(test, label, _best_pixels(train, label))
    known = (train_boxes > 0) & (test_boxes > 0)
    return HitRate(
        torch.where(train_boxes > 0, candidates[best], -1),
        *(torch.where(known, hits.double() / test_boxes, torch.nan) for hits in (chosen_hits, constant_hits)),
    )


def inside(points: Float[Tensor, "*#shape 2"], boxes: Float[Tensor, "*#shape 4"]) -> Bool[Tensor, "*shape"]:
    """Whether points x, y lie in cxcywh boxes, edges included; never in a box that is NaN."""
    shift = points.double() - boxes[..., :2].double()
    return (shift.abs() <= boxes[..., 2:].double() / 2).all(-1)


def _hits(table: PeakTable, label: int, filters: Tensor) -> tuple[Tensor, Tensor]:
    """Number of hits (filters, P) and of boxes (P,) of a class."""
    parts = table.boxes.shape[1]
    hits = table.labels.new_zeros(len(filters), parts)
    number = table.labels.new_zeros(parts)
    for rows in rows_of_class(table, label, 2 * max(1, len(filters) * parts)):
        boxes = table.boxes[rows]
        fires = table.values[rows[:, None], filters] > 0
        hit = inside(table.positions[rows[:, None], filters][:, :, None], boxes[:, None])  # (n, filters, P)
        hits += (hit & fires[..., None]).sum(0)
        number += (~boxes.isnan().any(-1)).sum(0)
    return hits, number


def _best_pixels(table: PeakTable, label: int) -> Tensor:
    """Centre (P, 2) of the pixel that lies in most boxes of each part of a class."""
    parts = table.boxes.shape[1]
    of_class = table.labels == label
    if not of_class.any():
        return table.boxes.new_full((parts, 2), torch.nan)
    width, height = table.sizes[of_class].amax(0).ceil().long().tolist()
    columns, rows = (
        torch.arange(pixels, dtype=torch.float64, device=table.boxes.device) + 0.5 for pixels in (width, height)
    )
    # A box is a product of two intervals, so the counts of all pixels are one matrix product per part; in float32,
    # which counts exactly up to 2²⁴ images.
    counts = torch.zeros(parts, height, width, device=table.boxes.device)
    for images in rows_of_class(table, label, max(1, parts * (width + height))):
        boxes = table.boxes[images].double()[..., None]  # (n, P, 4, 1)
        across = ((columns - boxes[:, :, 0]).abs() <= boxes[:, :, 2] / 2).float()
        down = ((rows - boxes[:, :, 1]).abs() <= boxes[:, :, 3] / 2).float()
        counts += torch.einsum("nph,npw->phw", down, across)
    best = counts.flatten(1).argmax(1)
    return torch.stack([columns[best % width], rows[best // width]], -1)


def _constant_hits(table: PeakTable, label: int, points: Tensor) -> Tensor:
    """Number of boxes (P,) of a class that contain the point of their part."""
    return inside(points, table.boxes[table.labels == label]).sum(0)
