"""A small network as a list of steps over named values: one image at a time, every weighted step a dense matrix.

The image is the value "x", the logits are the output of the last step. Kinds and their parameters:
linear (weight (O, I), bias), convolution (weight, bias, stride, padding, dilation, groups), batch_norm (mean, variance,
weight, bias, eps; evaluation mode), relu, sigmoid, tanh, add, multiply, concatenate (along the channels), flatten,
average_pool and max_pool (kernel, stride, padding). Padding of an average pool counts in its divisor; that of a max
pool never wins.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy
import torch
from numpy import ndarray
from torch.nn.functional import conv2d

WEIGHTED = ("linear", "convolution")


class Step(NamedTuple):
    kind: str
    inputs: tuple[str, ...]
    output: str
    parameters: Mapping[str, Any] = MappingProxyType({})


class Dense(NamedTuple):
    """Weight (O, I), bias (O,), and (O, I) which inputs an output is connected with, be the weight 0 or not."""

    weight: ndarray
    bias: ndarray
    connected: ndarray


def array(values: Any) -> ndarray:
    return numpy.asarray(values, dtype=numpy.float64)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def convolve(images: ndarray, weight: ndarray, parameters: Mapping[str, Any]) -> ndarray:
    options = {name: parameters[name] for name in ("stride", "padding", "dilation", "groups") if name in parameters}
    return conv2d(torch.from_numpy(images), torch.from_numpy(weight), **options).numpy()


def dense(step: Step, shape: tuple[int, ...], weight: Any = None) -> Dense:
    """The matrix of a linear step, or of a convolution by pushing each basis image of `shape` through it.

    Args:
        step: The step.
        shape: Shape of its input.
        weight: Taken in the place of the step's own, of the same shape.
    """
    weight = array(step.parameters["weight"] if weight is None else weight)
    outputs = weight.shape[0]
    bias = step.parameters.get("bias")
    bias = numpy.zeros(outputs) if bias is None else array(bias)
    if step.kind == "linear":
        return Dense(weight, bias, numpy.ones(weight.shape, dtype=bool))
    inputs = int(numpy.prod(shape))
    basis = numpy.eye(inputs).reshape(inputs, *shape)
    columns = convolve(basis, weight, step.parameters)
    connected = convolve(basis, numpy.ones_like(weight), step.parameters) != 0
    cells = columns.shape[2] * columns.shape[3]
    return Dense(columns.reshape(inputs, -1).T, numpy.repeat(bias, cells), connected.reshape(inputs, -1).T)


def output_shape(step: Step, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a weighted step's output for an input of `shape`."""
    weight = array(step.parameters["weight"])
    if step.kind == "linear":
        return (weight.shape[0],)
    return convolve(numpy.zeros((1, *shape)), weight, step.parameters).shape[1:]


def windows(step: Step, shape: tuple[int, ...]) -> tuple[list[list[int]], tuple[int, ...]]:
    """For each output of a pool the flat indices of its window, row by row, without padding; the output's shape."""
    channels, height, width = shape
    (high, wide), padding = pair(step.parameters["kernel"]), pair(step.parameters.get("padding", 0))
    down, across = pair(step.parameters.get("stride", step.parameters["kernel"]))
    rows, columns = (height + 2 * padding[0] - high) // down + 1, (width + 2 * padding[1] - wide) // across + 1
    result = []
    for c in range(channels):
        for row in range(rows):
            for column in range(columns):
                cells = []
                for y in range(row * down - padding[0], row * down - padding[0] + high):
                    for x in range(column * across - padding[1], column * across - padding[1] + wide):
                        if 0 <= y < height and 0 <= x < width:
                            cells.append((c * height + y) * width + x)
                result.append(cells)
    return result, (channels, rows, columns)


def winners(step: Step, value: ndarray) -> list[int]:
    """Flat index of the largest cell of each window of a max pool, ties the first."""
    flat = value.reshape(-1)
    return [max(cells, key=lambda i: (flat[i], -i)) for cells in windows(step, value.shape)[0]]


def pooling_matrix(step: Step, shape: tuple[int, ...]) -> ndarray:
    """(outputs, inputs) of an average pool: one over the kernel's area at each cell of the window."""
    cells_of, _ = windows(step, shape)
    high, wide = pair(step.parameters["kernel"])
    matrix = numpy.zeros((len(cells_of), int(numpy.prod(shape))))
    for j, cells in enumerate(cells_of):
        matrix[j, cells] = 1.0 / (high * wide)
    return matrix


def normalisation(step: Step) -> tuple[ndarray, ndarray]:
    """Scale and shift (C,) of a batch norm in evaluation mode: y = x · γ/√(var + eps) + (β − mean · γ/√(var + eps))."""
    scale = array(step.parameters["weight"]) / numpy.sqrt(array(step.parameters["variance"]) + step.parameters["eps"])
    return scale, array(step.parameters["bias"]) - array(step.parameters["mean"]) * scale


def per_value(of_channels: Any, shape: tuple[int, ...]) -> ndarray:
    """A number, or one for each channel (C,), at each value of a (C, ...) tensor."""
    of_channels = array(of_channels)
    return numpy.broadcast_to(of_channels.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()


def fold(steps: Sequence[Step]) -> list[Step]:
    """Each batch norm folded into the weighted step whose output nothing but it reads; the others stay."""
    readers = [name for step in steps for name in step.inputs]
    result: list[Step] = []
    for step in steps:
        source = next((i for i, other in enumerate(result) if other.output == step.inputs[0]), None)
        foldable = source is not None and result[source].kind in WEIGHTED and readers.count(step.inputs[0]) == 1
        if step.kind != "batch_norm" or not foldable:
            result.append(step)
            continue
        before = result[source]
        scale, shift = normalisation(step)
        weight = array(before.parameters["weight"]).copy()
        bias = before.parameters.get("bias")
        bias = numpy.zeros(len(weight)) if bias is None else array(bias).copy()
        for o in range(len(weight)):
            weight[o] *= scale[o]
            bias[o] = bias[o] * scale[o] + shift[o]
        result[source] = before._replace(
            output=step.output, parameters={**before.parameters, "weight": weight, "bias": bias}
        )
    return result


def run(step: Step, operands: list[ndarray]) -> ndarray:
    """The step's output (C, H, W) or (D,) for its inputs."""
    x = operands[0]
    match step.kind:
        case "linear" | "convolution":
            layer = dense(step, x.shape)
            return (layer.weight @ x.reshape(-1) + layer.bias).reshape(output_shape(step, x.shape))
        case "batch_norm":
            scale, shift = normalisation(step)
            return x * per_value(scale, x.shape) + per_value(shift, x.shape)
        case "average_pool":
            return (pooling_matrix(step, x.shape) @ x.reshape(-1)).reshape(windows(step, x.shape)[1])
        case "max_pool":
            return x.reshape(-1)[winners(step, x)].reshape(windows(step, x.shape)[1])
        case "add":
            return numpy.sum(operands, axis=0)
        case "multiply":
            return operands[0] * operands[1]
        case "concatenate":
            return numpy.concatenate(operands)
        case "flatten":
            return x.reshape(-1)
        case "relu":
            return numpy.where(x > 0, x, 0.0)
        case "sigmoid":
            return 1 / (1 + numpy.exp(-x))
        case "tanh":
            return numpy.tanh(x)
    raise ValueError(step.kind)


def forward(steps: Sequence[Step], x: Any) -> dict[str, ndarray]:
    """Every named value for one image (C, H, W) or (D,)."""
    values = {"x": array(x)}
    for step in steps:
        values[step.output] = run(step, [values[name] for name in step.inputs])
    return values
