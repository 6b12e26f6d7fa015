"""What part tracking and the hit rate read: where each filter peaks in each image, and where the parts are."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics.finite import refuse_nan

_NUMBERS_AT_ONCE = 2**20
"""Bounds what is computed at once, so that memory does not grow with the number of images."""


class PeakTable(NamedTuple):
    """N images, C filters and P parts; a filter is silent on an image where its peak is 0 or less."""

    values: Float[Tensor, "image filter"]
    """Peak activations."""
    positions: Float[Tensor, "image filter 2"]
    """x and y of the peaks in image pixels; of a silent filter they are never read."""
    landmarks: Float[Tensor, "image part 2"]
    """x and y of the parts in image pixels, NaN where an image does not show the part."""
    boxes: Float[Tensor, "image part 4"]
    """cxcywh of the parts in image pixels, NaN where not annotated."""
    labels: Int64[Tensor, " image"]
    """Classes of the images; those that are no class are left out."""
    sizes: Num[Tensor, "image 2"]
    """W and H of the images in pixels."""


def refuse_unusable(train: PeakTable, test: PeakTable) -> None:
    """Raises a MetricError where peaks are no numbers or the tables are not of the same filters and parts."""
    shapes = [(table.values.shape[1], table.landmarks.shape[1]) for table in (train, test)]
    if shapes[0] != shapes[1]:
        raise MetricError(
            "The training and test images must have the same filters and parts, got {} filters and {} parts against "
            "{} and {}; read both from the same layer and data set.".format(*shapes[0], *shapes[1])
        )
    for name, table in (("training", train), ("test", test)):
        refuse_nan(f"peak activations of the {name} images", table.values)
        read = torch.where(table.values > 0, table.positions.sum(-1), 0)
        refuse_nan(f"peak positions of the {name} images", read)


def rows_of_class(table: PeakTable, label: int, numbers_per_image: int) -> Iterator[Int64[Tensor, " chunk"]]:
    """Yields the rows of the images of a class, as many at once as memory allows at so many numbers per image.

    A class without an image yields once, no row.
    """
    rows = (table.labels == label).nonzero().squeeze(1)
    yield from torch.split(rows, max(1, _NUMBERS_AT_ONCE // numbers_per_image))


def most_active_filters(table: PeakTable, label: int, number: int) -> Int64[Tensor, " chosen"]:
    """The filters with the highest mean peak over the images of a class, in ascending order; ties to the lower index.

    A peak below 0 counts as 0; there are fewer than ``number`` where the layer has fewer.
    """
    total = table.values.new_zeros(table.values.shape[1], dtype=torch.float64)
    for rows in rows_of_class(table, label, table.values.shape[1]):
        total += table.values[rows].double().clamp(min=0).sum(0)
    return total.argsort(descending=True, stable=True)[:number].sort().values
