"""Column means of a kernel matrix that is never in memory."""

import torch
from torch import Tensor

from interpretable.distributed import rank, sum_over_ranks, world_size
from interpretable.exemplars.kernels import Kernel
from interpretable.progress import Track, untracked

TILE = {"cpu": 512, "cuda": 8192}
"""Rows and columns of a tile: what stays in a core's cache, and what keeps a GPU busy."""


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
    whole = int(weights.count_nonzero()) > len(weights) / 2
    side = TILE[means.device.type]
    # Of every block what it needs in one piece each: slices of that cost nothing.
    weights_of = [weights[members] for members in kernel.blocks]
    sums_of = [torch.zeros_like(of_block) for of_block in weights_of]
    bands = [
        (block, rows)
        for block, of_block in enumerate(weights_of)
        for rows in (_slices(0, len(of_block), side) if whole else torch.split(of_block.nonzero().squeeze(1), side))
    ]
    for number, (block, rows) in enumerate(track(bands, "column means")):
        own, sums = weights_of[block], sums_of[block]
        first = rows.start if isinstance(rows, slice) else 0  # what is left of the diagonal is mirrored
        share = _slices(first, len(own), side)[(rank() - number) % world_size() :: world_size()]
        for columns in share:
            values = kernel.tile(block, rows, columns).double()
            sums[columns] += own[rows] @ values
            if isinstance(rows, slice) and columns != rows:
                sums[rows] += values @ own[columns]
    for members, sums in zip(kernel.blocks, sums_of, strict=True):
        means[members] = sums
    return sum_over_ranks(means)


def _slices(first: int, last: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, last)) for start in range(first, last, side)]
