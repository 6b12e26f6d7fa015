"""Other ways to choose prototypes of rows x with the kernel exp(−γ‖x − y‖²), labels y carried along.

The packages are imported when they are asked for, from elsewhere than this folder, which has a `mmd_critic` too.
"""

import importlib
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

HERE = Path(__file__).resolve().parent


class Chosen(NamedTuple):
    """Prototypes in the order in which they were chosen."""

    rows: Float[np.ndarray, "prototype column"]
    labels: Int[np.ndarray, " prototype"]
    weights: Float[np.ndarray, " prototype"] | None = None
    """That the way itself gives them; None stands for equal ones."""


def installed(name: str) -> ModuleType:
    """Imports a package."""
    before = sys.path.copy()
    sys.path[:] = [folder for folder in before if Path(folder).resolve() != HERE]
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


def mmd_critic_package(x: np.ndarray, y: np.ndarray, gamma: float, m: int) -> Chosen:
    """PyPI's `mmd-critic`: the whole matrix by numexpr, and in each step its rows and columns copied.

    Its labels are only carried along: there is no local kernel.
    """
    kernel = installed("mmd_critic.kernels").RBFKernel(sigma=(2 * gamma) ** -0.5)
    return Chosen(*installed("mmd_critic").MMDCritic(x, kernel, labels=y).select_prototypes(m))


def protodash(x: np.ndarray, y: np.ndarray, gamma: float, m: int) -> Chosen:
    """AIX360's ProtoDash: a Python loop over all rows in each step, and a quadratic programme for the weights.

    Of its two solvers osqp is the faster one. As of 0.3.0 it stops with numpy 2.4, which no longer takes an array of
    one element for a number, and its requirements exclude current versions of pandas and scipy, though they work.
    """
    explainer = installed("aix360.algorithms.protodash").ProtodashExplainer()
    x = x.astype(np.float64)
    with redirect_stdout(io.StringIO()):  # osqp prints in each step
        weights, numbers, _ = explainer.explain(x, x, m, "Gaussian", (2 * gamma) ** -0.5, "osqp")
    return Chosen(x[numbers], y[numbers], weights)


def literal(x: np.ndarray, y: np.ndarray, gamma: float, m: int) -> Chosen:
    """J_b(S + j) as it is written, of all candidates j at once, from the matrix in float64; sums over S anew."""
    x = x.astype(np.float64)
    squares = (x * x).sum(1)
    kernel = np.exp(-gamma * np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))
    means, diagonal = kernel.mean(0), np.diagonal(kernel)
    chosen: list[int] = []
    for size in range(1, m + 1):
        within = kernel[np.ix_(chosen, chosen)].sum()
        objective = 2 / size * (means[chosen].sum() + means)
        objective -= (within + 2 * kernel[chosen].sum(0) + diagonal) / size**2
        objective[chosen] = -np.inf
        chosen.append(int(objective.argmax()))
    return Chosen(x[chosen], y[chosen])


def in_memory(x: np.ndarray, y: np.ndarray, gamma: float, m: int) -> Chosen:
    """Sums over S kept from step to step in float64; the matrix in float32 in memory."""
    rows = torch.from_numpy(x)
    kernel = dense_kernel(rows, gamma)
    means = kernel.sum(0, dtype=torch.float64) / len(rows)
    inner, taken = torch.zeros_like(means), torch.zeros_like(means)
    chosen: list[int] = []
    for size in range(1, m + 1):
        number = int((2 * means - (2 * inner + 1) / size + taken).argmax())
        chosen.append(number)
        taken[number] = -torch.inf
        inner += kernel[number]
    return Chosen(x[chosen], y[chosen])


def dense_kernel(rows: Tensor, gamma: float) -> Tensor:
    """The whole matrix in few passes: a product, which takes one of the norms along, and the rest in place."""
    scaled = (rows - rows.mean(0)) * (2 * gamma) ** 0.5
    halves = (scaled * scaled).sum(1).mul_(0.5)
    return torch.addmm(halves, scaled, scaled.T, beta=-1).sub_(halves[:, None]).clamp_(max=0).exp_()
