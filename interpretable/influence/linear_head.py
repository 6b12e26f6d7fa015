"""A linear head on fixed features: the gradients of its loss at single images, in closed form."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from interpretable.errors import InfluenceError

Loss = Literal["cross_entropy", "squared"]

_NUMBERS_AT_ONCE = 2**24
"""Bounds what is computed at once: 128 MiB of float64."""


class LastLayer(NamedTuple):
    """What a linear head sees of N images, and the head: logits are features · weightᵀ + bias."""

    features: Tensor
    """(N, D) what the head is given."""
    labels: Tensor
    """(N,) int64 classes 0 to K − 1; of the squared loss also (N, K) numbers."""
    weight: Tensor
    """(K, D); a single row gives the log-odds of class 1."""
    bias: Tensor | None
    """(K,), or None for a head without."""


class HeadGradients(NamedTuple):
    """Gradients of the loss by weights and bias at single images: outer products of ``residuals`` and ``inputs``."""

    inputs: Float64[Tensor, "image input"]
    """[features, 1] of a head with a bias, features of one without."""
    logits: Float64[Tensor, "image logit"]
    targets: Float64[Tensor, "image logit"]
    """Labels, one-hot where they are classes."""
    probabilities: Float64[Tensor, "image logit"] | None
    """Softmax of the logits, or the sigmoid of a single one; None for the squared loss."""

    @property
    def residuals(self) -> Float64[Tensor, "image logit"]:
        """Gradient by the logits: probabilities − targets, and logits − targets for the squared loss."""
        return (self.logits if self.probabilities is None else self.probabilities) - self.targets

    @property
    def mean_curvature(self) -> float:
        """Mean eigenvalue of the Hessian of the mean loss."""
        p = self.probabilities
        by_logits = 1.0 if p is None else (p - p.square()).mean(1)
        return float((by_logits * self.inputs.square().mean(1)).mean())


def head_gradients(data: LastLayer, loss: Loss) -> HeadGradients:
    """Gradients of ½‖logits − targets‖², or of the cross-entropy, at each image.

    Raises:
        InfluenceError: A number is not finite, a label no class, or shapes do not fit together.
    """
    _check(data, loss)
    features, weight = data.features.detach().double(), data.weight.detach().double()
    bias = None if data.bias is None else data.bias.detach().double()
    inputs = features if bias is None else torch.cat([features, features.new_ones(len(features), 1)], 1)
    logits = F.linear(features, weight, bias)
    classes = logits.shape[1]
    if data.labels.ndim == 2:
        targets = data.labels.to(logits)
    elif classes == 1:
        targets = data.labels[:, None].to(logits)
    else:
        targets = F.one_hot(data.labels.long(), classes).to(logits)
    if loss == "squared":
        return HeadGradients(inputs, logits, targets, None)
    return HeadGradients(inputs, logits, targets, logits.softmax(1) if classes > 1 else logits.sigmoid())


def head_losses(
    logits: Float[Tensor, "*batch logit"], targets: Float[Tensor, "*#batch logit"], loss: Loss
) -> Float[Tensor, "*batch"]:
    """The loss at each image: ½‖logits − targets‖², or the cross-entropy."""
    if loss == "squared":
        return (logits - targets).square().sum(-1) / 2
    partition = logits.logsumexp(-1) if logits.shape[-1] > 1 else F.softplus(logits).squeeze(-1)
    return partition - (targets * logits).sum(-1)


def outer_products(
    residuals: Float[Tensor, "image logit"], inputs: Float[Tensor, "image input"]
) -> Float[Tensor, "image logit input"]:
    """Gradients written out, the bias's last."""
    return residuals[:, :, None] * inputs[:, None]


def row_slices(rows: int, numbers: int) -> Iterator[slice]:
    """Successive slices of ``rows`` rows, each of as many as fit into memory if a row takes ``numbers`` numbers."""
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, numbers))
    return (slice(start, min(start + at_once, rows)) for start in range(0, rows, at_once))


def check_same_head(training: LastLayer, test: LastLayer) -> None:
    """Refuses, as an InfluenceError, test images that were seen by another head than the training images."""
    pairs = ((training.weight, test.weight), (training.bias, test.bias))
    if not all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs):
        raise InfluenceError(
            "Training and test images must have been seen by the same head, got two heads that differ; take the "
            "features of both from one network, and of several checkpoints in the same order."
        )


def _check(data: LastLayer, loss: Loss) -> None:
    features, labels, weight, bias = data
    shapes = [tuple(features.shape), tuple(weight.shape), None if bias is None else tuple(bias.shape)]
    fits = features.ndim == weight.ndim == 2 and features.shape[1] == weight.shape[1] and len(features) and len(weight)
    if not fits or shapes[2] not in (None, (len(weight),)):
        raise InfluenceError(
            "A linear head needs features (N, D) of at least one image, a weight (K, D) and a bias (K,) or None, got "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}; take them with last_layer_features."
        )
    if labels.shape[:1] != features.shape[:1]:
        raise InfluenceError(
            f"Each of {len(features)} images needs a label, got labels of shape {tuple(labels.shape)}; pass those of "
            "the same images."
        )
    for name, numbers in (("features", features), ("weights", weight), ("biases", bias), ("labels", labels)):
        if numbers is not None and not numbers.isfinite().all():
            row = int(numbers.isfinite().logical_not().nonzero()[0, 0])
            raise InfluenceError(
                f"The {name} must be finite numbers, got one that is not in row {row} of {len(numbers)}; look for a "
                "diverged network or a wrong normalisation of the images."
            )
    if loss == "squared" and labels.ndim == 2:
        if labels.shape != (len(features), len(weight)):
            raise InfluenceError(
                f"Labels of the squared loss must be classes (N,) or numbers ({len(features)}, {len(weight)}), got "
                f"shape {tuple(labels.shape)}."
            )
        return
    if labels.ndim != 1 or labels.is_floating_point():
        raise InfluenceError(
            f"Labels of the loss {loss} must be integers (N,), got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    most = max(len(weight), 2)
    outside = (labels < 0) | (labels >= most)
    if outside.any():
        row = int(outside.int().argmax())
        raise InfluenceError(
            f"Labels must be classes from 0 to {most - 1}, got {int(labels[row])} in row {row} of {len(labels)}; leave "
            "out images of no class."
        )
