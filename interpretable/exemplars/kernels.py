"""Kernel matrices of which only a part is ever there: tiles, rows, and single values in float64."""

from typing import Protocol

import torch
from torch import Tensor

EXACT = 2.0**-40
"""Relative rounding that values of float64 are taken to have: what is closer than that is equal."""


class Kernel(Protocol):
    """A kernel matrix K of n rows, block diagonal where rows have labels: a block for each label."""

    blocks: tuple[Tensor, ...]
    """Numbers of the rows of each block, ascending; places in a block count along them."""
    block_of: Tensor
    """(n,) int64: number of each row's block."""
    diagonal: Tensor
    """(n,) float64."""
    rounding: Tensor
    """(n,) float64: bound on the relative rounding of the values of each row in `tile` and `row`."""
    mean_rounding: Tensor
    """(n,) float64: the same of their mean."""
    piece: int
    """Rows that `exact` is asked for at a time."""

    def tile(self, block: int, rows: slice | Tensor, columns: slice) -> Tensor:
        """Values between places of a block, in the type of the data."""

    def row(self, number: int) -> Tensor:
        """Values between a row and all rows of its block, in the type of the data."""

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(rows, columns) float64 values between rows by number, 0 between blocks."""

    def between(self, others: Tensor, numbers: Tensor) -> Tensor:
        """(k, numbers) values between what is not in the matrix and rows by number, whatever their blocks."""


def blocks_of(rows: Tensor, labels: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
    """Numbers of the rows of each block, ascending, and the block (n,) of each row."""
    if labels is None:
        numbers = torch.arange(len(rows), device=rows.device)
        return (numbers,), torch.zeros_like(numbers)
    _, block_of, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    return torch.split(block_of.argsort(stable=True), sizes.tolist()), block_of


def exact_sums(kernel: Kernel, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """(rows,) float64: Σ_i v_i K_ri over columns i, in pieces that fit in memory."""
    sums = torch.zeros(len(rows), dtype=torch.float64, device=kernel.diagonal.device)
    for total, some in zip(torch.split(sums, 4 * kernel.piece), torch.split(rows, 4 * kernel.piece), strict=True):
        for among, given in zip(torch.split(columns, kernel.piece), torch.split(weights, kernel.piece), strict=True):
            total += kernel.exact(some, among) @ given
    return sums
