"""Column means of a kernel matrix that is never in memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.distributed import rank, sum_over_ranks, world_size
from interpretable.exemplars.kernels import Kernel
from interpretable.progress import Track, untracked

TILE = {"cpu": 512, "cuda": 8192}
"""Rows and columns of a tile: what stays in a core's cache, and what keeps a GPU busy."""


class Tile(NamedTuple):
    """A piece of a block of the matrix, by places in the block."""

    block: int
    rows: slice | Tensor
    columns: slice
    mirrored: bool
    """Whether it stands for the piece on the other side of the diagonal too."""


def column_means(kernel: Kernel, weights: Tensor, track: Track = untracked) -> Tensor:
    """(n,) float64 c_j = Σ_i w_i K_ij, the sums in float64 whatever the values are in.

    Tiles above the diagonal serve both sides of it: n²d/2 multiplications and additions. Where most weights are 0, the
    rows of the others alone are computed. A tile at a time is in memory. Several ranks that hold the same rows share
    the tiles, and all receive the whole.

    Args:
        kernel: K.
        weights: (n,) float64 w.
        track: Shows how far it is.
    """
    means = torch.zeros_like(kernel.diagonal)
    side = TILE[means.device.type]
    weighted = weights != 0
    tiles = _upper_tiles(kernel, side) if weighted.sum() > len(weights) / 2 else _row_tiles(kernel, weighted, side)
    for block, rows, columns, mirrored in track(tiles[rank() :: world_size()], "column means"):
        members = kernel.blocks[block]
        above, below = members[rows], members[columns]
        values = kernel.tile(block, rows, columns).double()
        means[below] += weights[above] @ values
        if mirrored:
            means[above] += values @ weights[below]
    return sum_over_ranks(means)


def _upper_tiles(kernel: Kernel, side: int) -> list[Tile]:
    """Those on and above the diagonal."""
    return [
        Tile(block, rows, columns, rows != columns)
        for block, members in enumerate(kernel.blocks)
        for first, rows in enumerate(_slices(len(members), side))
        for columns in _slices(len(members), side)[first:]
    ]


def _row_tiles(kernel: Kernel, weighted: Tensor, side: int) -> list[Tile]:
    """Those of the rows that have a weight."""
    return [
        Tile(block, rows, columns, False)
        for block, members in enumerate(kernel.blocks)
        for rows in torch.split(weighted[members].nonzero().squeeze(1), side)
        for columns in _slices(len(members), side)
    ]


def _slices(n: int, side: int) -> list[slice]:
    return [slice(first, min(first + side, n)) for first in range(0, n, side)]
