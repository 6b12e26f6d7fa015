from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from interpretable.concepts import PetConcepts, VOCConcepts
from interpretable.errors import ConfigurationError, DataError

HEIGHT, WIDTH = 10, 14
FULL = (HEIGHT, WIDTH)


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save_palette(values: np.ndarray, path: Path) -> None:
    image = Image.new("P", values.shape[::-1])
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.putdata(values.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


VOC_VALUES = np.zeros(FULL, int)
VOC_VALUES[2:8, 3:9] = 255
VOC_VALUES[3:7, 4:8] = 12  # a dog
VOC_VALUES[0, 0] = 20  # and a bit of a monitor


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Two images for training and one for validation."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    lists = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033"]}
    for split, names in lists.items():
        path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
        for seed, name in enumerate(names):
            (folder / "JPEGImages").mkdir(exist_ok=True)
            picture(seed).save(folder / "JPEGImages" / f"{name}.jpg")
            save_palette(VOC_VALUES, folder / "SegmentationClass" / f"{name}.png")
    return tmp_path


def test_voc_has_its_21_classes_and_void_is_nothing(voc: Path) -> None:
    data = VOCConcepts(voc, (16, 16), FULL)
    assert len(data) == 1
    assert (len(data.concepts), data.categories, data.classes) == (21, ("object",), ())
    assert data.concept_category.tolist() == [0] * 21
    assert (data.concepts[0], data.concepts[12], data.concepts[20]) == ("background", "dog", "tvmonitor")
    sample = data[0]
    expected = torch.from_numpy(np.where(VOC_VALUES == 255, -1, VOC_VALUES))
    assert torch.equal(sample["label_maps"], expected[None])
    assert sample["label"] == -1
    assert sample["image"].shape == (3, 16, 16)


@pytest.mark.parametrize(("split", "count"), [("train", 2), ("validation", 1), ("test", 1)])
def test_voc_is_tested_on_val(voc: Path, split: str, count: int) -> None:
    assert len(VOCConcepts(voc, (8, 8), FULL, split)) == count


def test_voc_label_maps_are_resized_by_nearest_pixels_and_batch(voc: Path) -> None:
    data = VOCConcepts(voc, (16, 12), (5, 7), "train")
    batch = next(iter(DataLoader(data, batch_size=2)))
    expected = np.where(VOC_VALUES == 255, -1, VOC_VALUES)[1::2, 1::2]
    assert torch.equal(batch["label_maps"][1, 0], torch.from_numpy(expected))
    assert batch["image"].shape == (2, 3, 16, 12)


def test_a_missing_voc_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"VOCSegmentation was expected under root=.*, but is not there .* correct root"
    ):
        VOCConcepts(tmp_path, (8, 8), (8, 8))
    with pytest.raises(ConfigurationError, match="train, validation or test, found 'val'"):
        VOCConcepts(tmp_path, (8, 8), (8, 8), "val")


def test_a_label_image_of_another_form_is_named(voc: Path) -> None:
    data = VOCConcepts(voc, (8, 8), FULL)
    path = voc / "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    with pytest.raises(DataError, match=r"2007_000033.png was expected to be a label image, but cannot be decoded"):
        data[0]
    save_palette(np.where(VOC_VALUES == 255, 21, VOC_VALUES), path)
    with pytest.raises(DataError, match=r"2007_000033.png .* values 0 to 20 and 255, found 21; replace it"):
        data[0]
    save_palette(VOC_VALUES[1:], path)
    with pytest.raises(DataError, match=r"2007_000033.png .* 14x10 pixels of its image, found the mode P and 14x9"):
        data[0]
    picture(0).save(path)
    with pytest.raises(DataError, match=r"2007_000033.png .* found the mode RGB and 14x10"):
        data[0]
    path.unlink()
    with pytest.raises(DataError, match=r"image 0 of torchvision's VOCSegmentation .* cannot be decoded .*2007_000033"):
        data[0]
    with pytest.raises(DataError, match=r"2007_000033.png was expected to be a file of the data set"):
        data.fingerprint()


def test_the_fingerprint_of_voc_changes_with_files_split_and_sizes(voc: Path) -> None:
    first = VOCConcepts(voc, (8, 8), FULL).fingerprint()
    assert VOCConcepts(voc, (8, 8), FULL).fingerprint() == first
    others = [((8, 9), FULL, "validation"), ((8, 8), (5, 7), "validation"), ((8, 8), FULL, "train")]
    seen = {first, *(VOCConcepts(voc, *arguments).fingerprint() for arguments in others)}
    with (voc / "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").open("ab") as file:
        file.write(b"\0")
    assert len(seen | {VOCConcepts(voc, (8, 8), FULL).fingerprint()}) == 5


