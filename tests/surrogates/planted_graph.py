"""Maps drawn from a known explanatory graph, and how much of it learned nodes recover.

Two conv layers look at images of SIZE pixels. Each filter fires at PARTS parts, as a bump about BUMP cells wide. Parts
belong to groups, and a group moves rigidly: in an image all its parts, in both layers, are off their base places by one
displacement. Half of the upper parts belong to groups that stand still; every lower part moves. Which group a part
belongs to has nothing to do with its place, so that only movement tells parents.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SIZE = 224
"""Side of the images in pixels."""

UPPER_STRIDE = 16

PARTS = 3
"""Of a filter."""

MOVING = 3
"""Groups that move; they have the first numbers, and as many groups after them stand still."""

UPPER_FILTERS, LOWER_FILTERS = 12, 8

BUMP = 0.8
"""Standard deviation of a bump, in cells of its own map."""

MARGIN, APART = 48.0, 88.0
"""Pixels from the edge of the image to the base places, and between those of a filter."""

SILENCE = 0.2
"""What a filter falls short of firing where there is no part, in mean heights of a bump."""

NEAR = 1.0
"""Cells within which a node has found a part."""

BELONGS = 1.5
"""Cells within which a node belongs to a part."""

SUBSTANTIAL = 0.25
"""Share of the best score of its filter from which on a node counts."""


class PlantedLayer(NamedTuple):
    """A layer's maps and what they were drawn from."""

    maps: Tensor
    """(image, filter, row, column) float32, before any ReLU."""
    stride: int
    offset: float
    """Pixels; unit (r, c) is at ``offset + stride * (r, c)``."""
    places: Tensor
    """(filter, part, 2) base places, row and column in cells."""
    groups: Tensor
    """(filter, part) int64."""


class PlantedGraph(NamedTuple):
    """The known graph."""

    upper: PlantedLayer
    lower: PlantedLayer
    moves: Tensor
    """(image, group, 2) displacement of a group from its base place, row and column in pixels."""


class Recovered(NamedTuple):
    """Shares in [0, 1]."""

    parts: float
    """Of the planted parts, those with a node within NEAR cells of the base place."""
    nodes: float
    """Of the nodes of substantial score, those within NEAR cells of a part of their filter."""
    parents: float
    """Of the parents of the nodes counted in both ways, those of the same group."""


def planted_graph(
    seed: int, lower_stride: int = 16, images: int = 150, movement: float = 1.0, noise: float = 0.05
) -> PlantedGraph:
    """Draws a graph and its maps.

    Args:
        seed: All that is random follows from it.
        lower_stride: 16 for a lower map of 14 × 14 cells, 8 for one of 28 × 28.
        images: How many.
        movement: Standard deviation of a moving group's displacement along each axis, in upper cells.
        noise: Standard deviation of what is added to each unit, in mean heights of a bump.
    """
    random = torch.Generator().manual_seed(seed)
    moves = torch.randn(images, 2 * MOVING, 2, generator=random) * movement * UPPER_STRIDE
    moves[:, MOVING:] = 0
    layers = []
    for filters, groups, stride in ((UPPER_FILTERS, 2 * MOVING, UPPER_STRIDE), (LOWER_FILTERS, MOVING, lower_stride)):
        count = filters * PARTS
        members = (torch.randperm(count, generator=random) % groups).view(filters, PARTS)
        layers.append(_layer(_base_places(filters, random), members, moves, stride, noise, random))
    return PlantedGraph(*layers, moves)


def _base_places(filters: int, random: torch.Generator) -> Tensor:
    """(filter, part, 2) in pixels: those of a filter apart from each other, all of them off the edges."""
    found = []
    while len(found) < filters:
        drawn = MARGIN + (SIZE - 2 * MARGIN) * torch.rand(PARTS, 2, generator=random)
        if torch.pdist(drawn).min() >= APART:
            found.append(drawn)
    return torch.stack(found)


def _layer(
    pixels: Tensor, groups: Tensor, moves: Tensor, stride: int, noise: float, random: torch.Generator
) -> PlantedLayer:
    offset, length = stride / 2, SIZE // stride
    places = (pixels - offset) / stride
    centres = places + moves[:, groups] / stride  # (image, filter, part, 2)
    height = 0.5 + torch.rand(centres.shape[:3], generator=random)
    along = torch.exp(-(((torch.arange(length) - centres[..., None]) / BUMP) ** 2) / 2)
    bumps = (height[..., None] * along[..., 0, :]).transpose(-1, -2) @ along[..., 1, :]  # sum over parts
    maps = bumps - SILENCE + noise * torch.randn(bumps.shape, generator=random)
    return PlantedLayer(maps, stride, offset, places, groups)


def recovered(graph: PlantedGraph, places: Tensor, scores: Tensor, parents: Tensor, upper_places: Tensor) -> Recovered:
    """How much of the planted graph the learned nodes of the lower layer are; NaN where nothing is there to be counted.

    Args:
        graph: The truth.
        places: (filter, node, 2) of the lower layer, in cells.
        scores: (filter, node) of the lower layer.
        parents: (filter, node, parent) numbers of upper nodes, filter by filter.
        upper_places: (filter, node, 2) of the upper layer, in cells.
    """
    found, near = found_parts(graph.lower, places, scores)
    groups, upper_groups = _group(graph.lower, places), _group(graph.upper, upper_places).flatten()
    same = (upper_groups[parents] == groups[..., None])[near]
    return Recovered(found, float(near.sum() / _substantial(scores).sum()), float(same.float().mean()))


def found_parts(layer: PlantedLayer, places: Tensor, scores: Tensor) -> tuple[float, Tensor]:
    """The share of a layer's parts that a node is near to, and (filter, node) whether a node counts and is near one."""
    distance = torch.cdist(places, layer.places.to(places))  # (filter, node, part)
    return float((distance.amin(1) <= NEAR).float().mean()), (distance.amin(2) <= NEAR) & _substantial(scores)


def _substantial(scores: Tensor) -> Tensor:
    return (scores > 0) & (scores >= SUBSTANTIAL * scores.amax(1, keepdim=True))


def _group(layer: PlantedLayer, places: Tensor) -> Tensor:
    """(filter, node) group of the nearest part of the filter, -1 for a node that belongs to none."""
    distance, part = torch.cdist(places, layer.places.to(places)).min(2)
    return torch.where(distance <= BELONGS, layer.groups.gather(1, part), -1)
