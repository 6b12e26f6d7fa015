"""Network dissection: which concept a filter's strongest activations cover (Bau et al. 2017)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torchmetrics import Metric

from interpretable.metrics.dissection_counts import DissectionCounts, dissection_counts
from interpretable.metrics.dissection_report import DissectionReport, dissection_report, iou
from interpretable.receptive_field import ReceptiveField


class NetworkDissectionResult(NamedTuple):
    """What each filter covers, in numbers and in names."""

    iou: Tensor
    """(C, L), float64."""
    report: DissectionReport


class NetworkDissection(Metric):
    """Network dissection of a layer's filters on images with concept labels; its memory does not grow with them.

    An IoU of 0.04 means something only for labels as dense as those it was chosen on: show beside it the same numbers
    for maps that `rotate` has taken to another basis, and for labels that `shuffled_images` has taken from others.

    Args:
        thresholds: Thresholds T of the filters, (C,) or a scalar for one, from a first pass with `ActivationQuantile`.
        concept_category: Category of each concept, (L,) int64.
        num_categories: Number of categories Q.
        field: Where the units lie in the image.
        iou_threshold: IoU above which a filter is a detector.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    thresholds: Tensor
    concept_category: Tensor
    intersection: Tensor
    unit_area: Tensor
    concept_area: Tensor

    def __init__(
        self,
        thresholds: Float[Tensor, "*filter"],
        concept_category: Int64[Tensor, " concept"],
        num_categories: int,
        field: ReceptiveField,
        iou_threshold: float = 0.04,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.register_buffer("thresholds", thresholds.flatten(), persistent=False)
        self.register_buffer("concept_category", concept_category, persistent=False)
        self.num_categories = num_categories
        self.field = field
        self.iou_threshold = iou_threshold
        filters, concepts = len(self.thresholds), len(concept_category)
        for state, shape in zip(
            DissectionCounts._fields, ((filters, concepts), (filters, num_categories), (concepts,)), strict=True
        ):
            self.add_state(state, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        maps: Float[Tensor, "image filter h w"],
        label_maps: Int[Tensor, "image layer H W"],
        image_size: tuple[int, int],
    ) -> None:
        """Takes in a batch; arguments as for `dissection_counts`."""
        counts = dissection_counts(
            maps.detach(),
            self.thresholds,
            label_maps,
            self.concept_category,
            self.num_categories,
            self.field,
            image_size,
        )
        self.intersection += counts.intersection
        self.unit_area += counts.unit_area
        self.concept_area += counts.concept_area

    def compute(self) -> NetworkDissectionResult:
        """IoU and report over all images seen."""
        overlap = iou(DissectionCounts(self.intersection, self.unit_area, self.concept_area), self.concept_category)
        report = dissection_report(overlap, self.concept_category, self.iou_threshold, self.num_categories)
        return NetworkDissectionResult(overlap, report)
