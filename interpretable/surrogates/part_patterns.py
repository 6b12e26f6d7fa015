"""Part patterns of one layer of an explanatory graph: where they are, and how a pass over images moves them."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

BLUR = 0.025
"""Width of the blur of activations, as a share of the map's height."""

WINDOW = 0.15
"""Half the side of a node's window at the most, as a share of the map's longer side; also the first spread."""

NO_PATTERN = 0.1
"""Weight of the pattern that is none, as a share of the nodes' mean mass."""


class Patterns(NamedTuple):
    """Nodes of a layer, N for each of C channels; places in cells, row before column."""

    places: Float[Tensor, "channel node 2"]
    """μ."""
    spreads: Float[Tensor, "channel node"]
    """σ."""


class Guidance(NamedTuple):
    """What the nodes of the layer above say of those of a layer, image by image."""

    shifts: Float[Tensor, "image channel node 2"]
    """Δ, in cells."""
    agreement: Float[Tensor, "image channel node"]
    """λ, in [0, 1]."""
    tolerance: Float[Tensor, "channel node"]
    """δ, in cells."""


class Inferred(NamedTuple):
    """Where the nodes are in images."""

    cells: Int[Tensor, "image channel node"]
    """Row-major cell of the largest product of activation and spatial term."""
    peaks: Float[Tensor, "image channel node"]
    """That product."""
    scores: Float[Tensor, "image channel node"]
    """Its sum over cells."""


class Moments(NamedTuple):
    """Sums over images that the next patterns are made of; those of several batches add up."""

    responsible: Float[Tensor, "channel node"]
    """Σ r F."""
    offsets: Float[Tensor, "channel node 2"]
    """Σ r F o."""
    mass: Float[Tensor, "channel node"]
    """Σ G F."""
    squares: Float[Tensor, "channel node"]
    """Σ G F ‖o‖²."""
    objective: Float[Tensor, ""]
    """Σ F log((Σ G + τ) / (N + 1))."""


def blur(maps: Float[Tensor, "image channel h w"], width: float) -> Float[Tensor, "image channel h w"]:
    """Activations above 0, blurred by a Gaussian of a width in cells; nothing lies outside a map."""
    radius = math.ceil(3 * width)
    distance = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-(distance**2) / (2 * width**2))
    kernel = kernel / kernel.sum()
    flat = maps.clamp(min=0).flatten(0, 1)[:, None]
    along_rows = F.conv2d(flat, kernel[None, None, :, None], padding=(radius, 0))
    return F.conv2d(along_rows, kernel[None, None, None, :], padding=(0, radius)).view(maps.shape)


class _Axes(NamedTuple):
    """A spatial term G, which is a product of one factor along each axis, and offsets from its centre."""

    rows: Float[Tensor, "image channel node h"]
    columns: Float[Tensor, "image channel node w"]
    row_offsets: Float[Tensor, "image channel node h"]
    column_offsets: Float[Tensor, "image channel node w"]


def _axes(patterns: Patterns, guidance: Guidance, height: int, width: int) -> _Axes:
    centres = patterns.places + guidance.shifts
    radius = (3 * patterns.spreads).clamp(max=WINDOW * max(height, width)).clamp(min=1)[..., None]
    tolerance = guidance.tolerance[..., None]
    factors, offsets = [], []
    for axis, length in enumerate((height, width)):
        cells = torch.arange(length, dtype=centres.dtype, device=centres.device)
        offset = cells - centres[..., axis, None]
        density = torch.exp(-((offset / tolerance) ** 2) / 2) / (math.sqrt(2 * math.pi) * tolerance)
        factors.append(density * (offset.abs() <= radius))
        offsets.append(offset)
    return _Axes(guidance.agreement[..., None] * factors[0], factors[1], offsets[0], offsets[1])


def moments(blurred: Float[Tensor, "image channel h w"], patterns: Patterns, guidance: Guidance) -> Moments:
    """What a batch of images says of the patterns, as sums over images and cells.

    A node's spatial term at a cell, G, is a product of a factor for its row and one for its column, so that every sum
    over cells is two small matrix products and no array of nodes and cells is made. The responsibility of a node for a
    cell is r = G / (Σ G + τ) over the nodes of its channel, τ being `NO_PATTERN` times the nodes' mean Σ_p G.

    Args:
        blurred: F, of `blur`.
        patterns: Of the layer.
        guidance: Of these images.
    """
    axes = _axes(patterns, guidance, *blurred.shape[-2:])
    rows, columns = axes.rows, axes.columns
    covered = rows.transpose(-1, -2) @ columns  # (image, channel, h, w) Σ G
    none = NO_PATTERN * (rows.sum(-1) * columns.sum(-1)).mean(-1)[..., None, None]
    level = covered + none
    weight = torch.where(level > 0, blurred / level, 0)
    shared = rows @ weight * columns  # (image, channel, node, w) Σ over rows of r F
    shared_rows = (rows * axes.row_offsets) @ weight * columns
    own = rows @ blurred * columns
    own_rows = (rows * axes.row_offsets**2) @ blurred * columns
    offsets = torch.stack([shared_rows.sum(-1), (shared * axes.column_offsets).sum(-1)], -1)
    entropy = torch.where(blurred > 0, blurred * torch.log(level / (rows.shape[2] + 1)), 0)
    return Moments(
        responsible=shared.sum((0, -1)),
        offsets=offsets.sum(0),
        mass=own.sum((0, -1)),
        squares=own_rows.sum((0, -1)) + (own * axes.column_offsets**2).sum((0, -1)),
        objective=entropy.sum(),
    )


def moved(patterns: Patterns, found: Moments, tolerance: Tensor, iteration: int, height: int) -> Patterns:
    """The patterns after an iteration: places by a damped mean shift, spreads by what the nodes cover.

    Args:
        patterns: Before it.
        found: Sums over all images.
        tolerance: δ (C, N).
        iteration: From 1 on; later ones move less.
        height: Of the map, over √N the largest spread.
    """
    smallest = tolerance.min() / iteration**0.25
    shift = (smallest / tolerance)[..., None] ** 2 * found.offsets / found.responsible[..., None]
    places = patterns.places + torch.where(found.responsible[..., None] > 0, shift, 0)
    largest = height / math.sqrt(patterns.spreads.shape[1])
    spreads = (found.squares / found.mass).sqrt().clamp(largest / 10, largest)
    return Patterns(places, torch.where(found.mass > 0, spreads, patterns.spreads))


def infer(blurred: Float[Tensor, "image channel h w"], patterns: Patterns, guidance: Guidance) -> Inferred:
    """Where each node is in each image: the cell with the largest F · G, the first of equals.

    A node that nothing activates is in the cell nearest to its centre.
    """
    height, width = blurred.shape[-2:]
    axes = _axes(patterns, guidance, height, width)
    product = (axes.rows[..., :, None] * axes.columns[..., None, :] * blurred[:, :, None]).flatten(-2)
    peaks, cells = product.max(-1)
    limits = blurred.new_tensor([height - 1, width - 1])
    nearest = (patterns.places + guidance.shifts - 0.5).ceil().clamp(min=0).minimum(limits).long()
    silent = nearest[..., 0] * width + nearest[..., 1]
    return Inferred(torch.where(peaks > 0, cells, silent), peaks, product.sum(-1))
