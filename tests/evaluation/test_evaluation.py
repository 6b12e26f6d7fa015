"""Whether an evaluation tells filters that follow a part from filters that do not, on planted filters."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import CELLS, SIDE, PlantedImages, bumps, creatures, network, stored, stored_filters
from torch import Tensor, nn

from interpretable.data import Creatures
from interpretable.errors import MetricError, RunError
from interpretable.evaluation import Evaluation, importance
from interpretable.evaluation.importance import add_importance, pooled_linear
from interpretable.evaluation.measures import add_accuracy, add_keypoints, add_maps, add_places
from interpretable.evaluation.part_masks import add_part_masks, annotated_batches, box_masks
from interpretable.evaluation.stored_filters import StoredFilters
from interpretable.metrics import class_accuracy
from interpretable.models import InterpretableCNN

HEAD, FIXED, RANDOM, SPECIES, DEAD = range(5)
TRAIN, TEST = 240, 160
ONE_SPECIES = 3


def unseen(items: Iterable[Any], what: str) -> Iterable[Any]:
    return items


def planted_maps(split: str, size: int) -> Tensor:
    """(N, 5, h, w): follows the head, fires in the image's centre, anywhere, on one species alone, never."""
    found = creatures(split, size)
    head = found.landmarks[:, Creatures.parts.index("head")]
    centre = torch.full((size, 2), SIDE / 2)
    anywhere = 1 + 2 * torch.randint(CELLS, (size, 2), generator=torch.Generator().manual_seed(size))
    of_species = torch.where(found.labels == ONE_SPECIES, 1.0, 0.0)[:, None, None] * bumps(centre)
    maps = [bumps(head), bumps(centre), bumps(anywhere.float()), of_species, torch.zeros(size, CELLS, CELLS)]
    return torch.stack(maps, 1)


def planted(filters: list[int], parts: tuple[str, ...], split: str, size: int, masks: bool = True) -> PlantedImages:
    found = creatures(split, size)
    rows = [Creatures.parts.index(part) for part in parts]
    return PlantedImages(
        planted_maps(split, size)[:, filters], found.labels, Creatures.classes, parts,
        found.landmarks[:, rows], found.boxes[:, rows], found.masks[:, rows] if masks else None,
    )  # fmt: skip


def evaluated(filters: StoredFilters, net: InterpretableCNN, test: PlantedImages) -> Evaluation:
    evaluation = Evaluation()
    add_accuracy(evaluation, filters)
    add_places(evaluation, filters)
    add_keypoints(evaluation, filters)
    add_maps(evaluation, filters, unseen)
    if test.parts:
        add_part_masks(evaluation, filters, annotated_batches(test), unseen)
    add_importance(evaluation, filters, net)
    return evaluation


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Evaluation]:
    """The evaluations of three layers of a single filter each, on the head alone."""
    found = {}
    for number in (HEAD, FIXED, RANDOM):
        net = network(1, nn.Linear(1, 8))
        train, test = (planted([number], ("head",), split, size) for split, size in (("train", TRAIN), ("test", TEST)))
        folder = tmp_path_factory.mktemp(f"filter{number}")
        found[number] = evaluated(stored_filters(net, train, test, folder), net, test)
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, StoredFilters, InterpretableCNN]:
    """The evaluation of a layer of all five planted filters on all parts."""
    net = network(5, nn.Linear(5, 8))
    train, test = (
        planted(list(range(5)), Creatures.parts, split, size) for split, size in (("train", TRAIN), ("test", TEST))
    )
    filters = stored_filters(net, train, test, tmp_path_factory.mktemp("together"))
    return evaluated(filters, net, test), filters, net


def test_tracking_is_one_zero_and_zero(alone: dict[int, Evaluation]) -> None:
    follows, fixed, anywhere = (found.numbers for found in alone.values())
    assert follows["tracking"] > 0.98
    assert follows["tracking_low"] > 0.98
    assert follows["tracking_low"] <= follows["tracking"] <= follows["tracking_high"] <= 1
    assert fixed["tracking"] == pytest.approx(0, abs=1e-9)
    assert anywhere["tracking"] == pytest.approx(0, abs=0.25)
    assert anywhere["tracking"] < 0.05


