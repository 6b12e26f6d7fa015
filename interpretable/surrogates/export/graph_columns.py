"""Which nodes of an explanatory graph a picture shows: the strongest of the top layer, and what hangs on them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.export.graph_view import LayerView

Nodes = Int[np.ndarray, " row"]
"""Positions in a layer's view of the nodes of a column, by their rows in the picture."""

Edges = Float[np.ndarray, "parent child"]
"""Strengths of the edges between the nodes of two columns, by their rows; 0 where there is none."""


class Columns(NamedTuple):
    """What is drawn of each layer, the top one first."""

    nodes: tuple[Nodes, ...]
    edges: tuple[Edges, ...]
    """From each column to the next."""


def columns(layers: Sequence[LayerView], most: int) -> Columns:
    """The nodes that a picture shows.

    In the top layer, nodes that have children come before those that have none, stronger ones before weaker ones. Of a
    lower layer, each node of the column before has in turn its best child that is not there yet, by the strength of the
    edge times the child's score; room that is left is for the strongest others. Rows follow the mean row of a node's
    parents, so that edges cross little.

    Args:
        layers: Of the graph, bottom to top.
        most: Nodes of a column at the most.
    """
    downwards = layers[::-1]
    nodes, edges = [_top(downwards[0], downwards[1:2], most)], []
    for layer in downwards[1:]:
        strengths = _strengths(layer, nodes[-1])
        chosen = _children(strengths * layer.scores, most)
        ordered = chosen[_by_parents(strengths[:, chosen])]
        nodes.append(ordered)
        edges.append(strengths[:, ordered])
    return Columns(tuple(nodes), tuple(edges))


def _top(layer: LayerView, below: Sequence[LayerView], most: int) -> Nodes:
    parents = [child.parents[child.strengths > 0] for child in below]
    childless = ~np.isin(np.arange(len(layer.scores)), parents)
    return np.argsort(childless, kind="stable")[:most]


def _strengths(layer: LayerView, above: Nodes) -> Float[np.ndarray, "parent node"]:
    """Of the edges from some nodes above to every node of a layer."""
    strengths: np.ndarray = np.where(layer.parents == above[:, None, None], layer.strengths, 0).max(-1, initial=0)
    return strengths


def _children(values: Float[np.ndarray, "parent node"], most: int) -> Nodes:
    """The best node of each parent in turn, and then the first of the others."""
    left, chosen = values.copy(), list[int]()
    while left.any():
        for own in left:
            if own.any():
                chosen.append(int(own.argmax()))
                left[:, chosen[-1]] = 0
    others = np.setdiff1d(np.arange(values.shape[1]), chosen)
    return np.concatenate([np.array(chosen, dtype=np.int64), others])[:most]


def _by_parents(strengths: Edges) -> Nodes:
    """Rows in the order of their parents' mean row, those without a parent last."""
    total = strengths.sum(0)
    rows = np.arange(len(strengths)) @ strengths
    return np.argsort(np.where(total > 0, rows / np.where(total > 0, total, 1), np.inf), kind="stable")
