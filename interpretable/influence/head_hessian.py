"""The Hessian of a linear head's mean loss by weights and bias, and its inverse by a factor.

At one image it is Q ⊗ hhᵀ with the input h and the loss's second derivative by the logits Q: diag(p) − ppᵀ for the
cross-entropy, the identity for the squared loss, where one matrix, the mean of hhᵀ, therefore serves all logits.
"""

from typing import Protocol

import torch
from jaxtyping import Float64
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.linear_head import HeadGradients, outer_products, row_slices
from interpretable.progress import Track, untracked

LARGEST_FACTOR = 4096
"""Rows K·(D+1) of the largest Hessian of the cross-entropy that is factorised: 128 MiB of float64, as is its factor."""

_LEAST_LEFT = 1e-10
"""1 − leverage of an image of the squared loss, under which it alone determines a direction of the head."""


class HeadHessian(Protocol):
    """Hessian of the mean loss by weights and bias, plus ``ridge`` times the identity."""

    def solve(self, vectors: Float64[Tensor, "vector logit input"]) -> Float64[Tensor, "vector logit input"]:
        """The inverse times each vector."""


class FactorisedHessian:
    """The Hessian by its Cholesky factor.

    Args:
        gradients: Of the training images.
        ridge: Weight decay and damping.
        track: Shows how far the sum over images is.

    Raises:
        InfluenceError: The matrix is singular.
    """

    def __init__(self, gradients: HeadGradients, ridge: float, track: Track = untracked) -> None:
        matrix = _mean_hessian(gradients, track)
        matrix.diagonal().add_(ridge)
        size = len(matrix)
        smallest_pivot = matrix.diagonal().max() * size * torch.finfo(matrix.dtype).eps
        self._factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed or self._factor.diagonal().square().min() <= smallest_pivot:
            raise InfluenceError(
                f"The Hessian must be positive definite to be inverted, but that of {len(gradients.inputs)} images by "
                f"{size} parameters with weight decay and damping of {ridge:g} is singular; give a larger damping."
            )

    def solve(self, vectors: Float64[Tensor, "vector logit input"]) -> Float64[Tensor, "vector logit input"]:
        """The inverse times each vector."""
        columns = vectors.reshape(-1, len(self._factor)).T
        return torch.cholesky_solve(columns, self._factor).T.reshape(vectors.shape)

    def without_itself(self, gradients: HeadGradients, track: Track = untracked) -> Float64[Tensor, "image logit"]:
        """Residuals r′ of the images with which this inverse does what that without the image would do with theirs, r.

        With B = (I ⊗ hᵀ) H⁻¹ (I ⊗ h) and N images, r′ = (I − QB/N)⁻¹ r (Sherman, Morrison and Woodbury); for the
        squared loss that is r / (1 − leverage).

        Raises:
            InfluenceError: Without one of the images the Hessian is singular.
        """
        inputs, residuals, images = gradients.inputs, gradients.residuals, len(gradients.inputs)
        groups = len(self._factor) // inputs.shape[1]
        inverse = torch.cholesky_inverse(self._factor).view(groups, inputs.shape[1], groups, inputs.shape[1])
        result = torch.empty_like(residuals)
        for rows in track(list(row_slices(images, groups * groups * inputs.shape[1])), "Leverage"):
            blocks = torch.einsum("ni,kilj,nj->nkl", inputs[rows], inverse, inputs[rows])
            if gradients.probabilities is not None:
                p = gradients.probabilities[rows]
                blocks = p[:, :, None] * blocks - outer_products(p, (p[:, None] @ blocks).squeeze(1))
            left = torch.eye(groups).to(blocks) - blocks / images
            if gradients.probabilities is None and (left < _LEAST_LEFT).any():
                image = rows.start + int((left < _LEAST_LEFT).flatten().int().argmax())
                raise InfluenceError(
                    f"The Hessian must stay positive definite without any one image, but without image {image} of "
                    f"{images} it is singular; give a larger damping, or turn leave_one_out off."
                )
            result[rows] = torch.linalg.solve(left, residuals[rows].view(len(left), groups, -1)).flatten(1)
        return result


def _mean_hessian(gradients: HeadGradients, track: Track) -> Tensor:
    """(K·D′, K·D′) for the cross-entropy, (D′, D′) for the squared loss."""
    inputs, p = gradients.inputs, gradients.probabilities
    images, width = inputs.shape
    if p is None:
        return inputs.T @ inputs / images
    size = p.shape[1] * width
    result = inputs.new_zeros(size, size)
    blocks = result.view(p.shape[1], width, p.shape[1], width).diagonal(dim1=0, dim2=2)  # (D′, D′, K)
    for rows in track(list(row_slices(images, size)), "Hessian"):
        weighted = outer_products(p[rows], inputs[rows]).flatten(1)
        result.addmm_(weighted.T, weighted, alpha=-1)
        blocks += (weighted.T @ inputs[rows]).view(-1, width, width).permute(1, 2, 0)
    return result / images
