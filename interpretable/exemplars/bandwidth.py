"""The bandwidth γ of a Gaussian kernel exp(−γ ‖x − y‖²): from the median distance, or by cross-validation."""

import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.nearest import nearest_prototypes
from interpretable.progress import Track, untracked

MEDIAN_ROWS = 2000
"""Rows that the median distance is of at the most."""

CROSS_VALIDATION_ROWS = 5000
"""Rows that are cross-validated at the most."""

FOLDS = 3

Choose = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
"""Numbers of the prototypes of rows (n, d), given their labels (n,), their groups (n,) or None, and γ."""


def median_gamma(X: Tensor, random_state: int) -> float:  # noqa: N803
    """γ = 1 / (2 · median²) of the distances of all pairs of rows, of 2,000 drawn at random where there are more.

    Args:
        X: (n, d) rows.
        random_state: Seed of the draw.

    Raises:
        ExemplarError: There is one row, or the median distance is 0.
    """
    n = len(X)
    if n < 2:
        raise ExemplarError("The median distance needs two rows or more, got 1 sample; pass gamma as a number.")
    drawn = np.arange(n)
    if n > MEDIAN_ROWS:
        drawn = np.sort(np.random.default_rng(random_state).choice(n, MEDIAN_ROWS, replace=False))
    rows = X[torch.from_numpy(drawn).to(X.device)].double()
    # The mean would be far from all rows where one is far away; where most rows are equal, the median is that row, and
    # their distances are exactly 0.
    rows -= rows.median(0).values
    lengths = rows.square().sum(1)
    squares = torch.addmm(lengths, rows, rows.T, alpha=-2).add_(lengths[:, None]).clamp_(min=0)
    pairs = squares.cpu().numpy()[np.triu_indices(len(drawn), 1)]
    twice = 2 * float(np.median(np.sqrt(pairs))) ** 2
    if twice < sys.float_info.min:
        raise ExemplarError(
            "The median distance of the rows is 0, since half of the pairs or more are equal; pass gamma as a number."
        )
    return 1 / twice


def gamma_grid(median: float) -> tuple[float, ...]:
    """The γ that cross-validation tries, ascending: a quarter of a γ to 64 times it, each twice the one before."""
    return tuple(median * 2.0**k for k in range(-2, 7))


def cross_validated_gamma(
    X: Tensor,  # noqa: N803
    y: Tensor,
    groups: Tensor | None,
    choose: Choose,
    random_state: int,
    track: Track = untracked,
) -> tuple[float, dict[float, float]]:
    """The γ whose prototypes are best at naming rows that they were not chosen from, and the error of each.

    In each of three folds, stratified by label and with no group in two folds, prototypes are chosen among the rows of
    the others, and rows of the fold are named by the nearest; errors are over the rows of all folds, and the smallest γ
    of equals is taken. At most 5,000 rows are used, drawn by whole groups, of each label in proportion. Labels with
    rows in fewer than three groups are not judged, and are trained on wherever their group is not judged.

    Args:
        X: (n, d) rows.
        y: (n,) int64, their labels.
        groups: (n,) int64 what each row belongs to, or None where each stands for itself.
        choose: Chooses prototypes.
        random_state: Seed of the draw and of the folds.
        track: Shows how far it is.

    Raises:
        ExemplarError: The median distance is 0, or no label has rows in three groups.
    """
    grid = gamma_grid(median_gamma(X, random_state))
    labels = np.unique(y.cpu(), return_inverse=True)[1]
    units = np.arange(len(labels)) if groups is None else np.unique(groups.cpu(), return_inverse=True)[1]
    drawn = _drawn(labels, units, random_state)
    spread = np.bincount(np.unique(np.stack([labels, units])[:, drawn], axis=1)[0], minlength=labels.max() + 1)
    judged = drawn[spread[labels[drawn]] >= FOLDS]
    if len(judged) == 0:
        raise ExemplarError(
            f"Cross-validation of gamma needs {FOLDS} {'rows' if groups is None else 'groups'} or more of a label, got "
            f"{spread.max()} at the most among the {len(drawn)} of {len(labels)} rows that it draws (at most "
            f"{CROSS_VALIDATION_ROWS}); pass gamma as a number."
        )
    if groups is None:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=random_state).split(judged, labels[judged])
    else:
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=random_state).split(
            judged, labels[judged], units[judged]
        )
    wrong = dict.fromkeys(grid, 0)
    for (_, fold), gamma in track(list(product(folds, grid)), "gamma"):
        held_out = judged[fold]
        training = drawn[~np.isin(units[drawn], units[held_out])]
        train, test = (torch.from_numpy(rows).to(X.device) for rows in (training, held_out))
        prototypes = train[choose(X[train], y[train], None if groups is None else groups[train], gamma)]
        nearest = nearest_prototypes(X[prototypes], X[test])
        wrong[gamma] += int((y[prototypes][nearest] != y[test]).sum())
    return min(grid, key=wrong.__getitem__), {gamma: count / len(judged) for gamma, count in wrong.items()}


def _drawn(labels: np.ndarray, units: np.ndarray, random_state: int) -> np.ndarray:
    """Rows of at most 5,000 in whole units, ascending, those of each label in proportion.

    Units of a label, which is that of their first row, stand in random order at equal distances along a line, and the
    units of all labels are taken along it.
    """
    generator = np.random.default_rng(random_state)
    _, first, sizes = np.unique(units, return_index=True, return_counts=True)
    label = labels[first]
    order = generator.permutation(len(label))
    order = order[label[order].argsort(kind="stable")]
    number = np.bincount(label)
    place = np.arange(len(label)) - (number.cumsum() - number)[label[order]]  # among those of its label
    along = (place + generator.random(len(number))[label[order]]) / number[label[order]]
    order = order[along.argsort(kind="stable")]
    return np.flatnonzero(np.isin(units, order[sizes[order].cumsum() <= CROSS_VALIDATION_ROWS]))
