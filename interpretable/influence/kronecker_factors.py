"""The two covariances whose Kronecker product stands for a layer's Fisher matrix, and their eigenvectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def second_moments(
    rows: Float[Tensor, "image group feature position"],
) -> Float[Tensor, "group feature feature"]:
    """Σ r rᵀ over images and positions: the covariance A of inputs or S of signals up to a factor (Grosse et al. 2023).

    The factor does not matter, since only eigenvectors are taken of it.
    """
    features = rows.permute(1, 2, 0, 3).flatten(2)
    return features @ features.mT


def eigenvectors(moments: Float[Tensor, "group feature feature"]) -> Float[Tensor, "group feature feature"]:
    """Orthonormal eigenvectors in the columns, in the type of the moments, computed in float64."""
    vectors: Tensor = torch.linalg.eigh(moments.double()).eigenvectors
    return vectors.to(moments.dtype)
