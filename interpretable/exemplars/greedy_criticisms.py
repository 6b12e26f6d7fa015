"""Criticisms: rows that the prototypes represent worst, and that differ from one another."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpretable.exemplars.decisions import first_of_largest
from interpretable.exemplars.kernels import EXACT, Kernel, exact_sums
from interpretable.exemplars.witness import Witness
from interpretable.progress import Track, untracked


class Criticisms(NamedTuple):
    """What was chosen of n rows."""

    indices: Tensor
    """(c,) int64 numbers of the rows, in the order in which they were chosen."""
    terms: Tensor
    """(c, 2) float64: |f| and log r of each when it was chosen."""
    log_residuals: Tensor
    """(n,) float64: log r of all rows afterwards."""


def greedy_criticisms(
    kernel: Kernel,
    witness: Witness,
    count: int,
    weight: float,
    closed: Tensor,
    groups: Tensor | None = None,
    track: Track = untracked,
) -> Criticisms:
    """The rows C with the largest Σ |f_j| + λ log det K_CC, chosen one at a time (Kim et al. 2016, equation 4).

    A row adds |f_j| + λ log r_j, r_j = K_jj − k_jC K_CC⁻¹ k_Cj. r is that of the Cholesky factor of K with the chosen
    rows as pivots, which grows by one column a step: n multiplications for each row that was chosen before, and a row
    of K in float64.

    Args:
        kernel: K.
        witness: f of the rows.
        count: c, at most the number of rows (or of their groups) that are not closed.
        weight: λ.
        closed: (n,) bool: rows that are not chosen.
        groups: (n,) int64; of the rows of a group at most one is chosen.
        track: Shows how far it is.
    """
    diagonal, one = kernel.diagonal, torch.ones(1, dtype=torch.float64, device=kernel.diagonal.device)
    floor = EXACT * diagonal.clamp(min=torch.finfo(diagonal.dtype).tiny)
    residuals = diagonal.clone()
    factors = diagonal.new_zeros(count, len(diagonal))
    indices = torch.empty(count, dtype=torch.int64, device=diagonal.device)
    terms = diagonal.new_empty(count, 2)
    penalty = torch.zeros_like(diagonal).masked_fill(closed, -torch.inf)
    for chosen in track(range(count), "criticisms"):
        clamped = residuals.maximum(floor)
        diversity, uncertain = weight * clamped.log(), weight * floor / clamped

        def bounded(
            rows: np.ndarray, diversity: Tensor = diversity, uncertain: Tensor = uncertain
        ) -> tuple[np.ndarray, np.ndarray]:
            some = torch.from_numpy(rows).to(diagonal.device)
            gains, bounds = witness.values[some].abs() + diversity[some], witness.bounds[some] + uncertain[some]
            return gains.cpu().numpy(), bounds.cpu().numpy()

        def exactly(
            rows: np.ndarray, diversity: Tensor = diversity, uncertain: Tensor = uncertain
        ) -> tuple[np.ndarray, np.ndarray]:
            witness.sharpen(torch.from_numpy(rows).to(diagonal.device))
            return bounded(rows, diversity, uncertain)

        gains = witness.values.abs() + diversity + penalty
        most = float((witness.bounds + uncertain).max())
        best = first_of_largest(gains.cpu().numpy(), most, bounded, exactly)
        indices[chosen] = best
        terms[chosen] = torch.stack([witness.values[best].abs(), clamped[best].log()])
        members = kernel.blocks[int(kernel.block_of[best])]
        column = factors[chosen]
        column[members] = exact_sums(kernel, members, indices[chosen : chosen + 1], one)
        column -= factors[:chosen, best] @ factors[:chosen]
        # A row that those before it already span adds nothing but its rounding, blown up.
        column *= (residuals[best] > floor[best]) / clamped[best].sqrt()
        residuals -= column.square()
        penalty[best if groups is None else groups == groups[best]] = -torch.inf
    return Criticisms(indices, terms, residuals.maximum(floor).log())
