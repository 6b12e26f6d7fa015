"""DeepLIFT with the rescale rule: multipliers by the chain rule, unit by unit.

Source: Shrikumar, Greenside, Kundaje, "Learning important features through propagating activation differences", ICML
2017. Δ is the value for the image minus the value for the reference; the multipliers m of each value satisfy
Σ_i m_i Δ_i = Δf_c.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from numpy import ndarray

from .layer_graph import Step, dense, forward, normalisation, per_value, pooling_matrix, windows


def derivative(kind: str, x: float) -> float:
    """Of an elementwise function; relu'(0) = 0."""
    match kind:
        case "relu":
            return 1.0 if x > 0 else 0.0
        case "sigmoid":
            return math.exp(-x) / (1 + math.exp(-x)) ** 2
        case "tanh":
            return 1 - math.tanh(x) ** 2
    raise ValueError(f"the rescale rule has no {kind}")


def rescaled(kind: str, x: ndarray, x0: ndarray, y: ndarray, y0: ndarray) -> ndarray:
    """Δout / Δin of each unit, the derivative where Δin = 0."""
    multiplier = numpy.zeros(x.size)
    for i in range(x.size):
        moved = x.flat[i] - x0.flat[i]
        multiplier[i] = derivative(kind, x.flat[i]) if moved == 0 else (y.flat[i] - y0.flat[i]) / moved
    return multiplier.reshape(x.shape)


def through_matrix(matrix: ndarray, multipliers: ndarray) -> ndarray:
    """m_i = Σ_j m_j W_ji."""
    incoming = numpy.zeros(matrix.shape[1])
    for j in range(len(matrix)):
        for i in range(matrix.shape[1]):
            incoming[i] += multipliers[j] * matrix[j, i]
    return incoming


def through_max_pool(step: Step, x: ndarray, x0: ndarray, multipliers: ndarray) -> ndarray:
    """Window with maxima y, y0: (max(y, y0) − y0) / Δ to the winner of x, (y − max(y, y0)) / Δ to that of x0.

    A share that is not 0 goes to a cell that has moved. Where y = y0 and the winner of x has not moved, it has the
    derivative, 1. Ties: the first. Windows that share a cell are added.
    """
    flat, flat0, incoming = x.reshape(-1), x0.reshape(-1), numpy.zeros(x.size)
    for j, cells in enumerate(windows(step, x.shape)[0]):
        winner = max(cells, key=lambda i: (flat[i], -i))
        winner0 = max(cells, key=lambda i: (flat0[i], -i))
        y, y0 = flat[winner], flat0[winner0]
        highest = max(y, y0)
        if highest > y0:
            incoming[winner] += multipliers[j] * (highest - y0) / (flat[winner] - flat0[winner])
        if y < highest:
            incoming[winner0] += multipliers[j] * (y - highest) / (flat[winner0] - flat0[winner0])
        if y == y0 and flat[winner] == flat0[winner]:
            incoming[winner] += multipliers[j]
    return incoming


class Contributions(NamedTuple):
    """Multipliers of each named value, "x" the image's; contributions m · (x − x0); f_c(x) − f_c(x0) − their sum."""

    multipliers: dict[str, ndarray]
    contributions: ndarray
    delta: float


def explain(steps: Sequence[Step], x: Any, x0: Any, target: int) -> Contributions:
    """Multipliers of f_c for one image and one reference; biases have none."""
    values, references = forward(steps, x), forward(steps, x0)
    last = steps[-1].output
    multipliers = {name: numpy.zeros(value.shape) for name, value in values.items()}
    multipliers[last][target] = 1.0
    for step in reversed(steps):
        operands, baselines = [values[name] for name in step.inputs], [references[name] for name in step.inputs]
        of_output, operand, baseline = multipliers[step.output], operands[0], baselines[0]
        match step.kind:
            case "linear" | "convolution":
                shares = [through_matrix(dense(step, operand.shape).weight, of_output.reshape(-1))]
            case "average_pool":
                shares = [through_matrix(pooling_matrix(step, operand.shape), of_output.reshape(-1))]
            case "batch_norm":
                shares = [of_output * per_value(normalisation(step)[0], operand.shape)]
            case "max_pool":
                shares = [through_max_pool(step, operand, baseline, of_output.reshape(-1))]
            case "add":
                shares = [of_output for _ in operands]
            case "multiply":
                other = operands[1] + baselines[1]
                shares = [of_output * other / 2, of_output * (operand + baseline) / 2]
            case "concatenate":
                shares = numpy.split(of_output, numpy.cumsum([len(part) for part in operands])[:-1])
            case "flatten":
                shares = [of_output]
            case _:
                output, reference = values[step.output], references[step.output]
                shares = [of_output * rescaled(step.kind, operand, baseline, output, reference)]
        for name, share in zip(step.inputs, shares, strict=True):
            multipliers[name] = multipliers[name] + share.reshape(multipliers[name].shape)
    contributions = multipliers["x"] * (values["x"] - references["x"])
    change = values[last][target] - references[last][target]
    return Contributions(multipliers, contributions, change - math.fsum(contributions.reshape(-1)))
