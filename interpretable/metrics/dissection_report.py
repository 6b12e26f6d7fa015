"""What filters detect, by their overlap with concepts, counted in both of the usual ways (Bau et al. 2017)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics.dissection_counts import DissectionCounts


def iou(counts: DissectionCounts, concept_category: Int64[Tensor, " concept"]) -> Float[Tensor, "filter concept"]:
    """Intersection over union of each filter's mask and each concept, float64, 0 where both are empty.

    The union counts the mask only on images that show any concept of the concept's category (Bau et al. 2017, eq. 1):
    elsewhere the category was not annotated, and what the mask covers is unknown.
    """
    union = counts.unit_area[:, concept_category] + counts.concept_area - counts.intersection
    return counts.intersection.double() / union.clamp(min=1)


class DissectionReport(NamedTuple):
    """Names of the filters, and how many of them are detectors, counted in both of the usual ways.

    A detector's IoU is above the threshold, strictly. Of equal concepts the lowest is taken.
    """

    concept: Tensor
    """(C,) int64: concept of the highest IoU."""
    score: Tensor
    """(C,): that IoU."""
    detector: Tensor
    """(C,) bool."""
    num_detectors: Tensor
    """Filters that are detectors of their best concept; as every other count a scalar, or (Q,) where said."""
    unique_concepts: Tensor
    """Different best concepts of the detectors: each filter counts once."""
    category_concept: Tensor
    """(C, Q) int64: concept of the highest IoU within each category, −1 for a category without concepts."""
    category_score: Tensor
    """(C, Q): that IoU, NaN for a category without concepts."""
    detectors_per_category: Tensor
    """(Q,): filters that are detectors of their best concept within the category."""
    unique_per_category: Tensor
    """(Q,): different concepts that these detect."""
    unique_by_category: Tensor
    """Sum of the above, the published number of unique detectors: a filter may count once in every category."""


def dissection_report(
    iou: Float[Tensor, "filter concept"],
    concept_category: Int64[Tensor, " concept"],
    threshold: float = 0.04,
    num_categories: int | None = None,
) -> DissectionReport:
    """Best concepts, detectors and unique detectors (Bau et al. 2017, §2.4).

    Args:
        iou: IoU of each filter and concept.
        concept_category: Category of each concept.
        threshold: IoU above which a filter is a detector; 0.04 goes with labels as dense as Broden's.
        num_categories: Number of categories Q; as many as the concepts have where it is not given.

    Raises:
        MetricError: There is no concept.
    """
    filters, concepts = iou.shape
    if not concepts:
        raise MetricError("A dissection must have a concept at least, got none; give the labels of some concepts.")
    categories = int(concept_category.max()) + 1 if num_categories is None else num_categories
    score, concept = iou.max(1)
    category_score = iou.new_full((filters, categories), torch.nan)
    category_concept = torch.full_like(category_score, -1, dtype=torch.int64)
    for category in torch.unique(concept_category).tolist():
        members = (concept_category == category).nonzero().squeeze(1)
        category_score[:, category], best = iou[:, members].max(1)
        category_concept[:, category] = members[best]
    detects = category_score > threshold  # (C, Q)
    # A concept has one category, so that the categories' detected concepts can be marked in one row of L flags.
    detected = concept_category.new_zeros(concepts).index_fill_(0, category_concept[detects], 1)
    unique = concept_category.new_zeros(categories).index_add_(0, concept_category, detected)
    return DissectionReport(
        concept=concept,
        score=score,
        detector=score > threshold,
        num_detectors=(score > threshold).sum(),
        unique_concepts=torch.tensor(len(torch.unique(concept[score > threshold])), device=iou.device),
        category_concept=category_concept,
        category_score=category_score,
        detectors_per_category=detects.sum(0),
        unique_per_category=unique,
        unique_by_category=unique.sum(),
    )
