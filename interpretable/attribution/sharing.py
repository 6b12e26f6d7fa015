"""Relevance of outputs shared among what they were computed from, in proportion, and what nothing receives."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

Run = Callable[..., Tensor]
"""An operation, out of place, of its operands."""


class Shares(NamedTuple):
    """Where the relevance of an operation's output went."""

    of_operands: tuple[Tensor | None, ...]
    """Relevance of each operand that may depend on the image, else None."""
    absorbed: Tensor
    """Relevance that no operand receives, like the relevance of the output."""


Sharing = Callable[..., Shares]
"""Called with ``run``, the operands, and the relevance of the output."""


def quotients(total: Tensor, rest: Tensor | float, relevance: Tensor, epsilon: float = 0) -> tuple[Tensor, Tensor]:
    """Relevance of each unit over the sum of its parts, and what of it goes to the parts that no operand has.

    A unit whose parts sum to 0 gives all of its relevance to the latter.

    Args:
        total: Sum of all parts of a unit, ``rest`` included.
        rest: The parts that no operand has, broadcastable.
        relevance: Relevance of each unit, like ``total``.
        epsilon: Added to the sum with the sign of it, + for 0: one more part that no operand has.
    """
    stabiliser: Tensor | float = 0.0
    if epsilon:
        stabiliser = torch.full_like(total, epsilon).copysign_(total + 0.0)  # −0 + 0 is 0
    denominators = total + stabiliser
    # What it divides by must leave room for the quotient.
    empty = denominators.abs() <= torch.finfo(total.dtype).tiny / torch.finfo(total.dtype).eps
    ratios = torch.where(empty, 0, relevance / denominators.masked_fill_(empty, 1))
    return ratios, torch.where(empty, relevance, ratios * (stabiliser + rest))


def shared(
    run: Run, terms: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None, relevance: Tensor, epsilon: float = 0
) -> tuple[Tensor, Tensor]:
    """R_i = Σ_j p_ij / (Σ_i p_ij + b_j + ε sign) R_j, and what bias and stabiliser absorb of each R_j.

    Args:
        run: A convolution or linear layer as a function of input, weight and bias.
        terms: Inputs a and weights w that are multiplied to parts p_ij = Σ a_i w_ij.
        bias: Of the outputs, or None.
        relevance: R_j, like the output.
        epsilon: As for `quotients`.
    """
    with torch.enable_grad():
        inputs = [x.detach().requires_grad_() for x, _ in terms]
        total = _sum([run(x, weight, None) for x, (_, weight) in zip(inputs, terms, strict=True)])
    # Channels come second of an output, or last of a linear layer's, whose weight has two dimensions.
    rest = 0.0 if bias is None else bias.view(-1, *(1,) * (terms[0][1].ndim - 2))
    ratios, absorbed = quotients(total.detach() + rest, rest, relevance, epsilon)
    gradients = torch.autograd.grad(total, inputs, ratios)
    return _sum([x.detach() * gradient for x, gradient in zip(inputs, gradients, strict=True)]), absorbed


def by_factor(run: Run, x: Tensor, factor: Tensor, relevance: Tensor) -> Shares:
    """All of it where the factor is not 0, for ``x * factor``."""
    share = torch.where(factor == 0, 0, relevance)
    return Shares((share, None), relevance - share)


def by_summands(run: Run, a: Tensor, b: Tensor, relevance: Tensor, epsilon: float = 0) -> Shares:
    """Two summands by their values."""
    ratios, absorbed = quotients(a + b, 0, relevance, epsilon)
    return Shares((a * ratios, b * ratios), absorbed)


def by_average(run: Run, x: Tensor, relevance: Tensor, epsilon: float = 0) -> Shares:
    """The inputs of a linear function without weights by what they add to it."""
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        total = run(inputs)
    ratios, absorbed = quotients(total.detach(), 0, relevance, epsilon)
    (gradient,) = torch.autograd.grad(total, inputs, ratios)
    return Shares((x * gradient,), absorbed)


def by_affine(run: Run, x: Tensor, scale: Tensor, shift: Tensor, relevance: Tensor, epsilon: float = 0) -> Shares:
    """The input of ``x * scale + shift``, of which the shift absorbs its own part."""
    part = x * scale
    ratios, absorbed = quotients(part + shift, shift, relevance, epsilon)
    return Shares((part * ratios, None, None), absorbed)


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)
