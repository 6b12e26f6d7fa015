"""Influence of training images by a network's last layer, with the exact Hessian (Koh and Liang 2017)."""

import math
from typing import NamedTuple, Self, get_args

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.head_hessian import LARGEST_FACTOR, FactorisedHessian, HeadHessian
from interpretable.influence.iterative_hessian import IterativeHessian
from interpretable.influence.linear_head import (
    HeadGradients,
    LastLayer,
    Loss,
    check_same_head,
    head_gradients,
    head_losses,
    outer_products,
    row_slices,
)
from interpretable.progress import Track, untracked

DAMPING_SHARE = 0.1
"""Damping where none is given, over the mean eigenvalue of the Hessian of the mean loss."""


class _Fitted(NamedTuple):
    training: LastLayer
    gradients: HeadGradients
    hessian: HeadHessian
    removed: Tensor
    """(N, K) residuals of the images as they are taken out."""


class LastLayerInfluence:
    """Influence of training images on the loss of others through a linear head on fixed features.

    With the Hessian H of the mean training loss over N images by weights and bias, weight decay on all of them as
    torch's optimizers have it, and damping d, the influence of z on t is I = g_tᵀ (H + d)⁻¹ g_z / N for the gradients
    g of the loss at an image with its own label. It is how much, to first order, the loss of t rises when z is taken
    out of the training: positive is helpful. Taken out means that the share 1/N of z leaves the mean loss, and all
    else, weight decay too, stays as it is. The head counts as fitted: a gradient that training has left is not looked
    at. A constant feature stands for the bias.

    The cross-entropy's H is factorised where it has `LARGEST_FACTOR` rows K·(D+1) at the most, and solved by conjugate
    gradients where it is larger; self-influence then takes a solution for each training image. That of the squared
    loss is one matrix of D+1 rows for all logits, factorised always. All is computed in float64.

    Args:
        loss: ``"cross_entropy"`` of the logits (of a single one, the binary), or ``"squared"``, ½‖logits − targets‖².
        damping: d; `DAMPING_SHARE` of the mean eigenvalue of the mean loss's Hessian where None.
        weight_decay: λ of the penalty λ/2·‖parameters‖², as trained with.
        leave_one_out: Whether H leaves out z too, which corrects for z's leverage. The change of parameters is then
            that of refitting exactly where the loss is squared, and that of a whole Newton step else.

    Attributes:
        damping_: d that it is fitted with.

    Raises:
        InfluenceError: There is no such loss, or damping or weight decay is negative or not finite.
    """

    damping_: float

    def __init__(
        self,
        *,
        loss: Loss = "cross_entropy",
        damping: float | None = None,
        weight_decay: float = 0.0,
        leave_one_out: bool = False,
    ) -> None:
        if loss not in get_args(Loss):
            raise InfluenceError(f"The loss must be one of {', '.join(get_args(Loss))}, got {loss!r}.")
        for name, value in (("damping", damping), ("weight decay", weight_decay)):
            if value is not None and not 0 <= value < math.inf:
                raise InfluenceError(f"The {name} must be a finite number of 0 or more, got {value}.")
        self.loss = loss
        self.damping = damping
        self.weight_decay = weight_decay
        self.leave_one_out = leave_one_out
        self._state: _Fitted | None = None

    def fit(self, training: LastLayer, track: Track = untracked) -> Self:
        """Takes in the training images and the head that was trained on them.

        Raises:
            InfluenceError: Numbers, labels or shapes are not as `LastLayer` says, the Hessian is singular, or too large
                for ``leave_one_out``.
        """
        gradients = head_gradients(training, self.loss)
        self.damping_ = DAMPING_SHARE * gradients.mean_curvature if self.damping is None else self.damping
        ridge = self.weight_decay + self.damping_
        size, removed = gradients.residuals.shape[1] * gradients.inputs.shape[1], gradients.residuals
        if self.loss == "squared" or size <= LARGEST_FACTOR:
            hessian = FactorisedHessian(gradients, ridge, track)
            if self.leave_one_out:
                removed = hessian.without_itself(gradients, track)
            self._state = _Fitted(training, gradients, hessian, removed)
        elif self.leave_one_out:
            raise InfluenceError(
                f"leave_one_out needs a Hessian of at most {LARGEST_FACTOR} rows, logits times inputs, got {size}; "
                "turn it off."
            )
        else:
            self._state = _Fitted(training, gradients, IterativeHessian(gradients, ridge, track), removed)
        return self

    def influence(self, test: LastLayer, track: Track = untracked) -> Float64[Tensor, "test image"]:
        """Influence (T, N) of each training image on each test image, float64.

        Raises:
            InfluenceError: The test images are not as `LastLayer` says, or were seen by another head.
        """
        fitted, gradients = self._fitted(), self._seen(test)
        images, size = len(fitted.removed), gradients.residuals.shape[1] * gradients.inputs.shape[1]
        result = gradients.inputs.new_empty(len(gradients.inputs), images)
        for tests in track(list(row_slices(len(result), size)), "Influence"):
            own = outer_products(gradients.residuals[tests], gradients.inputs[tests])
            preconditioned = fitted.hessian.solve(own).flatten(1)
            for rows in row_slices(images, size):
                removed = outer_products(fitted.removed[rows], fitted.gradients.inputs[rows])
                result[tests, rows] = preconditioned @ removed.flatten(1).T / images
        return result

    def self_influence(self, track: Track = untracked) -> Float64[Tensor, " image"]:
        """Influence (N,) of each training image on itself, 0 or more; large where the label is surprising."""
        fitted = self._fitted()
        inputs, residuals = fitted.gradients.inputs, fitted.gradients.residuals
        result = inputs.new_empty(len(inputs))
        for rows in track(list(row_slices(len(inputs), residuals.shape[1] * inputs.shape[1])), "Self-influence"):
            own = outer_products(residuals[rows], inputs[rows])
            removed = fitted.hessian.solve(outer_products(fitted.removed[rows], inputs[rows]))
            result[rows] = (own * removed).sum((1, 2)) / len(inputs)
        return result

    def parameter_changes(self, images: Int64[Tensor, " removed"]) -> Float64[Tensor, "removed logit input"]:
        """How weights, and in the last column biases, (R, K, D+1) change when each of some images alone is taken out.

        Args:
            images: (R,) positions of training images.
        """
        fitted = self._fitted()
        removed = outer_products(fitted.removed[images], fitted.gradients.inputs[images])
        return fitted.hessian.solve(removed) / len(fitted.removed)

    def loss_changes(self, test: LastLayer, track: Track = untracked) -> Float64[Tensor, "test image"]:
        """By how much (T, N) the loss of each test image rises with the parameters as each removal changes them.

        `influence` is its first order; with ``leave_one_out`` and the squared loss it is what refitting gives.

        Raises:
            InfluenceError: The test images are not as `LastLayer` says, or were seen by another head.
        """
        gradients = self._seen(test)
        images, (tests, logits) = len(self._fitted().removed), gradients.logits.shape
        result = gradients.inputs.new_empty(tests, images)
        before = head_losses(gradients.logits, gradients.targets, self.loss)
        for rows in track(list(row_slices(images, logits * (tests + gradients.inputs.shape[1]))), "Loss changes"):
            changes = self.parameter_changes(torch.arange(rows.start, rows.stop, device=result.device))
            logits_after = gradients.logits[:, None] + torch.einsum("nki,ti->tnk", changes, gradients.inputs)
            result[:, rows] = head_losses(logits_after, gradients.targets[:, None], self.loss) - before[:, None]
        return result

    def _seen(self, test: LastLayer) -> HeadGradients:
        check_same_head(self._fitted().training, test)
        return head_gradients(test, self.loss)

    def _fitted(self) -> _Fitted:
        if self._state is None:
            raise InfluenceError("Influence needs the training images first, got none; call fit.")
        return self._state
