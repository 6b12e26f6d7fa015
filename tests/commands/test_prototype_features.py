"""The rows of numbers that images are compared by, against values that are known and loops that are literal."""

import csv
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from data.drawn import write_csv
from drawn_fruit import draw_fruit
from PIL import Image
from torch import Tensor, nn

from interpretable import InterpretableClassifier
from interpretable.commands import prototype_features
from interpretable.commands.prototype_features import compared_by_pixels, features_at_peaks, layer_below
from interpretable.commands.stores import predict_split
from interpretable.data import PartsDataModule

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)[:, None, None]
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)[:, None, None]
"""By which images are normalised, as torchvision documents its weights."""

IMAGES = 7
PHOTOGRAPHS = ("b", "b", "a", "c", "a", "d", "c")
"""Which photograph each image is cut from."""


def draw(root: Path, pixels: Callable[[int], np.ndarray]) -> Path:
    """A folder of training images of two classes in turn, and of one other."""
    rows = []
    (root / "images").mkdir(parents=True)
    for number, group in enumerate((*PHOTOGRAPHS, "e")):
        name = f"images/{number}.png"
        Image.fromarray(pixels(number)).save(root / name)
        rows.append((name, "xy"[number % 2], "train" if number < IMAGES else "validation", group, 1, 1))
    write_csv(root / "annotations.csv", ("image", "label", "split", "group", "part_x", "part_y"), rows)
    return root


def noise(height: int, width: int) -> Callable[[int], np.ndarray]:
    return lambda number: np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run_on(root: Path, size: tuple[int, int], batch_size: int = 3, model: nn.Module | None = None) -> Any:
    data = PartsDataModule("PartAnnotatedFolder", str(root), image_size=size, batch_size=batch_size, mirror=1.0)
    return SimpleNamespace(datamodule=data, model=model)


def store_of(*recorded: int) -> Any:
    return SimpleNamespace(recorded=torch.tensor(recorded), labels=torch.tensor([number % 2 for number in recorded]))