# Breeds in the order of their numbers, which is alphabetical; names of cats begin with a capital.
BREEDS = {"Abyssinian": 1, "american_bulldog": 2, "Bengal": 1}
TRIMAP = np.full(FULL, 2)
TRIMAP[2:8, 3:9] = 3
TRIMAP[3:7, 4:8] = 1


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Ten training and two test images of each of three breeds."""
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    for split, numbers in (("trainval", range(1, 11)), ("test", range(101, 103))):
        lines = []
        for breed, (name, species) in enumerate(BREEDS.items(), 1):
            for number in numbers:
                picture(100 * breed + number).save(folder / "images" / f"{name}_{number}.jpg")
                trimap = Image.fromarray(TRIMAP.astype(np.uint8))
                trimap.save(folder / "annotations" / "trimaps" / f"{name}_{number}.png")
                lines.append(f"{name}_{number} {breed} {species} 1\n")
        (folder / "annotations" / f"{split}.txt").write_text("".join(lines))
    return tmp_path


def test_pets_have_a_layer_for_the_species_and_one_for_the_breed(pets: Path) -> None:
    data = PetConcepts(pets, (16, 16), FULL)
    assert data.concepts == ("cat", "dog", "Abyssinian", "American Bulldog", "Bengal")
    assert data.categories == ("object", "breed")
    assert data.concept_category.tolist() == [0, 0, 1, 1, 1]
    assert data.classes == ("Abyssinian", "American Bulldog", "Bengal")
    inside = torch.from_numpy(TRIMAP == 1)
    for index, (species, breed) in enumerate([(0, 0), (0, 0), (1, 1), (1, 1), (0, 2), (0, 2)]):
        sample = data[index]
        expected = torch.stack([torch.where(inside, concept, -1) for concept in (species, 2 + breed)])
        assert torch.equal(sample["label_maps"], expected)
        assert (sample["label"], sample["index"]) == (breed, index)
    assert len(data) == 6


def test_validation_is_a_tenth_of_the_training_images_of_each_breed(pets: Path) -> None:
    train, held_out = (PetConcepts(pets, (8, 8), FULL, split) for split in ("train", "validation"))
    assert [held_out[i]["label"] for i in range(len(held_out))] == [0, 1, 2]
    assert len(train) == 27
    images = {
        tuple(sample["image"].flatten().tolist())
        for data in (train, held_out)
        for sample in map(data.__getitem__, range(len(data)))
    }
    assert len(images) == 30


def test_pet_samples_batch(pets: Path) -> None:
    batch = next(iter(DataLoader(PetConcepts(pets, (8, 8), (5, 7)), batch_size=6)))
    assert batch["label_maps"].shape == (6, 2, 5, 7)
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2]


def test_missing_pets_say_what_to_do(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"OxfordIIITPet was expected under root=.*none, but is not there .* correct root"
    ):
        PetConcepts(tmp_path / "none", (8, 8), (8, 8))
    data = PetConcepts(pets, (8, 8), FULL)
    trimap = pets / "oxford-iiit-pet/annotations/trimaps/Abyssinian_101.png"
    save_palette(TRIMAP + 1, trimap)
    with pytest.raises(DataError, match=r"Abyssinian_101.png was expected to have the values 1 to 3, found 4"):
        data[0]
    trimap.unlink()
    with pytest.raises(DataError, match=r"image 0 of torchvision's OxfordIIITPet .*Abyssinian_101"):
        data[0]


def test_the_fingerprint_of_pets_changes_with_files_split_and_sizes(pets: Path) -> None:
    first = PetConcepts(pets, (8, 8), FULL).fingerprint()
    assert PetConcepts(pets, (8, 8), FULL).fingerprint() == first
    others = [((8, 9), FULL, "test"), ((8, 8), (5, 7), "test"), ((8, 8), FULL, "train"), ((8, 8), FULL, "validation")]
    seen = {first, *(PetConcepts(pets, *arguments).fingerprint() for arguments in others)}
    with (pets / "oxford-iiit-pet/annotations/trimaps/Bengal_101.png").open("ab") as file:
        file.write(b"\0")
    assert len(seen | {PetConcepts(pets, (8, 8), FULL).fingerprint()}) == 6
