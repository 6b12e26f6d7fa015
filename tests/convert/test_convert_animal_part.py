import numpy as np
import pytest
from drawn_layouts import column, draw_animal_part, save_matlab
from reading import pixels, rows_of, samples_of

from interpretable.convert import convert_animal_part
from interpretable.convert.animal_part import ANIMALS
from interpretable.data import PartAnnotatedFolder
from interpretable.errors import DataError


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_part_boxes_are_in_pixels_of_a_crop_of_224(tmp_path, version):
    list(convert_animal_part(draw_animal_part(tmp_path / "in", version), tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    fox, fish = rows["images/fox/00001.jpg"], rows["images/goldfish/00001.jpg"]
    assert [float(fox[f"head_{axis}"]) for axis in "xywh"] == [112, 56, 56, 28]
    assert [float(fox[f"leg_{axis}"]) for axis in "xywh"] == [28, 196, 14, 42]
    assert [float(fish[f"head_{axis}"]) for axis in "xywh"] == [112, 56, 56, 28]
    assert [fish[f"leg_{axis}"] for axis in "xywh"] == [""] * 4
    assert pixels(tmp_path / "out/images/fox/00001.jpg").shape == (224, 224, 3)


def test_without_a_size_the_crop_is_the_box_with_its_first_and_last_pixel(tmp_path):
    source = draw_animal_part(tmp_path / "in")
    list(convert_animal_part(source, tmp_path / "out", size=None))
    fox = rows_of(tmp_path / "out")["images/fox/00001.jpg"]
    assert [float(fox[f"head_{axis}"]) for axis in "xywh"] == [35, 17.5, 17.5, 8.75]
    whole = pixels(source / "n02118333_obj/img/img/00001.jpg")
    cropped = pixels(tmp_path / "out/images/fox/00001.jpg")
    assert cropped.shape == (70, 70, 3)
    assert abs(cropped - whole[20:90, 10:80]).max() <= 6


def test_small_objects_and_parts_that_were_marked_twice_are_left_out(tmp_path):
    list(convert_animal_part(draw_animal_part(tmp_path / "in"), tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    assert sorted(rows) == [
        *(f"images/fox/{number:05}.jpg" for number in (1, 2, 4, 5, 6)),
        *(f"images/goldfish/{number:05}.jpg" for number in range(1, 6)),
    ]
    assert rows["images/fox/00002.jpg"]["head_x"] == ""
    assert rows["images/goldfish/00005.jpg"]["head_x"] == ""


def test_crops_of_one_photo_are_a_group_and_every_class_has_images_of_both_splits(tmp_path):
    list(convert_animal_part(draw_animal_part(tmp_path / "in"), tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    groups = {name: row["group"] for name, row in rows.items()}
    assert groups["images/fox/00001.jpg"] == groups["images/fox/00002.jpg"]
    assert len(set(groups.values())) == len(groups) - 1
    assert {(row["label"], row["split"]) for row in rows.values()} == {
        (label, split) for label in ("fox", "goldfish") for split in ("train", "test")
    }
    list(convert_animal_part(tmp_path / "in", tmp_path / "again"))
    assert rows_of(tmp_path / "again") == rows


def test_the_reader_reads_what_was_written(tmp_path):
    list(convert_animal_part(draw_animal_part(tmp_path / "in"), tmp_path / "out"))
    found = {
        name: parts
        for split in ("train", "validation", "test")
        for name, parts in samples_of(tmp_path / "out", split).items()
    }
    assert len(found) == 10
    assert found["images/fox/00004.jpg"]["leg"].tolist() == [28, 196, 14, 42]
    data = PartAnnotatedFolder(tmp_path / "out", "test")
    assert (data.classes, data.parts) == (("fox", "goldfish"), ("head", "leg"))


def test_part_boxes_may_lie_in_a_folder_of_their_own(tmp_path):
    source = draw_animal_part(tmp_path / "in")
    (tmp_path / "boxes").mkdir()
    for synset in ("n01443537", "n02118333"):
        (source / synset).rename(tmp_path / "boxes" / synset)
    with pytest.raises(
        DataError, match=r"n01443537.truth_part01.mat was expected to be a MATLAB file, but is not there"
    ):
        convert_animal_part(source, tmp_path / "out")
    list(convert_animal_part(source, tmp_path / "out", part_boxes=tmp_path / "boxes"))
    assert len(rows_of(tmp_path / "out")) == 10


def test_the_thirty_animals_have_thirty_names():
    assert len(ANIMALS) == len(set(ANIMALS.values())) == 30


def test_what_is_not_as_distributed_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"in was expected to hold the folders <synset>_obj of detanimalpart, but has none"
    ):
        convert_animal_part(tmp_path / "in", tmp_path / "out")
    source = draw_animal_part(tmp_path / "in", "5")
    fox = source / "n02118333"
    truth = (fox / "truth_part02.mat").read_bytes()
    whole = {"pHW_center": column(1, 2), "pHW_scale": column(1, 2)}
    save_matlab(fox / "truth_part02.mat", "truth", [whole] * 5, "5")
    with pytest.raises(
        DataError, match=r"truth_part02.mat was expected to have an entry for each of 6 samples, found 5"
    ):
        convert_animal_part(source, tmp_path / "out")
    save_matlab(fox / "truth_part02.mat", "truth", [whole] * 5 + [whole | {"pHW_scale": column(1, np.nan)}], "5")
    with pytest.raises(DataError, match=r"truth_part02.mat: truth\(6\).pHW_scale was expected to be 2 finite"):
        convert_animal_part(source, tmp_path / "out")
    (fox / "truth_part02.mat").write_bytes(truth)
    data = source / "n02118333_obj" / "img" / "data.mat"
    save_matlab(data, "samples", [{"obj": {"box": 1.0}}] * 6, "5")
    with pytest.raises(
        DataError, match=r"data.mat: samples\(1\).obj.bndbox was expected to hold xmin, ymin, xmax and ymax"
    ):
        convert_animal_part(source, tmp_path / "out")
    save_matlab(data, "samples", [{"obj": {"bndbox": {"xmin": "a", "ymin": 1.0, "xmax": 9.0, "ymax": 9.0}}}] * 6, "5")
    with pytest.raises(DataError, match=r"data.mat: a side of samples\(1\)'s box was expected to be 1 finite number"):
        convert_animal_part(source, tmp_path / "out")
    save_matlab(data, "samples", [{"obj": {"bndbox": dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), 1.0)}}] * 7, "5")
    save_matlab(fox / "truth_part01.mat", "truth", [whole] * 7, "5")
    save_matlab(fox / "truth_part02.mat", "truth", [whole] * 7, "5")
    with pytest.raises(DataError, match=r"00007.jpg was expected, as .*data.mat has 7 samples, but is not there"):
        convert_animal_part(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_photo_that_is_no_image_is_named_and_leaves_nothing_behind(tmp_path):
    source = draw_animal_part(tmp_path / "in")
    (source / "n02118333_obj/img/img/00005.jpg").write_text("nothing")
    with pytest.raises(DataError, match=r"00005.jpg, named at .*data.mat, was expected to be an image"):
        list(convert_animal_part(source, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
