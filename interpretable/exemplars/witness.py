"""The witness function: where there are more data than prototypes, and where fewer."""

import torch
from torch import Tensor

from interpretable.exemplars.decisions import RoundedMeans
from interpretable.exemplars.kernels import EXACT, Kernel, exact_sums


class Witness:
    """f_j = Σ_i w_i K_ij − Σ_{i∈S} v_i K_ij at the fitted rows, with bounds on its rounding (Kim et al. 2016, eq. 2).

    Args:
        kernel: K.
        means: Σ_i w_i K_ij.
        prototypes: (m,) numbers of the rows S.
        weights: (m,) float64 v.
        represented: (n,) float64 Σ_{i∈S} v_i K_ij.
    """

    def __init__(
        self, kernel: Kernel, means: RoundedMeans, prototypes: Tensor, weights: Tensor, represented: Tensor
    ) -> None:
        self._kernel, self._means, self._prototypes, self._weights = kernel, means, prototypes, weights
        self.values = means.values - represented
        self.bounds = means.bounds + represented.abs() * kernel.rounding

    def sharpen(self, numbers: Tensor) -> None:
        """Makes the values of these rows exact."""
        self._means.sharpen(numbers)
        represented = exact_sums(self._kernel, numbers, self._prototypes, self._weights)
        self.values[numbers] = self._means.values[numbers] - represented
        self.bounds[numbers] = self._means.bounds[numbers] + EXACT * represented.abs()


def witness_of_others(kernel: Kernel, others: Tensor, blocks: Tensor, weights: Tensor) -> Tensor:
    """(k,) float64: f at what is not in the matrix.

    Args:
        kernel: K.
        others: What `Kernel.between` takes.
        blocks: (k,) int64 number of the block of each; -1 for none, where f is 0.
        weights: (n,) float64: w of each fitted row, less its weight as a prototype.
    """
    numbers = weights.nonzero().squeeze(1)
    values = torch.zeros(len(others), dtype=torch.float64, device=weights.device)
    pieces = (torch.split(given, 4 * kernel.piece) for given in (values, others, blocks.to(weights.device)))
    for total, some, of in zip(*pieces, strict=True):
        for among in torch.split(numbers, kernel.piece):
            same = of[:, None] == kernel.block_of[among]
            total += (kernel.between(some, among).double() * same) @ weights[among]
    return values
