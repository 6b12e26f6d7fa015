"""Any black box as a surrogate's target: what a callable decides, and how its score depends on its features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from interpretable.errors import SurrogateError, sentence_of
from interpretable.evaluation_mode import evaluation_mode

STEP = 1e-3
"""Of central differences, in standard deviations of each feature."""

_OUTPUTS = "labels (rows,) of integers or strings, scores (rows, classes), or one number above 0 for decision 1 per row"


class Linearised(NamedTuple):
    """A score and its gradient at each row of features."""

    scores: Float[np.ndarray, " row"]
    gradients: Float[np.ndarray, "row feature"]
    """Per unit of each feature."""


def decisions_of(
    black_box: Callable[[Any], Any], features: Float[np.ndarray, "row feature"], batch_size: int = 512
) -> Shaped[np.ndarray, " row"]:
    """What a callable decides on each row of features.

    Args:
        black_box: Takes rows (B, D) as a numpy array and returns a numpy array, a tensor or a list: labels (B,) of
            integers, booleans or strings; scores (B, K) of K >= 2 classes, whose highest decides; or floats (B,) or
            (B, 1), a binary network's logit, which decides 1 above 0 and else 0 (so a probability has to be shifted
            by a half, and classes that are written as floats to be cast). A torch module is given a tensor instead,
            of its own weights' type and device, and is run in evaluation mode.
        features: (N, D), at least one row.
        batch_size: Rows of one call.

    Returns:
        (N,) of int64 or of strings.

    Raises:
        SurrogateError: The callable fails, or returns anything else, another number of rows or NaN.
    """
    if len(features) == 0:
        raise SurrogateError("A black box was to be asked about no row of features; give at least one.")
    outputs: list[np.ndarray] = []
    for start in range(0, len(features), batch_size):
        rows = features[start : start + batch_size]
        with torch.no_grad():
            output = _array(_called(black_box, rows, torch.from_numpy))
        first = outputs[0] if outputs else output
        if len(output.shape) == 0 or len(output) != len(rows):
            raise SurrogateError(
                f"A black box must return {_OUTPUTS}; for {len(rows)} rows it returned shape {output.shape}."
            )
        if output.shape[1:] != first.shape[1:] or output.dtype.kind != first.dtype.kind:
            raise SurrogateError(
                f"A black box must return the same kind of output for all rows; it returned {first.dtype} of shape "
                f"{first.shape}, then, from row {start} on, {output.dtype} of shape {output.shape}."
            )
        outputs.append(output)
    return _decided(np.concatenate(outputs))


def linearise(
    score: Callable[[Any], Any], features: Float[np.ndarray, "row feature"], step: float | None = None
) -> Linearised:
    """The gradient of a scalar score at each row of features.

    By autograd where the callable takes a float64 tensor (N, D) and returns one with a graph; every row's score must
    then depend on its own features alone, as a network's in evaluation mode does. Otherwise, or where a step is given,
    by central differences (2·D calls on all rows), which are exact for a piecewise-linear score whose kinks are
    further away than the step; a piecewise-constant one (a tree, a forest) needs a step as wide as its pieces.

    Args:
        score: Rows (N, D), a numpy array or tensor, to floats (N,) or (N, 1). A torch module is given a tensor of its
            own weights' type and device, and is run in evaluation mode.
        features: (N, D).
        step: In standard deviations of each feature over the rows; of a feature that is constant, in its own unit.
            Without it autograd is tried first, and the step is 1e-3.

    Raises:
        SurrogateError: The callable fails, returns another shape or a number that is not finite, or its score depends
            on none of the features.
    """
    features = np.ascontiguousarray(features, dtype=np.float64)
    found = _by_autograd(score, features) if step is None else None
    if found is None:
        found = _by_differences(score, features, STEP if step is None else step)
    if not np.isfinite(found.gradients).all():
        row, feature = np.argwhere(~np.isfinite(found.gradients))[0]
        raise SurrogateError(
            f"A score must have a finite gradient; that of row {row} by feature {feature} is "
            f"{found.gradients[row, feature]}."
        )
    if not found.gradients.any():
        raise SurrogateError(
            "A score must depend on its features, but none of them changes it on any row; where it is piecewise "
            "constant, as a tree's is, pass a wider step."
        )
    return found


def _by_autograd(score: Callable[[Any], Any], features: np.ndarray) -> Linearised | None:
    """None where the callable does not take tensors or gives no graph."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = torch.from_numpy(features).clone().requires_grad_()
        try:
            output = _called(score, leaf)
        except SurrogateError:  # made for arrays: whatever else is wrong with it shows again there
            return None
        if not (isinstance(output, Tensor) and output.requires_grad):
            return None
        scores = _scores(output, len(features))
        (gradient,) = torch.autograd.grad(output.sum(), leaf, allow_unused=True)
    return Linearised(scores, np.zeros_like(features) if gradient is None else gradient.numpy())


