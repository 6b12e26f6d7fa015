"""Prototypes and criticisms of a kernel: the steps one after the other."""

from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.exemplars.column_means import column_means
from interpretable.exemplars.decisions import RoundedMeans
from interpretable.exemplars.greedy_criticisms import Criticisms, greedy_criticisms
from interpretable.exemplars.greedy_prototypes import Prototypes, greedy_prototypes
from interpretable.exemplars.kernels import EXACT, Kernel, exact_sums
from interpretable.exemplars.prototype_weights import nonnegative_weights
from interpretable.exemplars.witness import Witness
from interpretable.progress import Track, untracked


class Choice(NamedTuple):
    """Prototypes and criticisms of n rows, with what they were chosen by."""

    prototypes: Prototypes
    weights: Tensor
    """(m,) float64 of the prototypes in the witness function."""
    criticisms: Criticisms
    regularizer_weight: float
    """λ."""
    means: Tensor
    """(n,) float64 column means."""
    witness: Tensor
    """(n,) float64."""


def choose(
    kernel: Kernel,
    reference: Tensor,
    n_prototypes: int,
    n_criticisms: int,
    *,
    regularizer_weight: float | None = 1.0,
    fit_weights: bool = False,
    groups: Tensor | None = None,
    track: Track = untracked,
) -> Choice:
    """Prototypes, and criticisms of what they leave out.

    Args:
        kernel: K.
        reference: (n,) float64 weights of the rows in means over the data, which sum to 1.
        n_prototypes: m.
        n_criticisms: c, at most what groups leave in the worst case.
        regularizer_weight: λ, or None for the ratio of the spreads of |f| and log r.
        fit_weights: Whether prototypes have the weights that represent the data best, not equal ones.
        groups: (n,) int64; of a group at most one row is a prototype and at most one a criticism.
        track: Shows how far it is.
    """
    counting = reference.nonzero().squeeze(1)
    means = RoundedMeans(
        column_means(kernel, reference, track),
        kernel.mean_rounding,
        lambda rows: exact_sums(kernel, rows, counting, reference[counting]),
        EXACT,
    )
    prototypes = greedy_prototypes(kernel, means, n_prototypes, groups, track)
    chosen = prototypes.indices
    weights = torch.full_like(kernel.diagonal[chosen], 1 / n_prototypes)
    represented = prototypes.sums / n_prototypes
    if fit_weights:
        means.sharpen(chosen)
        weights = nonnegative_weights(kernel.exact(chosen, chosen), means.values[chosen])
        represented = column_means(kernel, torch.zeros_like(reference).index_put_((chosen,), weights))
    witness = Witness(kernel, means, chosen, weights, represented)
    closed = torch.zeros_like(kernel.block_of, dtype=torch.bool).index_fill_(0, chosen, True)
    if regularizer_weight is None:
        free = greedy_criticisms(kernel, witness, n_criticisms, 1.0, closed, groups, track)
        regularizer_weight = _ratio_of_spreads(witness.values.abs(), free, closed)
    criticisms = greedy_criticisms(kernel, witness, n_criticisms, regularizer_weight, closed, groups, track)
    return Choice(prototypes, weights, criticisms, regularizer_weight, means.values, witness.values)


def _ratio_of_spreads(size: Tensor, criticisms: Criticisms, closed: Tensor) -> float:
    """Standard deviation of |f| over that of log r, among rows that are neither prototypes nor criticisms."""
    left = (~closed.index_fill(0, criticisms.indices, True)).nonzero().squeeze(1)
    if not len(left):
        return 1.0
    diversity = criticisms.log_residuals[left].std(correction=0)
    return float(size[left].std(correction=0) / diversity) if diversity > 0 else 1.0
