import random
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpretable.errors import SurrogateError
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.export.graph_network import to_networkx, write_graphml
from interpretable.surrogates.node_layer import NodeLayer


def drawn_layer(name: str, filters: int, nodes: int, above: int = 0, parents: int = 0, seed: int = 0) -> NodeLayer:
    draw = torch.Generator().manual_seed(seed)
    return NodeLayer(
        name=name,
        height=7,
        width=9,
        field=ReceptiveField(40, 8, -3.5),
        deviations=torch.ones(filters),
        places=torch.rand(filters, nodes, 2, generator=draw),
        spreads=torch.rand(filters, nodes, generator=draw),
        mean_places=7 * torch.rand(filters, nodes, 2, generator=draw),
        scores=torch.rand(filters, nodes, generator=draw),
        parents=torch.rand(filters, nodes, above, generator=draw).argsort(-1)[..., :parents],
        strengths=torch.rand(filters, nodes, parents, generator=draw),
        objective=torch.empty(0),
    )


def drawn_layers(*sizes: tuple[int, int], parents: int = 3, names: tuple[str, ...] = ()) -> list[NodeLayer]:
    """Layers of so many filters and nodes, bottom to top."""
    counts = [filters * nodes for filters, nodes in sizes[1:]] + [0]
    return [
        drawn_layer(names[i] if names else f"conv{i}", *size, above, min(parents, above), seed=i)
        for i, (size, above) in enumerate(zip(sizes, counts, strict=True))
    ]


def read_back(graph: networkx.DiGraph, path: Path) -> networkx.DiGraph:
    write_graphml(path, graph)
    return networkx.read_graphml(path)


def content(graph: networkx.DiGraph) -> tuple[Any, Any]:
    """Nodes and edges with attributes and their types, in their order."""

    def typed(attributes: dict[str, Any]) -> dict[str, Any]:
        return {name: (type(value), value) for name, value in attributes.items()}

    nodes = [(node, typed(attributes)) for node, attributes in graph.nodes(data=True)]
    return nodes, [(*edge, typed(attributes)) for *edge, attributes in graph.edges(data=True)]


def test_known_nodes_have_their_places_in_pixels_and_edges_go_from_parent_to_child() -> None:
    lower, upper = drawn_layers((1, 2), (2, 2), parents=2)
    lower = lower._replace(
        mean_places=torch.tensor([[[1.0, 2.0], [0.0, 6.5]]]),
        spreads=torch.tensor([[0.25, 1.5]]),
        scores=torch.tensor([[0.1, 3.0]]),
        parents=torch.tensor([[[3, 0], [2, 1]]]),
        strengths=torch.tensor([[[0.9, 0.3], [1.0, 0.0]]]),
    )
    graph = to_networkx([lower, upper])
    assert isinstance(graph, networkx.DiGraph)
    assert graph.graph == {"layer 0": "conv0", "layer 1": "conv1"}
    assert list(graph) == ["0:0.0", "0:0.1", "1:0.0", "1:0.1", "1:1.0", "1:1.1"]
    assert graph.nodes["0:0.1"] == {
        "layer": "conv0",
        "filter": 0,
        "number": 1,
        "x": -3.5 + 8 * 6.5,
        "y": -3.5,
        "spread": 12.0,
        "score": 3.0,
    }
    assert graph.nodes["0:0.0"]["score"] == 0.1  # short, as in graph.json
    assert (graph.nodes["1:1.0"]["filter"], graph.nodes["1:1.0"]["number"]) == (1, 0)
    assert sorted(graph.edges(data="strength")) == [
        ("1:0.0", "0:0.0", 0.3),
        ("1:0.1", "0:0.1", 0.0),
        ("1:1.0", "0:0.1", 1.0),
        ("1:1.1", "0:0.0", 0.9),
    ]


@pytest.mark.parametrize("sizes", [((2, 3), (3, 2), (1, 4)), ((1, 1), (1, 1)), ((2, 2),)], ids=len)
def test_every_node_and_edge_of_the_layers_is_there_and_no_other(sizes: tuple[tuple[int, int], ...]) -> None:
    layers = drawn_layers(*sizes)
    graph = to_networkx(layers)
    assert len(graph) == sum(layer.num_nodes for layer in layers)
    assert graph.number_of_edges() == sum(layer.parents.numel() for layer in layers)
    assert networkx.is_directed_acyclic_graph(graph)
    for place, layer in enumerate(layers):
        for c, n, m in torch.cartesian_prod(*map(torch.arange, layer.parents.shape)).tolist():
            above, number = divmod(int(layer.parents[c, n, m]), layers[place + 1].spreads.shape[1])
            edge = graph.edges[f"{place + 1}:{above}.{number}", f"{place}:{c}.{n}"]
            assert torch.tensor(edge["strength"]) == layer.strengths[c, n, m]


