"""What the nodes of an explanatory graph see of images: the cells about each, all nodes of a layer at once.

A node's spatial term is 0 beyond a few cells about its centre, so that windows hold all that matters, at a
small part of what whole maps would take.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpretable.surrogates.part_patterns import NO_PATTERN, WINDOW, Guidance, Inferred, Moments, Patterns

_LEAST = 1e-30
"""Of Σ G + τ: where parents contradict each other it would be too small to divide by."""


class Windows(NamedTuple):
    """What the nodes of a layer see of images: k × k cells about each node's centre μ + Δ, row by row."""

    cells: Int[Tensor, "image channel node cell"]
    """Row-major numbers in the map; any where G is 0."""
    corners: Float[Tensor, "image channel node 2"]
    """Offset of the first cell from the centre, row and column."""
    terms: Float[Tensor, "image channel node cell"]
    """Spatial term G, 0 beyond a node's radius and outside the map."""
    products: Float[Tensor, "image channel node cell"]
    """F · G."""


def windows(blurred: Float[Tensor, "image channel h w"], patterns: Patterns, guidance: Guidance) -> Windows:
    """The windows of the nodes in images, three spreads or `WINDOW` to each side, and one cell at least.

    G is λ times the Gaussian density, of deviation δ along each axis, of the offset from the centre; a cell at the edge
    of a window counts by the share of it that lies inside, so that G does not jump where a node moves.

    Args:
        blurred: F, of `blur`.
        patterns: Of the layer.
        guidance: Of these images.
    """
    height, width = blurred.shape[-2:]
    centres = patterns.places + guidance.shifts
    radius = (3 * patterns.spreads).clamp(max=WINDOW * max(height, width)).clamp(min=1)[..., None]
    first = (centres - radius - 0.5).floor() + 1
    corners = first - centres
    steps = torch.arange(int(2 * radius.max() + 1) + 1, dtype=centres.dtype, device=centres.device)
    exponent = -1 / (2 * guidance.tolerance.square())[..., None]
    factors = []
    for axis, length in enumerate((height, width)):
        cell = first[..., axis, None] + steps
        offset = corners[..., axis, None] + steps
        share = (radius + 0.5 - offset.abs()).clamp(0, 1) * ((cell >= 0) & (cell < length))
        factors.append(torch.exp(offset.square() * exponent) * share)
    # Cells outside the map get the number of some cell inside.
    within = (steps[:, None] * width + steps).flatten().long()
    rows, columns = (first[..., axis].clamp(-len(steps), length) for axis, length in enumerate((height, width)))
    start = (rows * width + columns).long()
    numbers = (start[..., None] + within).clamp_(0, height * width - 1)
    scale = guidance.agreement / (2 * math.pi * guidance.tolerance.square())
    terms = ((scale[..., None] * factors[0])[..., :, None] * factors[1][..., None, :]).flatten(-2)
    return Windows(numbers, corners, terms, _read(blurred, numbers).mul_(terms))


def _read(maps: Float[Tensor, "image channel h w"], cells: Int[Tensor, "image channel node cell"]) -> Tensor:
    """What maps are at the cells of windows."""
    return maps.flatten(-2).gather(-1, cells.flatten(-2)).view(cells.shape)


def _levels(blurred: Float[Tensor, "image channel h w"], seen: Windows) -> Float[Tensor, "image channel h w"]:
    """Σ G + τ at each cell, over the nodes of its channel; τ is `NO_PATTERN` times the nodes' mean Σ_p G."""
    covered = torch.zeros_like(blurred).flatten(-2)
    covered.scatter_add_(-1, seen.cells.flatten(-2), seen.terms.flatten(-2))
    none = NO_PATTERN * seen.terms.sum(-1).mean(-1)
    return (covered.view(blurred.shape) + none[..., None, None]).clamp(min=_LEAST)


def log_likelihood(blurred: Float[Tensor, "image channel h w"], seen: Windows) -> Float[Tensor, " image"]:
    """Σ F log((Σ G + τ) / (N + 1)) over channels and cells: log P of each image's maps (Zhang et al. 2018, §3)."""
    return _log_likelihood(blurred, _levels(blurred, seen), seen.terms.shape[2])


def _log_likelihood(blurred: Tensor, levels: Tensor, nodes: int) -> Tensor:
    return torch.where(blurred > 0, blurred * torch.log(levels / (nodes + 1)), 0).sum((1, 2, 3))


def moments(blurred: Float[Tensor, "image channel h w"], seen: Windows) -> Moments:
    """What a batch of images says of the patterns, as sums over images and cells.

    The responsibility of a node for a cell is r = G / (Σ G + τ) over the nodes of its channel.
    """
    levels = _levels(blurred, seen)
    shared = _read(blurred / levels, seen.cells).mul_(seen.terms)
    responsible, offsets, _ = _offset_moments(shared, seen.corners)
    mass, _, squares = _offset_moments(seen.products, seen.corners)
    return Moments(
        responsible, offsets, mass, squares, _log_likelihood(blurred, levels, seen.terms.shape[2]).sum(), blurred.sum()
    )


def _offset_moments(
    weights: Float[Tensor, "image channel node cell"], corners: Float[Tensor, "image channel node 2"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over images and cells of weights, and of their products with the offset o and with ‖o‖².

    The offset is that of the window's corner plus the steps to a cell, which are the same for all windows, so that the
    sums over cells are one matrix product.
    """
    side = math.isqrt(weights.shape[-1])
    steps = torch.arange(side, dtype=weights.dtype, device=weights.device)
    down, right = steps.repeat_interleave(side), steps.repeat(side)
    powers = torch.stack([torch.ones_like(down), down, right, down.square() + right.square()], -1)
    mass, *first, squared = (weights @ powers).unbind(-1)
    steps_of = torch.stack(first, -1)
    offsets = steps_of + corners * mass[..., None]
    squares = squared + 2 * (corners * steps_of).sum(-1) + corners.square().sum(-1) * mass
    return mass.sum(0), offsets.sum(0), squares.sum(0)


def infer(seen: Windows, patterns: Patterns, guidance: Guidance, height: int, width: int) -> Inferred:
    """Where each node is in each image: the cell with the largest F · G, the first of equals.

    A node that nothing activates is in the cell nearest to its centre.
    """
    peaks, best = seen.products.max(-1)
    cells = seen.cells.gather(-1, best[..., None]).squeeze(-1)
    limits = peaks.new_tensor([height - 1, width - 1])
    nearest = (patterns.places + guidance.shifts - 0.5).ceil().clamp(min=0).minimum(limits).long()
    silent = nearest[..., 0] * width + nearest[..., 1]
    return Inferred(torch.where(peaks > 0, cells, silent), seen.products.sum(-1))
