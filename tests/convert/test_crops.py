import numpy as np
import pytest
from drawn_layouts import slope
from reading import nearest

from interpretable.convert.crops import Crop, box_of_mask, check_size, crop_of_box
from interpretable.errors import ConfigurationError


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((10.4, 5.6, 70.2, 60.0), (10, 5, 71, 60)),
        ((-5.0, -3.0, 500.0, 500.0), (0, 0, 100, 80)),
        ((10.0, 5.0, 60.0, 55.0), (10, 5, 60, 55)),
    ],
)
def test_a_crop_is_the_pixels_the_box_touches_within_the_image(box, pixels):
    crop = crop_of_box(box, (100, 80), None)
    assert crop.pixels == pixels
    assert (crop.width, crop.height) == (pixels[2] - pixels[0], pixels[3] - pixels[1])
    np.testing.assert_array_equal(
        np.asarray(crop.picture(slope(100, 80))),
        np.asarray(slope(100, 80))[pixels[1] : pixels[3], pixels[0] : pixels[2]],
    )


def test_boxes_of_fewer_than_2500_pixels_are_left_out():
    assert crop_of_box((0, 0, 50, 50), (100, 80), 224) == Crop((0, 0, 50, 50), 224, 224)
    assert crop_of_box((0, 0, 50, 49), (100, 80), 224) is None
    assert crop_of_box((60, 0, 130, 60), (100, 80), 224) is None  # 40 x 60 of it lie in the image
    assert crop_of_box((300, 300, 500, 500), (100, 80), 224) is None
    assert crop_of_box((50, 50, 40, 40), (100, 80), 224) is None


def test_points_and_boxes_move_with_the_pixels():
    crop = Crop((10, 20, 60, 120), 100, 50)
    assert crop.point(10, 20) == (0, 0)
    assert crop.point(60, 120) == (100, 50)
    assert crop.box((20, 40, 30, 60)) == ((30, 15), (20, 10))


def test_a_mask_takes_the_pixel_under_each_centre():
    mask = np.random.default_rng(0).random((90, 70)) > 0.5
    crop = Crop((5, 10, 65, 85), 224, 224)
    np.testing.assert_array_equal(crop.mask(mask), nearest(mask[10:85, 5:65], 224, 224))


def test_the_box_of_a_mask_holds_its_pixels_and_no_more():
    mask = np.zeros((20, 30), dtype=bool)
    assert box_of_mask(mask) is None
    mask[3, 7] = mask[9, 4] = True
    assert box_of_mask(mask) == (4, 3, 8, 10)


def test_a_size_that_is_not_positive_is_refused():
    check_size(None)
    with pytest.raises(ConfigurationError, match="size was expected to be a positive number of pixels"):
        check_size(0)
