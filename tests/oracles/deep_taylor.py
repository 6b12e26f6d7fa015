"""Deep Taylor decomposition on a chain of layers, each unit by its own root point.

Source: Montavon et al., "Explaining nonlinear classification decisions with deep Taylor decomposition", Pattern
Recognition 2017. A unit z = w · x + b with relevance R is the function R(x') = R / z(x) · relu(z(x')). Its root x̃ is
where the line through x along the rule's direction v meets z = 0, x̃ = x − z / (w · v) · v; what input i receives is
the first-order term of R around x̃, ∂R/∂x_i · (x_i − x̃_i), the slope being that of the active side, R / z(x) · w_i.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from numpy import ndarray

from .layer_graph import WEIGHTED, Step, array, dense, forward, per_value, pooling_matrix, winners


def direction(rule: str, x: ndarray, w: ndarray, low: ndarray | None = None, high: ndarray | None = None) -> ndarray:
    """v of one unit: w for w_square; x − x·1[w < 0] for z_plus; x − l·1[w > 0] − h·1[w < 0] for z_box."""
    v = numpy.zeros(len(x))
    for i in range(len(x)):
        match rule:
            case "w_square":
                v[i] = w[i]
            case "z_plus":
                if x[i] < 0:
                    raise ValueError(f"z_plus searches among inputs ≥ 0, found {x[i]}")
                v[i] = x[i] if w[i] >= 0 else 0.0
            case "z_box":
                if not low[i] <= x[i] <= high[i]:
                    raise ValueError(f"z_box searches in [{low[i]}, {high[i]}], found {x[i]}")
                corner = low[i] if w[i] > 0 else high[i]
                v[i] = x[i] - corner if w[i] != 0 else 0.0
            case _:
                raise ValueError(rule)
    return v


def root_point(x: ndarray, w: ndarray, b: float, v: ndarray) -> ndarray | None:
    """Where x − t · v meets w · x + b = 0; None where the line never does, w · v = 0."""
    slope = math.fsum(w * v)
    if slope == 0:
        return None
    return x - (math.fsum(w * x) + b) / slope * v


def first_order_terms(x: ndarray, w: ndarray, b: float, relevance: float, root: ndarray) -> ndarray:
    """∂R/∂x_i · (x_i − x̃_i), summing to R(x) − R(x̃) = R."""
    slope = relevance / (math.fsum(w * x) + b) * w
    return slope * (x - root)


def decompose(
    rule: str,
    x: ndarray,
    weight: ndarray,
    bias: ndarray,
    relevance: ndarray,
    low: ndarray | None = None,
    high: ndarray | None = None,
) -> tuple[ndarray, float]:
    """Relevance of the inputs (I,) and what is dropped: all of R_j where z_j ≤ 0 or where unit j has no root."""
    incoming, dropped = numpy.zeros(len(x)), []
    for j in range(len(weight)):
        if relevance[j] == 0:
            continue
        v = direction(rule, x, weight[j], low, high)
        root = root_point(x, weight[j], bias[j], v)
        if math.fsum(weight[j] * x) + bias[j] <= 0 or root is None:
            dropped.append(relevance[j])
            continue
        incoming += first_order_terms(x, weight[j], bias[j], relevance[j], root)
    return incoming, math.fsum(dropped)


class Decomposition(NamedTuple):
    """Relevance of each named value, "x" the image's; and what each step, by its output's name, dropped."""

    of: dict[str, ndarray]
    dropped_by: dict[str, float]

    @property
    def dropped(self) -> float:
        return math.fsum(self.dropped_by.values())


def explain(
    steps: Sequence[Step], x: Any, target: int, input_rule: str = "z_plus", low: Any = None, high: Any = None
) -> Decomposition:
    """Relevance of every value of a chain from relu(f_c) down.

    The first weighted step has `input_rule`, all later ones, the last too, and average pools z_plus. A max pool, whose
    root is at 0 of its winner, gives it everything. ReLU and flatten pass relevance on.

    Args:
        steps: linear, convolution, relu, flatten, average_pool and max_pool, each reading the one before.
        x: One image (C, H, W) or (D,).
        target: The class c.
        input_rule: "z_plus", "w_square" or "z_box".
        low: Bounds of z_box, a number or (C,).
        high: As low.
    """
    values = forward(steps, x)
    last = steps[-1].output
    relevance = {name: numpy.zeros(value.shape) for name, value in values.items()}
    relevance[last][target] = max(values[last][target], 0.0)
    first = next(step.output for step in steps if step.kind in WEIGHTED)
    dropped: dict[str, float] = {}
    for step in reversed(steps):
        operand, of_output, lost = values[step.inputs[0]], relevance[step.output].reshape(-1), 0.0
        flat = operand.reshape(-1)
        match step.kind:
            case "linear" | "convolution":
                layer = dense(step, operand.shape)
                rule = input_rule if step.output == first else "z_plus"
                bounds = [None, None]
                if rule == "z_box":
                    bounds = [per_value(bound, operand.shape).reshape(-1) for bound in (low, high)]
                share, lost = decompose(rule, flat, layer.weight, layer.bias, of_output, *bounds)
            case "average_pool":
                matrix = pooling_matrix(step, operand.shape)
                share, lost = decompose("z_plus", flat, matrix, numpy.zeros(len(matrix)), of_output)
            case "max_pool":
                share = numpy.zeros(flat.size)
                for j, i in enumerate(winners(step, operand)):
                    share[i] += of_output[j]
            case "relu" | "flatten":
                share = of_output
            case _:
                raise ValueError(f"a chain has no {step.kind}")
        relevance[step.inputs[0]] = array(share).reshape(operand.shape)
        dropped[step.output] = lost
    return Decomposition(relevance, dropped)
