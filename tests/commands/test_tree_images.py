import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.tv_tensors import BoundingBoxes, Image, KeyPoints

from interpretable.activations import ActivationStore, record_activations
from interpretable.commands.tree_images import (
    REGIONS,
    SMALLEST_REGION,
    evenly,
    filter_regions,
    picture,
    pictures,
    region,
)
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD, standardise


class Drawn(Dataset[Any]):
    """Normalised images of given pixels, uint8 (C, H, W), of one or three channels."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError
        self.asked.append(index)
        channels = self.pixels.shape[1]
        mean, std = (torch.tensor(value[:channels])[:, None, None] for value in (IMAGENET_MEAN, IMAGENET_STD))
        return {"image": Image((self.pixels[index].float() / 255 - mean) / std), "label": torch.tensor(0)}

    def fingerprint(self) -> str:
        return "drawn"


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose every pixel differs from the others."""
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize(
    ("centre", "left", "top"),
    [
        ((10.0, 6.0), 8, 4),
        ((0.5, 0.5), 0, 0),
        ((-30.0, 5.0), 0, 3),
        ((19.5, 11.5), 16, 8),
        ((90.0, 90.0), 16, 8),
        ((18.0, 2.0), 16, 0),
        ((2.0, 10.0), 0, 8),
    ],
)
def test_a_region_is_about_its_centre_and_moved_inside_at_the_borders(centre, left, top):
    image = numbered(12, 20)
    found = region(image, np.array(centre), 4)
    np.testing.assert_array_equal(found, image[top : top + 4, left : left + 4])


def test_a_region_of_the_images_own_side_is_the_image_wherever_its_centre_is():
    image = numbered(9, 9)
    for centre in ((0.0, 0.0), (4.5, 4.5), (9.0, 2.0)):
        np.testing.assert_array_equal(region(image, np.array(centre), 9), image)


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 5, [0, 2, 4, 6, 8]),
        (10, 4, [0, 3, 6, 9]),
        (7, 1, [0]),
        (0, 3, []),
    ],
)
def test_so_many_are_spread_evenly_from_the_first_to_the_last(length, count, expected):
    indices = 100 + np.arange(length)
    assert evenly(indices, count).tolist() == [100 + place for place in expected]


def test_a_picture_has_the_pixels_that_were_normalised():
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    found = picture(Drawn(pixels), 1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels[1].permute(1, 2, 0).numpy())


def test_a_grey_image_is_grey_again():
    pixels = torch.randint(0, 256, (1, 4, 6), dtype=torch.uint8)
    no_parts = {"landmarks": KeyPoints(torch.empty(0, 2), canvas_size=(4, 6))}
    no_parts |= {"boxes": BoundingBoxes(torch.empty(0, 4), format="CXCYWH", canvas_size=(4, 6))}
    found = picture([standardise({"image": Image(pixels), "index": 0, **no_parts}, (4, 6))], 0)
    np.testing.assert_array_equal(found, pixels.permute(1, 2, 0).expand(-1, -1, 3).numpy())


def test_values_beyond_black_and_white_are_clipped():
    bright = {"image": torch.full((3, 2, 2), 100.0)}
    dark = {"image": torch.full((3, 2, 2), -100.0)}
    assert picture([bright], 0).tolist() == [[[255] * 3] * 2] * 2
    assert picture([dark], 0).tolist() == [[[0] * 3] * 2] * 2


def test_pictures_are_found_by_their_index_each_looked_at_once():
    data = Drawn(torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8))
    found = pictures(data, {5, 0, 3}, "images")
    assert list(found) == data.asked == [0, 3, 5]
    np.testing.assert_array_equal(found[3], data.pixels[3].permute(1, 2, 0).numpy())


SIDE = 40


def spots() -> tuple[Tensor, list[tuple[int, int]]]:
    """Dark images with a bright spot each, at another place and brighter from image to image; the first has none."""
    places = [(0, 0), *((4 * number, 36 - 4 * number) for number in range(9))]
    pixels = torch.zeros(10, 3, SIDE, SIDE, dtype=torch.uint8)
    for number, (x, y) in enumerate(places[1:], 1):
        pixels[number, :, y, x] = 100 + 15 * number
    return pixels, places


def store_of(folder: Path, pixels: Tensor) -> tuple[ActivationStore, Drawn]:
    """Filter 0 fires at the spot, filter 1 never."""
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0][0].weight[0], net[0][0].bias[0] = 1.0, 6.3  # black is about -6.3
        net[0][0].weight[1], net[0][0].bias[1] = 0.0, -1.0
    data = Drawn(pixels)
    return record_activations(net.eval(), DataLoader(data, batch_size=4), folder, ["0"]), data


@pytest.mark.parametrize("side", [5.0, 20.0, 500.0])
def test_a_filter_is_shown_where_its_strongest_units_look_strongest_first(side, tmp_path):
    pixels, places = spots()
    store, data = store_of(tmp_path / "s", pixels)
    found = filter_regions(store, data, {0}, side)
    length = {5.0: SMALLEST_REGION, 20.0: 20, 500.0: SIDE}[side]
    assert list(found) == [0]
    assert len(found[0]) == REGIONS
    for crop, number in zip(found[0], range(9, 9 - REGIONS, -1), strict=True):
        x, y = places[number]
        expected = region(pixels[number].permute(1, 2, 0).numpy(), np.array([x + 0.5, y + 0.5]), length)
        assert crop.shape == (length, length, 3)
        np.testing.assert_array_equal(crop, expected)
        assert crop.max() == 100 + 15 * number


def test_a_filter_that_never_fires_has_no_region_and_images_are_read_once(tmp_path):
    pixels, _ = spots()
    store, data = store_of(tmp_path / "s", pixels[:3])
    data.asked.clear()
    found = filter_regions(store, data, [1, 0], 16)
    assert found[1] == []
    assert len(found[0]) == 3
    assert sorted(data.asked) == [0, 1, 2]


def test_a_layer_whose_places_in_the_image_are_not_known_has_no_regions(tmp_path):
    _, data = store_of(tmp_path / "s", spots()[0])
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    manifest["layers"][0] |= {"stride": None, "offset": None, "field_size": None}
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    store = ActivationStore.open(tmp_path / "s")
    assert store.layer().info.receptive_field is None
    assert filter_regions(store, data, {0}, 4) == {}
