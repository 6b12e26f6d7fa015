from pathlib import Path

import numpy as np
import pytest
from drawn_layouts import slope
from PIL import Image
from reading import rows_of

from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data import PartAnnotatedFolder
from interpretable.errors import DataError


def annotated(stem, **changes):
    content = {"stem": stem, "image": slope(30, 20), "size": (30, 20), "label": "cat", "split": "train", "group": stem}
    return AnnotatedImage(**(content | {"landmarks": {"head": (3.5, 4.25)}} | changes))


def conversion(target, images, parts=("head", "tail"), boxes=True):
    return Conversion(Path("source"), target, parts, images, lambda image: [image], boxes)


def test_rows_are_written_in_order_and_the_iterator_counts_the_images(tmp_path):
    steps = [["a", "b"], [], ["c"]]
    written = Conversion(Path("s"), tmp_path / "out", ["head"], steps, lambda names: map(annotated, names), boxes=False)
    assert len(written) == 3
    assert list(written) == [2, 2, 3]
    assert list(rows_of(tmp_path / "out")) == ["images/cat/a.jpg", "images/cat/b.jpg", "images/cat/c.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_numbers_read_back_as_the_same_float32_and_boxes_have_their_columns(tmp_path):
    rng = np.random.default_rng(0)
    points = {str(n): tuple(rng.uniform(0, 20, 2)) for n in range(50)}
    sides = {str(n): tuple(rng.uniform(1e-4, 9, 2)) for n in range(25)}
    list(conversion(tmp_path / "out", [annotated("a", landmarks=points, box_sizes=sides)], tuple(points)))
    data = PartAnnotatedFolder(tmp_path / "out", "train")
    np.testing.assert_array_equal(data[0]["landmarks"].numpy(), np.array(list(points.values()), dtype=np.float32))
    boxes = data[0]["boxes"].numpy()
    np.testing.assert_array_equal(boxes[:25, 2:], np.array(list(sides.values()), dtype=np.float32))
    assert np.isnan(boxes[25:]).all()


@pytest.mark.parametrize("point", [(30.0, 5.0), (-0.1, 5.0), (5.0, 20.0), (float("nan"), 1.0), (29.9999999, 1.0)])
def test_a_landmark_outside_its_picture_is_written_as_not_annotated(tmp_path, point):
    image = annotated("a", landmarks={"head": point, "tail": (1, 2)}, box_sizes={"head": (2, 2), "tail": (1, 1)})
    list(conversion(tmp_path / "out", [image]))
    (row,) = rows_of(tmp_path / "out").values()
    assert [row[f"head_{axis}"] for axis in "xywh"] == [""] * 4
    assert [row[f"tail_{axis}"] for axis in "xywh"] == ["1.0", "2.0", "1.0", "1.0"]


def test_a_file_is_copied_byte_for_byte_and_masks_lie_where_the_reader_looks(tmp_path):
    slope(30, 20).save(tmp_path / "face.png")
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:7, 5:9] = True
    list(conversion(tmp_path / "out", [annotated("a", image=tmp_path / "face.png", masks={"tail": mask})]))
    assert (tmp_path / "out" / "images/cat/a.png").read_bytes() == (tmp_path / "face.png").read_bytes()
    sample = PartAnnotatedFolder(tmp_path / "out", "train")[0]
    assert not sample["masks"][0].any()
    np.testing.assert_array_equal(sample["masks"][1].numpy(), mask)


def test_a_cropped_picture_loses_nothing_to_see(tmp_path):
    list(conversion(tmp_path / "out", [annotated("a")]))
    difference = np.asarray(Image.open(tmp_path / "out/images/cat/a.jpg"), dtype=int) - np.asarray(slope(30, 20))
    assert abs(difference).max() <= 6


def test_an_error_half_way_leaves_nothing_behind(tmp_path):
    def read(number):
        if number == 2:
            raise DataError("third")
        return [annotated(str(number))]

    steps = Conversion(Path("s"), tmp_path / "new" / "out", ["head"], range(5), read, boxes=False)
    with pytest.raises(DataError, match="third"):
        list(steps)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_iteration_that_is_given_up_leaves_nothing_behind(tmp_path):
    steps = iter(conversion(tmp_path / "out", [annotated("a"), annotated("b")]))
    assert next(steps) == 1
    assert not (tmp_path / "out").exists()
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled_and_any_other_target_is_refused_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    list(conversion(tmp_path / "out", [annotated("a")]))
    before = (tmp_path / "out" / "annotations.csv").read_bytes()
    with pytest.raises(
        DataError, match=r"out was expected to be a new or an empty folder, but it holds 'annotations.csv'"
    ):
        conversion(tmp_path / "out", [annotated("b")])
    assert (tmp_path / "out" / "annotations.csv").read_bytes() == before
    (tmp_path / "file").write_text("kept")
    with pytest.raises(DataError, match=r"file was expected to be a new or an empty folder, but it is a file"):
        conversion(tmp_path / "file", [annotated("b")])


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    list(conversion(tmp_path / "link", [annotated("a")]))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "annotations.csv").is_file()


def test_a_target_that_is_filled_meanwhile_is_not_overwritten(tmp_path):
    steps = iter(conversion(tmp_path / "out", [annotated("a")]))
    next(steps)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    with pytest.raises(DataError, match=r"holds 'kept'"):
        next(steps)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


HOSTILE = ["../up", "a/b", "a\\b", "a\nb", "", ".", "..", ".hidden", " a", "a ", "a\x00b", "C:", "a" * 151, "a\u2028b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_file_name_or_no_cell_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="source: a name of a part that can be a file name was expected"):
        conversion(tmp_path / "out", [], parts=(name,))
    for what, changes in (("class", {"label": name}), ("file", {"stem": name})):
        with pytest.raises(DataError, match=f"source: a name of a {what} that can be a file name was expected"):
            list(
                conversion(tmp_path / "out", [annotated("a", **changes) if "stem" not in changes else annotated(name)])
            )
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_comma_a_quote_or_an_accent_is_kept(tmp_path):
    names = ["l'œil, gauche", "a b (c)"]
    list(
        conversion(tmp_path / "out", [annotated(names[1], label=names[0], landmarks={names[0]: (1, 2)})], tuple(names))
    )
    data = PartAnnotatedFolder(tmp_path / "out", "train")
    assert (data.classes, data.parts) == ((names[0],), tuple(names))
    assert data[0]["landmarks"][0].tolist() == [1, 2]


def test_two_images_of_one_name_and_no_image_at_all_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"source: images of different names were expected, found two images/cat/a.jpg"):
        list(conversion(tmp_path / "out", [annotated("a"), annotated("a")]))
    with pytest.raises(DataError, match=r"source was expected to hold annotated objects .* holds none"):
        list(conversion(tmp_path / "out", []))
    assert list(tmp_path.iterdir()) == []
