"""Which filters do the work of which class: the drop of its accuracy when a filter is removed (Bau et al. 2020)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric

from interpretable.metrics.filter_ablation import AblationCounts, linear_ablation_counts
from interpretable.metrics.redundancy import RedundancyOrder, order_by_moments


class UnitImportanceResult(NamedTuple):
    """What each filter does for each class, and which filters repeat others."""

    accuracy: Tensor
    """(K,) float64, of the whole network; NaN where a class has no image."""
    drop: Tensor
    """(C, K) float64, by how much a class's accuracy falls without a filter; negative where it rises."""
    ranking: Tensor
    """(K, C) int64, the filters of each class, the most important first (`importance_ranking`)."""
    redundancy: RedundancyOrder


def importance_ranking(
    drop: Float[Tensor, "filter class"], contribution: Float[Tensor, "filter class"]
) -> Int64[Tensor, "class filter"]:
    """Filters of each class by falling drop, those of equal drop by falling contribution, then by index.

    Args:
        drop: Fall of each class's accuracy without a filter; NaN, of a class without images, counts as 0.
        contribution: What a filter adds to the class's logit; for a linear head W_kc times the mean feature.

    Returns:
        (K, C).
    """
    by_contribution = contribution.T.argsort(dim=1, descending=True, stable=True)
    drop = drop.T.nan_to_num(0.0).gather(1, by_contribution)
    return by_contribution.gather(1, drop.argsort(dim=1, descending=True, stable=True))


def unit_importance(
    features: Float[Tensor, "image filter"],
    weight: Float[Tensor, "class filter"],
    bias: Float[Tensor, " class"],
    labels: Int64[Tensor, " image"],
) -> UnitImportanceResult:
    """Importance of every filter for every class of a linear head on pooled maps, in closed form.

    Take it on training images and measure what removing the most important filters does to other images
    (`interpretable.metrics.group_ablation`): the ranking is chosen by the images that it is taken on.

    Args:
        features: What the linear layer reads of each filter, such as its map's mean.
        weight: W of the linear layer.
        bias: b of the linear layer, zeros where it has none.
        labels: Classes of the images.

    Raises:
        MetricError: There are NaN features, no image, or labels outside 0..K−1.
    """
    counts = linear_ablation_counts(features, weight, bias, labels)
    features = features.detach().double()
    return _result(counts, features.sum(0), features.T @ features, weight)


def _result(counts: AblationCounts, total: Tensor, products: Tensor, weight: Tensor) -> UnitImportanceResult:
    """From sums over images: counts, Σ f and Σ f fᵀ."""
    images = int(counts.images.sum())
    redundancy = order_by_moments(images, total, products)
    accuracy = counts.correct.double() / counts.images
    drop = (counts.correct - counts.ablated).double() / counts.images
    ranking = importance_ranking(drop, (weight.double() * (total / images)).T)
    return UnitImportanceResult(accuracy, drop, ranking, redundancy)


class UnitImportance(Metric):
    """Importance and redundancy of the filters of a linear head on pooled maps; its states are sums over images.

    Args:
        weight: (K, C) of the linear layer.
        bias: (K,), zeros where it has none.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    weight: Tensor
    bias: Tensor
    images: Tensor
    correct: Tensor
    ablated: Tensor
    total: Tensor
    products: Tensor

    def __init__(self, weight: Float[Tensor, "class filter"], bias: Float[Tensor, " class"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        num_classes, filters = weight.shape
        self.register_buffer("weight", weight.detach().clone(), persistent=False)
        self.register_buffer("bias", bias.detach().clone(), persistent=False)
        for name, shape in (("images", num_classes), ("correct", num_classes), ("ablated", (filters, num_classes))):
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(filters, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(filters, filters, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, features: Float[Tensor, "image filter"], labels: Int64[Tensor, " image"]) -> None:
        """Takes in the pooled features and the classes of a batch."""
        counts = linear_ablation_counts(features, self.weight, self.bias, labels)
        self.images = self.images + counts.images
        self.correct = self.correct + counts.correct
        self.ablated = self.ablated + counts.ablated
        features = features.detach().double()
        self.total = self.total + features.sum(0)
        self.products = self.products.addmm(features.T, features)

    def compute(self) -> UnitImportanceResult:
        """Importance over all images seen.

        Raises:
            MetricError: No image has been seen.
        """
        counts = AblationCounts(self.images, self.correct, self.ablated)
        return _result(counts, self.total, self.products, self.weight)
