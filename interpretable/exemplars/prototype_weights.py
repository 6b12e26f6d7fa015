"""Weights of prototypes, with which they stand for the data better than with equal ones."""

import torch
from scipy.optimize import nnls
from torch import Tensor


def nonnegative_weights(kernel: Tensor, means: Tensor) -> Tensor:
    """(m,) float64 v ≥ 0 with the smallest MMD² = K̄ − 2 v·c + vᵀK v; they need not sum to 1.

    With K = AᵀA that is the least-squares problem ‖A v − A⁻ᵀc‖². A = Λ^½ Uᵀ of the eigenvectors whose eigenvalues are
    not rounding, so that equal prototypes do no harm.

    Args:
        kernel: (m, m) float64 K between prototypes.
        means: (m,) float64 c of them.
    """
    values, vectors = torch.linalg.eigh(kernel)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    roots, vectors = values[kept].sqrt(), vectors[:, kept].T
    weights, _ = nnls((roots[:, None] * vectors).cpu().numpy(), (vectors @ means / roots).cpu().numpy())
    return torch.from_numpy(weights).to(kernel)