def test_instability_is_low_at_the_centre_floor_and_high(alone: dict[int, Evaluation]) -> None:
    follows, fixed, anywhere = (found.numbers["location_instability"] for found in alone.values())
    floors = alone[FIXED].numbers
    assert follows < 0.01  # half of a cell's diagonal is 1.4 of 93 pixels
    assert fixed == pytest.approx(floors["location_centre"], rel=1e-9)
    assert anywhere == pytest.approx(floors["location_random"], rel=0.15)
    assert follows < 0.2 * fixed < fixed < 0.8 * anywhere
    for found in alone.values():
        assert found.filters["location_instability"] == [pytest.approx(found.numbers["location_instability"])]


def test_the_filter_at_the_head_hits_it_and_the_others_do_no_better_than_a_constant(
    alone: dict[int, Evaluation],
) -> None:
    follows, fixed, anywhere = (found.numbers for found in alone.values())
    assert follows["hit_rate"] == 1
    assert fixed["hit_rate"] <= fixed["constant_hit_rate"] < 0.8
    assert anywhere["hit_rate"] < fixed["constant_hit_rate"]
    assert len({found.numbers["constant_hit_rate"] for found in alone.values()}) == 1


def test_purities_and_interpretability_rank_the_filters(alone: dict[int, Evaluation]) -> None:
    for name in ("part_purity", "part_interpretability", "part_interpretability_upsampled"):
        follows, fixed, anywhere = (found.numbers[name] for found in alone.values())
        assert follows > 0.8 > 0.4 > max(fixed, anywhere), name
    errors = [found.numbers["keypoint_error"] for found in alone.values()]
    assert errors[HEAD] < 0.2 * alone[HEAD].numbers["keypoint_mean_keypoint"]
    assert min(errors[FIXED], errors[RANDOM]) > 0.9 * alone[HEAD].numbers["keypoint_mean_keypoint"]


def test_a_layer_of_one_filter_has_columns_of_one_number(alone: dict[int, Evaluation], tmp_path: Path) -> None:
    for found in alone.values():
        assert {len(column) for column in found.filters.values()} == {1}
        found.write(tmp_path / "metrics.json")
        assert Evaluation.read(tmp_path / "metrics.json").filters.keys() == found.filters.keys()


def test_in_a_layer_the_head_is_tracked_by_the_filter_that_follows_it(together: Any) -> None:
    found = together[0]
    assert set(found.classes["tracking_filter/head"]) == {HEAD}
    assert min(found.classes["tracking/head"]) > 0.95
    assert min(found.classes["hit_rate/head"]) == 1
    assert found.filters["part"][HEAD] == Creatures.parts.index("head")
    assert found.filters["part_purity"][HEAD] > 0.8 > max(found.filters["part_purity"][FIXED : RANDOM + 1])
    instability = found.filters["location_instability"]
    assert instability[HEAD] < instability[FIXED] < instability[RANDOM]
    assert math.isnan(instability[DEAD])


def test_columns_tell_what_each_filter_was_planted_to_do(together: Any) -> None:
    found, filters, _ = together
    columns = found.filters
    assert {len(column) for column in columns.values()} == {5}
    assert {len(column) for column in found.classes.values()} == {8}
    assert columns["class_share"][SPECIES] == 1
    assert columns["class_entropy"][SPECIES] == pytest.approx(0, abs=1e-12)
    assert columns["category"] == [*columns["category"][:3], ONE_SPECIES, -1]
    assert columns["class_share"][FIXED] < 0.5
    assert columns["spread"][FIXED] == columns["spread"][SPECIES] == 0
    assert columns["spread"][RANDOM] > columns["spread"][HEAD] > 0.05
    assert columns["silent"][DEAD] == columns["sparsity"][DEAD] == 1
    assert columns["silent"][SPECIES] == 7 / 8
    assert columns["mean_peak"][DEAD] == 0
    assert columns["mean_peak"][RANDOM] == 1
    assert found.numbers["dead"] == 1 / 5
    assert columns["mutual_information"][DEAD] == pytest.approx(0, abs=1e-4)  # single precision
    assert found.numbers["mutual_information_bound"] == pytest.approx(math.log(64))
    positions = filters.test.layer().peak_positions()[:, FIXED]
    assert torch.equal(positions, torch.full_like(positions, SIDE / 2))


