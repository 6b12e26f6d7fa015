import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from drawn_maps import IMAGE_SIZE, layer_of, planted_layers
from oracles import explanatory_graph_fit as oracle
from planted_graph import SIZE, SUBSTANTIAL, PlantedGraph, PlantedLayer, found_parts, planted_graph, recovered
from torch import Tensor

from interpretable.errors import SurrogateError
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates import layer_learning
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes, nodes_per_filter
from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.part_patterns import WINDOW, Guidance, Patterns, blur
from interpretable.surrogates.pattern_passes import LayerImages
from interpretable.surrogates.pattern_windows import moments, windows

QUICK: dict[str, Any] = {"density": 0.05, "parents": 3, "iterations": 4}


def noise(seed: int, images: int, shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Maps (image, filter, row, column) that have no equal places, so that no choice is one between equals."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(images, *shape, generator=random) for shape in shapes]


def first_places(layers: Sequence[LayerMaps], nodes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Those that a fit draws."""
    places = []
    for place, (layer, count) in enumerate(zip(layers, nodes, strict=True)):
        nothing = torch.zeros(layer.images, dtype=torch.bool)
        images = LayerImages(layer, torch.ones(layer.filters), nothing, 1, torch.device("cpu"))
        drawn = layer_learning._first_patterns(images, count, torch.Generator().manual_seed(seed + place))
        places.append(drawn.places.double().numpy())
    return places


def given_places(monkeypatch: pytest.MonkeyPatch, places: Sequence[Tensor]) -> None:
    """Lets the next fit start from places, of the top layer first."""
    turn = iter(places)

    def patterns(images: LayerImages, nodes: int, generator: torch.Generator) -> Patterns:
        first = next(turn)
        assert first.shape == (images.maps.filters, nodes, 2)
        return Patterns(first, torch.full_like(first[..., 0], WINDOW * max(images.size)))

    monkeypatch.setattr(layer_learning, "_first_patterns", patterns)


def same(found: NodeLayer, expected: NodeLayer, tolerance: float = 0, but: Sequence[str] = ()) -> None:
    for name, value in expected._asdict().items():
        if name in but:
            continue
        other = getattr(found, name)
        if isinstance(value, Tensor):
            torch.testing.assert_close(other, value, rtol=tolerance, atol=tolerance, msg=lambda s, n=name: f"{n}: {s}")
        else:
            assert other == value, name


def finite(layer: NodeLayer) -> bool:
    return all(bool(value.isfinite().all()) for value in layer._asdict().values() if isinstance(value, Tensor))


SQUARE = ((2, 8, 8), 16, 5.5), ((3, 6, 6), 32, 9.0)
WIDE = ((2, 6, 10), 16, -3.0), ((2, 4, 7), 24, 10.5)
THREE = ((2, 9, 8), 8, 3.5), ((2, 6, 6), 12, 4.0), ((2, 5, 4), 24, -6.5)


@pytest.mark.parametrize(
    ("described", "image_size", "density", "seed"),
    [
        (SQUARE, (192, 192), 0.07, 0),
        (SQUARE, (192, 192), 0.07, 4),
        (WIDE, (96, 160), 0.18, 1),
        (THREE, (72, 64), 0.07, 3),
    ],
    ids=["square", "square, other seed", "wide", "three layers"],
)
def test_a_fit_is_the_literal_one(described, image_size, density, seed):
    maps = noise(seed, 7, [shape for shape, _, _ in described])
    names = ("low", "middle", "high")
    layers = [
        layer_of(name, some, stride, offset)
        for name, some, (_, stride, offset) in zip(names, maps, described, strict=False)
    ]
    parents, iterations = 2, 4
    nodes = [math.ceil(density * height * width) for (_, height, width), _, _ in described]
    literal = oracle.fit(
        [oracle.Layer(some.numpy(), stride, offset) for some, (_, stride, offset) in zip(maps, described, strict=True)],
        first_places(layers, nodes, seed), image_size, iterations, parents=parents,
    )  # fmt: skip
    graph = ExplanatoryGraph(density, parents, iterations, seed=seed).fit(layers, image_size)
    found = graph.infer(layers)
    for layer, cells, expected in zip(graph.layers_, found.layers, literal, strict=True):
        assert layer.parents.tolist() == expected.parents.tolist()
        for name, value in (
            ("places", expected.mu), ("spreads", expected.sigma), ("mean_places", expected.mean_places),
            ("scores", expected.mean_scores), ("strengths", expected.strengths), ("objective", expected.objective),
        ):  # fmt: skip
            np.testing.assert_allclose(getattr(layer, name), value, rtol=1e-4, atol=1e-4, err_msg=name)
        rows_columns = torch.stack([cells.cells // layer.width, cells.cells % layer.width], -1)
        assert rows_columns.tolist() == expected.cells.tolist()
        np.testing.assert_allclose(cells.scores, expected.scores, rtol=2e-4, atol=1e-6)
    # Edges were there to be compared.
    assert [layer.parents.shape[-1] > 0 for layer in graph.layers_] == [True] * (len(layers) - 1) + [False]


def planted_fit(graph: PlantedGraph, seed: int = 0) -> tuple[NodeLayer, ...]:
    def of(name: str, layer: PlantedLayer) -> LayerMaps:
        return layer_of(name, layer.maps, layer.stride, layer.offset)

    below, above = of("low", graph.lower), of("high", graph.upper)
    return ExplanatoryGraph(parents=5, seed=seed).fit([below, above], (SIZE, SIZE)).layers_


@pytest.mark.parametrize(
    ("stride", "seed"),
    [
        (16, 0),
        pytest.param(16, 1, marks=pytest.mark.slow),
        pytest.param(8, 0, marks=pytest.mark.slow),
        pytest.param(8, 2, marks=pytest.mark.slow),
    ],
)
def test_planted_parts_and_parents_are_recovered_while_the_objective_does_not_fall(stride, seed):
    graph = planted_graph(seed, lower_stride=stride)
    below, above = planted_fit(graph)
    found = recovered(graph, below.places, below.scores, below.parents, above.places)
    assert found.parts >= 0.95
    assert found.nodes >= 0.95
    assert found.parents >= 0.9
    upper_parts, near = found_parts(graph.upper, above.places, above.scores)
    assert upper_parts >= 0.95
    counted = above.scores >= SUBSTANTIAL * above.scores.amax(1, keepdim=True)
    assert float(near.sum() / counted.sum()) >= 0.95
    assert float(above.objective.diff().min()) >= -1e-6
    assert float(below.objective.diff().min()) >= -1e-3
    # It is worth something: the maps are likelier than at the start.
    assert all(float(layer.objective[-1] - layer.objective[0]) > 0.01 for layer in (below, above))


def test_a_fit_knows_of_its_images_what_inference_finds_in_them():
    layers = planted_layers(0)
    graph = ExplanatoryGraph(**QUICK).fit(layers, IMAGE_SIZE)
    found = graph.infer(layers)
    for layer, inferred, positions, fires in zip(
        graph.layers_, found.layers, found.positions, found.fires, strict=True
    ):
        rows, columns = inferred.cells // layer.width, inferred.cells % layer.width
        torch.testing.assert_close(torch.stack([rows, columns], -1).double().mean(0).float(), layer.mean_places)
        torch.testing.assert_close(inferred.scores.mean(0), layer.scores, rtol=1e-5, atol=0)
        expected = torch.stack([columns, rows], -1) * layer.field.stride + layer.field.offset
        assert torch.equal(positions, expected.float())
        assert torch.equal(fires, (inferred.scores >= layer.scores / 2) & (inferred.scores > 0))
    assert not found.mirrored.any()


def test_images_are_inferred_one_by_one_as_together_and_new_ones_too():
    layers, others = planted_layers(0), planted_layers(0, images=16)
    graph = ExplanatoryGraph(**QUICK).fit(layers, IMAGE_SIZE)
    together = graph.infer(others)
    for image in range(16):
        alone = graph.infer([layer._replace(maps=layer.maps[image : image + 1]) for layer in others])
        for one, many in zip(alone.layers, together.layers, strict=True):
            assert torch.equal(one.cells[0], many.cells[image])
            torch.testing.assert_close(one.scores[0], many.scores[image], rtol=1e-5, atol=1e-7)


def test_the_order_of_images_does_not_matter():
    layers = planted_layers(1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    graph = ExplanatoryGraph(**QUICK)
    expected = graph.fit(layers, IMAGE_SIZE).layers_
    shuffled = graph.fit([layer._replace(maps=layer.maps[order]) for layer in layers], IMAGE_SIZE).layers_
    for found, layer in zip(shuffled, expected, strict=True):
        same(found, layer, 1e-4)


def test_images_twice_are_as_good_as_once():
    layers = planted_layers(1)
    graph = ExplanatoryGraph(**QUICK)
    expected = graph.fit(layers, IMAGE_SIZE).layers_
    # More images than are read at once.
    doubled = [layer._replace(maps=layer.maps.repeat(6, 1, 1, 1)) for layer in layers]
    for found, layer in zip(graph.fit(doubled, IMAGE_SIZE).layers_, expected, strict=True):
        same(found, layer, 1e-4)


def test_the_unit_of_a_filter_does_not_matter():
    layers = planted_layers(2)
    graph = ExplanatoryGraph(**QUICK)
    expected = graph.fit(layers, IMAGE_SIZE).layers_
    for factors, tolerance in ((torch.tensor([8, 0.25, 1024]), 0), (torch.tensor([3e-4, 7.0, 1e5]), 1e-4)):
        scaled = [layer._replace(maps=layer.maps * factors[:, None, None]) for layer in layers]
        for found, layer in zip(graph.fit(scaled, IMAGE_SIZE).layers_, expected, strict=True):
            same(found, layer, tolerance, but=["deviations"])
            torch.testing.assert_close(found.deviations, layer.deviations * factors)


def test_how_much_is_computed_at_once_does_not_matter():
    layers = planted_layers(9)
    expected = ExplanatoryGraph(**QUICK).fit(layers, IMAGE_SIZE)
    found = ExplanatoryGraph(**QUICK, at_once=1).fit(layers, IMAGE_SIZE)
    for one, other in zip(found.layers_, expected.layers_, strict=True):
        same(one, other, 1e-5)
    for one, other in zip(found.infer(layers).layers, expected.infer(layers).layers, strict=True):
        assert torch.equal(one.cells, other.cells)


def test_first_places_are_distinct_cells_that_follow_from_the_seed():
    layers = planted_layers(0)
    graphs = [ExplanatoryGraph(**QUICK, seed=seed).fit(layers, IMAGE_SIZE).layers_ for seed in (0, 0, 5)]
    for first, second, other in zip(*graphs, strict=True):
        same(first, second)
        assert not torch.equal(first.places, other.places)
    for places in first_places(layers, [196, 60], 4):
        assert all(len({tuple(place) for place in nodes}) == len(nodes) for nodes in places.tolist())
        assert places.min() == 0
        assert places.max() == 13


def test_activations_that_are_elsewhere_have_nodes_elsewhere(monkeypatch):
    random = torch.Generator().manual_seed(0)
    below, above = torch.zeros(9, 2, 24, 24), torch.zeros(9, 2, 12, 12)
    below[..., 8:15, 8:15] = torch.rand(9, 2, 7, 7, generator=random)
    above[..., 4:7, 4:7] = torch.rand(9, 2, 3, 3, generator=random)
    starts = [
        torch.tensor([[[4.0, 4], [5, 6], [6, 4]]] * 2),
        torch.tensor([[[9.0, 9], [9, 12], [12, 8], [12, 13]]] * 2),
    ]
    graph = ExplanatoryGraph(density=(4 / 576, 3 / 144), parents=3, iterations=5)
    results = []
    for down, right in ((0, 0), (2, 1)):
        step = torch.tensor([down, right])
        layers = [
            layer_of("low", below.roll((2 * down, 2 * right), (-2, -1)), 8, 4),
            layer_of("high", above.roll((down, right), (-2, -1)), 16, 8),
        ]
        given_places(monkeypatch, [starts[0] + step, starts[1] + 2 * step])
        results.append((graph.fit(layers, (192, 192)).layers_, step))
    (here, _), (there, step) = results
    for factor, layer, moved in zip((2, 1), here, there, strict=True):
        same(moved, layer, 1e-4, but=["places", "mean_places"])
        torch.testing.assert_close(moved.places, layer.places + factor * step, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moved.mean_places, layer.mean_places + factor * step, rtol=1e-4, atol=1e-4)
    assert here[0].parents.shape[-1] == 3


@pytest.mark.parametrize("turned", ["transposed", "mirrored"])
def test_turned_maps_have_turned_nodes(turned, monkeypatch):
    layers = planted_layers(4)
    graph = ExplanatoryGraph(**QUICK)
    starts = [torch.from_numpy(places).float() for places in first_places(layers, [10, 10], 0)][::-1]

    def turn(maps: Tensor) -> Tensor:
        return maps.mT if turned == "transposed" else maps.flip(-1)

    def place(places: Tensor) -> Tensor:
        rows, columns = places.unbind(-1)
        return torch.stack([columns, rows] if turned == "transposed" else [rows, 13 - columns], -1)

    given_places(monkeypatch, starts)
    expected = graph.fit(layers, IMAGE_SIZE).layers_
    given_places(monkeypatch, [place(start) for start in starts])
    found = graph.fit([layer._replace(maps=turn(layer.maps).contiguous()) for layer in layers], IMAGE_SIZE).layers_
    for other, layer in zip(found, expected, strict=True):
        same(other, layer, 1e-4, but=["places", "mean_places"])
        torch.testing.assert_close(other.places, place(layer.places), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(other.mean_places, place(layer.mean_places), rtol=1e-4, atol=1e-4)


def test_silent_and_constant_filters_have_still_nodes_and_harm_no_other():
    layers = planted_layers(5)
    maps = layers[0].maps.clone()
    maps[:, 0], maps[:, 1] = -torch.rand(12, 14, 14), 2.0
    graph = ExplanatoryGraph(**QUICK).fit([layers[0]._replace(maps=maps), layers[1]], IMAGE_SIZE)
    below, above = graph.layers_
    assert finite(below)
    assert finite(above)
    start = torch.from_numpy(first_places(layers, [10, 10], 0)[0])
    torch.testing.assert_close(below.places[0], start[0].float())
    torch.testing.assert_close(below.spreads[0], torch.full((10,), WINDOW * 14))
    assert not below.scores[0].any()
    assert not below.strengths[0].any()
    assert float(below.deviations[1]) == 1
    assert (below.scores[1:] > 0).all()
    fires = graph.infer([layers[0]._replace(maps=maps), layers[1]]).fires[0]
    assert not fires[:, 0].any()
    assert fires[:, 2].any()
    # The filter that is as it was is learned as if the others were as they were: only parents could tell.
    alone = ExplanatoryGraph(**QUICK).fit([layers[0]._replace(maps=maps)], IMAGE_SIZE).layers_[0]
    unharmed = ExplanatoryGraph(**QUICK).fit([layers[0]], IMAGE_SIZE).layers_[0]
    torch.testing.assert_close(alone.places[2], unharmed.places[2], rtol=1e-5, atol=1e-5)


def test_nodes_of_an_image_without_activation_are_at_their_centres_and_do_not_fire():
    layers = planted_layers(6)
    silent = []
    for layer in layers:
        maps = layer.maps.clone()
        maps[3] = -1
        silent.append(layer._replace(maps=maps))
    graph = ExplanatoryGraph(**QUICK).fit(silent, IMAGE_SIZE)
    assert all(finite(layer) for layer in graph.layers_)
    found = graph.infer(silent)
    top = graph.layers_[1]
    cells = found.layers[1].cells[3]
    nearest = (top.places - 0.5).ceil().clamp(0, 13).long()
    assert torch.equal(cells.long(), nearest[..., 0] * 14 + nearest[..., 1])
    for inferred, fires in zip(found.layers, found.fires, strict=True):
        assert not inferred.scores[3].any()
        assert not fires[3].any()
        assert fires.any()


def test_the_objective_of_layers_that_nothing_activates_is_zero():
    layers = [layer_of("low", -torch.rand(4, 2, 8, 8), 8), layer_of("high", -torch.rand(4, 2, 4, 4), 16)]
    for layer in ExplanatoryGraph(iterations=2).fit(layers, (64, 64)).layers_:
        assert layer.objective.tolist() == [0, 0]


def test_a_node_whose_one_candidate_moves_exactly_as_it_does_has_a_full_edge():
    random = torch.Generator().manual_seed(0)
    maps = torch.zeros(30, 1, 10, 10)
    places = 5 + (torch.rand(30, 2, generator=random) * 3 - 1.5).round().long()
    maps[torch.arange(30), 0, places[:, 0], places[:, 1]] = 1 + torch.rand(30, generator=random)
    layers = [layer_of("low", maps, 8, 4), layer_of("high", maps, 8, 4.5)]
    below, _ = ExplanatoryGraph(density=1e-9, iterations=3).fit(layers, (80, 80)).layers_
    assert float(below.strengths) == pytest.approx(1, abs=1e-4)


def test_parents_that_hardly_agree_leave_what_is_learned_finite():
    blurred = blur(torch.rand(2, 1, 8, 8) + 3, 0.2)
    patterns = Patterns(torch.tensor([[[3.0, 3], [5, 5]]]), torch.full((1, 2), 0.5))
    for agreement in (1e-37, 1e-44, 0.0):
        guided = Guidance(torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2), agreement), torch.full((1, 2), 0.4))
        found = moments(blurred, windows(blurred, patterns, guided))
        assert all(bool(value.isfinite().all()) for value in found)


def test_one_node_of_a_filter_is_enough_and_there_are_no_more_parents_than_candidates():
    layers = planted_layers(7)
    graph = ExplanatoryGraph(density=1e-9, iterations=3, parents=15).fit(layers, IMAGE_SIZE)
    assert [layer.spreads.shape for layer in graph.layers_] == [(3, 1), (3, 1)]
    # Of three nodes above the one that varies least is left out.
    assert graph.layers_[0].parents.shape == (3, 1, 2)
    assert all(finite(layer) for layer in graph.layers_)
    assert ((graph.layers_[0].strengths > 0) & (graph.layers_[0].strengths <= 1)).all()


def test_a_layer_below_nodes_of_which_none_may_be_a_parent_is_learned_as_a_top_layer():
    layers = planted_layers(8)
    # In an image so large all nodes are near its border.
    found = ExplanatoryGraph(**QUICK).fit(layers, (4000, 4000)).layers_[0]
    assert found.parents.shape == (3, 10, 0)
    same(found, ExplanatoryGraph(**QUICK).fit(layers[:1], (4000, 4000)).layers_[0])


def test_each_layer_has_its_density():
    layers = planted_layers(9)
    graph = ExplanatoryGraph(density=(0.02, 0.1), parents=2, iterations=1).fit(layers, IMAGE_SIZE)
    assert [layer.spreads.shape[1] for layer in graph.layers_] == [4, 20]
    assert ExplanatoryGraph(iterations=1).fit(layers, IMAGE_SIZE).layers_[0].spreads.shape[1] == 20


@pytest.mark.parametrize(
    ("side", "nodes"), [(28, 40), (14, 20), (7, 10), (32, 52), (16, 26), (8, 13), (56, 157), (1, 1)]
)
def test_nodes_per_filter_are_the_authors(side, nodes):
    assert nodes_per_filter(side, side) == nodes


def test_nodes_per_filter_are_cells_times_density_rounded_up():
    assert nodes_per_filter(6, 9, 0.1) == 6
    assert nodes_per_filter(6, 9, 1.0) == 54
    assert nodes_per_filter(6, 9, 1e-12) == 1


def test_a_density_that_gives_a_whole_number_gives_that_number():
    assert nodes_per_filter(6, 10, 0.05) == 3


def objects(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Maps (image, 2, 10, 12) and (image, 3, 5, 6) of something that looks to one side, and is never in one place."""
    random = torch.Generator().manual_seed(seed)
    moves = torch.rand(images, 1, 1, 2, generator=random) * 2 - 1
    found = []
    for length, parts in (
        (12, [[[3.0, 2.5], [8, 8.5]], [[5, 3], [9, 2]]]),
        (6, [[[1.5, 1], [4, 4]], [[2, 3.5], [4, 1]], [[1.2, 3], [3, 1]]]),
    ):
        centres = torch.tensor(parts) + moves * length / 12
        along = torch.exp(-((torch.arange(length) - centres[..., None]) ** 2))
        bumps = along[..., 0, :].transpose(-1, -2) @ along[..., 1, :]
        found.append((bumps - 0.1 + 0.02 * torch.randn(bumps.shape, generator=random))[..., : length * 5 // 6, :])
    return found[0], found[1]


def two_sided(maps: tuple[Tensor, Tensor], turned: Tensor) -> list[LayerMaps]:
    """Layers of images of which some are mirrored, with the maps of each image's mirror image."""
    layers = []
    for name, some, stride in zip(("low", "high"), maps, (8, 16), strict=True):
        seen = torch.where(turned[:, None, None, None], some.flip(-1), some)
        layers.append(layer_of(name, seen, stride, stride / 2, mirrored=seen.flip(-1)))
    return layers


MIRRORED: dict[str, Any] = {"density": (0.05, 0.1), "parents": 3, "iterations": 10}


@pytest.mark.parametrize("seed", range(3))
def test_a_mirror_aware_graph_reads_all_images_in_one_orientation(seed):
    turned = torch.arange(40) % 3 == 0
    layers = two_sided(objects(40, seed), turned)
    aware = ExplanatoryGraph(**MIRRORED, mirror=True, seed=seed).fit(layers, (80, 96))
    plain = ExplanatoryGraph(**MIRRORED, seed=seed).fit(layers, (80, 96))
    found = aware.infer(layers)
    assert torch.equal(found.mirrored, turned) or torch.equal(found.mirrored, ~turned)
    for better, worse in zip(aware.layers_, plain.layers_, strict=True):
        assert float(better.objective[-1]) > float(worse.objective[-1]) + 0.02
    assert not plain.infer(layers).mirrored.any()
    # What the fit saw is what inference sees.
    for layer, inferred in zip(aware.layers_, found.layers, strict=True):
        torch.testing.assert_close(inferred.scores.mean(0), layer.scores, rtol=1e-5, atol=0)


def test_a_fit_ends_with_images_read_as_inference_reads_them():
    layers = two_sided(objects(40, 0), torch.arange(40) % 3 == 0)
    graph = ExplanatoryGraph(**MIRRORED | {"iterations": 1}, mirror=True).fit(layers, (80, 96))
    for layer, inferred in zip(graph.layers_, graph.infer(layers).layers, strict=True):
        torch.testing.assert_close(inferred.scores.mean(0), layer.scores, rtol=1e-5, atol=0)


def test_places_in_a_mirror_image_are_mirrored():
    turned = torch.arange(40) % 3 == 0
    maps = objects(40, 0)
    graph = ExplanatoryGraph(**MIRRORED, mirror=True).fit(two_sided(maps, turned), (80, 96))
    one: FoundNodes = graph.infer(two_sided(maps, turned))
    other = graph.infer(two_sided(maps, ~turned))
    assert torch.equal(one.mirrored, ~other.mirrored)
    for layer, same_layer, places, mirror_places in zip(
        one.layers, other.layers, one.positions, other.positions, strict=True
    ):
        assert torch.equal(layer.cells, same_layer.cells)
        assert torch.equal(mirror_places, torch.stack([96 - places[..., 0], places[..., 1]], -1))
    # In the image as it is: where its own maps are active.
    own = two_sided(maps, turned)[0].maps
    cells = ((one.positions[0] - 4) / 8).long()
    values = own.flatten(-2).gather(-1, (cells[..., 1] * 12 + cells[..., 0]).flatten(1, -1).view(40, 2, -1))
    back = own.flip(-1).flatten(-2).gather(-1, (cells[..., 1] * 12 + cells[..., 0]).view(40, 2, -1))
    fires = one.fires[0]
    assert float(values[fires].mean()) > float(back[fires].mean()) + 0.2


def test_how_active_a_mirror_image_is_does_not_matter():
    turned = torch.arange(40) % 3 == 0
    layers = two_sided(objects(40, 0), turned)
    graph = ExplanatoryGraph(**MIRRORED, mirror=True).fit(layers, (80, 96))
    expected = graph.infer(layers).mirrored
    assert expected.any()
    for factor in (0.3, 3):
        others = [layer._replace(mirrored=factor * layer.maps.flip(-1)) for layer in layers]
        assert torch.equal(graph.infer(others).mirrored, expected)


def test_images_that_nothing_tells_from_their_mirror_image_are_read_as_they_are():
    maps = objects(12, 1)
    maps[0][5], maps[1][5] = -1, -1  # silent
    for some in maps:
        some[6] = (some[6] + some[6].flip(-1)) / 2  # symmetric
    layers = two_sided(maps, torch.zeros(12, dtype=torch.bool))
    graph = ExplanatoryGraph(**MIRRORED, mirror=True).fit(layers, (80, 96))
    assert all(finite(layer) for layer in graph.layers_)
    mirrored = graph.infer(layers).mirrored
    assert not mirrored[[5, 6]].any()


def test_maps_of_mirrored_images_are_needed_to_mirror():
    layers = planted_layers(0)
    with pytest.raises(SurrogateError, match=r"needs the mirrored images too, got none of low; give them\.$"):
        ExplanatoryGraph(**QUICK, mirror=True).fit(layers, IMAGE_SIZE)
    both = [layer._replace(mirrored=layer.maps.flip(-1)) for layer in layers]
    graph = ExplanatoryGraph(**QUICK, mirror=True).fit(both, IMAGE_SIZE)
    with pytest.raises(SurrogateError, match="needs the mirrored images too, got none of low"):
        graph.infer(layers)


def nothing(layer: LayerMaps) -> LayerMaps:
    return layer._replace(maps=layer.maps[:0])


def spoilt(layer: LayerMaps, value: float) -> LayerMaps:
    maps = layer.maps.clone()
    maps[3, 1, 2, 2] = value
    return layer._replace(maps=maps)


LOW, HIGH = planted_layers(0, images=5)


@pytest.mark.parametrize(
    ("options", "layers", "message"),
    [
        ({}, [], r"needs at least one layer, got none; name some"),
        ({}, [LOW, HIGH._replace(maps=HIGH.maps[:4])], r"must be of the same images, got \[5, 4\] images; give"),
        ({}, [LOW, HIGH._replace(rows=torch.arange(3))], r"must be of the same images, got \[5, 3\] images; give"),
        ({}, [LOW, HIGH._replace(name="low")], r"must have different names, got low, low; name each once"),
        ({"density": 0}, [LOW, HIGH], r"must be nodes per cell in \(0, 1\], got 0; change"),
        ({"density": (0.1, 1.5)}, [LOW, HIGH], r"must be nodes per cell in \(0, 1\], got 1\.5; change"),
        ({"density": math.nan}, [LOW, HIGH], r"must be nodes per cell in \(0, 1\], got nan; change"),
        ({"density": (0.1,) * 3}, [LOW, HIGH], r"one density for each of the 2 layers, got 3; give as many"),
        ({"parents": 0}, [LOW, HIGH], r"parents must be at least 1, got 0; raise"),
        ({"iterations": 0}, [LOW, HIGH], r"iterations must be at least 1, got 0; raise"),
        ({"at_once": -1}, [LOW, HIGH], r"at_once must be at least 1, got -1; raise"),
        ({}, [LOW, spoilt(HIGH, math.nan)], r"must be finite numbers, got others in the maps of high; record"),
        ({}, [spoilt(LOW, -math.inf), HIGH], r"must be finite numbers, got others in the maps of low; record"),
        ({}, [nothing(LOW), nothing(HIGH)], r"needs at least one image, got none of low; give some"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(options, layers, message):
    with pytest.raises(SurrogateError, match=message) as raised:
        ExplanatoryGraph(**QUICK | options).fit(layers, IMAGE_SIZE)
    text = str(raised.value)
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert "\n" not in text


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [LOW],
        [HIGH, LOW],
        [LOW, HIGH._replace(filters=2)],
        [LOW, HIGH._replace(maps=HIGH.maps[..., :13])],
        [LOW, HIGH._replace(maps=HIGH.maps[:4])],
    ],
)
def test_maps_of_other_layers_are_refused_in_a_sentence(layers):
    graph = ExplanatoryGraph(**QUICK).fit([LOW, HIGH], IMAGE_SIZE)
    with pytest.raises(SurrogateError, match=r"The maps must be of the graph's layers|must be of the same images"):
        graph.infer(layers)


def test_a_graph_that_is_not_fitted_says_so():
    with pytest.raises(SurrogateError, match="fit"):
        ExplanatoryGraph().infer([LOW, HIGH])


def test_inference_in_no_image_is_refused_in_a_sentence():
    graph = ExplanatoryGraph(**QUICK).fit([LOW, HIGH], IMAGE_SIZE)
    with pytest.raises(SurrogateError, match="at least one image"):
        graph.infer([nothing(LOW), nothing(HIGH)])


def test_inference_refuses_maps_that_are_no_finite_numbers():
    graph = ExplanatoryGraph(**QUICK).fit([LOW, HIGH], IMAGE_SIZE)
    with pytest.raises(SurrogateError, match="finite"):
        graph.infer([LOW, spoilt(HIGH, math.nan)])


def test_fit_gives_the_graph_and_shows_how_far_it_is():
    seen = []

    def track(items: Any, what: str) -> Any:
        for item in items:
            seen.append((what, item))
            yield item

    graph = ExplanatoryGraph(**QUICK)
    assert graph.fit([LOW, HIGH], IMAGE_SIZE, track=track) is graph
    assert seen == [(f"nodes of {name}", iteration) for name in ("high", "low") for iteration in (1, 2, 3, 4)]
    assert graph.image_size_ == IMAGE_SIZE
    assert [layer.name for layer in graph.layers_] == ["low", "high"]
    for layer, maps in zip(graph.layers_, (LOW, HIGH), strict=True):
        assert (layer.height, layer.width, layer.field) == (14, 14, maps.field)
        assert isinstance(layer.field, ReceptiveField)
        assert layer.objective.shape == (4,)


def test_arguments_are_kept_as_they_are():
    options = {"density": [0.1, 0.2], "parents": 3, "iterations": 4, "mirror": True, "seed": 5, "at_once": 6}
    graph = ExplanatoryGraph(**options, device="cpu")
    assert {name: getattr(graph, name) for name in options} == options
    assert list(inspect.signature(ExplanatoryGraph).parameters) == [*options, "device"]
