import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_broden import CATEGORIES, EYE, HEAD, IMAGES, NAMES, STRIPED, WALL_AND_CAT, draw_broden
from PIL import Image

from interpretable.concepts import BrodenConcepts, verify_broden
from interpretable.concepts.broden_check import BrodenFacts
from interpretable.errors import ConfigurationError, DataError

NUMBERS = list(NAMES)
HALF = (4, 4)


@pytest.fixture
def broden(tmp_path: Path) -> Path:
    return draw_broden(tmp_path / "broden_tiny")


def opened(root: Path, size: tuple[int, int] = HALF, **options: object) -> BrodenConcepts:
    return BrodenConcepts(root, (8, 8), size, **options)


def concepts_of(numbers: np.ndarray) -> torch.Tensor:
    return torch.tensor([[NUMBERS.index(n) if n else -1 for n in row] for row in numbers.tolist()])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_concepts_are_the_labels_and_belong_to_the_category_they_cover_most(broden: Path) -> None:
    data = opened(broden)
    assert data.concepts == tuple(NAMES.values())
    assert data.categories == CATEGORIES
    assert data.classes == ()
    of = dict(zip(data.concepts, (CATEGORIES[i] for i in data.concept_category.tolist()), strict=True))
    # wall covers half an image as an object and one and a half as a material; kitchen is one scene and one texture,
    # of which the category that is listed last counts
    assert of == {
        "black-c": "color",
        "wall": "material",
        "cat": "object",
        "head": "part",
        "eye": "part",
        "kitchen-s": "texture",
        "striped": "texture",
    }


def test_every_label_of_a_pixel_is_there_and_none_twice(broden: Path) -> None:
    data = opened(broden)
    assert len(data) == 3  # the image without labels is left out
    maps = data[0]["label_maps"].as_subclass(torch.Tensor)
    nothing = torch.full(HALF, -1)
    black, kitchen = torch.zeros(4, 4).long(), torch.full(HALF, NUMBERS.index(6))
    # wall is an object already, so its material says nothing more
    expected = [black, concepts_of(WALL_AND_CAT), concepts_of(HEAD), concepts_of(EYE), nothing, kitchen]
    assert torch.equal(maps, torch.stack(expected))
    assert maps[2, 1, 3] == NUMBERS.index(4)
    assert maps[3, 1, 3] == NUMBERS.index(5)


def test_labels_of_whole_images_are_on_all_pixels_and_images_have_equally_many_layers(broden: Path) -> None:
    data = opened(broden)
    maps = data[1]["label_maps"]
    assert maps.shape == (6, 4, 4)
    assert [torch.unique(layer).tolist() for layer in maps] == [[0], [6], [5], [-1], [-1], [-1]]
    # a label that has no number is nothing; 300 = 44 red + 256 green
    maps = data[2]["label_maps"].as_subclass(torch.Tensor)
    assert torch.equal(maps[0], torch.full(HALF, NUMBERS.index(2)))
    assert torch.equal(maps[1], concepts_of(STRIPED))
    assert (maps[2:] == -1).all()


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (2, 2), (6, 3)])
def test_label_maps_of_another_size_are_the_nearest_pixels(broden: Path, size: tuple[int, int]) -> None:
    full, other = opened(broden)[0]["label_maps"], opened(broden, size)[0]["label_maps"]
    rows = [int((i + 0.5) * 4 / size[0]) for i in range(size[0])]
    columns = [int((i + 0.5) * 4 / size[1]) for i in range(size[1])]
    assert torch.equal(other, full[:, rows][:, :, columns])


@pytest.mark.parametrize(("split", "lines"), [(None, [2, 3, 5]), ("train", [2, 5]), ("validation", [3]), ("test", [3])])
def test_the_splits_are_those_of_the_index_and_all_images_by_default(
    broden: Path, split: str | None, lines: list[int]
) -> None:
    data = opened(broden, split=split)
    every = opened(broden)
    rows = [every[[2, 3, 5].index(line)] for line in lines]
    assert len(data) == len(rows)
    for index, row in enumerate(rows):
        sample = data[index]
        assert sample["index"] == index
        assert sample["label"] == -1
        assert torch.equal(sample["image"], row["image"])


