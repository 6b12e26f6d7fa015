"""Prototypes: the exact greedy maximisation of J_b."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpretable.exemplars.decisions import RoundedMeans, first_of_largest
from interpretable.exemplars.gaussian_kernel import GaussianKernel
from interpretable.exemplars.kernels import EXACT, Kernel, exact_sums
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
    names = None if groups is None else groups.cpu().numpy()
    for _ in track(range(count), "prototypes"):
        best = search.best()
        search.add(best, best if names is None else names == names[best])
    device = kernel.diagonal.device
    indices = torch.from_numpy(search.indices).to(device)
    sums_of_chosen = torch.from_numpy(search.sums_of_chosen).to(device)
    objective = nested_objective(means.values[indices], sums_of_chosen, kernel.diagonal[indices])
    return Prototypes(indices, objective, torch.from_numpy(search.sums).to(device))


def nested_objective(means: Tensor, sums: Tensor, diagonal: Tensor) -> Tensor:
    """J_b (k,) of the first 1, 2, … of k rows.

    Args:
        means: (k,) c of each.
        sums: (k,) Σ K_ij of each over those before it.
        diagonal: (k,) K_jj of each.
    """
    sizes = torch.arange(1, len(means) + 1, device=means.device)
    return 2 * means.cumsum(0) / sizes - (2 * sums + diagonal).cumsum(0) / sizes**2


class _Search:
    """The rows that have been chosen, and which comes next.

    It is kept in the main memory, by numpy: a step is a few passes over n numbers, which cost less there than to be
    asked for.
    """

    def __init__(self, kernel: Kernel, means: RoundedMeans, count: int) -> None:
        self._kernel, self._means = kernel, means
        self._diagonal = kernel.diagonal.cpu().numpy()
        self._members = [members.cpu().numpy() for members in kernel.blocks]
        self._mean_bounds, self._rounding = means.bounds.cpu().numpy().copy(), kernel.rounding.cpu().numpy()
        self._doubled = 2 * means.values.cpu().numpy()  # −∞ for what is not to be chosen
        self.sums = np.zeros_like(self._doubled)
        """(n,) float64 s."""
        self.indices = np.empty(count, dtype=np.int64)
        self.sums_of_chosen = np.empty(count)
        """(m,) s of each when it was chosen."""
        self._chosen, self._largest_sum = 0, 0.0
        self._coarsest, self._largest = float(kernel.rounding.max()), float(kernel.diagonal.abs().max())
        self._scores = np.empty_like(self.sums)

    def best(self) -> int:
        size = self._chosen + 1
        scores = np.multiply(self.sums, -2 / size, out=self._scores)
        scores += self._doubled
        if not isinstance(self._kernel, GaussianKernel):  # otherwise K_jj / size is the same for all
            scores -= self._diagonal / size
        if self._chosen % _STALE == 0:
            self._largest_sum = float(np.abs(self.sums).max()) + _STALE * self._largest
        most = 2 * self._means.most + (2 * self._coarsest * self._largest_sum + EXACT * self._largest) / size
        return first_of_largest(scores, most, self._rounded, self._with_exact_kernel, self._exact)

    def add(self, number: int, closed: int | np.ndarray) -> None:
        self.indices[self._chosen] = number
        self.sums_of_chosen[self._chosen] = self.sums[number]
        self._chosen += 1
        self._doubled[closed] = -np.inf
        row = self._kernel.row(number).cpu().numpy()
        if len(self._members) == 1:
            self.sums += row
        else:
            self.sums[self._members[int(self._kernel.block_of[number])]] += row

    def _rounded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._bounded(rows, self.sums[rows], self._rounding[rows])

    def _with_exact_kernel(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        some, chosen = (self._numbers(which) for which in (rows, self.indices[: self._chosen]))
        within = exact_sums(self._kernel, some, chosen, self._kernel.diagonal.new_ones(len(chosen)))
        return self._bounded(rows, within.cpu().numpy(), EXACT)

    def _exact(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        some = self._numbers(rows)
        self._means.sharpen(some)
        self._doubled[rows] = 2 * self._means.values[some].cpu().numpy()
        self._mean_bounds[rows] = self._means.bounds[some].cpu().numpy()
        return self._with_exact_kernel(rows)

    def _bounded(
        self, rows: np.ndarray, within: np.ndarray, rounding: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        size, diagonal = self._chosen + 1, self._diagonal[rows]
        scores: np.ndarray = self._doubled[rows] - (2 * within + diagonal) / size
        return scores, 2 * self._mean_bounds[rows] + (2 * rounding * np.abs(within) + EXACT * np.abs(diagonal)) / size

    def _numbers(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self._kernel.diagonal.device)
