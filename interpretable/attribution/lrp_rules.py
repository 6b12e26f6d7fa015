"""Rules that share the relevance of a convolution's or linear layer's outputs among its inputs, by what they add.

With p_ij = x_i w_ij, z_j = Σ_i p_ij + b_j, p⁺ the positive and p⁻ the negative parts, inputs of either sign. Whatever a
bias, a stabiliser or a unit without any part receives is absorbed, so that nothing is lost without being counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from interpretable.attribution.sharing import Run, Shares, Sharing, shared
from interpretable.errors import AttributionError


class WeightRule(Protocol):
    """Shares relevance among the inputs of a weighted operation."""

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Relevance of the inputs, like ``x``, and how much of each output's is absorbed, like ``relevance``.

        Args:
            run: The operation as a function of input, weight and bias.
            x: (N, ...) input.
            weight: Of any shape that ``run`` takes.
            bias: (O,), or None.
            relevance: Of the outputs.
        """


def by_rule(rule: WeightRule) -> Sharing:
    """What a weighted operation shares by a rule."""

    def share(run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor) -> Shares:
        incoming, absorbed = rule(run, x, weight, bias, relevance)
        return Shares((incoming, None, None), absorbed)

    return share


@dataclass(frozen=True)
class Epsilon:
    """R_i = Σ_j p_ij / (z_j + ε sign z_j) R_j (Bach et al. 2015, eq. 58); LRP-0 with ε = 0.

    Args:
        epsilon: ε, in the units of z: the larger, the more of weak and contradictory parts is absorbed.

    Raises:
        AttributionError: It is below 0.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_not_negative("epsilon", self.epsilon)

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `WeightRule` says."""
        return shared(run, [(x, weight)], bias, relevance, self.epsilon)


@dataclass(frozen=True)
class Gamma:
    """The parts on the side of z_j's sign count 1 + γ times (Montavon et al. 2019, for inputs of either sign).

    R_i = Σ_j (p_ij + γ p_ij^±) / (z_j + γ Σ p_j^±) R_j with ± the sign of z_j, + for 0; the bias is a part as well.

    Args:
        gamma: γ; LRP-0 with 0, and with a large one the parts on that side alone.

    Raises:
        AttributionError: It is below 0.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        check_not_negative("gamma", self.gamma)

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `WeightRule` says."""
        positive = run(x, weight, bias) >= 0
        incoming, absorbed = torch.zeros_like(x), torch.zeros_like(relevance)
        for side, sign in ((positive, 1), (~positive, -1)):
            of_side = relevance * side
            if not of_side.any():  # units below 0 have none where a rectifier follows
                continue
            rest = None if bias is None else self._enlarged(bias, sign)
            share, lost = shared(run, _halves(x, partial(self._enlarged, weight), sign), rest, of_side)
            incoming += share
            absorbed += lost
        return incoming, absorbed

    def _enlarged(self, values: Tensor, sign: int) -> Tensor:
        return values + self.gamma * _part(values, sign)


@dataclass(frozen=True)
class AlphaBeta:
    """R_i = Σ_j (α p⁺_ij / Σ p⁺_j − β p⁻_ij / Σ p⁻_j) R_j (Bach et al. 2015, eq. 60).

    A positive bias is one of the positive parts, a negative one of the negative.

    Args:
        alpha: α, 1 + β.
        beta: β ≥ 0; with 0 the rule is z⁺.

    Raises:
        AttributionError: They are none such.
    """

    alpha: float = 2
    beta: float = 1

    def __post_init__(self) -> None:
        check_not_negative("beta", self.beta)
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise AttributionError(f"alpha must be 1 + beta, {1 + self.beta}, got {self.alpha}.")

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `WeightRule` says."""
        incoming, absorbed = _of_side(run, x, weight, bias, self.alpha * relevance, 1)
        if self.beta == 0:
            return incoming, absorbed
        opposing, lost = _of_side(run, x, weight, bias, -self.beta * relevance, -1)
        return incoming + opposing, absorbed + lost


@dataclass(frozen=True)
class ZPlus:
    """R_i = Σ_j p⁺_ij / Σ p⁺_j R_j (Montavon et al. 2017), which is α = 1, β = 0; a positive bias is a part."""

    def __call__(
        self, run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `WeightRule` says."""
        return _of_side(run, x, weight, bias, relevance, 1)


def _of_side(
    run: Run, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor, sign: int
) -> tuple[Tensor, Tensor]:
    """Shares by the positive parts alone, or by the negative ones."""
    rest = None if bias is None else _part(bias, sign)
    return shared(run, _halves(x, partial(_part, weight), sign), rest, relevance)


def _part(values: Tensor, sign: int) -> Tensor:
    """What of the values is of a sign, else 0."""
    return values.clamp(min=0) if sign > 0 else values.clamp(max=0)


def _halves(x: Tensor, weights: Callable[[int], Tensor], sign: int) -> list[tuple[Tensor, Tensor]]:
    """Positive inputs with the weights of a sign, and negative ones with those of the other, where there are any."""
    if x.amin() >= 0:
        return [(x, weights(sign))]
    return [(x.clamp(min=0), weights(sign)), (x.clamp(max=0), weights(-sign))]


def check_not_negative(name: str, value: float) -> None:
    """Refuses a number below 0, or one that is none.

    Raises:
        AttributionError: As said.
    """
    if not 0 <= value < float("inf"):
        raise AttributionError(f"{name} must be 0 or more, got {value}.")
