"""Measures that need the pixels of parts: part purity and part interpretability."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.data.samples import Batch
from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.stored_filters import BATCH, StoredFilters
from interpretable.metrics import ActivationQuantile, PartInterpretability, PartPurity
from interpretable.progress import Track


def add_part_masks(evaluation: Evaluation, filters: StoredFilters, batches: Iterable[Batch], track: Track) -> None:
    """How well the filters' regions match part masks (Zhang et al. 2018, §5.2), and in which part their peaks lie.

    Where the data has boxes and no masks, a part's box stands for its mask, which ``about.part_regions`` then says.

    Args:
        evaluation: Takes the numbers.
        filters: The filters.
        batches: The test images with their annotations, in order, `BATCH` at a time.
        track: Shows how far the work is.
    """
    # The paper does not state the radius of the disc that stands for an active unit. Discs as large as the effective
    # field of a top layer cover most of an image and match no part, whatever the filter; one stride joins neighbours.
    radius = float(filters.field.stride)
    quantile = ActivationQuantile(filters.num_filters, count=len(filters.test) * _cells(filters))
    for _, maps in filters.maps():
        quantile.update(maps)
    thresholds = quantile.compute().float()
    parts = len(filters.test.parts)
    category = torch.tensor(evaluation.filters["category"]).long()
    discs, upsampled = (
        PartInterpretability(thresholds, filters.num_classes, parts, filters.field, kind, category=category)
        for kind in (radius, None)
    )
    purity = PartPurity(filters.num_filters, parts)
    peaks = filters.test_peaks
    from_boxes = False
    for (rows, maps), batch in zip(filters.maps(), track(batches, "part masks"), strict=True):
        given = batch.get("masks")
        from_boxes = given is None
        masks = (
            box_masks(batch["boxes"], filters.test.image_size) if given is None else given.as_subclass(Tensor).bool()
        )
        labels = filters.test.labels[rows]
        for metric in (discs, upsampled):
            metric.update(maps, masks.bool(), labels, filters.test.image_size)
        index = torch.arange(rows.start, rows.stop)
        purity.update(peaks.positions[rows], peaks.values[rows], masks.bool(), index, filters.test.image_size)
    found, by_upsampling, pure = discs.compute(), upsampled.compute(), purity.compute()
    evaluation.about["part_regions"] = "boxes" if from_boxes else "masks"
    evaluation.about["disc_radius"] = radius
    evaluation.add(
        part_interpretability=found.mean, part_interpretability_upsampled=by_upsampling.mean, part_purity=pure.mean
    )
    evaluation.add_filters(
        part_interpretability=found.per_filter, part=pure.part, part_purity=pure.purity, threshold=thresholds
    )


def box_masks(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(N, P, H, W) bool: pixels whose centre is in a part's box (N, P, 4), cxcywh; none where it is not annotated."""
    height, width = image_size
    centre_x, centre_y, box_width, box_height = boxes.as_subclass(Tensor)[..., None].unbind(-2)
    columns = (torch.arange(width) + 0.5 - centre_x).abs() <= box_width / 2  # false for NaN
    rows = (torch.arange(height) + 0.5 - centre_y).abs() <= box_height / 2
    return rows[..., :, None] & columns[..., None, :]


def annotated_batches(dataset: object, workers: int = 0) -> DataLoader[Batch]:
    """The images of a data set in order, in the batches that measures take."""
    return DataLoader(dataset, batch_size=BATCH, num_workers=workers)  # type: ignore[arg-type]


def _cells(filters: StoredFilters) -> int:
    info = filters.test.layer(filters.layer).info
    return info.height * info.width
