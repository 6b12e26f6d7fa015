"""Prototypes: the exact greedy maximisation of J_b."""

from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.exemplars.decisions import RoundedMeans, first_of_largest
from interpretable.exemplars.kernels import EXACT, Kernel, add_row, exact_sums
from interpretable.progress import Track, untracked

_STALE = 8
"""Steps for which the largest of the sums is bounded by an old one."""


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
    search = _Search(kernel, means, count)
    for _ in track(range(count), "prototypes"):
        best = search.best()
        search.add(best, best if groups is None else groups == groups[best])
    indices, sizes = search.indices, torch.arange(1, count + 1, device=search.sums.device)
    added = 2 * search.sums_of_chosen + kernel.diagonal[indices]
    objective = 2 * means.values[indices].cumsum(0) / sizes - added.cumsum(0) / sizes**2
    return Prototypes(indices, objective, search.sums)


class _Search:
    """The rows that have been chosen, and which comes next."""

    def __init__(self, kernel: Kernel, means: RoundedMeans, count: int) -> None:
        self.sums = torch.zeros_like(kernel.diagonal)
        """(n,) float64 s."""
        self.indices = torch.empty(count, dtype=torch.int64, device=self.sums.device)
        self.sums_of_chosen = torch.empty(count, dtype=torch.float64, device=self.sums.device)
        """(m,) s of each when it was chosen."""
        self._kernel, self._means = kernel, means
        self._chosen = 0
        self._doubled = 2 * means.values  # −∞ for what is not to be chosen
        self._coarsest, self._largest = float(kernel.rounding.max()), float(kernel.diagonal.abs().max())
        self._constant = bool((kernel.diagonal == kernel.diagonal[0]).all())
        self._largest_sum = 0.0

    def best(self) -> int:
        size = self._chosen + 1
        scores = self._doubled.add(self.sums, alpha=-2 / size)
        if not self._constant:  # otherwise K_jj / size is the same for all
            scores -= self._kernel.diagonal / size
        if self._chosen % _STALE == 0:
            self._largest_sum = float(self.sums.abs().max()) + _STALE * self._largest  # |K_ij| is at most K_ii or K_jj
        most = 2 * self._means.most + (2 * self._coarsest * self._largest_sum + EXACT * self._largest) / size
        return first_of_largest(scores, most, self._rounded, self._with_exact_kernel, self._exact)

    def add(self, number: int, closed: int | Tensor) -> None:
        self.indices[self._chosen] = number
        self.sums_of_chosen[self._chosen] = self.sums[number]
        self._chosen += 1
        self._doubled[closed] = -torch.inf
        add_row(self._kernel, self.sums, number)

    def _rounded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._scores(rows, self.sums[rows], self._kernel.rounding[rows])

    def _with_exact_kernel(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.indices[: self._chosen]
        return self._scores(
            rows, exact_sums(self._kernel, rows, chosen, torch.ones_like(self.sums[: len(chosen)])), EXACT
        )

    def _exact(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        self._means.sharpen(rows)
        self._doubled[rows] = 2 * self._means.values[rows]
        return self._with_exact_kernel(rows)

    def _scores(self, rows: Tensor, within: Tensor, rounding: Tensor | float) -> tuple[Tensor, Tensor]:
        size, diagonal = self._chosen + 1, self._kernel.diagonal[rows]
        scores = 2 * self._means.values[rows] - (2 * within + diagonal) / size
        return scores, 2 * self._means.bounds[rows] + (2 * rounding * within.abs() + EXACT * diagonal.abs()) / size


def nested_objective(means: Tensor, within: Tensor) -> Tensor:
    """(k,) J_b of the first 1, 2, … of k rows, from their column means (k,) and the kernel (k, k) between them."""
    sizes = torch.arange(1, len(means) + 1, dtype=means.dtype, device=means.device)
    added = 2 * within.tril(-1).sum(1) + within.diagonal()
    return 2 * means.cumsum(0) / sizes - added.cumsum(0) / sizes**2
