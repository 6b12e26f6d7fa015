import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import HEADER, draw_part_folder, picture, write_csv
from PIL import Image
from torchvision.tv_tensors import BoundingBoxes, KeyPoints, Mask

from interpretable.data import PartAnnotatedFolder
from interpretable.data.annotations import read_annotations
from interpretable.errors import ConfigurationError, DataError

NAN = float("nan")


@pytest.fixture
def folder(tmp_path) -> Path:
    return draw_part_folder(tmp_path / "animals")


def change(folder: Path, line: int, **cells: str) -> None:
    """Rewrite cells of a line of annotations.csv (the header is line 1)."""
    lines = [row.split(",") for row in (folder / "annotations.csv").read_text().splitlines()]
    for name, value in cells.items():
        lines[line - 1][lines[0].index(name)] = value
    (folder / "annotations.csv").write_text("\n".join(map(",".join, lines)) + "\n")


def test_a_folder_without_part_columns_has_images_and_no_parts(folder):
    rows = [row.split(",")[:4] for row in (folder / "annotations.csv").read_text().splitlines()]
    write_csv(folder / "annotations.csv", rows[0], rows[1:])
    shutil.rmtree(folder / "masks", ignore_errors=True)
    data = PartAnnotatedFolder(folder, "test")
    assert (data.classes, data.parts, len(data)) == (("cat", "dog"), (), 6)
    assert data[4]["landmarks"].shape == (0, 2)
    assert data[4]["boxes"].shape == (0, 4)


def test_a_sample_is_what_its_row_says(folder):
    data = PartAnnotatedFolder(folder, "test")
    assert (data.classes, data.parts) == (("cat", "dog"), ("head", "left ear"))
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    sample = data[4]
    image = np.asarray(Image.open(folder / "images/dog/dog009.png"))
    assert torch.equal(sample["image"], torch.from_numpy(image.copy()).permute(2, 0, 1))
    assert isinstance(sample["landmarks"], KeyPoints)
    assert isinstance(sample["boxes"], BoundingBoxes)
    torch.testing.assert_close(torch.Tensor(sample["landmarks"]), torch.tensor([[13.0, 6], [NAN, NAN]]), equal_nan=True)
    expected = torch.tensor([[13.0, 6, 5, 4], [NAN] * 4])
    torch.testing.assert_close(torch.Tensor(sample["boxes"]), expected, equal_nan=True)
    assert (sample["label"].item(), sample["label"].dtype, sample["index"]) == (1, torch.int64, 4)
    assert "masks" not in sample


def test_a_landmark_without_a_box_keeps_its_point(folder):
    sample = PartAnnotatedFolder(folder, "test")[0]
    assert sample["landmarks"][1].tolist() == [10, 12.5]
    assert sample["boxes"][1].isnan().all()


def test_validation_is_taken_from_train_by_whole_groups_and_from_every_class(folder):
    train, validation = (PartAnnotatedFolder(folder, split, validation=0.25) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (12, 4)
    assert validation.labels.bincount().tolist() == [2, 2]
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())


def test_validation_rows_of_the_file_are_used_as_they_are(tmp_path):
    folder = draw_part_folder(tmp_path, validation=2)
    assert [len(PartAnnotatedFolder(folder, split)) for split in ("train", "validation", "test")] == [16, 4, 6]
    text = (folder / "annotations.csv").read_text()
    (folder / "annotations.csv").write_text(text.replace(",validation,", ",val,"))
    assert len(PartAnnotatedFolder(folder, "validation")) == 4


def test_classes_select_and_order_without_moving_images_between_splits(tmp_path):
    folder = draw_part_folder(tmp_path, classes=("ant", "bee", "cat"))
    everything = PartAnnotatedFolder(folder, "validation")
    chosen = PartAnnotatedFolder(folder, "validation", classes=["cat", "ant"])
    assert chosen.classes == ("cat", "ant")
    assert sorted(chosen.groups.tolist()) == sorted(everything.groups[everything.labels != 1].tolist())
    assert chosen.labels.tolist() == [{0: 1, 2: 0}[label] for label in everything.labels.tolist() if label != 1]