def test_a_folder_as_distributed_is_verified(broden: Path) -> None:
    label_images = sum(
        isinstance(label, np.ndarray) for _, of in IMAGES.values() for group in of.values() for label in group
    )
    assert verify_broden(broden) == BrodenFacts(4, 7, 4 + label_images, 0)


def test_a_manifest_of_checksums_is_verified_file_by_file(broden: Path, tmp_path: Path) -> None:
    names = ["index.csv", "images/ade20k/a.jpg"]
    digests = [hashlib.sha256((broden / name).read_bytes()).hexdigest() for name in names]
    manifest = tmp_path / "sha256sums.txt"
    manifest.write_text("".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)))
    assert verify_broden(broden, manifest).checksums == 2
    image = broden / "images/ade20k/a.jpg"
    content = bytearray(image.read_bytes())
    content[-3] ^= 1
    image.write_bytes(content)
    assert verify_broden(broden).checksums == 0
    with pytest.raises(DataError, match=r"sha256sums.txt:2: .*a.jpg has another checksum; unpack Broden again"):
        verify_broden(broden, manifest)
    image.unlink()
    with pytest.raises(DataError, match=r"index.csv:2: ade20k/a.jpg was expected below"):
        verify_broden(broden, manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no checksum\n", r"sums:1: a sha256 checksum, two spaces and a path"),
        (f"{'0' * 64}  gone\n", r"sums:1: .*gone cannot be read"),
    ],
)
def test_a_manifest_of_another_form_or_of_missing_files_is_refused(broden: Path, text: str, message: str) -> None:
    Path("sums").write_text(text)
    with pytest.raises(DataError, match=message):
        verify_broden(broden, "sums")
    with pytest.raises(DataError, match="nowhere was expected to be a list of checksums"):
        verify_broden(broden, "nowhere")


def test_a_folder_with_the_published_name_must_have_the_published_numbers(broden: Path) -> None:
    named = broden.rename(broden.parent / "broden1_227")
    with pytest.raises(
        DataError, match=r"index.csv was expected to have the 63305 rows of the published Broden, found 4"
    ):
        verify_broden(named)
    assert len(opened(named)) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("label.csv", "color(2),2", "color(2),3", r"label.csv:2: frequency is 3, but by its categories it is 2"),
        ("label.csv", "color(2)", "colour(2)", r"label.csv:2: category was expected to name those of category.csv"),
        ("label.csv", "color(2),2", "color(1),1", r"c_color.csv and label.csv .* differ in label 1"),
        (
            "category.csv",
            "part,4,5,2,2",
            "part,4,5,3,2",
            r"category.csv:4: count of part is 3, but by label.csv it is 2",
        ),
        ("category.csv", "part,4,5,2,2", "part,4,5,2,9", r"category.csv:4: frequency of part is 9, but .* it is 2"),
        ("c_part.csv", "2,5,eye", "2,3,eye", r"label.csv:6: label 5 was expected in one of the files c_\*.csv"),
        ("c_object.csv", "2,3,cat,1", "2,3,cat,2", r"c_object.csv and label.csv .* differ in label 3"),
    ],
)
def test_tables_that_contradict_one_another_are_told_apart(
    broden: Path, file: str, old: str, new: str, message: str
) -> None:
    edit(broden / file, old, new)
    with pytest.raises(DataError, match=message) as caught:
        verify_broden(broden)
    assert "restore" in str(caught.value)


