"""Layer-wise relevance propagation, step by step with dense matrices.

Sources: Bach et al., PLOS ONE 2015 (ε, αβ); Montavon et al., Pattern Recognition 2017 (z+, zB, w²); Montavon et al.,
"Layer-Wise Relevance Propagation: An Overview", 2019 (γ, flat).

A rule takes inputs a (I,), weight W (O, I), bias b (O,), and the relevance of the outputs (O,); it returns the
relevance of the inputs (I,) and what is absorbed, with sum(R_in) + absorbed = sum(R_out). With c_ji = W_ji · a_i,
every rule shares R_j in the proportion of some parts of the unit j to their sum d_j: the inputs' parts go on, the
parts of bias and stabiliser are absorbed, and all of R_j is absorbed where d_j = 0. The stabiliser is ε · sign(d_j),
sign(0) = +1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
from numpy import ndarray

from .layer_graph import WEIGHTED, Step, array, dense, forward, normalisation, per_value, pooling_matrix, winners

Shared = tuple[ndarray, float]


def sign(number: float) -> float:
    """+1 for 0."""
    return 1.0 if number >= 0 else -1.0


def shared(parts: ndarray, rest: ndarray, relevance: ndarray, epsilon: float) -> Shared:
    """R_i = Σ_j parts_ji / d_j · R_j with d_j = Σ_i parts_ji + rest_j + ε · sign(of that sum)."""
    incoming, absorbed = numpy.zeros(parts.shape[1]), []
    for j in range(len(parts)):
        total = math.fsum(parts[j]) + rest[j]
        stabiliser = epsilon * sign(total)
        denominator = total + stabiliser
        if denominator == 0:
            absorbed.append(relevance[j])
            continue
        for i in range(parts.shape[1]):
            incoming[i] += parts[j, i] / denominator * relevance[j]
        absorbed.append((rest[j] + stabiliser) / denominator * relevance[j])
    return incoming, math.fsum(absorbed)


def epsilon_rule(a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, epsilon: float = 0.0) -> Shared:
    """Parts c_ji and b_j; LRP-0 with ε = 0."""
    return shared(weight * a, bias, relevance, epsilon)


def gamma_rule(
    a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, gamma: float, epsilon: float = 0.0
) -> Shared:
    """Parts p + γ · max(p, 0) of p = c_ji, b_j where z_j ≥ 0, else p + γ · min(p, 0)."""
    parts, rest = weight * a, bias.copy()
    for j in range(len(parts)):
        side = numpy.maximum if math.fsum(parts[j]) + bias[j] >= 0 else numpy.minimum
        parts[j] += gamma * side(parts[j], 0)
        rest[j] += gamma * side(bias[j], 0)
    return shared(parts, rest, relevance, epsilon)


def alpha_beta_rule(
    a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, alpha: float, beta: float, epsilon: float = 0.0
) -> Shared:
    """α · R_j by the parts max(c_ji, 0), max(b_j, 0) and −β · R_j by min(c_ji, 0), min(b_j, 0); α − β = 1.

    A share whose parts are all 0 is absorbed: α · R_j, or −β · R_j.
    """
    if alpha - beta != 1:
        raise ValueError(f"α − β must be 1, found {alpha} and {beta}")
    contributions = weight * a
    supporting, absorbed = shared(numpy.maximum(contributions, 0), numpy.maximum(bias, 0), alpha * relevance, epsilon)
    opposing, lost = shared(numpy.minimum(contributions, 0), numpy.minimum(bias, 0), -beta * relevance, epsilon)
    return supporting + opposing, absorbed + lost


def z_plus_rule(a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, epsilon: float = 0.0) -> Shared:
    """αβ with α = 1, β = 0."""
    return alpha_beta_rule(a, weight, bias, relevance, 1.0, 0.0, epsilon)


def z_box_rule(
    a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, low: ndarray, high: ndarray, epsilon: float = 0.0
) -> Shared:
    """Parts c_ji − l_i · max(W_ji, 0) − h_i · min(W_ji, 0); neither bias nor padding has any."""
    parts = weight * a - low * numpy.maximum(weight, 0) - high * numpy.minimum(weight, 0)
    return shared(parts, numpy.zeros(len(bias)), relevance, epsilon)


def w_square_rule(a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray) -> Shared:
    """Parts W_ji²; the bias has none."""
    return shared(weight**2, numpy.zeros(len(bias)), relevance, 0.0)


def flat_rule(
    a: ndarray, weight: ndarray, bias: ndarray, relevance: ndarray, connected: ndarray | None = None
) -> Shared:
    """Part 1 for each input that the output is `connected` (O, I) with (None: all); the bias has none."""
    parts = numpy.ones_like(weight) if connected is None else connected.astype(numpy.float64)
    return shared(parts, numpy.zeros(len(bias)), relevance, 0.0)


RULES: dict[str, Callable[..., Shared]] = {
    "epsilon": epsilon_rule,
    "gamma": gamma_rule,
    "alpha_beta": alpha_beta_rule,
    "z_plus": z_plus_rule,
    "z_box": z_box_rule,
    "w_square": w_square_rule,
    "flat": flat_rule,
}


def sum_rule(operands: list[ndarray], relevance: ndarray, epsilon: float = 0.0) -> tuple[list[ndarray], float]:
    """Parts are the summands themselves, at each cell: a_k / (Σ_k a_k + ε · sign) · R."""
    shares, absorbed = [numpy.zeros(relevance.size) for _ in operands], []
    flat = [operand.reshape(-1) for operand in operands]
    for i, of_cell in enumerate(relevance.reshape(-1)):
        column = array([[operand[i] for operand in flat]])
        share, lost = shared(column, numpy.zeros(1), array([of_cell]), epsilon)
        for k in range(len(operands)):
            shares[k][i] = share[k]
        absorbed.append(lost)
    return [share.reshape(relevance.shape) for share in shares], math.fsum(absorbed)


def affine_rule(
    x: ndarray, scale: ndarray, shift: ndarray, relevance: ndarray, epsilon: float = 0.0
) -> tuple[ndarray, float]:
    """Parts scale · x and shift, at each cell: the ε rule of a diagonal matrix."""
    incoming, absorbed = numpy.zeros(x.size), []
    for i in range(x.size):
        own = array([[scale.flat[i] * x.flat[i]]])
        share, lost = shared(own, array([shift.flat[i]]), array([relevance.flat[i]]), epsilon)
        incoming[i] = share[0]
        absorbed.append(lost)
    return incoming.reshape(x.shape), math.fsum(absorbed)


def max_pool_rule(step: Step, x: ndarray, relevance: ndarray) -> ndarray:
    """All of a window's relevance to its winner; windows that share one are added."""
    incoming = numpy.zeros(x.size)
    for j, i in enumerate(winners(step, x)):
        incoming[i] += relevance.flat[j]
    return incoming.reshape(x.shape)


