"""What an MMD-critic is fitted to, checked and turned into tensors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import _get_feature_names
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.column_means import TILE


class Rows(NamedTuple):
    """Rows on the device they are computed on."""

    x: Tensor
    """(n, d) float32 or float64."""
    weights: Tensor
    """(n,) float64 w, which sum to 1."""
    labels: Tensor | None
    """(n,) int64."""
    groups: Tensor | None
    """(n,) int64."""


def checked_rows(
    estimator: BaseEstimator,
    X: ArrayLike,  # noqa: N803
    y: ArrayLike | None,
    groups: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> Rows:
    """Rows of an `MMDCritic`; the arguments are those of its `fit`.

    Raises:
        ExemplarError: The rows do not fit together, or are too few.
    """
    with one_sentence():
        estimator._validate_params()
        _get_feature_names(X)
        x = checked_array(X, copy=True)
        y, groups, sample_weight = (None if a is None else column_or_1d(a) for a in (y, groups, sample_weight))
        check_consistent_length(x, y, groups, sample_weight)
    if (estimator.local or estimator.gamma == "cv-1nn") and y is None:
        asking = "A local kernel" if estimator.local else "Cross-validation of gamma"
        raise ExemplarError(f"{asking} needs the labels of the rows, but y is missing; pass them to fit.")
    if estimator.kernel == "precomputed":
        _check_matrix(x)
    rows = Rows(
        place(torch.from_numpy(x), estimator.device),
        place(_weights(sample_weight, len(x)), estimator.device),
        None if y is None else place(_codes(y, "y"), estimator.device),
        None if groups is None else place(_codes(groups, "groups"), estimator.device),
    )
    _check_counts(rows, estimator.n_prototypes, estimator.n_criticisms)
    return rows


def checked_array(X: ArrayLike, copy: bool = False) -> np.ndarray:  # noqa: N803
    """(n, d) finite float64, or float32 of whatever else it can hold.

    Raises:
        ExemplarError: A number is not finite.
        ValueError, TypeError: They are no numbers, or not in rows.
    """
    if isinstance(X, Tensor):
        X = (X if X.dtype == torch.float64 else X.float()).detach().cpu().numpy()  # noqa: N806
    with np.errstate(over="ignore"):  # what overflows is not finite
        given = check_array(X, dtype="numeric", ensure_all_finite=False)
        double = given.dtype.newbyteorder("=") == np.float64 or (given.dtype.kind in "iu" and not _fits_float32(given))
        x: np.ndarray = given.astype(np.float64 if double else np.float32, order="C", copy=copy)
    finite = np.isfinite(x).all(1)
    if not finite.all():
        row = int(finite.argmin())
        found = x[row][~np.isfinite(x[row])][0]
        raise ExemplarError(
            f"X must hold finite {x.dtype} numbers, got {found} in row {row}; correct or drop that row."
        )
    return x


@contextmanager
def one_sentence() -> Iterator[None]:
    """Within the block what scikit-learn refuses is an `ExemplarError` of one sentence."""
    try:
        yield
    except ExemplarError:
        raise
    except (TypeError, ValueError) as error:
        raise ExemplarError(f"{_first_sentence(error)}.") from error


def place(values: Tensor, device: str) -> Tensor:
    """Values on a device.

    Raises:
        ExemplarError: This machine has no such device.
    """
    try:
        if torch.device(device).type not in TILE:
            raise RuntimeError(f"only {' and '.join(TILE)} are known")  # others lack float64, or numbers
        return values.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ExemplarError(
            f"device must be one that this machine has, such as cpu or cuda, got {device!r} ({_first_sentence(error)})."
        ) from error


def reference_weights(rows: Rows, local: bool, samples: int | None, random_state: int) -> Tensor:
    """(n,) float64 weights w with 0 for rows that means over the data leave out.

    Where some rows stand for all, they are drawn without replacement among those that count, for a local kernel from
    each label in proportion, and count together what all did.

    Args:
        rows: The rows.
        local: Whether labels have means of their own.
        samples: How many stand for all; all if None.
        random_state: Seed of the draw.
    """
    counting = rows.weights.nonzero().squeeze(1).cpu()
    if samples is None or samples >= len(counting):
        return rows.weights
    strata = np.zeros(len(counting)) if not local or rows.labels is None else rows.labels.cpu()[counting].numpy()
    random = np.random.default_rng(random_state)
    kept = torch.zeros_like(rows.weights)
    for label in np.unique(strata):
        members = counting[torch.from_numpy(np.flatnonzero(strata == label))].numpy()
        drawn = random.choice(members, max(1, round(samples * len(members) / len(counting))), replace=False)
        of_all, of_drawn = (rows.weights[torch.from_numpy(some).to(kept.device)] for some in (members, drawn))
        kept[torch.from_numpy(drawn).to(kept.device)] = of_drawn * (of_all.sum() / of_drawn.sum())
    return kept


def _check_counts(rows: Rows, prototypes: int, criticisms: int) -> None:
    units, what = (len(rows.x), "rows") if rows.groups is None else (len(torch.unique(rows.groups)), "groups")
    if prototypes > units:
        raise ExemplarError(f"n_prototypes must be at most the number of {what}, {units}, got {prototypes}.")
    if rows.groups is not None:
        alone = int((rows.groups.bincount() == 1).sum())
        if criticisms > (left := units - min(prototypes, alone)):
            raise ExemplarError(
                f"n_criticisms must be at most the number of groups that prototypes leave, {left} if they take those "
                f"of one row, got {criticisms}."
            )
    if prototypes + criticisms > len(rows.x):
        raise ExemplarError(
            f"n_prototypes + n_criticisms must be at most the number of rows, {len(rows.x)}, got {prototypes} + "
            f"{criticisms}."
        )


def _check_matrix(matrix: np.ndarray) -> None:
    if matrix.shape[0] != matrix.shape[1]:
        raise ExemplarError(f"A precomputed kernel must be a square matrix, got {matrix.shape[0]} × {matrix.shape[1]}.")
    if not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8 * float(np.abs(matrix).max())):
        raise ExemplarError(
            "A precomputed kernel must be symmetric, and this one is not; average it with its transpose."
        )
    if (matrix.diagonal() <= 0).any():
        row = int(np.flatnonzero(matrix.diagonal() <= 0)[0])
        raise ExemplarError(
            f"A precomputed kernel must be positive on its diagonal, got {matrix[row, row]:g} in row {row}; leave such "
            "rows out."
        )


def _weights(sample_weight: ArrayLike | None, n: int) -> Tensor:
    if sample_weight is None:
        return torch.full((n,), 1 / n, dtype=torch.float64)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if (wrong := ~np.isfinite(weights) | (weights < 0)).any():
        row = int(wrong.argmax())
        raise ExemplarError(
            f"sample_weight must be finite and 0 or more, got {weights[row]:g} for row {row}; correct it."
        )
    if not weights.any():
        raise ExemplarError("sample_weight must be above 0 for a row, got 0 for all of them; leave it out.")
    weights = weights / weights.max()  # their sum may be beyond float64
    return torch.from_numpy(weights / weights.sum())


def _fits_float32(integers: np.ndarray) -> bool:
    """Whether no two integers become one."""
    most = 2 ** np.finfo(np.float32).nmant
    return integers.size == 0 or bool((integers.min() >= -most) and (integers.max() <= most))


def _first_sentence(error: Exception) -> str:
    """What an error says first, without its full stop."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\. Got (.*) instead\.?$", r", got \1", said).split(". ")[0].rstrip(".")


def _codes(values: ArrayLike, what: str) -> Tensor:
    try:
        codes = np.unique(np.asarray(values), return_inverse=True)[1]
    except TypeError as error:
        raise ExemplarError(
            f"{what} must be values of one kind, got some that cannot be compared ({error})."
        ) from error
    return torch.from_numpy(codes.astype(np.int64))