@pytest.mark.parametrize("name", ["index.csv", "category.csv", "label.csv", "c_scene.csv"])
def test_a_missing_or_empty_table_is_named(broden: Path, name: str) -> None:
    path = broden / name
    text = path.read_text()
    path.unlink()
    with pytest.raises(DataError, match=rf"{name} was expected to be a table of Broden, .*unpack Broden again"):
        opened(broden)
    path.write_text(text.partition("\n")[0] + "\n")
    with pytest.raises(DataError, match=f"{name} was expected to have rows"):
        opened(broden)
    path.write_text("something,else\n1,2\n")
    with pytest.raises(DataError, match=f"{name}:1: the columns"):
        opened(broden)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=f"{name} was expected to be a CSV file in UTF-8"):
        opened(broden)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("index.csv", "300;6", "301;6", r"index.csv:3: label 301 was expected to be in label.csv"),
        ("index.csv", "val,8,8,4", "val,8,8,four", r"index.csv:3: sh was expected to be a whole number, found 'four'"),
        (
            "label.csv",
            "300,striped",
            "70000,striped",
            r"label.csv:8: number was expected to be 1 to 65535, found 70000",
        ),
        ("c_part.csv", "0.25", "a quarter", r"c_part.csv:2: coverage was expected to be a number, found 'a quarter'"),
    ],
)
def test_a_cell_that_cannot_be_right_is_named_with_its_line(
    broden: Path, file: str, old: str, new: str, message: str
) -> None:
    edit(broden / file, old, new)
    with pytest.raises(DataError, match=message):
        opened(broden)


def test_a_missing_folder_says_what_to_download() -> None:
    with pytest.raises(DataError, match=r"broden1_224.zip unpacks to, .* but nowhere is none; download and unpack"):
        opened(Path("nowhere"))


def test_a_split_without_labelled_images_is_refused(broden: Path) -> None:
    edit(broden / "index.csv", ",val,", ",train,")
    with pytest.raises(DataError, match=r"index.csv was expected to have labelled images of the split test"):
        opened(broden, split="test")
    with pytest.raises(ConfigurationError, match="train, validation or test, found 'val'"):
        opened(broden, split="val")


def test_a_damaged_file_is_named_when_its_image_is_read(broden: Path) -> None:
    label_image = broden / "images/ade20k/a_object_1.png"
    content = label_image.read_bytes()
    data = opened(broden)
    Image.new("L", (4, 4)).save(label_image)
    with pytest.raises(DataError, match=r"a_object_1.png was expected to be an RGB image of 4x4 pixels, .*index.csv:2"):
        data[0]
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(label_image)  # 7 + 7 · 256
    with pytest.raises(DataError, match=r"a_object_1.png was expected to hold labels of label.csv, but has 1799"):
        data[0]
    label_image.write_bytes(content[:40])
    with pytest.raises(DataError, match=r"a_object_1.png, named at .*index.csv:2, .* but it cannot be decoded"):
        data[0]
    label_image.unlink()
    with pytest.raises(DataError, match=r"a_object_1.png, .* does not exist; unpack Broden again"):
        data[0]
    with pytest.raises(DataError, match=r"a_object_1.png was expected to be a file of the data set"):
        data.fingerprint()
    (broden / "images/dtd/b.jpg").unlink()
    with pytest.raises(DataError, match=r"b.jpg, named at .*index.csv:3, was expected to be an image"):
        data[1]


def test_the_fingerprint_changes_with_tables_files_and_sizes(broden: Path) -> None:
    first = opened(broden).fingerprint()
    assert opened(broden).fingerprint() == first
    seen = {first, opened(broden, (2, 2)).fingerprint(), opened(broden, split="train").fingerprint()}
    seen.add(BrodenConcepts(broden, (16, 16), HALF).fingerprint())
    edit(broden / "index.csv", "300;6", "300")
    seen.add(opened(broden).fingerprint())
    with (broden / "images/opensurfaces/d.jpg").open("ab") as file:
        file.write(b"\0")
    seen.add(opened(broden).fingerprint())
    edit(broden / "label.csv", "striped", "stripy")
    seen.add(opened(broden).fingerprint())
    assert len(seen) == 7
