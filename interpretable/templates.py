"""Part templates, one per cell of a feature map, that fall off with the L1 distance (Zhang et al. 2018, §3)."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Position = Literal["argmax", "centroid"]


def part_templates(
    h: int, w: int, beta: float = 4.0, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, "cells {h} {w}"]:
    """Unit templates max(1 − β(|i−a|/h + |j−b|/w), −1), one per peak (a, b) in row-major order.

    The paper's positive templates T_μ divided by τ; for h = w its β‖[i, j] − μ‖₁/n.

    Args:
        h: Height of the feature map in cells.
        w: Width of the feature map in cells.
        beta: Slope β; at 4 a template is positive within a quarter of the map around its peak.
        dtype: Type of the templates, torch's default where omitted.
        device: Device of the templates, torch's default where omitted.

    Returns:
        (h·w, h, w), values in [−1, 1], 1 at the peak.
    """
    rows = torch.arange(h, dtype=dtype or torch.get_default_dtype(), device=device)
    columns = torch.arange(w, dtype=rows.dtype, device=device)
    vertical = (rows[:, None] - rows).abs() / h  # (a, i)
    horizontal = (columns[:, None] - columns).abs() / w  # (b, j)
    distance = vertical[:, None, :, None] + horizontal[None, :, None, :]  # (a, b, i, j)
    return (1 - beta * distance).clamp(min=-1).reshape(h * w, h, w)


class Peaks(NamedTuple):
    """Each map's maximum and where it is."""

    values: Float[Tensor, "batch filter"]
    indices: Int64[Tensor, "batch filter"]
    """Row-major, the lowest where several cells share the maximum, 0 on a map of zeros."""


def peaks(x: Float[Tensor, "batch filter h w"]) -> Peaks:
    """Value and row-major index μ̂ of each map's maximum; NaN and its first place on a map that holds one."""
    # max finds the first of equal cells, as argmax does, in a third of the time.
    cells, dim = (x.permute(0, 2, 3, 1).flatten(1, 2), 1) if _is_channels_last(x) else (x.flatten(2), 2)
    return Peaks(*cells.max(dim))


def peak(x: Float[Tensor, "batch filter h w"]) -> Int64[Tensor, "batch filter"]:
    """Row-major index of each map's maximum, μ̂; the lowest index where several cells share it, 0 on a map of zeros."""
    return peaks(x).indices


def centroid(x: Float[Tensor, "batch filter h w"]) -> Int64[Tensor, "batch filter"]:
    """Row-major index of each map's activation centroid, rounded to a cell; 0 on a map of zeros.

    What the authors' code takes for μ̂ in place of the paper's maximum. Maps are non-negative.
    """
    h, w = x.shape[-2:]
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision would round to another cell
    total = x.sum((-2, -1)).clamp(min=torch.finfo(x.dtype).tiny)
    row = (x.sum(-1) * torch.arange(h, dtype=x.dtype, device=x.device)).sum(-1) / total
    column = (x.sum(-2) * torch.arange(w, dtype=x.dtype, device=x.device)).sum(-1) / total
    return (row + 0.5).long().clamp(max=h - 1) * w + (column + 0.5).long().clamp(max=w - 1)


_POSITIONS = {"argmax": peak, "centroid": centroid}


def templates_at(
    x: Float[Tensor, "batch filter h w"],
    positions: Int64[Tensor, "batch filter"],
    beta: float | Float[Tensor, " filter"] = 4.0,
) -> Float[Tensor, "batch filter h w"]:
    """The unit template of each map's position: `part_templates` picked by position.

    Args:
        x: Feature maps, whose shape, memory format and type, at least float32, the templates have.
        positions: Row-major indices of the templates' peaks.
        beta: Slope β, one for all or one per filter.

    Returns:
        (B, C, h, w), values in [−1, 1], 1 at the position.
    """
    return _sloped(x, positions, beta).clamp_(min=-1)


@torch.no_grad()
def template_mask(
    x: Float[Tensor, "batch filter h w"],
    beta: float | Float[Tensor, " filter"] = 4.0,
    position: Position = "argmax",
) -> Float[Tensor, "batch filter h w"]:
    """The unit template at each map's own position μ̂, clipped at 0; no gradient flows through it.

    Args:
        x: Feature maps after the ReLU.
        beta: Slope β of the template, one for all or one per filter.
        position: ``"argmax"`` (the paper) or ``"centroid"`` (the authors' code).

    Returns:
        (B, C, h, w) in [0, 1], 1 at μ̂ and 0 beyond an L1 distance of 1/β of the map.
    """
    return _sloped(x, _POSITIONS[position](x), beta).clamp_(min=0).to(x.dtype)


def _sloped(x: Tensor, positions: Tensor, beta: float | Tensor) -> Tensor:
    """1 − β(|i−a|/h + |j−b|/w) of each position (a, b), (B, C, h, w), in the memory format of the maps."""
    h, w = x.shape[-2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    channels_last = _is_channels_last(x)
    cells_dim = 1 if channels_last else 2  # of (B, h, C), (B, w, C), or of (B, C, h), (B, C, w)
    slope = beta.to(dtype).unsqueeze(cells_dim - 1) if isinstance(beta, Tensor) else beta

    def falls(index: Tensor, cells: int) -> Tensor:
        grid = torch.arange(cells, dtype=dtype, device=index.device)
        grid = grid[:, None] if channels_last else grid
        return (grid - index.to(dtype).unsqueeze(cells_dim)).abs() * (slope * (-1 / cells))

    # Each axis is scaled before the two meet, so that only a sum and a clip are as large as the map.
    vertical, horizontal = falls(positions // w, h) + 1, falls(positions % w, w)
    both = vertical.unsqueeze(cells_dim + 1) + horizontal.unsqueeze(cells_dim)
    return both.permute(0, 3, 1, 2) if channels_last else both


def _is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a cell are neighbours in memory, as in a slice of them too."""
    return x.shape[1] > 1 and x.stride(1) == 1
