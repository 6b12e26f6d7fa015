from pathlib import Path

import numpy as np
import pytest
import torch
from data.drawn import draw_part_folder
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.concepts import CreatureConcepts, PartConcepts
from interpretable.data.creatures import Creatures
from interpretable.data.part_folder import PartAnnotatedFolder
from interpretable.errors import DataError

HEIGHT, WIDTH = 24, 32  # of the drawn images
HEAD, EAR, CAT, DOG = range(4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Heads in rows 2 to 9, left ears in rows 6 to 11 of all images but the first."""
    root = draw_part_folder(tmp_path / "parts")
    for name, rows in (("head", slice(2, 10)), ("left ear", slice(6, 12))):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[rows, 4:20] = 255
        for image in root.rglob("images/*/*.png"):
            path = root / "masks" / image.stem / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if (image.stem, name) != ("cat008", "left ear"):
                Image.fromarray(mask).save(path)
    return root


def opened(root: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> PartConcepts:
    return PartConcepts(PartAnnotatedFolder(root, "test"), (16, 16), size)


def test_overlapping_parts_share_pixels_in_layers_of_their_own(folder: Path) -> None:
    data = opened(folder)
    assert data.concepts == ("head", "left ear", "cat", "dog")
    assert data.categories == ("part", "object")
    assert data.concept_category.tolist() == [0, 0, 1, 1]
    assert data.classes == ("cat", "dog")
    assert len(data) == 6
    for index in (1, 4):
        expected = torch.full((3, HEIGHT, WIDTH), -1)
        expected[0, 2:10, 4:20] = HEAD
        expected[1, 6:12, 4:20] = EAR
        expected[2, 2:12, 4:20] = CAT if index == 1 else DOG
        sample = data[index]
        assert torch.equal(sample["label_maps"], expected)
        assert sample["label"] == int(index == 4)


def test_a_part_without_a_mask_is_nowhere(folder: Path) -> None:
    maps = opened(folder)[0]["label_maps"]
    assert (maps[1] == -1).all()
    assert torch.equal(maps[2] == CAT, maps[0] == HEAD)


def test_label_maps_are_resized_by_nearest_pixels_and_batch(folder: Path) -> None:
    full, half = opened(folder), opened(folder, (12, 16))
    assert torch.equal(half[3]["label_maps"], full[3]["label_maps"][:, 1::2, 1::2])
    batch = next(iter(DataLoader(half, batch_size=6)))
    assert batch["label_maps"].shape == (6, 3, 12, 16)
    assert batch["image"].shape == (6, 3, 16, 16)
    assert batch["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_creatures_read_as_any_set_of_masks_have_the_parts_and_objects_of_their_own_reader() -> None:
    creatures = Creatures("test", 6, 32)
    own, general = (kind(creatures, (32, 32), (32, 32)) for kind in (CreatureConcepts, PartConcepts))
    assert general.concepts == own.concepts[:14]
    for a, b in zip(own, general, strict=True):
        maps = b["label_maps"].as_subclass(Tensor)
        assert torch.equal(maps[:6].amax(0), a["label_maps"][0])
        assert torch.equal(maps[6], a["label_maps"][1])
        assert torch.equal(a["image"], b["image"])


def test_a_set_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"PartAnnotatedFolder was expected to have pixel masks of parts, .* add them"):
        opened(draw_part_folder(tmp_path / "bare"))


class _ManyLabels:
    parts, classes = ("head",), ("cat", "dog")
    labels = torch.zeros(4, 2)


def test_a_set_with_several_classes_an_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"_ManyLabels was expected to give each image one class, .* found 2 yes-or-no"):
        PartConcepts(_ManyLabels(), (8, 8), (8, 8))


def test_the_fingerprint_changes_with_masks_and_sizes(folder: Path) -> None:
    first = opened(folder).fingerprint()
    assert opened(folder).fingerprint() == first
    seen = {first, opened(folder, (12, 16)).fingerprint()}
    (folder / "masks" / "dog009" / "head.png").unlink()
    assert len(seen | {opened(folder).fingerprint()}) == 3