def by_pillow(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Normalised and shrunk by another library, one colour after the other."""
    normalised = (pixels.transpose(2, 0, 1).astype(np.float32) / 255 - MEAN) / DEVIATION
    shrunk = [Image.fromarray(colour).resize((width, height), Image.Resampling.BILINEAR) for colour in normalised]
    return np.stack([np.asarray(colour) for colour in shrunk]).ravel()


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [((64, 64), (32, 32)), ((96, 64), (32, 21)), ((40, 80), (16, 32)), ((32, 20), (32, 20)), ((16, 16), (16, 16))],
    ids=str,
)
def test_pixels_are_those_of_the_image_with_a_longer_side_of_32_at_the_most(size, shrunk, tmp_path):
    pixels = noise(*size)
    found = compared_by_pixels(run_on(draw(tmp_path / "data", pixels), size), "train", store_of(*range(IMAGES)))
    assert found.rows.dtype == np.float32
    expected = np.stack([by_pillow(pixels(number), *shrunk) for number in range(IMAGES)])
    np.testing.assert_allclose(found.rows, expected, atol=2e-4)


def test_images_of_one_colour_are_rows_of_that_colour(tmp_path):
    levels = (0, 30, 60, 90, 120, 150, 255, 0)
    root = draw(tmp_path / "data", lambda number: np.full((64, 64, 3), levels[number], dtype=np.uint8))
    found = compared_by_pixels(run_on(root, (64, 64)), "train", store_of(*range(IMAGES)))
    for row, level in zip(found.rows, levels, strict=False):
        colours = ((np.float32(level) / 255 - MEAN) / DEVIATION).ravel()
        np.testing.assert_allclose(row.reshape(3, -1), np.repeat(colours[:, None], 32 * 32, 1), atol=1e-5)
    assert found.name == "pixels"


def test_rows_labels_and_photographs_are_those_of_the_stored_images_in_their_order(tmp_path):
    pixels = noise(32, 32)
    run = run_on(draw(tmp_path / "data", pixels), (32, 32))
    found = compared_by_pixels(run, "train", store_of(1, 4, 6))
    np.testing.assert_allclose(found.rows, np.stack([by_pillow(pixels(n), 32, 32) for n in (1, 4, 6)]), atol=1e-5)
    assert (found.indices.tolist(), found.labels.tolist()) == ([1, 4, 6], [1, 0, 0])
    everything = compared_by_pixels(run, "train", store_of(*range(IMAGES))).groups
    assert found.groups.tolist() == everything[[1, 4, 6]].tolist()
    same = [[one == other for other in PHOTOGRAPHS] for one in PHOTOGRAPHS]
    assert np.equal.outer(everything, everything).tolist() == same


class Below(NamedTuple):
    run: Any
    layer: Any
    """As a store has it."""
    below: str
    """Name of the layer below."""
    maps: Tensor
    """(N, d, h, w) of the layer below, of all training images."""
    cells: list[list[int]]
    """Of each image and filter, the cell of the peak by its number."""


LAYERS = ("net.part_filters.0", "net.part_filters.1")
STAGES = {2: (32, 32, 24), 8: (16, 16, 64), 15: (8, 8, 96)}
"""Layers of the trunk: height, width and channels of their maps, of images of 64 pixels."""


@pytest.fixture
def network() -> InterpretableClassifier:
    torch.manual_seed(3)
    return InterpretableClassifier(3, part_layers=2, part_share=0.25).eval()


@pytest.fixture(scope="module")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few of the images."""
    root = draw_fruit(tmp_path_factory.mktemp("fruit") / "data")
    with (root / "annotations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    kept = [row for number, row in enumerate(rows) if row[2] != "train" or number % 5 == 0]
    write_csv(root / "annotations.csv", header, kept)
    return root


def largest(cells: list[list[float]]) -> int:
    """Number of the largest cell, counted along the rows, the first of equals."""
    best, at = -math.inf, 0
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            if value > best:
                best, at = value, row * len(values) + column
    return at


def below(network: InterpretableClassifier, root: Path, name: str, stage: int | None = None) -> Below:
    """What the network itself gives, of the layer above a stage of the trunk where there is one."""
    run = run_on(root, (64, 64), model=network, batch_size=4)
    dataset = predict_split(run, "train").predict_dataset
    images = torch.stack([dataset[number]["image"].as_subclass(Tensor) for number in range(len(dataset))])
    with torch.inference_mode():
        maps = network.net.forward_features(images)
        own = maps[LAYERS.index(name)]
        lower = maps[0] if name == LAYERS[1] else network.net.trunk(images)
        if stage is not None:
            lower = images
            for layer in list(network.net.trunk.features)[: stage + 1]:
                lower = layer(lower).clone()
    cells = [[largest(channel) for channel in image] for image in own.tolist()]
    layer = SimpleNamespace(info=SimpleNamespace(name=name, height=8, width=8), peak_indices=torch.tensor(cells).int())
    lower_name = "net.trunk" if name == LAYERS[0] else LAYERS[0]
    return Below(run, layer, lower_name if stage is None else f"net.trunk.features.{stage}", lower, cells)


def under(cell: int, own: tuple[int, int], lower: tuple[int, int]) -> tuple[int, int]:
    """Of a grid over the same image, the cell that the middle of a cell of another grid lies in."""
    place = []
    for number, here, there in zip(divmod(cell, own[1]), own, lower, strict=True):
        middle = Fraction(2 * number + 1, 2 * here)
        (found,) = [n for n in range(there) if Fraction(n, there) <= middle < Fraction(n + 1, there)]
        place.append(found)
    return place[0], place[1]


ROWS = np.array([[7, 0, 3, 3, 6], [1, 6, 5, 0, 2], [4, 4, 4, 4, 4]])
FILTERS = np.array([13, 2, 95])


def literally(seen: Below) -> np.ndarray:
    found = []
    for filter_rows, number in zip(ROWS.tolist(), FILTERS.tolist(), strict=True):
        vectors = []
        for row in filter_rows:
            y, x = under(seen.cells[row][number], (8, 8), tuple(seen.maps.shape[-2:]))
            vectors.append([seen.maps[row, channel, y, x].item() for channel in range(seen.maps.shape[1])])
        found.append(vectors)
    return np.array(found, dtype=np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_a_filter_is_described_by_the_layer_below_in_the_cell_of_its_peak(name, network, fruit):
    seen = below(network, fruit, name)
    found = features_at_peaks(seen.run, "train", seen.layer, seen.below, ROWS, FILTERS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, literally(seen), rtol=1e-4, atol=1e-5)
    assert len({seen.cells[row][number] for rows, number in zip(ROWS, FILTERS, strict=True) for row in rows}) > 5
    assert len(np.unique(found[0], axis=0)) == 4  # an image that is asked for twice is there twice


@pytest.mark.parametrize("stage", STAGES)
def test_a_layer_below_of_another_resolution_is_read_where_it_is_below_the_middle_of_the_cell(stage, network, fruit):
    seen = below(network, fruit, LAYERS[0], stage)
    height, width, channels = STAGES[stage]
    assert seen.maps.shape[1:] == (channels, height, width)
    found = features_at_peaks(seen.run, "train", seen.layer, seen.below, ROWS, FILTERS)
    np.testing.assert_allclose(found, literally(seen), rtol=1e-4, atol=1e-5)


def test_a_coarser_layer_below_is_read_in_the_cell_that_covers_the_middle():
    maps = torch.arange(2 * 3 * 2 * 3.0).reshape(2, 3, 2, 3)
    cells = torch.tensor([[0, 6, 41], [24, 30, 17]])
    images = torch.arange(2).repeat_interleave(3)
    found = prototype_features._at_cells(maps, images, cells.flatten(), (6, 7)).reshape(2, 3, 3)
    for image in range(2):
        for number in range(3):
            y, x = under(int(cells[image, number]), (6, 7), (2, 3))
            assert found[image, number].tolist() == maps[image, :, y, x].tolist()


def test_no_more_columns_are_read_than_are_asked_for(network, fruit, monkeypatch):
    read = []
    plain = prototype_features._at_cells

    def seen_at(maps: Tensor, images: Tensor, *others: Any) -> Tensor:
        assert len(maps) <= 4
        read.append(len(images))
        return plain(maps, images, *others)

    monkeypatch.setattr(prototype_features, "_at_cells", seen_at)
    seen = below(network, fruit, LAYERS[1])
    features_at_peaks(seen.run, "train", seen.layer, seen.below, ROWS, FILTERS)
    assert sum(read) == ROWS.size
    assert len(read) == 2  # eight images in batches of four


def test_the_layer_below_is_the_part_layer_below_or_the_trunk_and_that_of_other_layers_is_not_known(network):
    run: Any = SimpleNamespace(model=network)
    assert [layer_below(run, name) for name in LAYERS] == ["net.trunk", LAYERS[0]]
    assert [layer_below(run, name) for name in ("net.trunk", "net.trunk.features.8", "net.head")] == [None] * 3
    ordinary: Any = SimpleNamespace(model=InterpretableClassifier(3, part_layers=0))
    assert layer_below(ordinary, "net.trunk") is None


def hooks(network: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in network.modules())


def test_the_network_is_left_in_its_mode_without_hooks_and_with_its_statistics(network, fruit):
    seen = below(network, fruit, LAYERS[1])
    expected, before = literally(seen), {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network.net.trunk.eval()
    modes = {name: layer.training for name, layer in network.named_modules()}
    assert len(set(modes.values())) == 2
    found = features_at_peaks(seen.run, "train", seen.layer, seen.below, ROWS, FILTERS)
    assert {name: layer.training for name, layer in network.named_modules()} == modes
    assert hooks(network) == 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_image_that_cannot_be_read_leaves_the_network_as_it_was(network, tmp_path):
    run = run_on(draw(tmp_path / "data", noise(64, 64)), (64, 64), model=network, batch_size=2)
    layer = SimpleNamespace(
        info=SimpleNamespace(name=LAYERS[0], height=8, width=8), peak_indices=torch.zeros(IMAGES, 96).int()
    )
    (tmp_path / "data" / "images" / "5.png").unlink()
    network.train()
    with pytest.raises(Exception, match=r"5\.png"):
        features_at_peaks(run, "train", layer, "net.trunk", np.array([[0, 5]]), np.array([0]))
    assert all(part.training for part in network.modules())
    assert hooks(network) == 0
