from fractions import Fraction

import numpy as np
import pytest
import torch

from interpretable.concepts.resizing import check_sizes, make_concept_sample, nearest_pixels
from interpretable.concepts.samples import concept_table
from interpretable.data.images import make_sample
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD, standardise
from interpretable.errors import ConfigurationError


def test_concepts_are_numbered_one_category_after_the_other() -> None:
    table = concept_table({"part": ("head", "leg"), "object": ("leg",), "colour": (), "texture": ("plain", "striped")})
    assert table.concepts == ("head", "leg", "leg", "plain", "striped")
    assert table.categories == ("part", "object", "colour", "texture")
    assert table.concept_category.tolist() == [0, 0, 1, 3, 3]
    assert table.concept_category.dtype == torch.int64
    assert table.first == (0, 2, 3, 3)


@pytest.mark.parametrize("old", [(1, 1), (7, 5), (12, 8), (64, 48)])
@pytest.mark.parametrize("new", [(1, 1), (5, 7), (12, 8), (31, 97)])
def test_a_pixel_is_the_one_in_which_its_centre_lies(old: tuple[int, int], new: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(-1, 9, (2, *old))
    found = nearest_pixels(values, new)
    for (layer, row, column), value in np.ndenumerate(found):
        y, x = Fraction(2 * row + 1, 2 * new[0]) * old[0], Fraction(2 * column + 1, 2 * new[1]) * old[1]
        assert value == values[layer, int(y), int(x)]


def test_a_size_that_is_kept_keeps_every_pixel() -> None:
    values = np.arange(24).reshape(4, 6)
    assert np.array_equal(nearest_pixels(values, (4, 6)), values)


def test_images_are_resized_and_normalised_as_for_training() -> None:
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    sample = make_concept_sample(image, np.zeros((2, 3, 3), np.uint8), 4, 7, (16, 12))
    expected = standardise(make_sample(image, torch.tensor(0), 0), (16, 12))["image"]
    assert torch.equal(sample["image"], expected)
    assert sample["image"].shape == (3, 16, 12)
    assert sample["label_maps"].dtype == torch.int64
    assert (sample["label"], sample["index"]) == (4, 7)


def test_an_even_image_keeps_its_value_at_any_size() -> None:
    image = torch.tensor([10, 100, 250], dtype=torch.uint8)[:, None, None].expand(3, 9, 13)
    normalised = make_concept_sample(image, np.zeros((1, 1, 1)), 0, 0, (31, 5))["image"]
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        expected = (image[channel, 0, 0].item() / 255 - mean) / std
        assert normalised[channel].numpy() == pytest.approx(np.full((31, 5), expected), abs=1e-5)


@pytest.mark.parametrize(("image_size", "size", "name"), [((0, 4), (4, 4), "image_size"), ((4, 4), (4,), "size")])
def test_a_size_that_is_none_is_refused(image_size: tuple[int, ...], size: tuple[int, ...], name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} was expected to be a height and a width"):
        check_sizes(image_size, size)
