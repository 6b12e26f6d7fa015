"""The inverse Hessian of a head with many parameters: conjugate gradients on exact products with vectors."""

import torch
from jaxtyping import Float64
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.head_hessian import FactorisedHessian
from interpretable.influence.linear_head import HeadGradients, row_slices
from interpretable.progress import Track, untracked

TOLERANCE = 1e-10
"""At which iteration stops: the norm of what is left of each right-hand side, over its own."""

_MOST_ITERATIONS = 1000


class IterativeHessian:
    """The Hessian of the cross-entropy by exact products with vectors; conjugate gradients for many vectors at once.

    They are preconditioned by the mean of hhᵀ, weighted by the mean curvature of each image's logits, for all logits
    alike: with small damping that takes a tenth of the iterations.

    Args:
        gradients: Of the training images.
        ridge: Weight decay and damping.
        track: Shows how far the sum over images is.

    Raises:
        InfluenceError: There is neither weight decay nor damping.
    """

    def __init__(self, gradients: HeadGradients, ridge: float, track: Track = untracked) -> None:
        probabilities = gradients.probabilities
        if probabilities is None or ridge <= 0:
            raise InfluenceError(
                "The Hessian of the cross-entropy of many parameters needs weight decay or damping to be inverted, got "
                f"{ridge:g}; give a damping above 0."
            )
        self._inputs, self._probabilities, self._ridge = gradients.inputs, probabilities, ridge
        curvature = (probabilities - probabilities.square()).mean(1, keepdim=True)
        shared = gradients._replace(inputs=gradients.inputs * curvature.sqrt(), probabilities=None)
        self._shared = FactorisedHessian(shared, ridge, track)

    def solve(self, vectors: Float64[Tensor, "vector logit input"]) -> Float64[Tensor, "vector logit input"]:
        """The inverse times each vector, to `TOLERANCE`.

        Raises:
            InfluenceError: The Hessian is too near singular for as many iterations as are made.
        """
        solution, left = torch.zeros_like(vectors), vectors
        enough = TOLERANCE**2 * _dots(vectors, vectors)
        direction = near = self._shared.solve(left)
        progress = _dots(left, near)
        for _ in range(_MOST_ITERATIONS):
            unsolved = _dots(left, left) > enough
            if not unsolved.any():
                return solution
            product = self._product(direction)
            step = torch.where(unsolved, progress / _dots(direction, product), 0)
            solution = solution + step * direction
            left = left - step * product
            near = self._shared.solve(left)
            before, progress = progress, _dots(left, near)
            direction = near + torch.where(unsolved, progress / before, 0) * direction
        raise InfluenceError(
            f"Conjugate gradients did not converge in {_MOST_ITERATIONS} iterations with weight decay and damping of "
            f"{self._ridge:g}; give a larger damping."
        )

    def _product(self, vectors: Tensor) -> Tensor:
        result = self._ridge * vectors
        for rows in row_slices(len(self._inputs), vectors.shape[0] * vectors.shape[1]):
            inputs, p = self._inputs[rows], self._probabilities[rows].T
            by_logits = p * (vectors @ inputs.T)  # (V, K, n)
            by_logits -= p * by_logits.sum(1, keepdim=True)
            result += (by_logits @ inputs) / len(self._inputs)
        return result


def _dots(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)
