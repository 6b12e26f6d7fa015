"""Which of the first 1..m prototypes is the nearest to a row."""

from collections.abc import Iterator

import torch
from torch import Tensor

from interpretable.errors import ExemplarError

NUMBERS_AT_ONCE = 2**20
"""Bounds what is computed at once, 8 MiB an array."""


def nearest_prototypes(prototypes: Tensor, X: Tensor) -> Tensor:  # noqa: N803
    """Number (k,) int64 of the prototype nearest to each row in Euclidean distance, the first of equals.

    Args:
        prototypes: (m, d).
        X: (k, d) rows.

    Raises:
        ExemplarError: There is no prototype, the columns differ in number, or a number is not finite or its square
            beyond float64.
    """
    nearest = torch.zeros(len(X), dtype=torch.int64, device=X.device)
    for rows, _, winners in _contests(prototypes, X):
        nearest[rows] = winners[:, -1]
    return nearest


def first_prototype_errors(prototypes: Tensor, prototype_labels: Tensor, X: Tensor, y: Tensor) -> Tensor:  # noqa: N803
    """Share (m,) float64 of rows whose nearest of the first 1..m prototypes, the first of equals, has another label.

    All m take one matrix product of the rows with the prototypes in float64, a block of rows at a time.

    Args:
        prototypes: (m, d) in the order in which they are added.
        prototype_labels: (m,) integers.
        X: (k, d) rows.
        y: (k,) integers, their labels.

    Raises:
        ExemplarError: As `nearest_prototypes`.
    """
    changes = torch.zeros(len(prototypes), dtype=torch.int64, device=X.device)  # of the number of rows named rightly
    for rows, entrants, winners in _contests(prototypes, X):
        right = (prototype_labels[winners] == y[rows, None]).long()
        changes.index_add_(0, entrants.flatten(), right.diff(dim=1, prepend=torch.zeros_like(right[:, :1])).flatten())
    return 1 - changes.cumsum(0).double() / len(X)


def _contests(prototypes: Tensor, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of rows, the prototypes that may be nearer than all before them, and which is the nearest from each on.

    Products round differently from place to place, which would let a prototype win against its equal. They rule out
    what is farther by more than the rounding; the others, about ln m prototypes a row, are measured by differences.

    Yields:
        Rows; entrants (rows, w), ascending, and 0 in the end where a row has fewer than w; winners (rows, w).
    """
    if 0 in prototypes.shape or x.ndim != 2 or prototypes.shape[1:] != x.shape[1:]:
        raise ExemplarError(
            "The nearest prototype needs one prototype or more, with as many columns as the rows, got "
            f"{tuple(prototypes.shape)} for rows {tuple(x.shape)}; pass prototypes of the same data."
        )
    centre = prototypes.mean(0, dtype=torch.float64)
    centred = prototypes.double() - centre
    lengths = torch.linalg.vector_norm(centred, dim=1)
    _refuse_beyond_float64(lengths)
    new = _first_of_equals(prototypes)
    high = max(1, NUMBERS_AT_ONCE // max(prototypes.shape))
    for rows in (slice(first, first + high) for first in range(0, len(x), high)):
        entering = _may_be_nearer(centred, lengths, x[rows].double() - centre) & new
        yield rows, *_winners(prototypes, x[rows], entering)


def _refuse_beyond_float64(lengths: Tensor) -> None:
    if not lengths.square().isfinite().all():
        raise ExemplarError(
            "The nearest prototype needs finite numbers whose squares float64 can hold, got others; leave out the rows "
            "that have them, or scale the columns."
        )


def _first_of_equals(prototypes: Tensor) -> Tensor:
    """Whether each (m,) differs from those before it; one that does not can never be nearer."""
    _, kind = torch.unique(prototypes, dim=0, return_inverse=True)
    numbers = torch.arange(len(kind), device=kind.device)
    return numbers.scatter_reduce(0, kind, numbers, "amin", include_self=False)[kind] == numbers


def _may_be_nearer(prototypes: Tensor, lengths: Tensor, x: Tensor) -> Tensor:
    """Whether each prototype (rows, m) may be nearer to a row than those before it; all centred, in float64."""
    reach = torch.linalg.vector_norm(x, dim=1) + lengths.max()
    _refuse_beyond_float64(reach)
    # Without the row's own square, which is the same for all. Each is off by (d + 8) eps reach² at most, what measuring
    # it by differences is off included, and so is the one that it is compared with.
    squares = torch.addmm(lengths.square(), x, prototypes.T, alpha=-2)
    off = (x.shape[1] + 8) * torch.finfo(torch.float64).eps * reach.square()
    limits = squares.cummin(1).values.add_(2 * off[:, None])
    return torch.cat([torch.ones_like(squares[:, :1], dtype=torch.bool), squares[:, 1:] <= limits[:, :-1]], 1)


def _winners(prototypes: Tensor, x: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
    """The prototypes that enter, and the nearest from each on, (rows, w)."""
    row, prototype = entering.nonzero(as_tuple=True)
    number = entering.sum(1)
    place = torch.arange(len(row), device=x.device) - (number.cumsum(0) - number)[row]
    entrants = prototype.new_zeros(len(x), int(number.max()))
    entrants[row, place] = prototype
    squares = torch.full_like(entrants, torch.inf, dtype=torch.float64)
    at_once = max(1, NUMBERS_AT_ONCE // x.shape[1])
    for some in (slice(first, first + at_once) for first in range(0, len(row), at_once)):
        differences = x[row[some]].double() - prototypes[prototype[some]].double()
        squares[row[some], place[some]] = differences.square_().sum(1)
    nearer = torch.ones_like(squares, dtype=torch.bool)
    nearer[:, 1:] = squares[:, 1:] < squares.cummin(1).values[:, :-1]
    return entrants, torch.where(nearer, entrants, 0).cummax(1).values  # a winner's number is above those before it
