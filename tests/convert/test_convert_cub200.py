import numpy as np
import pytest
import torch
from data.drawn import draw_cub
from reading import rows_of

from interpretable.convert import CONVERTERS, convert_cub200
from interpretable.data import CUB200, PartAnnotatedFolder
from interpretable.errors import DataError


def test_landmarks_are_those_that_the_reader_gives_and_those_outside_are_not_annotated(tmp_path):
    list(convert_cub200(draw_cub(tmp_path / "in"), tmp_path / "out", size=None))
    birds, converted = CUB200(tmp_path / "in", "test"), PartAnnotatedFolder(tmp_path / "out", "test")
    assert converted.parts == birds.parts
    assert len(converted) == len(birds) == 6
    for index in range(6):
        expected, found = birds[index], converted[index]
        assert torch.equal(torch.Tensor(found["landmarks"]).isnan(), torch.Tensor(expected["landmarks"]).isnan())
        torch.testing.assert_close(found["landmarks"], expected["landmarks"], equal_nan=True, rtol=0, atol=0)
        assert found["image"].shape == expected["image"].shape


def test_a_landmark_is_scaled_with_the_crop(tmp_path):
    list(convert_cub200(draw_cub(tmp_path / "in"), tmp_path / "out"))
    row = rows_of(tmp_path / "out")["images/001.Black_footed_Albatross/00003.jpg"]
    # Part 3 of image 3 is at x = 16, y = 7.3; the box begins at 10, 5 and has 30 x 20 pixels.
    np.testing.assert_allclose(
        [float(row["belly_x"]), float(row["belly_y"])], [6 / 30 * 224, 2.3 / 20 * 224], rtol=1e-5
    )
    assert row["beak_x"] == ""
    assert PartAnnotatedFolder(tmp_path / "out", "test")[0]["image"].shape == (3, 224, 224)


def test_the_split_is_the_distributed_one_and_every_photo_a_group(tmp_path):
    conversion = convert_cub200(draw_cub(tmp_path / "in"), tmp_path / "out")
    assert (len(conversion), list(conversion)) == (12, list(range(1, 13)))
    rows = list(rows_of(tmp_path / "out").items())
    assert [row["group"] for _, row in rows] == [str(number) for number in range(1, 13)]
    assert [row["split"] for _, row in rows] == ["train", "train", "test", "test"] * 3
    assert [name.split("/")[1][:3] for name, _ in rows] == ["001"] * 4 + ["002"] * 4 + ["003"] * 4


def test_a_hostile_class_name_and_what_the_reader_refuses_are_named(tmp_path):
    folder = draw_cub(tmp_path / "in")
    text = (folder / "classes.txt").read_text()
    (folder / "classes.txt").write_text(text.replace("002.Laysan_Albatross", "../../up"))
    with pytest.raises(DataError, match=r"a name of a class that can be a file name was expected.* '../../up'"):
        list(convert_cub200(folder, tmp_path / "out"))
    (folder / "parts" / "parts.txt").unlink()
    with pytest.raises(DataError, match=r"parts.txt was expected to be there"):
        convert_cub200(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_every_converter_refuses_a_size_of_zero_and_a_source_that_is_not_there(tmp_path):
    for convert in CONVERTERS.values():
        with pytest.raises(DataError, match="missing"):
            convert(tmp_path / "missing", tmp_path / "out")
        with pytest.raises(ValueError, match="size was expected to be a positive number of pixels"):
            convert(tmp_path / "missing", tmp_path / "out", size=0)