def _by_differences(score: Callable[[Any], Any], features: np.ndarray, step: float) -> Linearised:
    def scores(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return _scores(_called(score, rows, torch.from_numpy), len(rows))

    spread = features.std(0)
    steps = step * np.where(spread > 0, spread, 1)
    gradients = np.empty_like(features)
    for feature, width in enumerate(steps):
        above, below = features.copy(), features.copy()
        above[:, feature] += width
        below[:, feature] -= width
        # what was added after rounding, not what was asked for
        gradients[:, feature] = (scores(above) - scores(below)) / (above[:, feature] - below[:, feature])
    return Linearised(scores(features), gradients)


def _called(black_box: Callable[[Any], Any], rows: Any, as_tensor: Callable[[Any], Tensor] = lambda rows: rows) -> Any:
    """The callable's output; a module gets its rows as a tensor of the type and device of its weights."""
    try:
        if not isinstance(black_box, nn.Module):
            return black_box(rows)
        weight = next(black_box.parameters(), torch.empty((), dtype=torch.float64))
        with evaluation_mode(black_box):
            return black_box(as_tensor(rows).to(weight))
    except Exception as error:
        raise SurrogateError(
            f"A black box must take rows of features, but on {tuple(rows.shape)} it failed with "
            f"{type(error).__name__}: {sentence_of(error)}"
        ) from error


def _array(output: Any) -> np.ndarray:
    """The output in numpy, of integers, floats or strings; objects that are all strings become strings."""
    if isinstance(output, Tensor):
        output = output.detach().cpu()
        output = output.double().numpy() if output.is_floating_point() else output.numpy()
    try:
        array = np.asarray(output)
    except ValueError as error:  # rows of unequal length
        raise SurrogateError(f"A black box must return {_OUTPUTS}; it returned {type(output).__name__}.") from error
    if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(label, str) for label in array):
        array = array.astype(np.str_)
    if array.dtype.kind in "bui":
        array = array.astype(np.int64)
    if array.dtype.kind not in "ifU":
        raise SurrogateError(f"A black box must return {_OUTPUTS}; it returned {array.dtype} of shape {array.shape}.")
    return array


def _decided(outputs: np.ndarray) -> np.ndarray:
    if outputs.dtype.kind == "f" and np.isnan(outputs).any():
        row = int(np.isnan(outputs).reshape(len(outputs), -1).any(1).argmax())
        raise SurrogateError(f"A black box must return numbers; it returned NaN for row {row} of {len(outputs)}.")
    if outputs.ndim == 1 and outputs.dtype.kind in "iU":
        return outputs
    if outputs.dtype.kind == "f" and (outputs.ndim == 1 or outputs.shape[1:] == (1,)):
        return (outputs.reshape(-1) > 0).astype(np.int64)
    if outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.dtype.kind in "if":
        highest: np.ndarray = outputs.argmax(1)
        return highest
    raise SurrogateError(f"A black box must return {_OUTPUTS}; it returned {outputs.dtype} of shape {outputs.shape}.")


def _scores(output: Any, rows: int) -> np.ndarray:
    scores = _array(output)
    if scores.dtype.kind == "U" or scores.shape not in ((rows,), (rows, 1)):
        raise SurrogateError(
            f"A score must be one number for each of the {rows} rows; it is {scores.dtype} of shape {scores.shape}."
        )
    if not np.isfinite(scores).all():
        row = int((~np.isfinite(scores)).reshape(-1).argmax())
        raise SurrogateError(f"A score must be finite; that of row {row} is {scores.reshape(-1)[row]}.")
    flat: np.ndarray = scores.reshape(-1).astype(np.float64)
    return flat
