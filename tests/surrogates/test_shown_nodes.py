"""Which nodes of an explanatory graph are shown, and what is said of them, against a graph that is written out."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes
from interpretable.surrogates.export.graph_view import LayerView
from interpretable.surrogates.export.shown_nodes import PATCH, shown_layers
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.part_patterns import Inferred

NAN = math.nan
PARTS = ("beak", "tail")
HEIGHT, WIDTH, IMAGES = 100, 160, 3
BELOW, ABOVE = range(2)
SCORES = ([[4.0, 1.0], [0.0, 3.0], [2.0, 2.0]], [[0.5, 3.5]])
"""Of 3 filters × 2 nodes with the mean 2, and of 1 × 2 nodes with the same."""
ORDER = [(BELOW, 0), (ABOVE, 1), (BELOW, 3), (BELOW, 4), (BELOW, 5), (BELOW, 1), (ABOVE, 0), (BELOW, 2)]
"""All nodes by number, the strongest first: 2, 1.75, 1.5, 1, 1, 0.5, 0.25 and 0 times the mean of their layer."""


def node_layer(
    name: str, scores: Sequence[Sequence[float]], parents: Tensor, field: ReceptiveField, seed: int
) -> NodeLayer:
    """Nodes at random places of maps of 5 × 8 cells."""
    random = torch.Generator().manual_seed(seed)
    shape = torch.tensor(scores).shape

    def drawn(*size: int) -> Tensor:
        return torch.rand(*shape, *size, generator=random)

    return NodeLayer(
        name, 5, 8, field, torch.ones(shape[0]), 5 * drawn(2), drawn(), 5 * drawn(2), torch.tensor(scores), parents,
        torch.rand(parents.shape, generator=random).sort(descending=True).values, torch.zeros(1),
    )  # fmt: skip


PARENTS = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]]])


@pytest.fixture
def graph() -> ExplanatoryGraph:
    made = ExplanatoryGraph(parents=2)
    made.layers_ = (
        node_layer("below", SCORES[BELOW], PARENTS, ReceptiveField(9, 4, 1.5), 1),
        node_layer("above", SCORES[ABOVE], torch.empty(1, 2, 0, dtype=torch.int64), ReceptiveField(40, 16, -3.0), 2),
    )
    made.image_size_, made.images_ = (HEIGHT, WIDTH), 10
    return made


@pytest.fixture
def found(graph: ExplanatoryGraph) -> FoundNodes:
    """The nodes in three images, anywhere."""
    random = torch.Generator().manual_seed(3)
    layers, positions = [], []
    for layer in graph.layers_:
        shape = (IMAGES, *layer.spreads.shape)
        scores = 5 * torch.rand(shape, generator=random)
        layers.append(Inferred(torch.zeros(shape, dtype=torch.int32), scores))
        positions.append(WIDTH * torch.rand(*shape, 2, generator=random))
    fires = tuple(layer.scores > 1 for layer in layers)
    return FoundNodes(tuple(layers), torch.zeros(IMAGES, dtype=torch.bool), tuple(positions), fires)


COLUMNS: list[dict[str, list[float]]] = [
    {
        "part": [0.0, 1.0, -1.0, 1.0, 0.0, -1.0],
        "part_purity": [0.9, 0.8, 0.0, 0.6, 0.5, NAN],
        "location_instability": [0.1, 0.2, 0.3, NAN, 0.5, 0.6],
    },
    {"part": [1.0, 0.0], "part_purity": [0.35, 0.25], "location_instability": [0.07, 0.08]},
]


def shown(
    graph: ExplanatoryGraph,
    found: FoundNodes,
    most: int = 8,
    columns: Sequence[Mapping[str, Sequence[float]]] = COLUMNS,
) -> tuple[LayerView, LayerView]:
    below, above = shown_layers(graph, found, columns, PARTS, most)
    return below, above


def numbers(view: LayerView) -> list[int]:
    return (view.filters * view.nodes_per_filter + view.numbers).tolist()


@pytest.mark.parametrize("most", range(9))
def test_the_strongest_of_all_layers_are_shown_by_their_score_over_the_mean_of_their_layer(most, graph, found):
    views = shown(graph, found, most)
    for place, view in enumerate(views):
        assert numbers(view) == [number for layer, number in ORDER[:most] if layer == place]
        expected = np.array(SCORES[place]).ravel()[numbers(view)] / 2
        np.testing.assert_allclose(view.scores, expected)
    assert [(view.name, view.nodes_per_filter, view.total) for view in views] == [("below", 2, 6), ("above", 2, 2)]


def test_layers_of_other_strengths_are_shown_alike(graph, found):
    """A layer with a thousand times higher scores has no more of its nodes shown."""
    louder = graph.layers_[BELOW]._replace(scores=1000 * graph.layers_[BELOW].scores)
    before = shown(graph, found, 4)
    graph.layers_ = (louder, graph.layers_[ABOVE])
    assert [numbers(view) for view in shown(graph, found, 4)] == [numbers(view) for view in before]


def test_more_than_there_are_are_all(graph, found):
    for mine, all_of_them in zip(shown(graph, found, 10_000), shown(graph, found, 8), strict=True):
        for name, value in dataclasses.asdict(all_of_them).items():
            np.testing.assert_array_equal(getattr(mine, name), value)


@pytest.mark.parametrize(("most", "above"), [(8, [1, 0]), (6, [1]), (1, [])])
def test_parents_are_positions_among_the_nodes_that_are_shown_above(most, above, graph, found):
    below, top = shown(graph, found, most)
    assert numbers(top) == above
    for row, number in enumerate(numbers(below)):
        parents = PARENTS.flatten(0, 1)[number].tolist()
        assert below.parents[row].tolist() == [above.index(parent) if parent in above else -1 for parent in parents]
        np.testing.assert_allclose(below.strengths[row], graph.layers_[BELOW].strengths.flatten(0, 1)[number])
    assert top.parents.shape == top.strengths.shape == (len(above), 0)


def test_a_layer_of_which_no_node_is_shown_stays_without_nodes(graph, found):
    silent = graph.layers_[ABOVE]._replace(scores=torch.zeros(1, 2))
    graph.layers_ = (graph.layers_[BELOW], silent)
    below, above = shown(graph, found, 3)
    assert numbers(below) == [0, 3, 4]
    assert (len(above.filters), above.total, above.parts) == (0, 2, ())
    assert above.positions.shape == (IMAGES, 0, 2)
    assert above.activity.shape == (IMAGES, 0)
    assert (below.parents == -1).all()
    assert below.parents.shape == (3, 2)


def test_places_and_spreads_are_in_pixels_x_first(graph, found):
    for view, layer, positions in zip(shown(graph, found), graph.layers_, found.positions, strict=True):
        stride, offset = layer.field.stride, layer.field.offset
        assert view.side == pytest.approx(PATCH * HEIGHT)
        for row, (number, node) in enumerate(zip(view.filters, view.numbers, strict=True)):
            down, across = layer.mean_places[number, node].tolist()
            np.testing.assert_allclose(view.places[row], [offset + stride * across, offset + stride * down], rtol=1e-6)
            assert view.spreads[row] == pytest.approx(stride * float(layer.spreads[number, node]))
            np.testing.assert_array_equal(view.positions[:, row], positions[:, number, node].double())


def test_activity_is_the_score_over_the_nodes_mean_and_none_of_a_silent_node(graph, found):
    for view, layer, inferred in zip(shown(graph, found), graph.layers_, found.layers, strict=True):
        for row, (number, node) in enumerate(zip(view.filters, view.numbers, strict=True)):
            mean, scores = float(layer.scores[number, node]), inferred.scores[:, number, node].numpy()
            np.testing.assert_allclose(view.activity[:, row], scores / mean if mean else np.zeros(IMAGES), rtol=1e-6)
        assert np.isfinite(view.activity).all()


def test_what_was_measured_is_said_of_the_right_nodes(graph, found):
    for view, columns in zip(shown(graph, found), COLUMNS, strict=True):
        for row, number in enumerate(numbers(view)):
            part = int(columns["part"][number])
            assert view.parts[row] == (PARTS[part] if part >= 0 else "")
            assert view.purity[row] == pytest.approx(columns["part_purity"][number], nan_ok=True)
            assert view.instability[row] == pytest.approx(columns["location_instability"][number], nan_ok=True)


def test_where_nothing_was_measured_parts_are_empty_and_numbers_are_missing(graph, found):
    for view in shown(graph, found, 8, [{}, {}]):
        assert set(view.parts) == {""}
        assert np.isnan(view.purity).all()
        assert np.isnan(view.instability).all()


def test_a_layer_that_never_fires_is_shown_last_and_is_finite(graph, found):
    graph.layers_ = (graph.layers_[BELOW]._replace(scores=torch.zeros(3, 2)), graph.layers_[ABOVE])
    below, above = shown(graph, found, 4)
    assert (numbers(below), numbers(above)) == ([0, 1], [1, 0])
    assert below.scores.tolist() == [0, 0]
    assert not below.activity.any()


def test_a_graph_of_one_layer_has_nodes_without_parents(graph, found):
    graph.layers_ = graph.layers_[ABOVE:]
    alone = FoundNodes(found.layers[ABOVE:], found.mirrored, found.positions[ABOVE:], found.fires[ABOVE:])
    (view,) = shown_layers(graph, alone, COLUMNS[ABOVE:], PARTS)
    assert numbers(view) == [1, 0]
    assert view.parents.shape == (2, 0)


def test_nodes_that_found_no_candidate_have_no_parents_though_there_is_a_layer_above(graph, found):
    """So `ExplanatoryGraph` leaves a layer below one in which nothing moves."""
    nothing: dict[str, Any] = {"parents": torch.empty(3, 2, 0, dtype=torch.int64), "strengths": torch.empty(3, 2, 0)}
    graph.layers_ = (graph.layers_[BELOW]._replace(**nothing), graph.layers_[ABOVE])
    below, _ = shown(graph, found)
    assert below.parents.shape == below.strengths.shape == (6, 0)