def test_accuracy_is_that_of_the_network(together: Any) -> None:
    found, filters, net = together
    maps, labels = planted_maps("test", TEST), creatures("test", TEST).labels
    right = net.forward_head(maps).argmax(1) == labels
    assert found.numbers["accuracy"] == pytest.approx(right.double().mean().item())
    assert found.classes["images"] == [20] * 8
    assert found.classes["accuracy"] == pytest.approx([float(right[labels == k].double().mean()) for k in range(8)])
    assert len(filters.test) == TEST


def test_an_evaluation_comes_back_from_json_with_null_for_what_is_no_number(together: Any, tmp_path: Path) -> None:
    found = together[0]
    found.add(endless=math.inf)
    found.about["layer"] = "großer Körper"
    path = tmp_path / "new" / "metrics.json"
    found.write(path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["filters"]["location_instability"][DEAD] is None
    assert content["numbers"]["endless"] is None
    again = Evaluation.read(path)
    assert math.isnan(again.numbers.pop("endless"))
    del found.numbers["endless"]
    assert again.about == found.about
    for name in ("filters", "classes"):
        for column, values in getattr(found, name).items():
            torch.testing.assert_close(
                torch.tensor(getattr(again, name)[column]), torch.tensor(values), rtol=0, atol=0, equal_nan=True
            )
    assert again.numbers == pytest.approx(found.numbers, rel=0, abs=0, nan_ok=True)
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"schema": 2}',
        b'{"schema": 1, "numbers": {}}',
        b'{"schema": 1, "numbers": {"a": "b"}, "filters": {}, "classes": {}, "about": {}}',
        b'{"schema": 1, "numbers": {"a": [1]}, "filters": {}, "classes": {}, "about": {}}',
        b'{"schema": 1, "numbers": {}, "filters": {"a": 1}, "classes": {}, "about": {}}',
        b'{"schema": 1, "numbers": {}, "filters": {}, "classes": [], "about": {}}',
    ],
)
def test_damaged_numbers_are_told_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"metrics.json .*evaluate the run again\.$") as told:
        Evaluation.read(path)
    assert len(str(told.value).splitlines()) == 1


def test_missing_numbers_are_told_with_the_command_that_writes_them(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"metrics.json is missing; write it with `interpretable evaluate {tmp_path}`"):
        Evaluation.read(tmp_path / "metrics.json")


def test_boxes_stand_for_masks_where_there_are_none_and_the_numbers_say_so(tmp_path: Path) -> None:
    net = network(2, nn.Linear(2, 8))
    train, test = (
        planted([HEAD, RANDOM], ("head", "tail"), split, size, masks=False)
        for split, size in (("train", 16), ("test", 80))
    )
    found = evaluated(stored_filters(net, train, test, tmp_path), net, test)
    assert found.about["part_regions"] == "boxes"
    assert found.filters["part_purity"][0] == 1 > found.filters["part_purity"][1]


def test_a_box_is_the_pixels_whose_centre_it_holds() -> None:
    boxes = torch.tensor([[[3.0, 2.0, 2.0, 1.0], [math.nan] * 4, [0.0, 0.0, 3.0, 3.0]]])
    masks = box_masks(boxes, (5, 6))
    assert masks.shape == (1, 3, 5, 6)
    expected = torch.zeros(3, 5, 6, dtype=torch.bool)
    expected[0, 1:3, 2:4] = True  # from y = 1.5 to 2.5, edges included, and x = 2 to 4
    expected[2, :2, :2] = True
    assert torch.equal(masks[0], expected)


def test_a_class_without_test_images_has_no_number_and_spoils_none(tmp_path: Path) -> None:
    found = creatures("test", TEST)
    maps = planted_maps("test", TEST)[:, [SPECIES, FIXED]]
    labels = (found.labels == ONE_SPECIES).long()
    train = PlantedImages(maps, labels, ("other", "one", "none"))
    test = PlantedImages(maps, labels, ("other", "one", "none"))
    net = decides_by_the_first_filter(2, 3)
    evaluation = evaluated(stored_filters(net, train, test, tmp_path), net, test)
    assert math.isnan(evaluation.classes["accuracy"][2])
    assert math.isnan(evaluation.classes["largest_drop"][2])
    assert evaluation.filters["largest_drop"] == [1, 0]
    assert evaluation.numbers["idle_filters"] == 1 / 2


