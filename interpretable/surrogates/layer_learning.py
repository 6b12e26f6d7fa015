"""Learning the nodes of one layer of an explanatory graph, given those of the layer above (Zhang et al. 2018, §3)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpretable.progress import Track
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.part_patterns import WINDOW, Inferred, Patterns, cell_places, moved
from interpretable.surrogates.pattern_parents import candidate_parents, choose_parents
from interpretable.surrogates.pattern_passes import Above, LayerImages, better_mirrored, find, guide_of, learn

_NODES_AT_ONCE = 1024
"""Nodes whose parents are sought at once: their places in all images are held."""


class Learning(NamedTuple):
    """How a layer is learned."""

    nodes: int
    """N for each filter."""
    parents: int
    iterations: int
    mirror: bool
    """Whether images may be read mirrored."""
    image_size: tuple[float, float]
    """(H, W) in pixels."""


def learn_layer(
    images: LayerImages, above: Above | None, how: Learning, generator: torch.Generator, track: Track
) -> tuple[Above, Bool[Tensor, " image"]]:
    """Learns the nodes of a layer and finds them in the images.

    In each iteration places and spreads follow the maps, given where the parents are, and then parents are chosen
    anew, given where the nodes were found. The first iteration has no parents.

    Args:
        images: Of the layer.
        above: The layer above; none for the top layer, whose nodes have no parents.
        how: Settings.
        generator: Draws the first places, distinct cells for the nodes of a filter.
        track: Shows how far it is.

    Returns:
        The layer, as what is above the next one, and which images are read mirrored.
    """
    patterns = _first_patterns(images, how.nodes, generator)
    parents = torch.empty(*patterns.spreads.shape, 0, dtype=torch.int64)
    strengths = torch.empty(parents.shape)
    candidates = None if above is None else _candidates(above, how.image_size)
    objective = []
    for iteration in track(range(1, how.iterations + 1), f"nodes of {images.maps.name}"):
        guide = guide_of(images, above, parents)
        if how.mirror and above is None and iteration > 1:
            images = images._replace(flipped=better_mirrored(images, patterns, guide))
        found, inferred = learn(images, patterns, guide)
        # Per unit of activation, 0 where there is none.
        objective.append(float(found.objective / found.activation) if found.activation > 0 else 0.0)
        patterns = moved(patterns, found, iteration, math.prod(images.size))
        if candidates is not None:
            parents, strengths = _choose(images, inferred, candidates, how.parents)
    guide = guide_of(images, above, parents)
    if how.mirror and above is None:
        images = images._replace(flipped=better_mirrored(images, patterns, guide))
    inferred = find(images, patterns, guide)
    height, width = images.size
    layer = NodeLayer(
        name=images.maps.name,
        height=height,
        width=width,
        field=images.maps.field,
        deviations=images.deviations,
        places=patterns.places.cpu(),
        spreads=patterns.spreads.cpu(),
        mean_places=cell_places(inferred.cells, width).double().mean(0).float(),
        scores=inferred.scores.double().mean(0).float(),
        parents=parents,
        strengths=strengths,
        objective=torch.tensor(objective),
    )
    return Above(layer, inferred.cells.flatten(1), inferred.scores.flatten(1)), images.flipped


def _first_patterns(images: LayerImages, nodes: int, generator: torch.Generator) -> Patterns:
    height, width = images.size
    order = torch.rand(images.maps.filters, height * width, generator=generator).argsort(1)
    places = cell_places(order[:, :nodes], width).float().to(images.device)
    return Patterns(places, torch.full_like(places[..., 0], WINDOW * max(height, width)))


class _Candidates(NamedTuple):
    """Nodes of the layer above that may be parents."""

    numbers: Int[Tensor, " candidate"]
    places: Float[Tensor, "image candidate 2"]
    """In pixels of the image."""


def _candidates(above: Above, image_size: tuple[float, float]) -> _Candidates:
    places = _pixels(above.layer.field, above.cells, above.layer.width)
    numbers = candidate_parents(above.scores, places, image_size)
    return _Candidates(numbers, places[:, numbers])


def _choose(images: LayerImages, found: Inferred, candidates: _Candidates, count: int) -> tuple[Tensor, Tensor]:
    """The parents (C, N, M) of all nodes, and the strengths of their edges."""
    filters, nodes = found.cells.shape[1:]
    if not len(candidates.numbers):
        return torch.empty(filters, nodes, 0, dtype=torch.int64), torch.empty(filters, nodes, 0)
    others = candidates.places.to(images.device)
    parts = []
    some = (torch.split(array.flatten(1), _NODES_AT_ONCE, 1) for array in (found.cells, found.scores))
    for cells, scores in zip(*some, strict=True):
        places = _pixels(images.maps.field, cells, images.size[1])
        parts.append(choose_parents(scores.to(images.device), places.to(images.device), others, count))
    chosen, strengths = (torch.cat(arrays).cpu().view(filters, nodes, -1) for arrays in zip(*parts, strict=True))
    return candidates.numbers[chosen], strengths


def _pixels(field: ReceptiveField, cells: Tensor, width: int) -> Tensor:
    """Row and column in image pixels of the units at row-major cells."""
    return field.offset + field.stride * cell_places(cells, width).float()
