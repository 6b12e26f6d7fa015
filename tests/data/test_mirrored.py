"""A data set seen in a mirror: pixels and annotations together, left and right kept apart by their places alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import draw_part_folder
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.data import Creatures, PartAnnotatedFolder
from interpretable.data.images import make_sample
from interpretable.data.mirrored import MirroredImages
from interpretable.data.samples import Sample

NAN = float("nan")
SIZE = 64


@pytest.fixture(params=["folder", "creatures"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Images of 24 × 32 with points and boxes, or square ones with masks as well."""
    if request.param == "folder":
        return PartAnnotatedFolder(draw_part_folder(tmp_path / "animals"), "train")
    return Creatures("test", 8, SIZE)


def plain(value: Any) -> Tensor:
    return torch.as_tensor(value).as_subclass(Tensor)


def test_pixels_points_boxes_and_masks_are_flipped_together(images):
    mirrored = MirroredImages(images)
    assert len(mirrored) == len(images)
    shown = 0
    for index in range(len(images)):
        as_is, seen = images[index], mirrored[index]
        assert seen.keys() == as_is.keys()
        width = as_is["image"].shape[-1]
        assert torch.equal(plain(seen["image"]), plain(as_is["image"]).flip(-1))
        for name in ("landmarks", "boxes"):
            expected = plain(as_is[name]).clone()
            expected[:, 0] = width - expected[:, 0]
            torch.testing.assert_close(plain(seen[name]), expected, rtol=0, atol=1e-4, equal_nan=True)
            shown += int((~expected.isnan()).any(1).sum())
        if "masks" in as_is:
            assert torch.equal(plain(seen["masks"]), plain(as_is["masks"]).flip(-1))
        assert seen["index"] == index
        assert torch.equal(plain(seen["label"]), plain(as_is["label"]))
    assert shown > len(images)


def test_a_mirrored_image_is_not_the_image_and_twice_mirrored_it_is(images):
    twice = MirroredImages(MirroredImages(images))
    for index in range(len(images)):
        as_is, seen = images[index], twice[index]
        assert not torch.equal(plain(MirroredImages(images)[index]["image"]), plain(as_is["image"]))
        for name, value in as_is.items():
            tolerance = 1e-4 if name in ("landmarks", "boxes") else 0
            torch.testing.assert_close(
                plain(seen[name]), plain(value), rtol=0, atol=tolerance, equal_nan=True, msg=f"{index}: {name}"
            )


class Ears:
    """One image of 10 × 20 with two parts whose names say a side, and one that it does not show."""

    classes, parts = ("cat",), ("left ear", "right ear", "tail")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        points = np.array([[3, 4], [12, 5], [NAN, NAN]], np.float32)
        boxes = np.array([[3, 4, 2, 6], [NAN] * 4, [NAN] * 4], np.float32)
        return make_sample(torch.zeros(3, 10, 20, dtype=torch.uint8), torch.tensor(0), index, points, boxes)

    def fingerprint(self) -> str:
        return "ears"


def test_a_part_keeps_its_name_on_the_other_side_even_where_the_name_says_a_side():
    """The left ear of the image is looked for at the nodes that were mirrored with it."""
    mirrored = MirroredImages(Ears())
    assert (mirrored.classes, mirrored.parts) == (Ears.classes, Ears.parts)
    points, boxes = (plain(mirrored[0][name]) for name in ("landmarks", "boxes"))
    assert points[:2].tolist() == [[17, 4], [8, 5]]
    assert boxes[0].tolist() == [17, 4, 2, 6]
    assert points[2].isnan().all()
    assert boxes[1:].isnan().all()


def test_the_fingerprint_tells_mirrored_images_from_the_images_and_from_others(images):
    prints = {
        images.fingerprint(),
        MirroredImages(images).fingerprint(),
        MirroredImages(MirroredImages(images)).fingerprint(),
        MirroredImages(Creatures("test", 9, SIZE)).fingerprint(),
    }
    assert len(prints) == 4
    assert MirroredImages(images).fingerprint() == MirroredImages(images).fingerprint()


def test_a_loader_makes_batches_of_them(images):
    batch = next(iter(DataLoader(MirroredImages(images), batch_size=4)))  # type: ignore[arg-type]
    expected = torch.stack([plain(images[index]["image"]).flip(-1) for index in range(4)])
    assert torch.equal(plain(batch["image"]), expected)
    assert batch["index"].tolist() == [0, 1, 2, 3]
