"""Whether the measures of nodes tell nodes that follow a part from nodes that stand still, on planted places."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import location_instability as literal
from planted import SIDE, PlantedImages, bumps, creatures, network, stored
from torch import Tensor

from interpretable.data import Creatures
from interpretable.errors import MetricError
from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.node_measures import (
    STRONGEST,
    TOP_IMAGES,
    NodePlaces,
    evaluate_places,
    peak_table,
    strongest,
)
from interpretable.metrics import PeakTable, part_tracking
from interpretable.metrics.few_shot_localisation import SHOTS, few_shot_localisation

PARTS = ("head", "tail", "legs")
ROWS = [Creatures.parts.index(part) for part in PARTS]
CLASSES = len(Creatures.classes)
TRAIN, TEST = 240, 160
NAN = math.nan


def evaluate_nodes(places: NodePlaces, annotated: Iterable[Any], classes: int) -> Evaluation:
    return evaluate_places({"nodes": places}, annotated, classes)["nodes"]


def table(split: str, size: int, positions: Tensor, values: Tensor) -> PeakTable:
    """Nodes at these places of drawn creatures."""
    found = creatures(split, size)
    sizes = torch.full((size, 2), SIDE)
    return PeakTable(values, positions, found.landmarks[:, ROWS], found.boxes[:, ROWS], found.labels, sizes)


def batches(size: int, masks: bool = True, at_once: int = 64) -> list[dict[str, Tensor]]:
    found = creatures("test", size)
    return [
        {"boxes": boxes} | ({"masks": pixels} if masks else {})
        for boxes, pixels in zip(found.boxes[:, ROWS].split(at_once), found.masks[:, ROWS].split(at_once), strict=True)
    ]


def on(part: int) -> Any:
    """Places of a part in each image, NaN where it is not shown."""
    return lambda split, size: creatures(split, size).landmarks[:, ROWS[part]]


def fixed(split: str, size: int) -> Tensor:
    return torch.tensor([SIDE / 3, SIDE / 2]).expand(size, 2)


def planted(*places: Any) -> NodePlaces:
    """Equally strong nodes with places by split and size, silent where they have none."""
    tables = []
    for split, size in (("train", TRAIN), ("test", TEST)):
        positions = torch.stack([place(split, size) for place in places], 1)
        tables.append(table(split, size, positions.nan_to_num(0), (~positions.isnan()).all(-1).float()))
    return NodePlaces(*tables)


@pytest.fixture(scope="module")
def followed() -> NodePlaces:
    """A node on each part, and one that stands still; all equally strong."""
    return planted(on(0), on(1), on(2), fixed)


def test_the_strongest_are_those_with_the_highest_mean_of_their_best_images():
    values = torch.zeros(25, 4)
    values[:, 0] = 1.0  # mean of the best 20: 1
    values[:20, 1] = torch.arange(20.0) / 10  # 0.95, and zeros elsewhere
    values[3, 2] = 30.0  # a single image: 1.5
    values[:5, 3], values[5:, 3] = -8.0, 1.0  # the five worst do not count: 1
    assert TOP_IMAGES == 20
    assert strongest(values).tolist() == [2, 0, 3, 1]
    assert strongest(values, 2).tolist() == [2, 0]


def test_of_equally_strong_nodes_the_first_come_first_and_few_images_are_all_counted():
    values = torch.tensor([[1.0, 2.0, 2.0, 0.0], [3.0, 2.0, 2.0, 4.0]])
    assert strongest(values).tolist() == [0, 1, 2, 3]
    assert strongest(torch.ones(3, 300)).tolist() == list(range(STRONGEST))


def test_a_node_that_follows_a_part_tracks_it_is_pure_and_points_it_out(followed):
    alone = NodePlaces(*(each._replace(landmarks=each.landmarks[:, :1], boxes=each.boxes[:, :1]) for each in followed))
    one = alone.of(torch.tensor([0]))
    annotated = [{"boxes": batch["boxes"][:, :1]} for batch in batches(TEST)]
    found = evaluate_nodes(one, annotated, CLASSES)
    assert found.numbers["tracking"] > 0.999
    assert found.numbers["location_instability"] == pytest.approx(0, abs=1e-6)
    assert found.numbers["hit_rate"] == 1
    assert found.numbers["part_purity"] == 1
    assert found.filters["part"] == [0]
    for shots in SHOTS:
        assert found.numbers[f"few_shot_{shots}/nodes"] == pytest.approx(0, abs=1e-6)
        assert found.numbers[f"few_shot_{shots}/mean"] > 0.03


def test_nodes_that_follow_parts_are_told_from_one_that_stands_still(followed):
    found = evaluate_nodes(followed, batches(TEST, masks=False), CLASSES)
    assert found.filters["part"][:3] == [0, 1, 2]
    assert found.filters["part_purity"][:3] == [1.0] * 3
    assert found.filters["part_purity"][3] < 0.6
    assert found.numbers["nodes"] == 4
    assert found.numbers["part_purity"] == pytest.approx(sum(found.filters["part_purity"]) / 4)
    assert found.numbers["tracking"] > 0.999
    assert found.numbers["few_shot_10/nodes"] < 0.05 * found.numbers["few_shot_10/mean"]


def test_a_node_that_stands_still_tracks_nothing_and_is_no_better_than_the_mean_position(followed):
    found = evaluate_nodes(followed.of(torch.tensor([3])), batches(TEST), CLASSES).numbers
    assert found["tracking"] == pytest.approx(0, abs=1e-6)
    assert found["tracking_low"] <= found["tracking"] <= found["tracking_high"]
    assert found["hit_rate"] <= found["constant_hit_rate"]
    for shots in SHOTS:
        for method in ("nodes", "ridge"):
            assert found[f"few_shot_{shots}/{method}"] == pytest.approx(found[f"few_shot_{shots}/mean"], rel=1e-6)


def noisy(nodes: int, weak: Sequence[int] = (), seed: int = 0) -> NodePlaces:
    """Nodes anywhere, of any score, the last of them silent; the weakest, if any, are on parts."""
    random = torch.Generator().manual_seed(seed)
    tables = []
    for split, size in (("train", TRAIN), ("test", TEST)):
        values = 0.1 + torch.rand(size, nodes, generator=random)
        values[:, -1] = 0
        positions = SIDE * torch.rand(size, nodes, 2, generator=random)
        for node, part in enumerate(weak):
            shown = on(part)(split, size)
            values[:, node] = torch.where(shown.isnan().any(-1), 0, 0.05)
            positions[:, node] = shown.nan_to_num(0)
        tables.append(table(split, size, positions, values))
    return NodePlaces(*tables)


def test_numbers_are_of_the_strongest_nodes_and_columns_and_few_shots_of_all():
    places = noisy(171, weak=(0, 1, 2))
    annotated = batches(TEST, masks=False)
    found = evaluate_nodes(places, annotated, CLASSES)
    chosen = strongest(places.test.values)
    assert set(chosen.tolist()) == set(range(3, 170))
    assert found.numbers["tracking"] < 0.2
    of_chosen = evaluate_nodes(places.of(chosen), annotated, CLASSES)
    for name, value in found.numbers.items():
        if name != "nodes" and not name.startswith("few_shot"):
            assert value == pytest.approx(of_chosen.numbers[name]), name
    assert found.numbers["nodes"] == 171
    assert {len(column) for column in found.filters.values()} == {171}
    assert (found.filters["part"][:3], found.filters["part_purity"][:3]) == ([0, 1, 2], [1.0] * 3)
    assert (found.filters["part"][-1], math.isnan(found.filters["part_purity"][-1])) == (-1, True)
    for name, column in found.filters.items():
        assert [column[node] for node in chosen] == pytest.approx(of_chosen.filters[name], nan_ok=True)
    localised = few_shot_localisation(*places, CLASSES)
    for place, shots in enumerate(SHOTS):
        for method in ("nodes", "ridge", "mean"):
            expected = float(getattr(localised, method).error[place])
            assert found.numbers[f"few_shot_{shots}/{method}"] == pytest.approx(expected)
    assert found.numbers["few_shot_10/nodes"] < 0.5 * of_chosen.numbers["few_shot_10/nodes"]


def test_the_location_instability_of_each_node_is_the_literal_mean_over_classes_of_means_over_parts():
    places = noisy(3).of(torch.tensor([0, 1]))
    found = evaluate_nodes(places, batches(TEST), CLASSES)
    test = places.test
    deviations = literal.deviations(
        test.values.tolist(), test.positions.tolist(), test.landmarks.tolist(), test.labels.tolist(),
        [math.hypot(SIDE, SIDE)] * TEST, CLASSES, TOP_IMAGES,
    )  # fmt: skip
    for node in range(2):
        of_classes = [[value for value in parts if not math.isnan(value)] for parts in deviations[node]]
        means = [sum(parts) / len(parts) for parts in of_classes if parts]
        assert found.filters["location_instability"][node] == pytest.approx(sum(means) / len(means), rel=1e-5)


def test_masks_count_where_there_are_any_and_boxes_where_not():
    """A part's box holds more than its mask: a place in a corner of the box is on the part by the box alone."""

    def corner(split: str, size: int) -> Tensor:
        boxes = creatures(split, size).boxes[:, ROWS[0]]
        return boxes[:, :2] + 0.47 * boxes[:, 2:]

    outside = planted(corner)
    by_boxes = evaluate_nodes(outside, batches(TEST, masks=False), CLASSES)
    by_masks = evaluate_nodes(outside, batches(TEST), CLASSES)
    assert (by_boxes.filters["part"], by_boxes.filters["part_purity"]) == ([0], [1.0])
    assert by_masks.filters["part_purity"][0] < 0.5


