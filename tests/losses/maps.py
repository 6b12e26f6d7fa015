"""Drawn feature maps and the small tools that every test of the losses uses."""

from collections.abc import Callable
from typing import Any

import torch
from oracles import part_template as oracle
from torch import Tensor


def random_maps(*shape: int) -> Tensor:
    """Maps after a ReLU: float64, about half of the cells zero, a few strong."""
    return (2 * torch.randn(shape, dtype=torch.float64)).clamp(min=0)


def filters_first(x: Tensor) -> list[list[oracle.Map]]:
    return x.transpose(0, 1).tolist()


def per_filter(function: Callable[..., Any], x: Tensor, beta: float, scale: float | Tensor | None) -> Tensor:
    """An oracle's result for every filter, (C, ...)."""
    default = 0.5 / (x.shape[2] * x.shape[3])
    scales = torch.full((x.shape[1],), default) if scale is None else torch.as_tensor(scale).expand(x.shape[1])
    results = [function(maps, beta, s) for maps, s in zip(filters_first(x), scales.double().tolist(), strict=True)]
    return torch.tensor(results, dtype=torch.float64)


def double(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x), x)
    return gradient


def one_hot_maps(cells: list[int], height: int, width: int, strength: float = 1.0) -> Tensor:
    """(B, 1, h, w), image k active at the flat index cells[k] alone."""
    x = torch.zeros(len(cells), 1, height * width, dtype=torch.float64)
    x[torch.arange(len(cells)), 0, torch.tensor(cells)] = strength
    return x.reshape(-1, 1, height, width)