class Relevance(NamedTuple):
    """Relevance of each named value, "x" the image's; and what each step, by its output's name, absorbed."""

    of: dict[str, ndarray]
    absorbed_by: dict[str, float]

    @property
    def absorbed(self) -> float:
        return math.fsum(self.absorbed_by.values())


def weighted(step: Step, x: ndarray, relevance: ndarray, rule: tuple[str, Mapping[str, Any]]) -> tuple[ndarray, float]:
    name, parameters = rule
    layer = dense(step, x.shape)
    parameters = dict(parameters)
    if name == "flat":
        parameters["connected"] = layer.connected
    for bound in ("low", "high"):
        if bound in parameters:
            parameters[bound] = per_value(parameters[bound], x.shape).reshape(-1)
    incoming, lost = RULES[name](x.reshape(-1), layer.weight, layer.bias, relevance.reshape(-1), **parameters)
    return incoming.reshape(x.shape), lost


def explain(
    steps: Sequence[Step],
    x: Any,
    target: int,
    rules: Sequence[tuple[str, Mapping[str, Any]]],
    stabiliser: float = 0.0,
) -> Relevance:
    """Relevance of every value from f_c down.

    Args:
        steps: The network; a batch norm that is not to be a step of its own is folded first, by `fold`.
        x: One image (C, H, W) or (D,).
        target: The class c.
        rules: Name and parameters of the rule of each weighted step, in order; `low` and `high` of z_box are numbers
            or (C,), one for each channel.
        stabiliser: ε of sums, average pools and batch norms of their own.
    """
    values = forward(steps, x)
    last = steps[-1].output
    relevance = {name: numpy.zeros(value.shape) for name, value in values.items()}
    relevance[last][target] = values[last][target]
    absorbed: dict[str, float] = {}
    rule_of = dict(zip([step.output for step in steps if step.kind in WEIGHTED], rules, strict=True))
    for step in reversed(steps):
        operands, of_output, lost = [values[name] for name in step.inputs], relevance[step.output], 0.0
        match step.kind:
            case "linear" | "convolution":
                share, lost = weighted(step, operands[0], of_output, rule_of[step.output])
                shares = [share]
            case "batch_norm":
                scale, shift = (per_value(part, operands[0].shape) for part in normalisation(step))
                share, lost = affine_rule(operands[0], scale, shift, of_output, stabiliser)
                shares = [share]
            case "average_pool":
                matrix = pooling_matrix(step, operands[0].shape)
                flat, zeros = operands[0].reshape(-1), numpy.zeros(len(matrix))
                share, lost = epsilon_rule(flat, matrix, zeros, of_output.reshape(-1), stabiliser)
                shares = [share]
            case "add":
                shares, lost = sum_rule(operands, of_output, stabiliser)
            case "max_pool":
                shares = [max_pool_rule(step, operands[0], of_output)]
            case "concatenate":
                shares = numpy.split(of_output, numpy.cumsum([len(operand) for operand in operands])[:-1])
            case "relu" | "flatten":
                shares = [of_output]
            case _:
                raise ValueError(f"LRP has no rule for {step.kind}")
        for name, share in zip(step.inputs, shares, strict=True):
            relevance[name] = relevance[name] + share.reshape(relevance[name].shape)
        absorbed[step.output] = lost
    return Relevance(relevance, absorbed)
