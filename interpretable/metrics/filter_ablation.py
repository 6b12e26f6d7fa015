"""Accuracy of each class with one filter removed: closed form for pooled linear heads, the masked head otherwise.

Both start from the network's own decisions and look only at (image, filter) pairs whose decision can change, so that
a removed filter which does nothing leaves every number exactly as it was.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from interpretable.errors import MetricError
from interpretable.metrics.class_labels import refuse_unknown_class
from interpretable.metrics.finite import refuse_nan

CHUNK_BYTES = 2**26
"""Memory that the pairs of a chunk, or the maps of one call of a head, take at the most."""

_OPERANDS = 4
"""Tensors of one number per image, filter and class that are alive at once where no pair can be left out."""


class AblationCounts(NamedTuple):
    """Sums over images, int64."""

    images: Tensor
    """(K,) images of each class."""
    correct: Tensor
    """(K,) of them, those that the whole network gets right."""
    ablated: Tensor
    """(C, K) those that it gets right without filter c."""


def class_accuracy(
    logits: Float[Tensor, "image class"], labels: Int64[Tensor, " image"], num_classes: int
) -> Float[Tensor, " class"]:
    """Share of each class's images whose largest logit, the first of equal ones, is that of the class.

    Args:
        logits: One column per class.
        labels: Classes of the images.
        num_classes: Number of classes K.

    Returns:
        (K,) float64, NaN where a class has no image.

    Raises:
        MetricError: There are NaN logits, another number of columns, or labels outside 0..K−1.
    """
    images, correct = _class_counts(decide(logits, num_classes), labels, num_classes)
    return correct.double() / images


def linear_ablation_counts(
    features: Float[Tensor, "image filter"],
    weight: Float[Tensor, "class filter"],
    bias: Float[Tensor, " class"],
    labels: Int64[Tensor, " image"],
) -> AblationCounts:
    """What `linear_ablation_accuracy` divides; same arguments. Counts of several batches add up."""
    filters, num_classes = weight.shape[1], len(weight)
    features, weight, bias = in_one_precision(features, weight, bias)
    logits = linear_logits(features, weight, bias)
    decided = decide(logits, num_classes)
    images, correct = _class_counts(decided, labels, num_classes)
    ablated = correct.repeat(filters, 1)
    reach = weight.amax(0) - weight.amin(0)
    largest = logits.topk(min(2, num_classes)).values
    # Rounding of the logits must not hide a pair that ends in a tie.
    margin = largest[:, 0] - largest[:, -1] - 8 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
    per_chunk = max(1, CHUNK_BYTES // (_OPERANDS * filters * num_classes * logits.itemsize))
    for rows in torch.split(torch.arange(len(features), device=features.device), per_chunk):
        # No two logits move apart by more than this, so below the margin the decision stands.
        row, filter_ = (features[rows].abs() * reach >= margin[rows, None]).nonzero(as_tuple=True)
        image = rows[row]
        shifted = logits[image] - features[image, filter_, None] * weight.T[filter_]
        _count_changes(ablated, filter_, labels[image], decided[image], shifted.argmax(1))
    return AblationCounts(images, correct, ablated)


def linear_ablation_accuracy(
    features: Float[Tensor, "image filter"],
    weight: Float[Tensor, "class filter"],
    bias: Float[Tensor, " class"],
    labels: Int64[Tensor, " image"],
) -> Float[Tensor, "filter class"]:
    """Accuracy of each class when one filter is set to 0, for a linear head on pooled maps (Bau et al. 2020).

    Without filter c the logits are those of the whole network less f_c · W_:c: no forward pass is needed. The cost is
    that of the plain logits, one comparison per image and filter, and K operations for each pair in which the filter
    moves two logits apart by more than the distance between the image's two largest.

    Args:
        features: What the linear layer reads of each filter, such as its map's mean.
        weight: W of the linear layer.
        bias: b of the linear layer, zeros where it has none.
        labels: Classes of the images.

    Returns:
        (C, K) float64, NaN where a class has no image. Equal logits go to the lower class.

    Raises:
        MetricError: There are NaN features, or labels outside 0..K−1.
    """
    counts = linear_ablation_counts(features, weight, bias, labels)
    return counts.ablated.double() / counts.images


@torch.no_grad()
def head_ablation_accuracy(
    head: Callable[[Tensor], Tensor],
    maps: Float[Tensor, "image filter h w"],
    labels: Int64[Tensor, " image"],
    num_classes: int,
    filters: Int64[Tensor, " removed"] | None = None,
) -> Float[Tensor, "removed class"]:
    """Accuracy of each class when one filter's map is set to 0, through any head.

    Each call of the head takes as many (image, filter) pairs as fit into ``CHUNK_BYTES`` of maps; images on which a
    filter's map is 0 everywhere are not computed again.

    Args:
        head: Maps raw maps (n, C, h, w) to logits (n, K), each image by itself (in eval mode).
        maps: Maps that the head reads.
        labels: Classes of the images.
        num_classes: Number of classes K.
        filters: Indices of the filters to remove, one at a time; all of them where omitted.

    Returns:
        (F, K) float64, in the order of ``filters``; NaN where a class has no image.

    Raises:
        MetricError: There are NaN maps, labels outside 0..K−1, or logits of another number of classes.
    """
    refuse_nan("feature maps", maps)
    filters = torch.arange(maps.shape[1], device=maps.device) if filters is None else filters
    per_call = max(1, CHUNK_BYTES // (maps[0].numel() * maps.itemsize)) if len(maps) else 1
    decided = torch.cat([decide(head(part), num_classes) for part in torch.split(maps, per_call)])
    images, correct = _class_counts(decided, labels, num_classes)
    ablated = correct.repeat(len(filters), 1)
    active = (maps != 0).flatten(2).any(-1)[:, filters]
    for pairs in torch.split(active.nonzero(), per_call):
        image, which = pairs.unbind(1)
        without = maps[image]
        without[torch.arange(len(pairs), device=maps.device), filters[which]] = 0
        _count_changes(ablated, which, labels[image], decided[image], decide(head(without), num_classes))
    return ablated.double() / images


def in_one_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the widest of their types, float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.detach().to(dtype) for tensor in tensors)


def linear_logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, K) logits of pooled features, also under autocast in the precision of the arguments."""
    refuse_nan("pooled features", features)
    with torch.autocast(features.device.type, enabled=False):
        return F.linear(features, weight, bias)


def decide(logits: Tensor, num_classes: int) -> Tensor:
    """(N,) class of the largest logit, the lowest of equal ones.

    Raises:
        MetricError: There are NaN logits, or another number of columns than classes.
    """
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise MetricError(
            f"Logits must have one column for each of {num_classes} classes, got shape {tuple(logits.shape)}; give the "
            "number of classes that the head decides between."
        )
    refuse_nan("logits", logits)
    return logits.argmax(1)


def _class_counts(decided: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    refuse_unknown_class(labels, num_classes)
    return labels.bincount(minlength=num_classes), labels[decided == labels].bincount(minlength=num_classes)


def _count_changes(ablated: Tensor, row: Tensor, labels: Tensor, before: Tensor, after: Tensor) -> None:
    """Adds to (row, label) of the counts what a pair's new decision gains or loses."""
    change = (after == labels).long() - (before == labels).long()
    ablated.view(-1).index_add_(0, row * ablated.shape[1] + labels, change)
