import numpy as np
import pytest
from drawn_layouts import CAT, COW, animal, draw_voc_part, rectangle, struct_array
from reading import nearest, pixels, rows_of, samples_of
from scipy.io import savemat

from interpretable.convert import convert_voc_part
from interpretable.convert.voc_part import MERGED_PARTS, OWN_PARTS
from interpretable.data import PartAnnotatedFolder
from interpretable.errors import DataError

OWNER = {"head": "head", "leye": "head", "torso": "torso", "neck": "torso", "lfleg": "fore leg", "rbpa": "hind leg"}


def painted(size, parts, owner):
    """(H, W) names: every part painted over those before it, pixel by pixel."""
    labels = np.full((size[1], size[0]), "", dtype=object)
    for name, (left, right, top, bottom) in parts.items():
        for row in range(top, bottom):
            for pixel in range(left, right):
                labels[row, pixel] = owner.get(name, "")
    return labels


def masks_of(folder, name):
    return {path.stem: pixels(path) != 0 for path in (folder / "masks" / name).iterdir()}


def test_merged_masks_are_the_parts_painted_in_the_order_of_the_file(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out", size=None))
    labels = painted((100, 80), CAT, OWNER | {"tail": "tail"})[10:70, 20:80]
    found = masks_of(tmp_path / "out", "2008_000001_1")
    assert sorted(found) == ["fore leg", "head", "hind leg", "tail", "torso"]
    for part, mask in found.items():
        np.testing.assert_array_equal(mask, labels == part)


def test_a_part_that_is_in_no_group_still_owns_its_pixels(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out", size=None))
    labels = painted((60, 50), COW, {"head": "head", "lhorn": "head", "torso": "torso"})
    found = masks_of(tmp_path / "out", "2008_000002_1")
    assert sorted(found) == ["head", "torso"]
    for part, mask in found.items():
        np.testing.assert_array_equal(mask, labels == part)
    row = rows_of(tmp_path / "out")["images/cow/2008_000002_1.jpg"]
    assert [float(row[f"torso_{axis}"]) for axis in "xywh"] == [32.5, 30, 45, 40]
    assert row["tail_x"] == row["fore leg_x"] == ""


def test_landmarks_are_the_centres_of_the_boxes_round_the_masks(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out", size=None))
    row = rows_of(tmp_path / "out")["images/cat/2008_000001_1.jpg"]
    expected = {
        "head": (15, 15, 30, 30),
        "torso": (40, 35, 40, 30),
        "fore leg": (30, 50, 10, 20),
        "tail": (59, 25, 2, 10),
    }
    for part, numbers in expected.items():
        assert tuple(float(row[f"{part}_{axis}"]) for axis in "xywh") == numbers


def test_crops_are_scaled_to_the_size_with_their_masks_and_boxes(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out"))
    labels = painted((100, 80), CAT, OWNER | {"tail": "tail"})[10:70, 20:80]
    for part, mask in masks_of(tmp_path / "out", "2008_000001_1").items():
        np.testing.assert_array_equal(mask, nearest(labels == part, 224, 224))
    (parts,) = (parts for name, parts in samples_of(tmp_path / "out", "test").items() if "000002" in name)
    np.testing.assert_allclose(parts["torso"], np.array([32.5 / 60, 30 / 50, 45 / 60, 40 / 50]) * 224, rtol=1e-6)


def test_the_six_animals_that_are_large_enough_are_cropped_and_groups_and_splits_are_those_of_the_photos(tmp_path):
    conversion = convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out")
    assert (len(conversion), list(conversion)) == (4, [2, 3, 4, 4])
    rows = rows_of(tmp_path / "out")
    assert {name: (row["label"], row["split"], row["group"]) for name, row in rows.items()} == {
        "images/cat/2008_000001_1.jpg": ("cat", "train", "2008_000001"),
        "images/cat/2008_000001_3.jpg": ("cat", "train", "2008_000001"),
        "images/cow/2008_000002_1.jpg": ("cow", "test", "2008_000002"),
        "images/cow/2008_000004_2.jpg": ("cow", "train", "2008_000004"),
    }
    assert not (tmp_path / "out" / "masks" / "2008_000001_3").exists()  # no part of it is annotated


def test_the_reader_gives_the_masks_with_the_image(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out", size=64))
    data = PartAnnotatedFolder(tmp_path / "out", "train", validation=0.5)
    assert data.classes == ("cat", "cow")
    assert data.parts == ("head", "torso", "leg", "tail", "fore leg", "hind leg")
    sample = data[0]
    assert sample["masks"].shape == (6, 64, 64)
    assert sample["masks"][0].any()
    assert not sample["masks"][2].any()  # cats have no "leg"


def test_without_merging_every_part_keeps_all_its_pixels_and_its_side(tmp_path):
    list(convert_voc_part(draw_voc_part(tmp_path / "in"), tmp_path / "out", size=None, merge_parts=False))
    found = masks_of(tmp_path / "out", "2008_000001_1")
    assert sorted(found) == ["head", "left eye", "left fore leg", "neck", "right hind paw", "tail", "torso"]
    for own, sides in CAT.items():
        np.testing.assert_array_equal(found[OWN_PARTS[own]], rectangle(100, 80, sides)[10:70, 20:80] != 0)
    assert PartAnnotatedFolder(tmp_path / "out", "test", classes=["cow"]).parts == tuple(OWN_PARTS.values())


def test_merged_groups_are_those_of_the_paper():
    assert {kind: len(parts) for kind, parts in MERGED_PARTS.items()} == {
        "bird": 4, "cat": 5, "dog": 5, "cow": 4, "horse": 4, "sheep": 4
    }  # fmt: skip
    merged = [name for parts in MERGED_PARTS.values() for names in parts.values() for name in names]
    assert set(merged) == set(OWN_PARTS)
    for parts in MERGED_PARTS.values():
        names = [name for group in parts.values() for name in group]
        assert len(names) == len(set(names))


def test_without_lists_the_photos_are_split_by_a_fixed_seed(tmp_path):
    source = draw_voc_part(tmp_path / "in")
    for name in ("train.txt", "val.txt"):
        (source / "VOCdevkit/VOC2010/ImageSets/Main" / name).unlink()
    for target in ("out", "again"):
        list(convert_voc_part(source, tmp_path / target))
    rows = rows_of(tmp_path / "out")
    assert rows == rows_of(tmp_path / "again")
    pairs = {(row["group"], row["split"]) for row in rows.values()}
    assert len(pairs) == len({group for group, _ in pairs})
    assert {split for _, split in pairs} == {"train", "test"}


def refused(tmp_path, sentence):
    with pytest.raises(DataError, match=sentence):
        list(convert_voc_part(tmp_path / "in", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_not_as_distributed_is_named(tmp_path):
    refused(
        tmp_path, r"in was expected to hold PASCAL-Part's annotations in Annotations_Part or trainval/Annotations_Part"
    )
    source = draw_voc_part(tmp_path / "in")
    path = source / "Annotations_Part" / "2008_000002.mat"

    def write(*objects):
        savemat(path, {"anno": {"imname": "2008_000002", "objects": struct_array(objects)}})

    whole = [(0, 60, 0, 50)]
    write(animal("cow", 10, (60, 50), whole, {"../../up": (0, 9, 0, 9)}))
    refused(tmp_path, r"2008_000002.mat: a part of a cow was expected, found '../../up'")
    write(animal("cow", 10, (50, 60), whole, {}))
    refused(tmp_path, r"2008_000002.mat: a mask of the 60x50 pixels of its photo was expected, found one of 50x60")
    write({"class": "cow", "mask": rectangle(60, 50, *whole)})
    refused(tmp_path, r"2008_000002.mat: structs with the fields class, mask, parts were expected, .* no parts")
    savemat(path, {"annotation": 1.0})
    refused(tmp_path, r"2008_000002.mat was expected to hold the variable anno, but does not")
    path.write_bytes(path.read_bytes()[:150])
    refused(tmp_path, r"2008_000002.mat was expected to be a MATLAB file, but cannot be read")
    write(animal("cow", 10, (60, 50), whole, {}))
    voc = source / "VOCdevkit" / "VOC2010"
    (voc / "ImageSets/Main/val.txt").write_text("2009_000003\n")
    refused(
        tmp_path, r"2008_000002.mat: the photo 2008_000002 was expected in .*train.txt or val.txt, but is in neither"
    )
    (voc / "ImageSets/Main/val.txt").unlink()
    refused(tmp_path, r"val.txt was expected beside train.txt, but is not there")
    (voc / "ImageSets/Main/train.txt").unlink()
    (voc / "JPEGImages" / "2008_000002.jpg").unlink()
    refused(
        tmp_path, r"2008_000002.jpg, named at .*2008_000002.mat, was expected to be an image, but it does not exist"
    )
    (voc / "JPEGImages").rename(voc / "elsewhere")
    refused(tmp_path, r"in was expected to hold VOC 2010's photos in JPEGImages or VOC2010/JPEGImages or")


def test_a_photo_without_objects_writes_nothing(tmp_path):
    source = draw_voc_part(tmp_path / "in")
    savemat(source / "Annotations_Part" / "2008_000002.mat", {"anno": {"imname": "x", "objects": np.zeros((0, 0))}})
    assert list(convert_voc_part(source, tmp_path / "out")) == [2, 2, 3, 3]