def test_data_without_parts_have_every_number_that_needs_none(tmp_path: Path) -> None:
    labels = creatures("test", TEST).labels
    test = PlantedImages(planted_maps("test", TEST), labels, Creatures.classes)
    net = network(5, nn.Linear(5, 8))
    found = evaluated(stored_filters(net, test, test, tmp_path), net, test)
    assert {"accuracy", "class_share", "mutual_information", "dead", "largest_drop"} <= found.numbers.keys()
    placed = ("location", "tracking", "hit", "keypoint", "nmi", "ari", "part", "landmark", "constant_hit")
    assert [name for name in (*found.numbers, *found.filters, *found.classes) if name.startswith(placed)] == []


@pytest.mark.parametrize("images", [63, 64])
def test_information_needs_a_full_group_of_images(images: int, tmp_path: Path) -> None:
    labels = creatures("test", TEST).labels[:images]
    test = PlantedImages(planted_maps("test", TEST)[:images], labels, Creatures.classes)
    found = Evaluation()
    add_maps(found, stored_filters(network(5), test, test, tmp_path), unseen)
    assert math.isnan(found.numbers["mutual_information"]) == (images < 64)
    assert found.numbers["dead"] == 1 / 5


def test_a_binary_task_has_accuracy_by_the_sign_of_its_logit_and_no_importance(tmp_path: Path) -> None:
    labels = (creatures("test", TEST).labels == ONE_SPECIES).long()
    test = PlantedImages(planted_maps("test", TEST), labels, ("background", "one"))
    linear = nn.Linear(5, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(5)[SPECIES])
        linear.bias.fill_(-1e-3)
    net = network(5, linear)
    found = evaluated(stored_filters(net, test, test, tmp_path), net, test)
    assert found.numbers["accuracy"] == 1
    assert found.classes["accuracy"] == [1, 1]
    assert "largest_drop" not in found.numbers | found.filters | found.classes
    assert "importance" not in found.about


def test_several_labels_are_refused_in_a_sentence(tmp_path: Path) -> None:
    labels = torch.eye(3)[torch.arange(8) % 3]
    store = stored(network(5), PlantedImages(planted_maps("test", TEST)[:8], labels, "abc"), tmp_path)
    with pytest.raises(MetricError, match=r"need one label per image, got 3 labels; evaluate a run on single-label"):
        StoredFilters(store, store)


