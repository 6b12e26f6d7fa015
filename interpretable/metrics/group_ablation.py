"""Accuracy of a single class without, or with nothing but, the filters that matter most to it (Bau et al. 2020)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric

from interpretable.errors import MetricError
from interpretable.metrics.class_labels import refuse_unknown_class
from interpretable.metrics.filter_ablation import CHUNK_BYTES, decide, in_one_precision, linear_logits

GROUP_SIZES = (1, 2, 3, 4, 5, 20, 64, 128, 256)
"""Numbers of removed filters of the paper."""


class GroupCounts(NamedTuple):
    """Sums over images, int64."""

    images: Tensor
    """(K,) images of each class."""
    hits: Tensor
    """(2, K, S) images of class k still given to it, first without its most important filters, then with them alone."""
    alarms: Tensor
    """(2, K, S) images of other classes given to class k."""


class GroupAblationResult(NamedTuple):
    """Balanced single-class accuracy: the mean of the recall of class k's images and the specificity on all others.

    1/2 says that the class is lost. NaN where a class has no image, or no other class has.
    """

    sizes: Tensor
    """(S,) int64, numbers of filters."""
    group_accuracy: Tensor
    """(K, S) float64, without that many of the class's most important filters."""
    keep_accuracy: Tensor
    """(K, S) float64, with them alone."""


def group_accuracy(
    logits_of: Callable[[Tensor], Tensor],
    ranking: Int64[Tensor, "class filter"],
    labels: Int64[Tensor, " image"],
    sizes: Sequence[int],
    keep: bool = False,
) -> Float[Tensor, "class size"]:
    """Balanced accuracy of class k without its most important filters, through any head: K·S passes over the images.

    Args:
        logits_of: Takes the filters that are left, (C,) bool, and gives the logits (N, K) of all images with the
            others' maps set to 0.
        ranking: Filters of each class, the most important first.
        labels: Classes of the images.
        sizes: Numbers of filters, 0 to C.
        keep: Whether those filters are the only ones left, and not the ones removed.

    Returns:
        (K, S) float64, each the mean of the recall on class k's images and the specificity on the others, as decided
        by the largest logit; NaN where there are none of either.

    Raises:
        MetricError: A size or a label is out of range, or logits are NaN or not one per class.
    """
    num_classes, filters = ranking.shape
    _check_sizes(sizes, filters)
    refuse_unknown_class(labels, num_classes)
    counts = labels.new_zeros(2, num_classes, len(sizes))
    for label in range(num_classes):
        of_class = labels == label
        for column, size in enumerate(sizes):
            left = torch.full((filters,), not keep, device=labels.device)
            left[ranking[label, :size]] = keep
            given = decide(logits_of(left), num_classes) == label
            counts[:, label, column] = torch.stack([(given & of_class).sum(), (given & ~of_class).sum()])
    return balanced_accuracy(labels.bincount(minlength=num_classes), *counts)


