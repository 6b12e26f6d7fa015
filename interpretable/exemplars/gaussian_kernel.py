"""The Gaussian kernel of rows, by matrix products that stay in the cache."""

import math

import torch
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.kernels import EXACT, blocks_of

_COARSEST = 1e-4
"""Median rounding above which float32 will not do."""

_CACHED = 2**17
"""Values of rows in float64 that stay in a core's cache."""


class GaussianKernel:
    """K_ij = exp(−γ ‖x_i − x_j‖²), times 1[y_i = y_j] where there are labels; a `Kernel`.

    Rows are centred and multiplied by √(2γ), after which the exponent is x·y − ‖x‖²/2 − ‖y‖²/2: a tile is one matrix
    product and few passes over it.

    Args:
        x: (n, d) rows, float32 or float64, which tiles are computed in; where γ‖x‖² or d are so large that float32
            would tell values near 1 badly, they are computed in float64.
        gamma: γ > 0.
        labels: (n,) int64, or None for one block.

    Raises:
        ExemplarError: Rows are too large for their type.
    """

    def __init__(self, x: Tensor, gamma: float, labels: Tensor | None) -> None:
        self._x, self._gamma = x, gamma
        self.piece = max(16, min(512, _CACHED // x.shape[1]))
        # Not mean(dtype=float64), which copies all rows.
        self._centre = sum((some.double().sum(0) for some in torch.split(x, self.piece)), _zeros(x)) / len(x)
        self.blocks, self.block_of = blocks_of(x, labels)
        self.diagonal = torch.ones(len(x), dtype=torch.float64, device=x.device)
        self._exact_halves = torch.empty_like(self.diagonal)
        self._place = torch.empty_like(self.block_of)
        for rows in self.blocks:
            self._place[rows] = torch.arange(len(rows), device=x.device)
        self._keep(x.dtype)
        if self.rounding.median() > _COARSEST:
            self._keep(torch.float64)
        if not all(halves.isfinite().all() for halves in self._halves):
            raise ExemplarError(
                f"Rows are too large, or gamma {gamma:g} too high, for float64; scale the rows or lower gamma."
            )

    def _keep(self, kind: torch.dtype) -> None:
        """Scales all rows, and keeps them in a type."""
        self._kind = kind
        self._scaled = [self._x.new_empty(len(rows), self._x.shape[1], dtype=kind) for rows in self.blocks]
        self._halves = [self._x.new_empty(len(rows), dtype=kind) for rows in self.blocks]
        for rows, scaled, halves in zip(self.blocks, self._scaled, self._halves, strict=True):
            pieces = (torch.split(given, self.piece) for given in (rows, scaled, halves))
            for some, kept, half in zip(*pieces, strict=True):
                exact = self._centred(some).mul_(math.sqrt(2 * self._gamma))
                kept.copy_(exact)
                half.copy_(_half_squares(kept))
                self._exact_halves[some] = _half_squares(exact)
        self.rounding, self.mean_rounding = _rounding(self._exact_halves, self._x.shape[1], kind)

    def tile(self, block: int, rows: slice | Tensor, columns: slice) -> Tensor:
        """See `Kernel.tile`."""
        scaled, halves = self._scaled[block], self._halves[block]
        values = _exponential(scaled[rows] @ scaled[columns].T, halves[rows, None], halves[columns])
        if isinstance(rows, Tensor):
            own = ((rows >= columns.start) & (rows < columns.stop)).nonzero().squeeze(1)
            values[own, rows[own] - columns.start] = 1
        elif rows == columns:
            values.fill_diagonal_(1)
        return values

    def row(self, number: int) -> Tensor:
        """See `Kernel.row`."""
        block, place = (0, number) if len(self.blocks) == 1 else (int(self.block_of[number]), int(self._place[number]))
        scaled, halves = self._scaled[block], self._halves[block]
        values = torch.addmv(halves, scaled, scaled[place], beta=-1)
        _exponential(values, halves[place])
        values[place] = 1
        return values

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """See `Kernel.exact`."""
        products = self._centred(rows).mul_(2 * self._gamma) @ self._centred(columns).T
        values = _exponential(products, self._exact_halves[rows, None], self._exact_halves[columns])
        values.masked_fill_(rows[:, None] == columns, 1)
        return values if len(self.blocks) == 1 else values * (self.block_of[rows][:, None] == self.block_of[columns])

    def between(self, others: Tensor, numbers: Tensor) -> Tensor:
        """See `Kernel.between`."""
        root = math.sqrt(2 * self._gamma)
        strangers = others.to(self._centre).sub(self._centre).mul_(root).to(self._kind)
        known = self._centred(numbers).mul_(root).to(self._kind)
        first, second = (_half_squares(rows).to(self._kind) for rows in (strangers, known))
        return _exponential(strangers @ known.T, first[:, None], second)

    def _centred(self, numbers: Tensor) -> Tensor:
        """(numbers, d) float64."""
        return self._x[numbers].double().sub_(self._centre)


def _half_squares(scaled: Tensor) -> Tensor:
    """(n,) ‖x‖²/2."""
    halves: Tensor = torch.linalg.vector_norm(scaled, dim=1, dtype=torch.float64).square_().div_(2)
    return halves


def _exponential(products: Tensor, *halves: Tensor) -> Tensor:
    """exp(x·y − ‖x‖²/2 − ‖y‖²/2) in the place of the products, less the halves that they lack, 1 at the most.

    What would be less than the smallest normal number is that: numbers below it take a hundred times as long.
    """
    least = math.log(torch.finfo(products.dtype).tiny)
    for half in halves:
        products.sub_(half)
    return products.clamp_(least, 0).exp_()


def _zeros(x: Tensor) -> Tensor:
    """(d,) float64."""
    return torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)


def _rounding(halves: Tensor, d: int, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bounds on the relative rounding of each row's values in a type, and of their mean.

    The exponent's three terms are rounded to their own size, of which ‖x‖²/2 is a measure: where the other row's is
    much larger the value is near 0 and does not count. Roundings of most rows cancel, but where all columns move
    together a product's grow with their number. The factors are a quarter and more above the largest that
    were found on such rows of 256 to 150,528 columns.
    """
    unit = torch.finfo(kind).eps * (1 + 2 * halves)
    of_values, of_mean = 40 * max(1, d / 256), 8 * max(1, d / 1024)
    return (of_values * unit).clamp(min=EXACT), (of_mean * unit).clamp(min=EXACT)
