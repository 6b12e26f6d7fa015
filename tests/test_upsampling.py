import numpy as np
import pytest
import torch
from oracles import network_dissection as literal
from torch.nn import functional as F

from interpretable.receptive_field import ReceptiveField
from interpretable.upsampling import interpolation_weights, pixel_centres, upsample

FIELDS = [
    ReceptiveField(11, 4, 2.0),
    ReceptiveField(35, 4, -3.5),
    ReceptiveField(9, 3, 7.25),
    ReceptiveField(1, 40, 0.0),
]


def test_pixels_cover_the_image_with_their_centres_in_the_middle() -> None:
    assert pixel_centres(3, 12).tolist() == [2.0, 6.0, 10.0]
    assert pixel_centres(4, 2).tolist() == [0.25, 0.75, 1.25, 1.75]


def test_weights_by_hand() -> None:
    # units at 2, 6, 10; pixels at 1, 3, 5, 7, 9, 11
    weights = interpolation_weights(3, 6, ReceptiveField(5, 4, 2.0), 12)
    assert weights.tolist() == [
        [1, 0, 0],
        [0.75, 0.25, 0],
        [0.25, 0.75, 0],
        [0, 0.75, 0.25],
        [0, 0.25, 0.75],
        [0, 0, 1],
    ]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("cells", "pixels"), [(1, 5), (5, 3), (7, 56), (6, 1)])
def test_weights_are_shares_of_at_most_two_neighbouring_cells(cells: int, pixels: int, field: ReceptiveField) -> None:
    weights = interpolation_weights(cells, pixels, field, 24)
    assert weights.shape == (pixels, cells)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(pixels, dtype=torch.float64), rtol=0, atol=1e-12)
    for row in weights:
        used = row.nonzero().flatten()
        assert used[-1] - used[0] <= 1


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("size", [(8, 6), (24, 20), (5, 31), (1, 1)])
def test_the_maps_are_the_literal_interpolation(size: tuple[int, int], field: ReceptiveField) -> None:
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = [literal.upsample(x, size, field.offset, field.stride, (24, 20)) for x in maps.flatten(0, 1)]
    result = upsample(maps, size, field, (24, 20))
    torch.testing.assert_close(result.flatten(0, 1), torch.tensor(np.stack(expected)), rtol=0, atol=1e-12)


def test_units_in_the_middle_of_equal_squares_are_torch_s_bilinear_resize() -> None:
    maps = torch.randn(2, 3, 4, 6)
    result = upsample(maps, (32, 48), ReceptiveField(99, 8, 4.0), (32, 48))
    expected = F.interpolate(maps, (32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_a_plane_over_the_unit_centres_stays_a_plane_between_them() -> None:
    field = ReceptiveField(5, 4, 2.0)
    centres = field.centres(6).double()
    maps = (2 * centres[:, None] - 3 * centres)[None, None]  # 2y − 3x
    result = upsample(maps, (48, 48), field, (24, 24))[0, 0]
    where = pixel_centres(48, 24)
    expected = 2 * where[:, None] - 3 * where
    inside = (where >= centres[0]) & (where <= centres[-1])
    torch.testing.assert_close(result[inside][:, inside], expected[inside][:, inside], rtol=0, atol=1e-10)
    assert torch.equal(result[:4], result[3:4].expand(4, -1))  # constant beyond the outermost unit, at 2


def test_a_map_never_rises_above_its_peak_nor_falls_below_its_least() -> None:
    maps = torch.randn(20, 5, 7, 7, dtype=torch.float64)
    result = upsample(maps, (50, 41), ReceptiveField(9, 3, 1.7), (23, 22))
    assert (result.amax((-2, -1)) <= maps.amax((-2, -1)) + 1e-12).all()
    assert (result.amin((-2, -1)) >= maps.amin((-2, -1)) - 1e-12).all()


@pytest.mark.parametrize(
    ("given", "returned"),
    [(torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_halves_are_computed_in_float32(given: torch.dtype, returned: torch.dtype) -> None:
    maps = torch.rand(1, 2, 3, 3).to(given)
    result = upsample(maps, (6, 6), FIELDS[0], (12, 12))
    assert result.dtype == returned
    torch.testing.assert_close(result.double(), upsample(maps.double(), (6, 6), FIELDS[0], (12, 12)))
