import numpy as np
import pytest
import torch
from drawn import draw_cub
from PIL import Image

from interpretable.data import CUB200
from interpretable.errors import DataError

NAN = float("nan")


def test_the_distribution_is_read_from_its_folder_and_from_its_parent(tmp_path):
    folder = draw_cub(tmp_path)
    for root in (folder, tmp_path):
        data = CUB200(root, "test")
        assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
        assert len(data.parts) == 15
        assert data.parts[6] == "left eye"
        assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_landmarks_are_those_of_part_locs_and_nan_where_not_visible(tmp_path):
    data = CUB200(draw_cub(tmp_path), "test", crop=False)
    sample = data[1]  # image 4 of images.txt
    assert sample["image"].shape == (3, 40, 50)
    expected = torch.tensor([[10.0 + 2 * part, 4.0 + part + 0.4] for part in range(1, 16)])
    expected[1] = NAN
    torch.testing.assert_close(torch.Tensor(sample["landmarks"]), expected, equal_nan=True)
    assert sample["boxes"].shape == (15, 4)
    assert sample["boxes"].isnan().all()


def test_the_crop_moves_landmarks_with_the_pixels_and_drops_those_outside(tmp_path):
    folder = draw_cub(tmp_path)
    whole, cropped = (CUB200(folder, "test", crop=crop)[1] for crop in (False, True))
    assert torch.equal(cropped["image"], whole["image"][:, 5:25, 10:40])
    shifted = torch.Tensor(whole["landmarks"]) - torch.tensor([10.0, 5.0])
    outside = (shifted < 0).any(1) | (shifted >= torch.tensor([30.0, 20.0])).any(1)
    assert outside.any()
    shifted[outside] = NAN
    torch.testing.assert_close(torch.Tensor(cropped["landmarks"]), shifted, equal_nan=True)


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ("10.4 5.6 3.2 2.0", (10, 5, 14, 8)),
        ("-3.0 -2.0 500.0 500.0", (0, 0, 50, 40)),
        ("60.0 50.0 5.0 5.0", (49, 39, 50, 40)),
    ],
)
def test_the_crop_is_the_pixels_the_box_touches_and_never_empty(tmp_path, box, pixels):
    folder = draw_cub(tmp_path)
    lines = (folder / "bounding_boxes.txt").read_text().splitlines()
    (folder / "bounding_boxes.txt").write_text("\n".join([*lines[:3], f"4 {box}", *lines[4:]]) + "\n")
    left, top, right, bottom = pixels
    whole, cropped = (CUB200(folder, "test", crop=crop)[1]["image"] for crop in (False, True))
    assert torch.equal(cropped, whole[:, top:bottom, left:right])


def test_classes_select_and_order_and_validation_is_taken_from_train(tmp_path):
    folder = draw_cub(tmp_path)
    chosen = CUB200(folder, "test", classes=["003.Sooty_Albatross", "001.Black_footed_Albatross"])
    assert chosen.labels.tolist() == [1, 1, 0, 0]
    train, validation = (CUB200(folder, split) for split in ("train", "validation"))
    assert train.labels.tolist() == validation.labels.tolist() == [0, 1, 2]
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())


def test_the_fingerprint_changes_with_a_landmark_and_an_image(tmp_path):
    folder = draw_cub(tmp_path)
    first = CUB200(folder, "test").fingerprint()
    assert first == CUB200(tmp_path, "test").fingerprint()
    text = (folder / "parts" / "part_locs.txt").read_text()
    (folder / "parts" / "part_locs.txt").write_text(text.replace("3 1 12.0", "3 1 13.0"))
    second = CUB200(folder, "test").fingerprint()
    Image.fromarray(np.zeros((40, 50, 3), dtype=np.uint8)).save(next((folder / "images").rglob("*_0002_2.jpg")))
    assert len({first, second, CUB200(folder, "test").fingerprint()}) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            "parts/part_locs.txt",
            "2 1 12.0",
            "2 1 twelve",
            r"part_locs.txt:16: 5 numbers were expected, found '2 1 twelve",
        ),
        (
            "bounding_boxes.txt",
            "3 10.0 5.0 30.0 20.0\n",
            "",
            r"bounding_boxes.txt was expected to have 12 lines, found 11",
        ),
        ("image_class_labels.txt", "5 2", "5 9", r"image_class_labels.txt:5: the class 9 is not in classes.txt"),
        ("train_test_split.txt", "6 1", "66 1", r"train_test_split.txt:6: image 6 was expected"),
        (
            "classes.txt",
            "2 002.Laysan_Albatross",
            "two",
            r"classes.txt:2: a number and a name were expected, found 'two'",
        ),
    ],
)
def test_a_row_that_is_not_as_distributed_is_named_by_file_and_line(tmp_path, file, old, new, sentence):
    path = draw_cub(tmp_path) / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=sentence):
        CUB200(tmp_path)


def test_a_missing_folder_file_image_and_class_are_named(tmp_path):
    with pytest.raises(DataError, match=r"has no images.txt"):
        CUB200(tmp_path)
    folder = draw_cub(tmp_path)
    with pytest.raises(DataError, match=r"did you mean '003.Sooty_Albatross'"):
        CUB200(folder, classes=["Sooty_Albatross"])
    data = CUB200(folder, "test")
    next((folder / "images").rglob("*_0002_2.jpg")).unlink()
    with pytest.raises(DataError, match=r"_0002_2.jpg, named at .*images.txt:3, .* does not exist"):
        data[0]
    (folder / "parts" / "parts.txt").unlink()
    with pytest.raises(DataError, match=r"parts.txt was expected to be there"):
        CUB200(folder)