def test_a_layer_whose_units_are_nowhere_in_the_image_is_refused_in_a_sentence(tmp_path: Path) -> None:
    test = PlantedImages(planted_maps("test", TEST)[:8], torch.zeros(8, dtype=torch.int64), ("a",))
    stored(network(5), test, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["layers"][0] |= {"stride": None, "offset": None, "field_size": None}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    store = stored(network(5), test, tmp_path / "again")
    filters = StoredFilters(store, type(store).open(tmp_path))
    with pytest.raises(MetricError, match=r"part_filters.0's units in the image are not known.*could not be measured"):
        _ = filters.field


def decides_by_the_first_filter(channels: int, classes: int, **options: Any) -> InterpretableCNN:
    """Class 1 where filter 0 fires, class 0 elsewhere; class 2, if there is one, never."""
    linear = nn.Linear(channels, classes)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[1, 0] = 1
        linear.bias.copy_(torch.tensor([1e-4, 0, -1.0])[:classes])
    return network(channels, linear, **options)


@pytest.mark.parametrize("mask", [False, True])
def test_the_filter_that_decides_a_class_is_its_most_important_one(mask: bool, tmp_path: Path) -> None:
    order = [SPECIES, HEAD, FIXED, RANDOM, DEAD]
    train, test = (
        PlantedImages(
            planted_maps(split, size)[:, order],
            (creatures(split, size).labels == ONE_SPECIES).long(),
            ("other", "one"),
        )
        for split, size in (("train", TRAIN), ("test", TEST))
    )
    net = decides_by_the_first_filter(5, 2, mask=mask)
    found = Evaluation()
    add_importance(found, stored_filters(net, train, test, tmp_path), net)
    assert found.about["importance"] == "closed form, ranked on training images"
    assert found.filters["largest_drop"] == [1, 0, 0, 0, 0]
    assert found.filters["class_of_largest_drop"][0] == 1
    assert found.classes["largest_drop"] == [0, 1]
    assert found.classes["most_important_filter"][1] == 0
    assert found.numbers["largest_drop"] == 1
    assert found.numbers["idle_filters"] == 4 / 5
    for size in (1, 2, 5):
        assert found.classes[f"accuracy_without_top/{size}"][1] == 0.5  # without it the class is lost
        assert found.classes[f"accuracy_with_top_alone/{size}"][1] == 1
    assert "accuracy_without_top/20" not in found.classes  # there are five filters
    assert sorted(found.filters["redundancy_rank"]) == [0, 1, 2, 3, 4]
    assert found.filters["redundancy_rank"][4] == 4  # a dead filter is the first to prune
    assert 1 <= found.numbers["filters_explaining_95"] <= 4


def without_bias(*layers: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a head that decides by the maps alone, however small their means are."""
    for layer in layers:
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers


def random_images(channels: int, images: int, classes: int, net: InterpretableCNN, seed: int = 0) -> PlantedImages:
    """Maps that half precision holds exactly, with labels that the network gets right two times in three."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, 9, (images, channels, CELLS, CELLS), generator=generator) / 8
    maps *= torch.rand(images, channels, 1, 1, generator=generator) < 0.7
    loud = 2.0 ** torch.randint(-2, 3, (images, channels, 1, 1), generator=generator)
    maps = maps * loud
    with torch.inference_mode():
        labels = net.forward_head(maps).argmax(1)
    noise = torch.randint(classes, (images,), generator=generator)
    labels = torch.where(torch.rand(images, generator=generator) < 0.6, labels, noise)
    return PlantedImages(maps, labels.clone(), [str(label) for label in range(classes)])


@torch.inference_mode()
def literal_drop(net: InterpretableCNN, data: PlantedImages, filters: int) -> Tensor:
    """(C, K): each filter's map set to zero, one after the other, and the whole head run again."""
    classes = len(data.classes)
    whole = class_accuracy(net.forward_head(data.maps), data.labels, classes)
    rows = []
    for number in range(filters):
        without = data.maps.clone()
        without[:, number] = 0
        rows.append(whole - class_accuracy(net.forward_head(without), data.labels, classes))
    return torch.stack(rows)


def check_drop(found: Evaluation, expected: Tensor) -> None:
    assert (expected > 0.05).any()
    torch.testing.assert_close(torch.tensor(found.filters["largest_drop"]).double(), expected.amax(1).double())
    torch.testing.assert_close(torch.tensor(found.classes["largest_drop"]).double(), expected.amax(0).double())
    chosen = torch.tensor(found.filters["class_of_largest_drop"]).long()
    torch.testing.assert_close(expected.gather(1, chosen[:, None])[:, 0], expected.amax(1))


@pytest.mark.parametrize("mask", [False, True])
def test_the_closed_form_and_the_head_run_again_agree_with_one_filter_removed_after_the_other(
    mask: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(6, *without_bias(nn.Linear(6, 4)), mask=mask)
    train, test = (random_images(6, images, 4, net, seed=images) for images in (40, 96))
    filters = stored_filters(net, train, test, tmp_path)
    expected = literal_drop(net, test, 6)
    closed, run = Evaluation(), Evaluation()
    add_importance(closed, filters, net)
    check_drop(closed, expected)
    monkeypatch.setattr(importance, "pooled_linear", lambda head: None)
    add_importance(run, filters, net)
    check_drop(run, expected)
    assert run.about["importance"] == "head run on 96 test images"
    assert run.classes.keys() == closed.classes.keys()
    assert run.numbers["idle_filters"] == closed.numbers["idle_filters"]


def test_a_head_that_is_not_linear_is_run_on_evenly_spaced_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(6, *without_bias(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), mask=True)
    assert pooled_linear(net.head) is None
    test = random_images(6, 129, 4, net)
    monkeypatch.setattr(importance, "MOST_IMAGES", 65)
    found = Evaluation()
    add_importance(found, stored_filters(net, test, test, tmp_path), net)
    rows = torch.arange(0, 129, 2)
    check_drop(found, literal_drop(net, PlantedImages(test.maps[rows], test.labels[rows], test.classes), 6))
    assert found.about["importance"] == "head run on 65 test images"
    assert found.classes["accuracy_with_top_alone/5"] != found.classes["accuracy_with_top_alone/1"]


def test_groups_are_ranked_on_one_half_of_the_images_and_measured_on_the_other(tmp_path: Path) -> None:
    # Filter 0 decides the class on even images, filter 1 on odd ones.
    even = torch.arange(32) % 2 == 0
    labels = (torch.arange(32) // 2) % 2
    maps = torch.zeros(32, 2, CELLS, CELLS)
    maps[even & (labels == 1), 0] = 1
    maps[~even & (labels == 1), 1] = 1
    last = nn.Linear(2, 2)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        last.bias.copy_(torch.tensor([0.5, 0.0]))
    net = network(2, nn.ReLU(), last)
    test = PlantedImages(maps, labels, ("none", "any"))
    found = Evaluation()
    add_importance(found, stored_filters(net, test, test, tmp_path), net)
    assert found.filters["largest_drop"] == [0.5, 0.5]
    assert found.classes["accuracy_without_top/1"][1] == 1  # the filter that even images rank first is idle on odd ones
    assert found.classes["accuracy_with_top_alone/1"][1] == 0.5
    assert found.classes["accuracy_without_top/2"][1] == 0.5


def test_groups_are_left_out_where_they_take_too_many_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(3, nn.ReLU(), nn.Linear(3, 4))
    test = random_images(3, 16, 4, net)
    monkeypatch.setattr(importance, "MOST_CLASSES", 3)
    found = Evaluation()
    add_importance(found, stored_filters(net, test, test, tmp_path), net)
    assert set(found.classes) == {"largest_drop", "most_important_filter"}
    assert found.about["importance"].endswith("without groups, which take a pass per class above 3 classes")


@pytest.mark.parametrize("linear", [True, False], ids=["closed form", "head run"])
def test_only_part_filters_have_numbers_where_they_share_the_layer(linear: bool, tmp_path: Path) -> None:
    first = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        first.weight[:, :3] *= 100  # the mask leaves little of the part filters' means
    net = network(6, *([first] if linear else [nn.ReLU(), first]), mask=True, part_share=0.5)
    test = random_images(6, 48, 3, net)
    filters = stored_filters(net, test, test, tmp_path)
    found = evaluated(filters, net, test)
    assert filters.num_filters == 3
    assert {len(column) for column in found.filters.values()} == {3}
    check_drop(found, literal_drop(net, test, 3))


def test_a_layer_below_the_top_has_measures_and_no_importance(tmp_path: Path) -> None:
    net = network(3, nn.Linear(3, 4), part_layers=2)
    maps, labels = planted_maps("test", TEST)[:80, :3], creatures("test", TEST).labels[:80] % 4
    store = stored(net, PlantedImages(maps, labels, "abcd"), tmp_path)
    lower = StoredFilters(store, store, "part_filters.0")
    found = Evaluation()
    add_maps(found, lower, unseen)
    add_importance(found, lower, net)
    assert "largest_drop" not in found.numbers
    assert found.filters["mean_peak"] == pytest.approx(maps.amax((2, 3)).mean(0).tolist(), abs=0.1)
    add_importance(found, StoredFilters(store, store, "part_filters.1"), net)
    assert "largest_drop" in found.numbers


@pytest.mark.parametrize(
    ("head", "linear"),
    [
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)], True),
        ([nn.Sequential(nn.AdaptiveAvgPool2d((1, 1))), nn.Flatten(), nn.Dropout(), nn.Linear(3, 2, bias=False)], True),
        ([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)], False),
        ([nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 2)], False),
        ([nn.Linear(3, 2), nn.AdaptiveAvgPool2d(1)], False),
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)], False),
    ],
)
def test_only_a_mean_and_a_linear_layer_have_a_closed_form(head: list[nn.Module], linear: bool) -> None:
    assert (pooled_linear(nn.Sequential(*head)) is not None) == linear


def test_a_linear_head_without_bias_has_a_closed_form_too(tmp_path: Path) -> None:
    net = network(4, nn.Linear(4, 3, bias=False))
    test = random_images(4, 48, 3, net)
    found = Evaluation()
    add_importance(found, stored_filters(net, test, test, tmp_path), net)
    assert found.about["importance"].startswith("closed form")
    check_drop(found, literal_drop(net, test, 4))
