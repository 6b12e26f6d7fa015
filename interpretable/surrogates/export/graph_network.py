"""An explanatory graph for networkx, and as GraphML for programs that lay graphs out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx

from interpretable.errors import SurrogateError
from interpretable.files import written_atomically
from interpretable.surrogates.graph_records import shortest
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.words import one_line


def to_networkx(layers: Sequence[NodeLayer], parts: Mapping[str, str] | None = None) -> networkx.DiGraph:
    """The graph of some layers, bottom to top, with an edge from each parent to its child.

    A node is called ``layer:filter.number``, as ``0:12.3``, all counted from 0. It has the attributes ``layer`` (the
    layer's name), ``filter``, ``number``, ``x`` and ``y`` (its mean place in images as the graph reads them) and
    ``spread`` (its σ) in pixels of the image, ``score`` and, where it is known, ``part``; an edge has its ``strength``;
    the graph has the name of layer 0 as its attribute ``layer 0``, and so on. All are plain numbers and strings, with
    escapes for what does not print.

    Args:
        layers: Of the graph.
        parts: What nodes are on, by what they are called here; empty where that is not known.

    Raises:
        SurrogateError: A part is given of what is no node.
    """
    graph = networkx.DiGraph(**{f"layer {place}": one_line(layer.name) for place, layer in enumerate(layers)})
    names = [_names(place, layer) for place, layer in enumerate(layers)]
    for layer, own in zip(layers, names, strict=True):
        graph.add_nodes_from(zip(own, _attributes(layer), strict=True))
    for layer, own, above in zip(layers, names, [*names[1:], []], strict=True):
        edges = zip(own, layer.parents.flatten(0, 1).tolist(), shortest(layer.strengths.flatten(0, 1)), strict=True)
        for child, parents, strengths in edges:
            pairs = zip(parents, strengths, strict=True)
            graph.add_edges_from((above[parent], child, {"strength": strength}) for parent, strength in pairs)
    for node, part in (parts or {}).items():
        if node not in graph:
            raise SurrogateError(f"Parts must be given of nodes such as {names[0][0]}, got {node!r}; leave it out.")
        if part:
            graph.nodes[node]["part"] = one_line(part)
    return graph


def write_graphml(path: Path, graph: networkx.DiGraph) -> None:
    """Writes a graph of `to_networkx` as GraphML, atomically; ``networkx.read_graphml`` gives the same graph."""
    with written_atomically(path) as temporary:
        networkx.write_graphml_xml(graph, temporary)


def _names(place: int, layer: NodeLayer) -> list[str]:
    filters, nodes = layer.spreads.shape
    return [f"{place}:{number}.{node}" for number in range(filters) for node in range(nodes)]


def _attributes(layer: NodeLayer) -> list[dict[str, str | int | float]]:
    filters, nodes = layer.spreads.shape
    places = layer.field.offset + layer.field.stride * layer.mean_places.flatten(0, 1)
    columns = (
        [number for number in range(filters) for _ in range(nodes)],
        list(range(nodes)) * filters,
        shortest(places[:, 1]),
        shortest(places[:, 0]),
        shortest(layer.field.stride * layer.spreads.flatten()),
        shortest(layer.scores.flatten()),
    )
    keys = ("filter", "number", "x", "y", "spread", "score")
    return [{"layer": one_line(layer.name), **dict(zip(keys, row, strict=True))} for row in zip(*columns, strict=True)]