def linear_group_counts(
    features: Float[Tensor, "image filter"],
    weight: Float[Tensor, "class filter"],
    bias: Float[Tensor, " class"],
    labels: Int64[Tensor, " image"],
    ranking: Int64[Tensor, "class filter"],
    sizes: Sequence[int],
) -> GroupCounts:
    """What both forms of `group_accuracy` divide, in closed form for a linear head on pooled maps.

    Only the products of the ranked filters are computed, Σ_s s of them per class, image and logit.
    """
    num_classes, filters = weight.shape
    _check_sizes(sizes, filters)
    refuse_unknown_class(labels, num_classes)
    features, weight, bias = in_one_precision(features, weight, bias)
    hits, alarms = labels.new_zeros(2, 2, num_classes, len(sizes))
    # Per image: its features once more in another order, and the logits of both forms for each size.
    per_chunk = max(1, CHUNK_BYTES // ((2 * filters + 4 * num_classes * len(sizes)) * features.itemsize))
    for part, labels_of_part in zip(torch.split(features, per_chunk), torch.split(labels, per_chunk), strict=True):
        logits, columns = linear_logits(part, weight, bias).T, part.T.contiguous()
        for label, order in enumerate(ranking):
            of_class = labels_of_part == label
            leading = order[: max(sizes)]
            products = _products(columns[leading], weight[:, leading], sizes)
            given = torch.stack([_wins(logits - products, label), _wins(products + bias[:, None], label)])  # (2, S, N)
            hits[:, label] += (given & of_class).sum(-1)
            alarms[:, label] += (given & ~of_class).sum(-1)
    return GroupCounts(labels.bincount(minlength=num_classes), hits, alarms)


def balanced_accuracy(
    images: Int64[Tensor, " class"], hits: Int64[Tensor, "*form class size"], alarms: Int64[Tensor, "*form class size"]
) -> Float[Tensor, "*form class size"]:
    """Mean of recall and specificity from the counts of `GroupCounts`."""
    of_class, of_others = images[:, None].double(), (images.sum() - images)[:, None].double()
    return (hits / of_class + 1 - alarms / of_others) / 2


class GroupAblation(Metric):
    """Balanced accuracy of each class without, and with nothing but, growing groups of its most important filters.

    The ranking comes from other images than those that this metric sees: `UnitImportance` on the training images.

    Args:
        weight: (K, C) of the linear layer on pooled maps.
        bias: (K,), zeros where it has none.
        ranking: (K, C) int64, filters of each class, the most important first.
        sizes: Numbers of filters, 0 to C; the paper's, as far as there are that many filters, where omitted.
        kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        MetricError: A size is out of range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    weight: Tensor
    bias: Tensor
    ranking: Tensor
    images: Tensor
    hits: Tensor
    alarms: Tensor

    def __init__(
        self,
        weight: Float[Tensor, "class filter"],
        bias: Float[Tensor, " class"],
        ranking: Int64[Tensor, "class filter"],
        sizes: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        num_classes, filters = weight.shape
        self.sizes = [size for size in GROUP_SIZES if size <= filters] if sizes is None else list(sizes)
        _check_sizes(self.sizes, filters)
        for name, tensor in (("weight", weight), ("bias", bias), ("ranking", ranking)):
            self.register_buffer(name, tensor.detach().clone(), persistent=False)
        self.add_state("images", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("hits", "alarms"):
            empty = torch.zeros(2, num_classes, len(self.sizes), dtype=torch.int64)
            self.add_state(name, empty, dist_reduce_fx="sum")

    def update(self, features: Float[Tensor, "image filter"], labels: Int64[Tensor, " image"]) -> None:
        """Takes in the pooled features and the classes of a batch."""
        counts = linear_group_counts(features, self.weight, self.bias, labels, self.ranking, self.sizes)
        self.images = self.images + counts.images
        self.hits = self.hits + counts.hits
        self.alarms = self.alarms + counts.alarms

    def compute(self) -> GroupAblationResult:
        """Both accuracies over all images seen."""
        sizes = torch.tensor(self.sizes, dtype=torch.int64, device=self.images.device)
        return GroupAblationResult(sizes, *balanced_accuracy(self.images, self.hits, self.alarms))


def _products(features: Tensor, weight: Tensor, sizes: Sequence[int]) -> Float[Tensor, "size class image"]:
    """What the first filters (C, N) add to the logits, for each number of them."""
    with torch.autocast(features.device.type, enabled=False):
        return torch.stack([weight[:, :size] @ features[:size] for size in sizes])


def _wins(logits: Float[Tensor, "size class image"], label: int) -> Bool[Tensor, "size image"]:
    """Whether argmax would take the class, found in a tenth of its time."""
    own, least = logits[:, label], logits.new_full((len(logits), 1, logits.shape[2]), -torch.inf)
    lower = torch.cat([least, logits[:, :label]], 1).amax(1)
    return (own > lower) & (own == logits[:, label:].amax(1))


def _check_sizes(sizes: Sequence[int], filters: int) -> None:
    wrong = [size for size in sizes if not 0 <= size <= filters]
    if wrong or not sizes:
        found = wrong[0] if wrong else "none"
        raise MetricError(
            f"Group sizes must be 0 to {filters}, the number of filters, got {found}; leave such sizes out."
        )
