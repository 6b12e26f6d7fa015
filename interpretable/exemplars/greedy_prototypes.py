"""Prototypes: the exact greedy maximisation of J_b."""

from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.exemplars.decisions import RoundedMeans, first_of_largest
from interpretable.exemplars.kernels import EXACT, Kernel, add_row, exact_sums
from interpretable.progress import Track, untracked


class Prototypes(NamedTuple):
    """What was chosen of n rows."""

    indices: Tensor
    """(m,) int64 numbers of the rows, in the order in which they were chosen."""
    objective: Tensor
    """(m,) float64: J_b of the first 1, 2, … of them."""
    sums: Tensor
    """(n,) float64: Σ K_ij over all of them."""


def greedy_prototypes(
    kernel: Kernel, means: RoundedMeans, count: int, groups: Tensor | None = None, track: Track = untracked
) -> Prototypes:
    """The rows S whose mean in feature space comes closest to that of all rows, chosen one at a time.

    J_b(S) = 2/|S| Σ_{j∈S} c_j − 1/|S|² Σ_{i,j∈S} K_ij (Kim et al. 2016, equation 3) rises most by the row with the
    largest 2 c_j − (2 s_j + K_jj) / (|S| + 1), s_j = Σ_{i∈S} K_ij: (|S| + 1) J_b(S ∪ {j}) is that plus what does not
    depend on j. Each step takes one row of K, n·d multiplications. The first of any number are the prototypes of that
    number.

    Args:
        kernel: K.
        means: c; those of rows that were close to being chosen are exact afterwards.
        count: m, at most the number of rows, or of groups.
        groups: (n,) int64; of the rows of a group at most one is chosen.
        track: Shows how far it is.
    """
    diagonal, least = kernel.diagonal, EXACT * kernel.diagonal.abs()
    one = torch.ones_like(diagonal)
    sums = diagonal / 2  # s_j + K_jj / 2
    open_means = 2 * means.values
    coarsest = float(kernel.rounding.max())
    indices = torch.empty(count, dtype=torch.int64, device=one.device)
    objective = torch.empty(count, dtype=torch.float64)
    mean_sum = kernel_sum = 0.0  # Σ c_j and Σ K_ij over the chosen ones
    for chosen in track(range(count), "prototypes"):
        size = chosen + 1

        def rounding(rows: Tensor, size: int = size) -> Tensor:
            within = sums[rows] - diagonal[rows] / 2
            return 2 * (means.bounds[rows] + (kernel.rounding[rows] * within.abs() + least[rows]) / size)

        def exactly(rows: Tensor, before: Tensor = indices[:chosen], size: int = size) -> tuple[Tensor, Tensor]:
            means.sharpen(rows)
            open_means[rows] = 2 * means.values[rows]
            within = exact_sums(kernel, rows, before, one[: len(before)])
            scores = 2 * means.values[rows] - (2 * within + diagonal[rows]) / size
            return scores, 2 * (means.bounds[rows] + (EXACT * within.abs() + least[rows]) / size)

        most = 2 * (means.most + (coarsest + EXACT) * float(sums.abs().max()) / size)
        best = first_of_largest(open_means.add(sums, alpha=-2 / size), most, rounding, exactly)
        indices[chosen] = best
        mean_sum += float(means.values[best])
        kernel_sum += 2 * float(sums[best])
        objective[chosen] = 2 * mean_sum / size - kernel_sum / size**2
        add_row(kernel, sums, best)
        open_means[best if groups is None else groups == groups[best]] = -torch.inf
    return Prototypes(indices, objective, sums - diagonal / 2)


def nested_objective(means: Tensor, within: Tensor) -> Tensor:
    """(k,) J_b of the first 1, 2, … of k rows, from their column means (k,) and the kernel (k, k) between them."""
    sizes = torch.arange(1, len(means) + 1, dtype=means.dtype, device=means.device)
    added = 2 * within.tril(-1).sum(1) + within.diagonal()
    return 2 * means.cumsum(0) / sizes - added.cumsum(0) / sizes**2