def test_rows_and_parts_of_several_files_are_joined(folder):
    picture(24, 32, 99).save(folder / "sky.png")
    header = ("image", "label", "split", "group", "tail_x", "tail_y")
    rows = [("sky.png", "background", "train", "sky", 3, 4), ("sky.png", "background", "test", "sky2", "", "")]
    write_csv(folder / "background.csv", header, rows)
    data = PartAnnotatedFolder(folder, "test", ["annotations.csv", "background.csv"], ["background", "dog"])
    assert data.parts == ("head", "left ear", "tail")
    assert data.labels.tolist() == [1, 1, 1, 0]
    assert data[0]["landmarks"][:, 0].isnan().tolist() == [False, False, True]
    assert data[3]["landmarks"].isnan().all()
    assert PartAnnotatedFolder(folder, "train", "background.csv")[0]["landmarks"].tolist() == [[3, 4]]


def test_masks_are_read_by_part_and_an_absent_file_is_an_empty_mask(folder):
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[3:7, 10:14] = 1
    (folder / "masks" / "cat008").mkdir(parents=True)
    Image.fromarray(mask).save(folder / "masks" / "cat008" / "head.png")
    before = PartAnnotatedFolder(folder, "test")
    sample = before[0]
    assert isinstance(sample["masks"], Mask)
    assert sample["masks"].dtype == torch.bool
    assert torch.equal(sample["masks"][0], torch.from_numpy(mask == 1))
    assert not sample["masks"][1].any()
    assert not before[1]["masks"].any()
    fingerprint = before.fingerprint()
    Image.fromarray(mask).save(folder / "masks" / "cat008" / "left ear.png")
    assert PartAnnotatedFolder(folder, "test").fingerprint() != fingerprint
    Image.fromarray(mask[:5]).save(folder / "masks" / "cat008" / "head.png")
    with pytest.raises(DataError, match=r"cat008/head.png.*32x24.*found 32x5"):
        before[0]


def test_images_that_would_share_masks_are_refused(folder):
    (folder / "masks").mkdir()
    shutil.copy(folder / "images/cat/cat000.png", folder / "images/dog/cat000.png")
    change(folder, 13, image="images/dog/cat000.png")
    with pytest.raises(DataError, match=r"annotations.csv:13: .*annotations.csv:2.*masks/cat000"):
        PartAnnotatedFolder(folder)


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("L", np.array([[0, 100]], dtype=np.uint8), [[0, 0, 0], [100, 100, 100]]),
        ("I;16", np.array([[0, 0x6480]], dtype=np.uint16), [[0, 0, 0], [100, 100, 100]]),
        ("RGBA", np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], dtype=np.uint8), [[1, 2, 3], [4, 5, 6]]),
        ("1", np.array([[False, True]]), [[0, 0, 0], [255, 255, 255]]),
    ],
)
def test_every_kind_of_image_becomes_rgb_with_8_bits(folder, mode, values, expected):
    image = Image.fromarray(np.tile(values, (24, 16, 1)[: values.ndim]))
    assert image.mode == mode
    image.save(folder / "images/cat/cat008.png")
    sample = PartAnnotatedFolder(folder, "test")[0]
    assert sample["image"].dtype == torch.uint8
    assert sample["image"][:, 5, :2].T.tolist() == expected


