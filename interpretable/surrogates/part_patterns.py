"""Part patterns of one layer of an explanatory graph: where they are, and how a pass over images moves them."""

import math
from typing import NamedTuple

import torch
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
    scores: Float[Tensor, "image channel node"]
    """Sum over cells of that product."""


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
    activation: Float[Tensor, ""]
    """Σ F."""


def cell_places(cells: Int[Tensor, "*nodes"], width: int) -> Int[Tensor, "*nodes 2"]:
    """Row and column of row-major cells."""
    return torch.stack([cells // width, cells % width], -1)


def blur(maps: Float[Tensor, "image channel h w"], width: float) -> Float[Tensor, "image channel h w"]:
    """Activations above 0, blurred by a Gaussian of a width in cells; nothing lies outside a map."""
    along_height, along_width = (_band(length, width, maps) for length in maps.shape[-2:])
    return along_height @ maps.clamp(min=0) @ along_width


def _band(length: int, width: float, like: Tensor) -> Tensor:
    """The blur along an axis as a matrix; on small maps its product is faster than a convolution of one channel."""
    radius = math.ceil(3 * width)
    distance = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-(distance**2) / (2 * width**2))
    kernel = torch.nn.functional.pad(kernel / kernel.sum(), (length, length))
    cells = torch.arange(length, device=like.device)
    return kernel[cells - cells[:, None] + length + radius]


def moved(patterns: Patterns, found: Moments, iteration: int, cells: int) -> Patterns:
    """The patterns after an iteration: places by a damped mean shift, spreads by what the nodes cover.

    Args:
        patterns: Before it.
        found: Sums over all images.
        iteration: t, from 1 on; places move by 1 / √t of what would raise the objective most.
        cells: Of a map; √(cells / N), the spacing of the nodes, is the largest spread.
    """
    shift = found.offsets / found.responsible[..., None] / math.sqrt(iteration)
    places = patterns.places + torch.where(found.responsible[..., None] > 0, shift, 0)
    largest = math.sqrt(cells / patterns.spreads.shape[1])
    # Of a node on a single active cell rounding may leave squares below 0.
    spreads = (found.squares.clamp(min=0) / found.mass).sqrt().clamp(largest / 10, largest)
    spreads = torch.where(found.mass > 0, spreads, patterns.spreads)
    return Patterns(places.to(patterns.places.dtype), spreads.to(patterns.spreads.dtype))
