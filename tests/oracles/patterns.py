"""Patterns of units from a full matrix of samples, and PatternNet and PatternAttribution with them.

Source: Kindermans et al., "Learning how to explain neural networks: PatternNet and PatternAttribution", ICLR 2018,
equations 4 (linear) and 7 (two-component, a+). Samples are the inputs x (N, D) of a unit with weight w (D,) — of a
convolution, all of its patches — and its outputs y (N,) before the ReLU, with their bias.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy import ndarray

from .layer_graph import WEIGHTED, Step, array, dense, forward, pair, pooling_matrix, winners


def mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def normalised(covariance: ndarray, w: ndarray) -> ndarray:
    """a with w · a = 1; 0 where w · covariance = 0."""
    along = math.fsum(w * covariance)
    return covariance / along if along != 0 else numpy.zeros(len(w))


def covariance(x: ndarray, y: ndarray, chosen: list[int], mean_of_y: float) -> ndarray:
    """E[x y] − E[x] · mean_of_y, E over the chosen samples."""
    result = numpy.zeros(x.shape[1])
    for i in range(x.shape[1]):
        products = [x[n, i] * y[n] for n in chosen]
        result[i] = mean(products) - mean([x[n, i] for n in chosen]) * mean_of_y
    return result


def pattern(x: Any, y: Any, w: Any, estimator: str) -> ndarray:
    """(D,) of one unit, w · a = 1.

    linear: cov(x, y). two_component: E+[x y] − E+[x] E[y], E+ over samples with y > 0, E over all. conditional:
    E+[x y] − E+[x] E+[y]. All 0 without a sample with y > 0 (two_component, conditional), or with w · cov = 0.
    """
    x, y, w = array(x), array(y), array(w)
    everything = list(range(len(y)))
    positive = [n for n in everything if y[n] > 0]
    if estimator == "linear":
        return normalised(covariance(x, y, everything, mean(y)), w)
    if not positive:
        return numpy.zeros(len(w))
    if estimator == "two_component":
        return normalised(covariance(x, y, positive, mean(y)), w)
    if estimator == "conditional":
        return normalised(covariance(x, y, positive, mean([y[n] for n in positive])), w)
    raise ValueError(estimator)


def patterns(x: Any, y: Any, weight: Any, estimator: str) -> ndarray:
    """(O, D) of all units of a layer: x (N, D), y (N, O), weight (O, D)."""
    x, y, weight = array(x), array(y), array(weight)
    return array([pattern(x, y[:, o], weight[o], estimator) for o in range(len(weight))])


def patches(
    images: Any,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> ndarray:
    """(N · h · w, C · kh · kw): what each output of a convolution sees, image by image, row by row; padding is 0."""
    images = array(images)
    (high, wide), (down, across) = pair(kernel), pair(stride)
    (above, left), (apart, aside) = pair(padding), pair(dilation)
    count, channels, height, width = images.shape
    rows = (height + 2 * above - apart * (high - 1) - 1) // down + 1
    columns = (width + 2 * left - aside * (wide - 1) - 1) // across + 1
    result = []
    for n in range(count):
        for row in range(rows):
            for column in range(columns):
                patch = []
                for c in range(channels):
                    for ky in range(high):
                        for kx in range(wide):
                            y, x = row * down - above + ky * apart, column * across - left + kx * aside
                            inside = 0 <= y < height and 0 <= x < width
                            patch.append(images[n, c, y, x] if inside else 0.0)
                result.append(patch)
    return array(result)


def backward(steps: Sequence[Step], x: Any, target: int, weights: Mapping[str, Any]) -> ndarray:
    """f_c(x) · the gradient of f_c, with the weights replaced: masks of z > 0 and pool winners are the network's own.

    Args:
        steps: linear, convolution, relu, flatten, average_pool, max_pool, add.
        x: One image (C, H, W) or (D,).
        target: The class c; the start is f_c, with its bias.
        weights: What replaces the weight of each weighted step, by its output's name, in the weight's shape.
    """
    values = forward(steps, x)
    last = steps[-1].output
    signal = {name: numpy.zeros(value.shape) for name, value in values.items()}
    signal[last][target] = values[last][target]
    for step in reversed(steps):
        operand, of_output = values[step.inputs[0]], signal[step.output].reshape(-1)
        share = numpy.zeros(operand.size)
        match step.kind:
            case "linear" | "convolution":
                matrix = dense(step, operand.shape, weights[step.output]).weight
                for j in range(len(matrix)):
                    share += of_output[j] * matrix[j]
            case "average_pool":
                share = pooling_matrix(step, operand.shape).T @ of_output
            case "max_pool":
                for j, i in enumerate(winners(step, operand)):
                    share[i] += of_output[j]
            case "relu":
                for i in range(operand.size):
                    share[i] = of_output[i] if operand.flat[i] > 0 else 0.0
            case "flatten" | "add":
                share = of_output
            case _:
                raise ValueError(f"no patterns through {step.kind}")
        for name in step.inputs:
            signal[name] = signal[name] + share.reshape(signal[name].shape)
    return signal["x"]


def pattern_net(steps: Sequence[Step], x: Any, target: int, patterns_of: Mapping[str, Any]) -> ndarray:
    """The signal: weights replaced by patterns of their shape."""
    return backward(steps, x, target, patterns_of)


def pattern_attribution(steps: Sequence[Step], x: Any, target: int, patterns_of: Mapping[str, Any]) -> ndarray:
    """The attribution of the signal: weights replaced by weight · pattern, elementwise."""
    products = {}
    for step in steps:
        if step.kind in WEIGHTED:
            products[step.output] = array(step.parameters["weight"]) * array(patterns_of[step.output])
    return backward(steps, x, target, products)