def test_palette_and_cmyk_images_become_rgb(folder):
    picture(24, 32, 0).quantize(8).save(folder / "images/cat/cat008.png", transparency=b"\x00" * 8)
    palette = np.asarray(picture(24, 32, 0).quantize(8).convert("RGB"))
    Image.new("CMYK", (32, 24), (0, 255, 255, 0)).save(folder / "images/cat/red.jpg")
    change(folder, 11, image="images/cat/red.jpg")
    data = PartAnnotatedFolder(folder, "test")
    red = data[1]["image"].float().mean(dim=(1, 2))
    assert red[0] > 200
    assert red[1:].max() < 60
    assert torch.equal(data[0]["image"], torch.from_numpy(palette.copy()).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("line", "cells", "sentence"),
    [
        (5, {"head_x": "many"}, r"annotations.csv:5: head_x was expected to be a number .* found 'many'"),
        (5, {"head_x": "inf"}, r"annotations.csv:5: head_x was expected to be a number .* found 'inf'"),
        (6, {"head_y": ""}, r"annotations.csv:6: only one of head_x and head_y is filled"),
        (6, {"head_w": ""}, r"annotations.csv:6: only one of head_w and head_h is filled"),
        (6, {"head_x": "", "head_y": ""}, r"annotations.csv:6: head_w and head_h need head_x and head_y"),
        (6, {"head_h": "0"}, r"annotations.csv:6: head_w and head_h were expected to be positive"),
        (4, {"split": "training"}, r"annotations.csv:4: split was expected .* train, .* found 'training'"),
        (4, {"group": ""}, r"annotations.csv:4: the column group is empty"),
        (4, {"image": "/etc/passwd"}, r"annotations.csv:4: image was expected .* below the root; found '/etc/passwd'"),
        (4, {"image": "a/../../b.png"}, r"annotations.csv:4: image was expected .* found 'a/../../b.png'"),
        (4, {"image": "C:\\b.png"}, r"annotations.csv:4: image was expected"),
        (4, {"image": "images/cat/gone.png"}, r"annotations.csv:4: the image images/cat/gone.png was expected below"),
        (10, {"group": "cat-train-0"}, r"csv:10: group 'cat-train-0' is in test here and in train at .*csv:2;"),
        (10, {"label": "cst"}, r"annotations.csv:10: the label 'cst' is unknown to the training images"),
        (4, {"head_x": "3,4"}, r"annotations.csv:4: the header has 10 columns, this row has 11"),
        (1, {"head_y": "head_z"}, r"annotations.csv:1: .*but head_y is missing; found image, .*head_z"),
        (1, {"head_h": "head_v"}, r"annotations.csv:1: .*but head_h is missing"),
        (1, {"split": "set", "group": "photo"}, r"csv:1: the columns .* but split, group are missing; found image"),
        (1, {"left ear_x": "head_x", "left ear_y": "head_y"}, r"annotations.csv:1: the column head_x is there twice"),
    ],
)
def test_a_wrong_cell_is_named_by_file_and_line_at_construction(folder, line, cells, sentence):
    change(folder, line, **cells)
    with pytest.raises(DataError, match=sentence) as raised:
        PartAnnotatedFolder(folder)
    assert "\n" not in str(raised.value)


def test_a_path_that_stays_below_the_root_may_have_dots(folder):
    change(folder, 2, image="images/dog/../cat/cat000.png")
    assert len(PartAnnotatedFolder(folder, "test")) == 6


def test_missing_folder_file_and_rows_are_named(folder):
    with pytest.raises(DataError, match=r"root was expected to be a folder with annotations.csv, but .*nowhere"):
        PartAnnotatedFolder(folder / "nowhere")
    with pytest.raises(DataError, match=r"birds.csv was expected to be the annotation file"):
        PartAnnotatedFolder(folder, annotations=["birds.csv"])
    with pytest.raises(DataError, match=r"did you mean 'cat'"):
        PartAnnotatedFolder(folder, classes=["cta"])
    with pytest.raises(ConfigurationError, match=r"split was expected .* found 'val'"):
        PartAnnotatedFolder(folder, "val")
    text = (folder / "annotations.csv").read_text()
    (folder / "annotations.csv").write_text(text.replace(",test,", ",train,").replace("-test-", "-train-"))
    with pytest.raises(DataError, match=r"no row of the chosen classes is in the split test"):
        PartAnnotatedFolder(folder, "test")
    (folder / "annotations.csv").write_text("")
    with pytest.raises(DataError, match="found an empty file"):
        PartAnnotatedFolder(folder)
    (folder / "annotations.csv").write_bytes("image,läbel".encode("latin-1"))
    with pytest.raises(DataError, match="CSV file in UTF-8"):
        PartAnnotatedFolder(folder)


