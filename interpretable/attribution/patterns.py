"""Patterns: what each unit's weight looks for, estimated from data (Kindermans et al. 2018)."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from interpretable.attribution.operations import Call
from interpretable.errors import AttributionError

Estimator = Literal["two_component", "conditional", "linear"]
"""What a unit's outputs y are centred by: all of them, those in the regime, or all without any regime."""

_TINY = 1e-12


class UnitSums(NamedTuple):
    """Sums over the samples of each unit o of a weighted call, float64; R is its regime, y > 0 or all samples.

    A sample is an input x with the output y; of a convolution each of its patches, padding included.
    """

    samples: Tensor
    """How many there are, (O,)."""
    y: Tensor
    """Σ y over all of them, (O,)."""
    regime: Tensor
    """How many are in R, (O,)."""
    y_regime: Tensor
    """Σ_R y, (O,)."""
    x_regime: Tensor
    """Σ_R x in the shape of the weight, (O, ...)."""
    xy_regime: Tensor
    """Σ_R x y, (O, ...)."""


def unit_sums(call: Call, positive: bool) -> UnitSums:
    """The sums of a batch, from two gradients by the weight: Σ g x over samples is that of the output times g.

    Args:
        call: A weighted call that is no transposed convolution.
        positive: Whether the regime is y > 0; all samples if not.
    """
    x, weight = (value.detach().double() for value in call.operands[:2] if value is not None)
    y = call.value().detach().double()
    chosen = (y > 0).double() if positive else torch.ones_like(y)
    leaf = weight.requires_grad_()
    output = call.run(x, leaf, None)
    (x_regime,) = torch.autograd.grad(output, leaf, chosen, retain_graph=True)
    (xy_regime,) = torch.autograd.grad(output, leaf, chosen * y)
    channels = y.ndim - 1 if call.name in ("linear", "matmul", "mm", "__matmul__") else 1
    others = [dimension for dimension in range(y.ndim) if dimension != channels]
    samples = torch.full((y.shape[channels],), y.numel() / y.shape[channels]).to(y)
    return UnitSums(samples, y.sum(others), chosen.sum(others), (chosen * y).sum(others), x_regime, xy_regime)


def added(batches: Iterable[UnitSums]) -> UnitSums:
    """The sums over several batches."""
    return UnitSums(*(torch.stack(sums).sum(0) for sums in zip(*batches, strict=True)))


def patterns_of(weight: Tensor, sums: UnitSums, estimator: Estimator) -> Tensor:
    """The pattern a of each unit, w · a = 1 (Kindermans et al. 2018, equations 4 and 7).

    a is proportional to E_R[x y] − E_R[x] m, where m is E[y] over all samples for ``"two_component"``, the paper's
    estimator of a⁺, and E_R[y] for the others. The paper's is right where the distractor has zero mean; the conditional
    one where it has not, too.

    Args:
        weight: (O, ...).
        sums: Of its units; their regime is all samples for ``"linear"``.
        estimator: What y is centred by.

    Returns:
        Of the weight's shape, float64; 0 for units without samples in their regime or whose output does not vary.
    """
    shape = (-1, *(1,) * (weight.ndim - 1))
    y, count = (sums.y, sums.samples) if estimator == "two_component" else (sums.y_regime, sums.regime)
    mean_y = (y / count.clamp(min=1)).view(shape)
    regime = sums.regime.clamp(min=1).view(shape)
    mean_xy, mean_x = sums.xy_regime / regime, sums.x_regime / regime
    covariance = mean_xy - mean_x * mean_y
    weight = weight.double()
    cells = tuple(range(1, weight.ndim))
    along = (weight * covariance).sum(cells, keepdim=True)
    scale = (weight * mean_xy).abs().sum(cells, keepdim=True)
    varies = along.abs() > _TINY * scale
    return torch.where(varies, covariance / torch.where(varies, along, 1), 0.0)


def first_images(batch: Any) -> Tensor:
    """The images of what a loader gives: themselves, the first of several, or those under ``"image"``.

    Raises:
        AttributionError: There are none.
    """
    images = batch.get("image") if isinstance(batch, dict) else batch[0] if isinstance(batch, (tuple, list)) else batch
    if not isinstance(images, Tensor):
        raise AttributionError(
            f'A batch must be images, begin with images or have them under "image", got {type(batch).__name__}.'
        )
    return images.as_subclass(Tensor)
