"""The nodes of an explanatory graph that a person is shown: the strongest ones, with what was measured of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes
from interpretable.surrogates.export.graph_view import MOST_NODES, LayerView
from interpretable.surrogates.node_layer import NodeLayer

PATCH = 0.3
"""Side of the patch that a node is shown by, as a share of the image's: the authors' 70 pixels of 224."""


def shown_layers(
    graph: ExplanatoryGraph,
    found: FoundNodes,
    columns: Sequence[Mapping[str, Sequence[float]]],
    parts: Sequence[str],
    most: int = MOST_NODES,
) -> tuple[LayerView, ...]:
    """The strongest nodes of all layers, by their score over the mean of their layer.

    Args:
        graph: The graph.
        found: Its nodes in the images of the gallery.
        columns: Of each layer: part, part_purity and location_instability of its nodes; empty where not measured.
        parts: Names of the parts.
        most: Nodes at the most.
    """
    relative = [layer.scores.flatten() / layer.scores.mean().clamp(min=torch.finfo().tiny) for layer in graph.layers_]
    owners = torch.cat([torch.full_like(scores, place).long() for place, scores in enumerate(relative)])
    numbers = torch.cat([torch.arange(len(scores)) for scores in relative])
    best = torch.cat(relative).argsort(descending=True, stable=True)[:most]
    chosen = [numbers[best[owners[best] == place]] for place in range(len(relative))]
    side = PATCH * min(graph.image_size_)
    return tuple(
        _layer_view(
            layer,
            relative[place],
            chosen[place],
            _places(chosen[place + 1], graph.layers_[place + 1].num_nodes) if place + 1 < len(chosen) else None,
            found.positions[place].flatten(1, 2),
            found.layers[place].scores.flatten(1),
            columns[place],
            parts,
            side,
        )
        for place, layer in enumerate(graph.layers_)
    )


def _layer_view(
    layer: NodeLayer,
    relative: Tensor,
    chosen: Int64[Tensor, " node"],
    above: Int64[Tensor, " upper"] | None,  # where the nodes above are among the shown ones
    positions: Tensor,
    scores: Tensor,
    columns: Mapping[str, Sequence[float]],
    parts: Sequence[str],
    side: float,
) -> LayerView:
    per_filter = layer.spreads.shape[1]
    mean = layer.scores.flatten()[chosen]
    places = layer.field.offset + layer.field.stride * layer.mean_places.flatten(0, 1)[chosen].flip(-1)
    part = _column(columns, "part", chosen)
    parents = layer.parents.flatten(0, 1)[chosen]
    if above is not None:
        parents = above[parents]
    return LayerView(
        name=layer.name,
        nodes_per_filter=per_filter,
        total=layer.num_nodes,
        side=side,
        filters=(chosen // per_filter).numpy(),
        numbers=(chosen % per_filter).numpy(),
        scores=relative[chosen].double().numpy(),
        places=places.double().numpy(),
        spreads=(layer.field.stride * layer.spreads.flatten()[chosen]).double().numpy(),
        parts=tuple(parts[int(number)] if number >= 0 else "" for number in np.nan_to_num(part, nan=-1)),
        purity=_column(columns, "part_purity", chosen),
        instability=_column(columns, "location_instability", chosen),
        parents=parents.numpy(),
        strengths=layer.strengths.flatten(0, 1)[chosen].double().numpy(),
        positions=positions[:, chosen].double().numpy(),
        activity=torch.where(mean > 0, scores[:, chosen] / mean, 0).double().numpy(),
    )


def _places(chosen: Int64[Tensor, " node"], nodes: int) -> Int64[Tensor, " all"]:
    """Where each of so many nodes is among the chosen ones, −1 for the others."""
    places = torch.full((nodes,), -1)
    places[chosen] = torch.arange(len(chosen))
    return places


def _column(columns: Mapping[str, Sequence[float]], name: str, chosen: Tensor) -> np.ndarray:
    """What was measured of the nodes, NaN where it was not."""
    if name not in columns:
        return np.full(len(chosen), np.nan)
    measured: np.ndarray = np.asarray(columns[name], dtype=np.float64)[chosen.numpy()]
    return measured