def test_an_unreadable_image_is_named_with_its_row(folder):
    content = (folder / "images/cat/cat009.png").read_bytes()
    data = PartAnnotatedFolder(folder, "test")
    (folder / "images/cat/cat008.png").write_text("no image")
    (folder / "images/cat/cat009.png").write_bytes(content[: len(content) // 2])
    (folder / "images/cat/cat010.png").unlink()
    with pytest.raises(DataError, match=r"cat008.png, named at .*annotations.csv:10, .* cannot be decoded"):
        data[0]
    with pytest.raises(DataError, match=r"cat009.png, named at .*annotations.csv:11, .* cannot be decoded"):
        data[1]
    with pytest.raises(DataError, match=r"cat010.png, named at .*annotations.csv:12, .* does not exist"):
        data[2]


@pytest.mark.parametrize("cells", [{"head_x": "32"}, {"head_y": "24.5"}, {"head_x": "-1"}])
def test_a_landmark_outside_its_image_is_named_when_the_image_is_read(folder, cells):
    change(folder, 10, **cells)
    data = PartAnnotatedFolder(folder, "test")
    with pytest.raises(DataError, match=r"annotations.csv:10: the landmark head at .* outside .*cat008.png.*32x24"):
        data[0]
    data[1]


def test_the_fingerprint_changes_with_images_labels_and_annotations_only(folder):
    def fingerprint() -> str:
        return PartAnnotatedFolder(folder, "test").fingerprint()

    first = fingerprint()
    assert first == fingerprint()
    shutil.copytree(folder, folder.parent / "moved")
    assert PartAnnotatedFolder(folder.parent / "moved", "test").fingerprint() == first
    assert PartAnnotatedFolder(folder, "test", classes=["dog", "cat"]).fingerprint() != first
    change(folder, 10, head_x="12.25")
    second = fingerprint()
    Image.new("RGB", (32, 24)).save(folder / "images/cat/cat008.png")
    assert len({first, second, fingerprint()}) == 3


def test_a_byte_order_mark_blank_lines_and_spaces_do_no_harm(folder):
    text = (folder / "annotations.csv").read_text().replace(",cat,", ", cat ,").replace("\n", "\n\n")
    (folder / "annotations.csv").write_text("\ufeff" + text)
    change(folder, 3, head_x="x")
    with pytest.raises(DataError, match=r"csv:3: head_x"):
        PartAnnotatedFolder(folder)
    change(folder, 3, head_x="4")
    assert PartAnnotatedFolder(folder).classes == ("cat", "dog")


def test_ten_thousand_rows_are_parsed_within_a_second(tmp_path):
    rows = [(f"images/{n}.png", n % 20, "train", n // 2, n % 90, n % 70, 5, 4, "", "") for n in range(10_000)]
    write_csv(tmp_path / "annotations.csv", HEADER, rows)
    start = time.process_time()
    table = read_annotations(tmp_path, ["annotations.csv"])
    assert time.process_time() - start < 1
    assert table.landmarks[9_999, 0].tolist() == [9_999 % 90, 9_999 % 70]
    assert table.where(9_999).endswith("annotations.csv:10001")


@pytest.mark.photographs
def test_the_real_photographs_are_read_whole(photographs):
    root = photographs / "animalpart20"
    sets = {split: PartAnnotatedFolder(root, split) for split in ("train", "validation", "test")}
    assert len(sets["train"]) + len(sets["validation"]) == 6_991
    assert len(sets["test"]) == 1_827
    assert len(sets["test"].classes) == 20
    assert sets["train"].parts == ("head", "leg")
    assert not set(sets["train"].groups.tolist()) & set(sets["validation"].groups.tolist())
    share = sets["validation"].labels.bincount() / (
        sets["train"].labels.bincount() + sets["validation"].labels.bincount()
    )
    assert (share - 0.1).abs().max() < 0.01
    goldfish = sets["test"].classes.index("goldfish")
    fish = int((sets["test"].labels == goldfish).nonzero()[0])
    assert sets["test"][fish]["image"].shape == (3, 128, 128)
    single = PartAnnotatedFolder(root, "test", ["annotations.csv", "background.csv"], ["background", "zebra"])
    assert single.labels.bincount().tolist() == [120, 136]
    assert all(single[index]["landmarks"].isnan().all() for index in (single.labels == 0).nonzero()[:5].flatten())
