"""Integrated gradients by a dense midpoint rule.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, eq. 1: the attribution of pixel i
is (x_i − x₀_i) times the integral over α from 0 to 1 of ∂f(x₀ + α(x − x₀))/∂x_i.
"""

from collections.abc import Callable

import torch
from torch import Tensor

AT_ONCE = 2000


def integrated_gradients(
    logits: Callable[[Tensor], Tensor], image: Tensor, baseline: Tensor, target: int, points: int = 20_000
) -> Tensor:
    """Of one image (C, H, W) for one class."""
    total = torch.zeros_like(image)
    for first in range(0, points, AT_ONCE):
        line = []
        for point in range(first, min(first + AT_ONCE, points)):
            alpha = (point + 0.5) / points
            line.append(baseline + alpha * (image - baseline))
        at = torch.stack(line).requires_grad_()
        (gradient,) = torch.autograd.grad(logits(at)[:, target].sum(), at)
        total = total + gradient.sum(0)
    return (image - baseline) * total / points
