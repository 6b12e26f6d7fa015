import numpy as np
import pytest
from drawn_layouts import draw_celeba_mask, rectangle
from PIL import Image
from reading import nearest, pixels, rows_of, samples_of

from interpretable.convert import convert_celeba_mask
from interpretable.data import PartAnnotatedFolder
from interpretable.errors import DataError


def test_landmarks_are_centres_of_masks_in_pixels_of_the_image(tmp_path):
    list(convert_celeba_mask(draw_celeba_mask(tmp_path / "in"), tmp_path / "out", size=None))
    row = rows_of(tmp_path / "out")["images/Smiling/1.jpg"]
    expected = {"left eye": (60, 105, 20, 10), "lower lip": (125, 205, 50, 10), "hat": (128, 12.75, 256, 25.5)}
    for part, numbers in expected.items():
        assert tuple(float(row[f"{part}_{axis}"]) for axis in "xywh") == numbers
    assert row["right eye_x"] == row["hair_x"] == ""
    assert rows_of(tmp_path / "out")["images/not Smiling/0.jpg"]["hat_x"] == ""


def test_without_a_size_images_are_copied_and_masks_brought_to_their_pixels(tmp_path):
    folder = draw_celeba_mask(tmp_path / "in")
    list(convert_celeba_mask(folder, tmp_path / "out", size=None))
    copied = (tmp_path / "out/images/Smiling/2001.jpg").read_bytes()
    assert copied == (folder / "CelebA-HQ-img" / "2001.jpg").read_bytes()
    mask = pixels(tmp_path / "out/masks/2001/left eye.png") != 0
    np.testing.assert_array_equal(mask, nearest(rectangle(512, 512, (100, 140, 200, 220)), 256, 256))
    assert sorted(path.stem for path in (tmp_path / "out/masks/0").iterdir()) == ["left eye", "lower lip"]


def test_images_are_scaled_to_the_size_with_their_masks(tmp_path):
    folder = draw_celeba_mask(tmp_path / "in")
    list(convert_celeba_mask(folder.parent, tmp_path / "out", size=64))
    sample = PartAnnotatedFolder(tmp_path / "out", "test")[0]
    assert sample["image"].shape == (3, 64, 64)
    with Image.open(folder / "CelebA-HQ-img" / "2001.jpg") as image:
        whole = image.resize((64, 64), Image.Resampling.BILINEAR)
    assert abs(sample["image"].numpy().astype(int) - np.asarray(whole, dtype=int).transpose(2, 0, 1)).max() <= 6
    np.testing.assert_array_equal(
        sample["masks"][11].numpy(), nearest(rectangle(512, 512, (200, 300, 400, 420)), 64, 64)
    )
    assert samples_of(tmp_path / "out", "test")["images/Smiling/2001.jpg"]["lower lip"].tolist() == [
        31.25,
        51.25,
        12.5,
        2.5,
    ]


def test_splits_are_those_of_celeba_and_an_image_is_a_group(tmp_path):
    list(convert_celeba_mask(draw_celeba_mask(tmp_path / "in"), tmp_path / "out"))
    rows = rows_of(tmp_path / "out")
    assert {name.split("/")[2]: (row["split"], row["group"]) for name, row in rows.items()} == {
        "0.jpg": ("train", "162770"),
        "3.jpg": ("train", "1"),
        "1.jpg": ("validation", "162771"),
        "2000.jpg": ("validation", "182637"),
        "2001.jpg": ("test", "182638"),
    }


def test_the_attribute_gives_the_two_classes(tmp_path):
    folder = draw_celeba_mask(tmp_path / "in")
    list(convert_celeba_mask(folder, tmp_path / "out", attribute="Young"))
    assert {row["label"] for row in rows_of(tmp_path / "out").values()} == {"not Young"}
    with pytest.raises(
        DataError, match=r"attribute-anno.txt:2: the attribute 'smiling' was expected.* did you mean 'Smiling'"
    ):
        convert_celeba_mask(folder, tmp_path / "other", attribute="smiling")


def test_an_attribute_that_is_no_file_name_is_refused(tmp_path):
    folder = draw_celeba_mask(tmp_path / "in")
    path = folder / "CelebAMask-HQ-attribute-anno.txt"
    path.write_text(path.read_text().replace("Smiling", "../Smiling"))
    with pytest.raises(DataError, match=r"a name of a class that can be a file name was expected"):
        list(convert_celeba_mask(folder, tmp_path / "out", attribute="../Smiling"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


MAPPING, ATTRIBUTES = "CelebA-HQ-to-CelebA-mapping.txt", "CelebAMask-HQ-attribute-anno.txt"


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (MAPPING, "000001.jpg", "first", r"mapping.txt:3: idx, orig_idx and orig_file .* found '3 0 first'"),
        (ATTRIBUTES, "3.jpg  1 1 -1", "3.jpg  1 1", r"anno.txt:4: an image and 3 times 1 or -1 were expected"),
        (ATTRIBUTES, "3.jpg  1 1 -1", "3.jpg  1 0 -1", r"anno.txt:4: an image and 3 times 1 or -1 were expected"),
        (ATTRIBUTES, "3.jpg  1 1 -1\n", "", r"mapping.txt: image 3 is not in CelebAMask-HQ-attribute-anno.txt"),
    ],
)
def test_a_line_that_is_not_as_distributed_is_named(tmp_path, file, old, new, sentence):
    path = draw_celeba_mask(tmp_path / "in") / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=sentence):
        convert_celeba_mask(tmp_path / "in", tmp_path / "out")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"in was expected to hold the images of CelebAMask-HQ in CelebA-HQ-img or"):
        convert_celeba_mask(tmp_path / "in", tmp_path / "out")
    folder = draw_celeba_mask(tmp_path / "in")
    masks = folder / "CelebAMask-HQ-mask-anno"
    (masks / "1").rename(masks / "one")
    with pytest.raises(
        DataError, match=r"mask-anno was expected to hold the masks of image 2000 in 1, but has no such"
    ):
        list(convert_celeba_mask(folder, tmp_path / "out"))
    (masks / "one").rename(masks / "1")
    Image.new("L", (256, 256)).save(masks / "0" / "00001_hair.png")
    with pytest.raises(DataError, match=r"00001_hair.png was expected to have the 512x512 pixels"):
        list(convert_celeba_mask(folder, tmp_path / "out"))
    (folder / "CelebA-HQ-img" / "0.jpg").unlink()
    with pytest.raises(
        DataError, match=r"0.jpg, named at .*mapping.txt, was expected to be an image, but it does not exist"
    ):
        list(convert_celeba_mask(folder, tmp_path / "out"))
    (folder / "CelebA-HQ-to-CelebA-mapping.txt").unlink()
    with pytest.raises(DataError, match=r"mapping.txt was expected to be there, but is not"):
        convert_celeba_mask(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
