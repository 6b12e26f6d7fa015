"""A kernel matrix that somebody else has computed."""

import torch
from torch import Tensor

from interpretable.exemplars.kernels import EXACT, blocks_of


class PrecomputedKernel:
    """K itself, times 1[y_i = y_j] where there are labels; a `Kernel` that is computed in float64.

    Args:
        matrix: (n, n) symmetric.
        labels: (n,) int64, or None for one block.
    """

    def __init__(self, matrix: Tensor, labels: Tensor | None) -> None:
        self._matrix = matrix
        self.blocks, self.block_of = blocks_of(matrix, labels)
        self.diagonal = self._matrix.diagonal().double()
        self.rounding = self.mean_rounding = torch.full_like(self.diagonal, EXACT)
        self.piece = 512

    def tile(self, block: int, rows: slice | Tensor, columns: slice) -> Tensor:
        """See `Kernel.tile`."""
        members = self.blocks[block]
        return self._matrix[members[rows][:, None], members[columns]].double()

    def row(self, number: int) -> Tensor:
        """See `Kernel.row`."""
        return self._matrix[number, self.blocks[int(self.block_of[number])]].double()

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `Kernel.exact`."""
        same = self.block_of[rows][:, None] == self.block_of[columns]
        return self._matrix[rows[:, None], columns].double() * same

    def between(self, others: Tensor, numbers: Tensor) -> Tensor:
        """See `Kernel.between`."""
        return others.to(self._matrix.device)[:, numbers].double()
