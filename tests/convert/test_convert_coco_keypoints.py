import json

import pytest
from drawn_layouts import KEYPOINTS, draw_coco_keypoints
from reading import pixels, rows_of, samples_of

from interpretable.convert import convert_coco_keypoints
from interpretable.data import PartAnnotatedFolder
from interpretable.errors import DataError

FIRST = "images/person/000000000001_11.jpg"


def test_visible_keypoints_are_the_centres_of_their_pixels_in_the_crop(tmp_path):
    source = draw_coco_keypoints(tmp_path / "in")
    list(convert_coco_keypoints(source, tmp_path / "out", size=None))
    found = samples_of(tmp_path / "out", "train")
    assert {part: numbers[:2].tolist() for part, numbers in found[FIRST].items()} == {
        "nose": [30.5, 25.5],
        "left eye": [35.5, 20.5],
    }
    second = found["images/person/000000000001_12.jpg"]
    assert {part: numbers[:2].tolist() for part, numbers in second.items()} == {"left ankle": [59.5, 69.5]}
    whole = pixels(source / "train2017" / "000000000001.jpg")
    cropped = pixels(tmp_path / "out" / FIRST)
    assert cropped.shape == (62, 61, 3)
    assert abs(cropped - whole[5:67, 10:71]).max() <= 6


def test_landmarks_are_scaled_with_the_crop(tmp_path):
    list(convert_coco_keypoints(draw_coco_keypoints(tmp_path / "in"), tmp_path / "out"))
    row = rows_of(tmp_path / "out")[FIRST]
    assert float(row["nose_x"]) == pytest.approx(30.5 * 224 / 61, rel=1e-6)
    assert float(row["nose_y"]) == pytest.approx(25.5 * 224 / 62, rel=1e-6)
    assert pixels(tmp_path / "out" / FIRST).shape == (224, 224, 3)


def test_crowds_small_people_and_people_without_keypoints_are_left_out_and_val_is_for_testing(tmp_path):
    conversion = convert_coco_keypoints(draw_coco_keypoints(tmp_path / "in"), tmp_path / "out")
    assert (len(conversion), list(conversion)) == (3, [2, 2, 3])
    assert {name: (row["split"], row["group"], row["label"]) for name, row in rows_of(tmp_path / "out").items()} == {
        FIRST: ("train", "1", "person"),
        "images/person/000000000001_12.jpg": ("train", "1", "person"),
        "images/person/000000000004_21.jpg": ("test", "4", "person"),
    }


def test_the_seventeen_keypoints_are_the_parts_and_none_has_a_box(tmp_path):
    list(convert_coco_keypoints(draw_coco_keypoints(tmp_path / "in"), tmp_path / "out"))
    data = PartAnnotatedFolder(tmp_path / "out", "test")
    assert data.parts == tuple(name.replace("_", " ") for name in KEYPOINTS)
    assert data[0]["boxes"].isnan().all()
    assert "nose_w" not in next(iter(rows_of(tmp_path / "out").values()))


def test_one_of_the_two_files_is_enough(tmp_path):
    source = draw_coco_keypoints(tmp_path / "in")
    (source / "annotations" / "person_keypoints_train2017.json").unlink()
    list(convert_coco_keypoints(source, tmp_path / "out"))
    assert [row["split"] for row in rows_of(tmp_path / "out").values()] == ["test"]
    (source / "annotations" / "person_keypoints_val2017.json").unlink()
    with pytest.raises(DataError, match=r"in was expected to hold annotations/person_keypoints_train2017.json or"):
        convert_coco_keypoints(source, tmp_path / "other")


def no_person(content):
    content["categories"][0]["name"] = "dog"


def no_images(content):
    del content["images"]


def no_such_image(content):
    content["annotations"][0]["image_id"] = 9


def too_few_numbers(content):
    del content["annotations"][0]["keypoints"][-3:]


def no_number(content):
    content["annotations"][0]["keypoints"][0] = "x"


def no_finite_box(content):
    content["annotations"][0]["bbox"][2] = float("nan")


def short_box(content):
    content["annotations"][0]["bbox"].pop()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (no_person, "StopIteration"),
        (no_images, "KeyError: 'images'"),
        (no_such_image, "KeyError: 9"),
        (too_few_numbers, "annotation 21 has 48 numbers, not 3 for each keypoint"),
        (no_number, "could not convert string to float"),
        (no_finite_box, "annotation 21 has no finite bbox"),
        (short_box, "ValueError: not enough values"),
    ],
)
def test_a_file_that_is_not_as_distributed_is_named_with_what_is_wrong(tmp_path, change, found):
    path = draw_coco_keypoints(tmp_path / "in") / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"val2017.json was expected to hold COCO's images.* but does not \(.*{found}"):
        convert_coco_keypoints(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\xff", "[" * 100_000])
def test_a_file_that_is_no_such_json_is_named(tmp_path, text):
    path = draw_coco_keypoints(tmp_path / "in") / "annotations" / "person_keypoints_val2017.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"val2017.json was expected to hold COCO's images"):
        convert_coco_keypoints(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/secret.jpg", "a\nb.jpg"])
def test_a_file_name_that_leads_elsewhere_is_refused(tmp_path, name):
    path = draw_coco_keypoints(tmp_path / "in") / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"val2017.json: a name of a file that can be a file name was expected"):
        convert_coco_keypoints(tmp_path / "in", tmp_path / "out")


def test_keypoints_that_differ_between_the_files_and_a_missing_photo_are_named(tmp_path):
    source = draw_coco_keypoints(tmp_path / "in")
    (source / "train2017" / "000000000001.jpg").unlink()
    with pytest.raises(DataError, match=r"000000000001.jpg, named at .*train2017.json, .* does not exist"):
        list(convert_coco_keypoints(source, tmp_path / "out"))
    path = source / "annotations" / "person_keypoints_val2017.json"
    path.write_text(path.read_text().replace("left_ear", "left_horn"))
    with pytest.raises(
        DataError, match=r"val2017.json was expected to have the keypoints of person_keypoints_train2017"
    ):
        convert_coco_keypoints(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