@pytest.mark.parametrize("sizes", [((4, 3), (3, 2), (2, 2)), ((1, 1),)], ids=["three layers", "one node"])
def test_graphml_gives_the_same_nodes_edges_and_values_of_the_same_types(
    tmp_path: Path, sizes: tuple[tuple[int, int], ...]
) -> None:
    graph = to_networkx(drawn_layers(*sizes), {"0:0.0": 'left <leg> & "tail" é🐝'})
    found = read_back(graph, tmp_path / "new" / "graph.graphml")
    assert type(found) is networkx.DiGraph
    assert content(found) == content(graph)
    assert graph.graph.items() <= found.graph.items()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["graph.graphml"]


@given(name=st.text(min_size=1), part=st.text(min_size=1))
@settings(deadline=None, max_examples=60)
def test_any_name_comes_back_as_it_is_in_the_graph(
    tmp_path_factory: pytest.TempPathFactory, name: str, part: str
) -> None:
    graph = to_networkx(drawn_layers((1, 1), names=(name,)), {"0:0.0": part})
    found = read_back(graph, tmp_path_factory.mktemp("graph") / "g.graphml")
    assert content(found) == content(graph)
    assert found.graph["layer 0"] == graph.graph["layer 0"]


@pytest.mark.parametrize("name", ["a\x00b", "a\x1bb", "a\ud800b", "a\ufffeb", "a\rb", "a\u202eb"])
def test_characters_that_xml_forbids_or_changes_are_escaped_and_others_are_not(name: str) -> None:
    graph = to_networkx(drawn_layers((1, 1), names=(name + "é <&>",)), {"0:0.0": name})
    expected = "a" + name[1].encode("unicode_escape").decode() + "b"
    assert graph.nodes["0:0.0"]["layer"] == expected + "é <&>"
    assert graph.nodes["0:0.0"]["part"] == expected


def test_types_are_those_that_other_programs_read(tmp_path: Path) -> None:
    graph = to_networkx(drawn_layers((2, 2), (2, 1)), {"0:0.0": "head"})
    write_graphml(tmp_path / "g.graphml", graph)
    root = ET.parse(tmp_path / "g.graphml").getroot()
    keys = {(key.get("for"), key.get("attr.name")): key.get("attr.type") for key in root if key.tag.endswith("key")}
    assert keys == {
        ("graph", "layer 0"): "string",
        ("graph", "layer 1"): "string",
        ("node", "layer"): "string",
        ("node", "part"): "string",
        ("node", "filter"): "long",
        ("node", "number"): "long",
        ("node", "x"): "double",
        ("node", "y"): "double",
        ("node", "spread"): "double",
        ("node", "score"): "double",
        ("edge", "strength"): "double",
    }


def test_parts_are_attributes_of_their_nodes_alone() -> None:
    graph = to_networkx(drawn_layers((1, 3)), {"0:0.1": "head", "0:0.2": ""})
    assert networkx.get_node_attributes(graph, "part") == {"0:0.1": "head"}
    assert networkx.get_node_attributes(to_networkx(drawn_layers((1, 3))), "part") == {}


def test_a_part_of_what_is_no_node_is_refused() -> None:
    with pytest.raises(SurrogateError, match=r"of nodes such as 0:0\.0, got '0:0\.7'; leave it out\."):
        to_networkx(drawn_layers((1, 3)), {"0:0.7": "head"})


def test_the_same_graph_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        random.seed(ord(name))
        write_graphml(tmp_path / name, to_networkx(drawn_layers((3, 3), (2, 2))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "g.graphml"
    write_graphml(path, graph := to_networkx(drawn_layers((2, 2))))
    before = path.read_bytes()
    graph.nodes["0:0.0"]["part"] = ["a", "list"]
    with pytest.raises(networkx.NetworkXError, match="list"):
        write_graphml(path, graph)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["g.graphml"]
