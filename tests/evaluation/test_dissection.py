"""Dissection of stored maps, on maps that are exactly what one concept covers."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import CELLS, SIDE, PlantedImages, network, stored
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.concepts import CreatureConcepts
from interpretable.data import Creatures
from interpretable.dissection import NULLS, QUANTILE, Dissection, dissect
from interpretable.errors import MetricError, RunError

IMAGES = 40
CONCEPTS = ("wheel", "door", "lamp", "red", "blue")
CATEGORIES = ("object", "colour")


def unseen(items: Iterable[Any], what: str) -> Iterable[Any]:
    return items


class Blocks:
    """Each image shows three objects and two colours, each on a block of 2 x 2 pixels of a place of its own."""

    concepts = CONCEPTS
    categories = CATEGORIES
    concept_category = torch.tensor([0, 0, 0, 1, 1])
    classes = ()

    def __init__(self, images: int = IMAGES) -> None:
        generator = torch.Generator().manual_seed(0)
        blocks = CELLS // 2
        places = torch.rand(images, blocks * blocks, generator=generator).argsort(1)[:, : len(CONCEPTS)]
        label_maps = torch.full((images, 1, CELLS, CELLS), -1)
        for concept in range(len(CONCEPTS)):
            row, column = 2 * (places[:, concept] // blocks), 2 * (places[:, concept] % blocks)
            for image in range(images):
                label_maps[image, 0, row[image] : row[image] + 2, column[image] : column[image] + 2] = concept
        self.label_maps = label_maps

    def fingerprint(self) -> str:
        return f"{len(self)} blocks"

    def __len__(self) -> int:
        return len(self.label_maps)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        image = torch.zeros(3, SIDE, SIDE)
        return {"image": image, "label_maps": self.label_maps[index], "label": -1, "index": index}

    def maps_of(self, *concepts: str) -> Tensor:
        """(N, C, h, w), 1 on the pixels of a concept."""
        return torch.cat([self.label_maps == CONCEPTS.index(name) for name in concepts], 1).float()


def store_of(maps: Tensor, folder: Path) -> ActivationStore:
    data = PlantedImages(maps, torch.zeros(len(maps), dtype=torch.int64), ("a",))
    return stored(network(maps.shape[1]), data, folder)


def test_filters_that_are_a_concept_are_named_after_it_and_chance_finds_fewer(tmp_path: Path) -> None:
    blocks = Blocks()
    names = ["red", "wheel", "lamp", "blue", "door"]
    loudness = 0.2 + torch.rand(IMAGES, 5, 1, 1, generator=torch.Generator().manual_seed(1))
    maps = loudness * blocks.maps_of(*names)
    store = store_of(maps, tmp_path)
    assert 4 / CELLS**2 < QUANTILE  # so that the threshold is 0 and the region the whole concept
    found = dissect(store.layer(), store.image_size, blocks, "blocks", unseen, iou_threshold=0.9)
    assert found.concept == names
    assert found.category == ["colour", "object", "object", "colour", "object"]
    assert found.iou == [1.0] * 5
    assert found.detector == [True] * 5
    assert found.threshold == [0.0] * 5
    assert (found.num_detectors, found.unique_concepts, found.unique_by_category) == (5, 5, 5)
    assert found.detectors_per_category == {"object": 3, "colour": 2}
    assert found.unique_per_category == {"object": 3, "colour": 2}
    assert found.nulls.keys() == set(NULLS)
    assert found.nulls["shuffled labels"] == {"num_detectors": 0, "unique_concepts": 0}
    assert found.nulls["random rotation"]["num_detectors"] <= 2  # of units that one filter makes up for the most part
    assert found.about == {"layer": "part_filters.0", "images": IMAGES, "iou_threshold": 0.9, "quantile": QUANTILE}
    assert found.concepts == "blocks"


def test_at_the_published_threshold_shuffled_labels_find_nothing_and_a_rotation_no_more_concepts(
    tmp_path: Path,
) -> None:
    blocks = Blocks()
    store = store_of(blocks.maps_of(*CONCEPTS), tmp_path)
    found = dissect(store.layer(), store.image_size, blocks, "blocks", unseen)
    assert found.num_detectors == 5
    assert found.nulls["shuffled labels"]["num_detectors"] == 0
    assert found.nulls["random rotation"]["unique_concepts"] < found.unique_concepts


def test_a_filter_on_half_of_a_concept_and_one_twice_as_large_have_half_its_iou(tmp_path: Path) -> None:
    blocks = Blocks()
    wheel, red, blue = blocks.maps_of("wheel", "red", "blue").unbind(1)
    half = wheel.clone()
    half[:, 1::2] = 0  # blocks begin in even rows
    alternating = torch.where((torch.arange(IMAGES) % 2 == 0)[:, None, None], red, blue)
    store = store_of(torch.stack([half, alternating], 1), tmp_path)
    found = dissect(store.layer(), store.image_size, blocks, "blocks", unseen, nulls=False)
    assert found.iou == [pytest.approx(1 / 2), pytest.approx(1 / 3)]
    assert found.concept == ["wheel", "red"]  # of equal concepts the first


def test_parts_of_creatures_are_named_by_filters_that_lie_on_them(tmp_path: Path) -> None:
    concepts = CreatureConcepts(Creatures("test", 24, SIDE), (SIDE, SIDE), (CELLS, CELLS))
    parts = torch.stack([concepts[index]["label_maps"].as_subclass(Tensor)[0] for index in range(24)])
    cells = 0.004 * CELLS**2  # as many of each image's cells as lie above the quantile, chosen from the part
    strength = torch.rand(24, 6, CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    maps = strength * (parts[:, None] == torch.arange(6)[:, None, None])
    store = store_of(maps, tmp_path)
    found = dissect(store.layer(), store.image_size, concepts, "creatures", unseen, nulls=False)
    area = (parts[:, None] == torch.arange(6)[:, None, None]).sum((0, 2, 3))
    assert (area > 24 * cells).any()
    share = QUANTILE * 24 * CELLS**2 / area  # of a part whose every cell is above 0, but only so many above T
    for number in range(6):
        assert found.concept[number] == Creatures.parts[number]
        assert found.iou[number] == pytest.approx(min(1, float(share[number])), abs=0.02)


def test_one_filter_and_one_category_are_dissected_too(tmp_path: Path) -> None:
    blocks = Blocks()
    blocks.categories = ("anything",)
    blocks.concept_category = torch.zeros(5, dtype=torch.int64)
    store = store_of(blocks.maps_of("lamp"), tmp_path / "store")
    found = dissect(store.layer(), store.image_size, blocks, "blocks", unseen)
    assert found.concept == ["lamp"]
    assert found.category == ["anything"]
    assert (found.iou, found.detector, found.threshold) == ([1.0], [True], [0.0])
    assert found.detectors_per_category == found.unique_per_category == {"anything": 1}
    found.write(tmp_path / "blocks.json")
    assert Dissection.read(tmp_path / "blocks.json") == found


def test_a_silent_filter_detects_nothing(tmp_path: Path) -> None:
    blocks = Blocks()
    maps = torch.cat([blocks.maps_of("door"), torch.zeros(IMAGES, 1, CELLS, CELLS)], 1)
    store = store_of(maps, tmp_path / "store")
    found = dissect(store.layer(), store.image_size, blocks, "blocks", unseen, nulls=False)
    assert found.detector == [True, False]
    assert found.iou == [1, 0]
    assert found.nulls == {}
    found.write(tmp_path / "new" / "blocks.json")
    json.loads((tmp_path / "new" / "blocks.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["blocks.json"]


def test_a_dissection_comes_back_from_json(tmp_path: Path) -> None:
    blocks = Blocks()
    store = store_of(blocks.maps_of("door", "red"), tmp_path / "store")
    found = dissect(store.layer(), store.image_size, blocks, "Blöcke", unseen)
    found.write(tmp_path / "blocks.json")
    assert Dissection.read(tmp_path / "blocks.json") == found


def test_progress_is_told_of_both_passes_over_all_batches(tmp_path: Path) -> None:
    blocks = Blocks()
    store = store_of(blocks.maps_of("door"), tmp_path)
    told = []

    def track(items: Iterable[Any], what: str) -> Iterable[Any]:
        for item in items:
            told.append(what)
            yield item

    dissect(store.layer(), store.image_size, blocks, "blocks", track)
    batches = math.ceil(IMAGES / 32)
    assert told == ["thresholds"] * batches + ["regions"] * batches


def test_other_numbers_of_images_are_refused_in_a_sentence(tmp_path: Path) -> None:
    store = store_of(Blocks().maps_of("door"), tmp_path)
    with pytest.raises(MetricError, match=r"same images, got 40 maps and 39 labelled images; write the store with"):
        dissect(store.layer(), store.image_size, Blocks(39), "blocks", unseen)


def test_a_layer_whose_units_are_nowhere_in_the_image_is_refused(tmp_path: Path) -> None:
    store_of(Blocks().maps_of("door"), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["layers"][0] |= {"stride": None, "offset": None, "field_size": None}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    store = ActivationStore.open(tmp_path)
    with pytest.raises(MetricError, match=r"receptive field of part_filters.0, which could not be measured; dissect a"):
        dissect(store.layer(), store.image_size, Blocks(), "blocks", unseen)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "other": 3}', None]
)
def test_a_damaged_or_missing_dissection_is_told_in_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "blocks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"blocks.json .*dissect the run again\.$") as told:
        Dissection.read(path)
    assert len(str(told.value).splitlines()) == 1
