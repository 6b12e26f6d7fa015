"""Column means of a kernel matrix that is never in memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.distributed import rank, sum_over_ranks, world_size
from interpretable.exemplars.kernels import Kernel
from interpretable.progress import Track, untracked

TILE = {"cpu": 512, "cuda": 8192}
"""Rows and columns of a tile: what stays in a core's cache, and what keeps a GPU busy."""


class Band(NamedTuple):
    """Rows of a block of the matrix, whose columns are taken a tile at a time."""

    block: int
    rows: slice | Tensor
    """By their places in the block."""
    first: int
    """Column at which it begins: left of it stands what is mirrored."""


def column_means(kernel: Kernel, weights: Tensor, track: Track = untracked) -> Tensor:
    """(n,) float64 c_j = Σ_i w_i K_ij, the sums in float64 whatever the values are in.

    Tiles above the diagonal serve both sides of it: n²d/2 multiplications and additions. Where most weights are 0, the
    rows of the others alone are computed. A tile at a time is in memory. Several ranks share the tiles and all receive
    the whole: all must call it, with the same rows.

    Args:
        kernel: K.
        weights: (n,) float64 w.
        track: Shows how far it is.
    """
    means = torch.zeros_like(kernel.diagonal)
    side = TILE[means.device.type]
    weighted = weights != 0
    whole = bool(weighted.sum() > len(weights) / 2)
    bands = _upper_bands(kernel, side) if whole else _row_bands(kernel, weighted, side)
    for number, (block, rows, first) in enumerate(track(bands, "column means")):
        members = kernel.blocks[block]
        above = members[rows]
        for start in range(first + side * ((rank() - number) % world_size()), len(members), side * world_size()):
            columns = slice(start, min(start + side, len(members)))
            below = members[columns]
            values = kernel.tile(block, rows, columns).double()
            means[below] += weights[above] @ values
            if whole and start > first:
                means[above] += values @ weights[below]
    return sum_over_ranks(means)


def _upper_bands(kernel: Kernel, side: int) -> list[Band]:
    """Those of all rows, each from the diagonal on."""
    return [
        Band(block, slice(first, min(first + side, len(members))), first)
        for block, members in enumerate(kernel.blocks)
        for first in range(0, len(members), side)
    ]


def _row_bands(kernel: Kernel, weighted: Tensor, side: int) -> list[Band]:
    """Those of the rows that have a weight."""
    return [
        Band(block, rows, 0)
        for block, members in enumerate(kernel.blocks)
        for rows in torch.split(weighted[members].nonzero().squeeze(1), side)
    ]