@pytest.mark.parametrize("at_once", [1, 7, TEST])
def test_how_many_images_come_at_once_changes_nothing(at_once):
    places = noisy(4)
    expected = evaluate_nodes(places, batches(TEST), CLASSES)
    found = evaluate_nodes(places, batches(TEST, at_once=at_once), CLASSES)
    assert found.numbers == pytest.approx(expected.numbers, nan_ok=True)
    for name, column in expected.filters.items():
        assert found.filters[name] == pytest.approx(column, nan_ok=True)


def test_without_parts_or_test_images_nothing_is_measured(followed):
    def without(each: PeakTable) -> PeakTable:
        return each._replace(landmarks=each.landmarks[:, :0], boxes=each.boxes[:, :0])

    nothing = evaluate_nodes(NodePlaces(*map(without, followed)), batches(TEST), CLASSES)
    assert (nothing.numbers, nothing.filters, nothing.classes) == ({}, {}, {})
    no_images = followed._replace(test=PeakTable(*(column[:0] for column in followed.test)))
    assert evaluate_nodes(no_images, [], CLASSES).numbers == {}


def test_places_that_are_no_numbers_are_refused(followed):
    broken = followed.test._replace(values=followed.test.values.clone().fill_(NAN))
    with pytest.raises(MetricError, match="peak activations must be numbers"):
        evaluate_nodes(followed._replace(test=broken), batches(TEST), CLASSES)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of two filters, one on the head and one that stands still."""
    folder: Path = tmp_path_factory.mktemp("stores")
    net = network(2)
    written = []
    for split, size in (("train", TRAIN), ("test", TEST)):
        found = creatures(split, size)
        maps = torch.stack([bumps(found.landmarks[:, ROWS[0]]), bumps(fixed(split, size))], 1)
        images = PlantedImages(
            maps, found.labels, Creatures.classes, PARTS, found.landmarks[:, ROWS], found.boxes[:, ROWS]
        )
        written.append(stored(net, images, folder / split))
    return tuple(written)


def test_a_table_is_of_the_rows_that_are_asked_for(stores):
    store = stores[1]
    rows = torch.tensor([7, 2, 90])
    scores, positions = torch.rand(3, 5), SIDE * torch.rand(3, 5, 2)
    found = peak_table(store, rows, scores, positions)
    whole = creatures("test", TEST)
    assert found.values is scores
    assert found.positions is positions
    torch.testing.assert_close(found.landmarks, whole.landmarks[:, ROWS][rows], equal_nan=True)
    torch.testing.assert_close(found.boxes, whole.boxes[:, ROWS][rows], equal_nan=True)
    assert found.labels.tolist() == whole.labels[rows].tolist()
    assert found.sizes.tolist() == [[SIDE, SIDE]] * 3


def test_sizes_are_width_and_height_in_this_order(stores, monkeypatch):
    monkeypatch.setattr(type(stores[1]), "image_size", (20, 30))
    found = peak_table(stores[1], torch.tensor([0]), torch.rand(1, 2), torch.rand(1, 2, 2))
    assert found.sizes.tolist() == [[30, 20]]


def test_raw_filters_go_through_with_the_tracking_that_they_have(stores):
    tables = []
    for store in stores:
        layer, rows = store.layer(), torch.arange(len(store))
        tables.append(peak_table(store, rows, layer.peaks[rows], layer.peak_positions()))
    found = evaluate_nodes(NodePlaces(*tables), batches(TEST), CLASSES).numbers
    expected = part_tracking(*tables, CLASSES)
    for name in ("tracking", "tracking_low", "tracking_high", "hit_rate", "constant_hit_rate"):
        assert found[name] == pytest.approx(float(getattr(expected, name))), name
    assert 0.2 < found["tracking"] < 0.99  # the head is tracked, what moves otherwise is not


def test_measures_of_some_rows_are_those_of_a_table_of_them_alone(stores):
    found = []
    label = 2
    for store in stores:
        layer, rows = store.layer(), (store.labels == label).nonzero().squeeze(1)
        found.append(peak_table(store, rows, layer.peaks[rows], layer.peak_positions()[rows]))
    assert {int(value) for each in found for value in each.labels} == {label}
    whole = creatures("test", TEST)
    own = whole.labels == label
    annotated = [{"boxes": whole.boxes[own][:, ROWS]}]
    measured = evaluate_nodes(NodePlaces(*found), annotated, CLASSES)
    assert measured.filters["part"][0] == 0
    assert measured.filters["part_purity"][0] == 1
    assert measured.filters["location_instability"][1] > measured.numbers["location_instability"] > 0
