"""TracIn: influence of training images through the steps of training, by the last layer (Pruthi et al. 2020)."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float64
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.linear_head import LastLayer, check_same_head, head_gradients, row_slices
from interpretable.progress import Track, untracked


class TracIn:
    """TracInCP of the last layer: Σ over checkpoints of learning rate · g(z)·g(z′) (Pruthi et al. 2020, §3.2 and §4).

    g is the gradient of an image's cross-entropy by weights and biases of the head at the checkpoint, so that
    g(z)·g(z′) = (p − y)·(p′ − y′) · (h·h′ + 1). It is how much, to first order, the loss of z′ falls by a step of plain
    gradient descent on z alone from each checkpoint: positive is helpful. A head without a bias has h·h′ alone.
    """

    def __init__(self) -> None:
        self._checkpoints: list[LastLayer] = []

    def fit(self, checkpoints: Sequence[LastLayer], learning_rates: Sequence[float], track: Track = untracked) -> Self:
        """Takes in the training images as the head saw them at each checkpoint.

        Args:
            checkpoints: `last_layer_features` of the network at each checkpoint, for the same images in the same order.
            learning_rates: Of the training at each checkpoint, above 0.
            track: Shows how far the checkpoints are.

        Raises:
            InfluenceError: There is no checkpoint, checkpoints and rates are not as many, a rate is not above 0, labels
                differ between checkpoints, or numbers are not as `LastLayer` says.
        """
        if not checkpoints or len(checkpoints) != len(learning_rates):
            raise InfluenceError(
                "TracIn needs a learning rate for each of one checkpoint or more, got "
                f"{len(learning_rates)} rates of {len(checkpoints)} checkpoints; pass those of the same steps."
            )
        for rate in learning_rates:
            if not 0 < rate < math.inf:
                raise InfluenceError(f"A learning rate of TracIn must be a finite number above 0, got {rate}.")
        labels = checkpoints[0].labels
        for number, checkpoint in enumerate(track(checkpoints, "Checkpoints")):
            head_gradients(checkpoint, "cross_entropy")
            if not labels.equal(checkpoint.labels):
                raise InfluenceError(
                    f"All checkpoints must see the same images in the same order, but checkpoint {number} has other "
                    "labels than the first; take the features from a loader that does not shuffle."
                )
        self._checkpoints, self._rates = list(checkpoints), list(learning_rates)
        return self

    def influence(self, test: Sequence[LastLayer], track: Track = untracked) -> Float64[Tensor, "test image"]:
        """Influence (T, N) of each training image on each test image, float64.

        Args:
            test: The test images as the head saw them at each checkpoint.
            track: Shows how far the checkpoints are.

        Raises:
            InfluenceError: There are not as many as checkpoints, they were seen by other heads, or numbers are not as
                `LastLayer` says.
        """
        self._check_fitted()
        if len(test) != len(self._checkpoints) or len({len(seen.labels) for seen in test}) > 1:
            raise InfluenceError(
                f"Test images must be given as seen at each of {len(self._checkpoints)} checkpoints, got "
                f"{len(test)} of {', '.join(str(len(seen.labels)) for seen in test)} images."
            )
        seen = self._checkpoints[0].features
        result = seen.new_zeros(len(test[0].labels), len(seen), dtype=torch.float64)
        stages = list(zip(self._checkpoints, test, self._rates, strict=True))
        for checkpoint, tests, rate in track(stages, "Influence"):
            check_same_head(checkpoint, tests)
            trained, tested = head_gradients(checkpoint, "cross_entropy"), head_gradients(tests, "cross_entropy")
            for rows in row_slices(len(seen), len(result)):
                by_logits = tested.residuals @ trained.residuals[rows].T
                result[:, rows] += rate * by_logits * (tested.inputs @ trained.inputs[rows].T)
        return result

    def self_influence(self, track: Track = untracked) -> Float64[Tensor, " image"]:
        """Influence (N,) of each training image on itself, 0 or more; large where the label is surprising."""
        self._check_fitted()
        seen = self._checkpoints[0].features
        result = seen.new_zeros(len(seen), dtype=torch.float64)
        for checkpoint, rate in track(list(zip(self._checkpoints, self._rates, strict=True)), "Self-influence"):
            gradients = head_gradients(checkpoint, "cross_entropy")
            result += rate * gradients.residuals.square().sum(1) * gradients.inputs.square().sum(1)
        return result

    def _check_fitted(self) -> None:
        if not self._checkpoints:
            raise InfluenceError("Influence needs the training images first, got none; call fit.")
