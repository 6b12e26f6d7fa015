"""The map of a moved image is the moved map, and what is not pays."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from losses.maps import close, double, gradient_of, one_hot_maps, random_maps
from oracles import equivariance as oracle
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn import functional as F

from interpretable.losses import equivariance_loss, move_images, random_affine
from interpretable.receptive_field import ReceptiveField

STRIDED = ReceptiveField(9, 4, 2.0)
"""Units in the middle of squares of 4 pixels, which cover the image."""


def affine_maps(*rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def shift(across: float, down: float, image_size: tuple[int, int], images: int = 1) -> Tensor:
    """Maps to the point of the original that lies as many pixels to the right and below."""
    row = [[1.0, 0.0, 2 * across / image_size[1]], [0.0, 1.0, 2 * down / image_size[0]]]
    return affine_maps(*[row] * images)


def drawn_case(
    images: int = 5, filters: int = 3, cells: tuple[int, int] = (5, 7)
) -> tuple[Tensor, Tensor, Tensor, ReceptiveField, tuple[int, int]]:
    """Maps, maps of the moved images, wide moves, units off the middle of their squares, and a long image."""
    x, moved = random_maps(images, filters, *cells), random_maps(images, filters, *cells)
    image_size = (40, 56)
    maps = random_affine(torch.zeros(images, 1, *image_size, dtype=torch.float64), scale=1.0, shift=0.2, rotation=60.0)
    return x, moved, maps, ReceptiveField(31, 8, 0.5), image_size


def expected(x: Tensor, moved: Tensor, maps: Tensor, field: ReceptiveField, image_size: tuple[int, int]) -> Tensor:
    arguments = (x.tolist(), moved.tolist(), maps.tolist(), field.offset, field.stride, image_size)
    return double(oracle.equivariance_loss(*arguments))


# Value and gradient.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cells", [(5, 7), (4, 4), (4, 6)])
def test_values_equal_the_oracle(cells: tuple[int, int], seed: int) -> None:
    torch.manual_seed(seed)
    x, moved, maps, field, image_size = drawn_case(cells=cells)
    x[:2, 1], moved[1:3, 2] = 0.0, 0.0
    value = equivariance_loss(x, moved, maps, field, image_size)
    assert value.dtype == torch.float64
    assert value.max() > 0.2
    close(value, expected(x, moved, maps, field, image_size), 1e-10)


@pytest.mark.parametrize(("cells", "by"), [((1, 6), (5.0, 0.0)), ((6, 1), (0.0, -11.0)), ((1, 1), (0.0, 0.0))])
def test_values_of_maps_of_one_row_or_column_equal_the_oracle(cells: tuple[int, int], by: tuple[float, float]) -> None:
    x, moved, _, field, image_size = drawn_case(cells=cells)
    maps = shift(*by, image_size, 5)
    value = equivariance_loss(x, moved, maps, field, image_size)
    assert (value.max() > 0.2) == (cells != (1, 1))
    close(value, expected(x, moved, maps, field, image_size), 1e-10)
    assert equivariance_loss(x, moved, maps.flip(1), field, image_size).sum() == 0  # off the row, nothing is in view


def test_autograd_agrees_with_finite_differences_in_both_branches() -> None:
    x, moved, *rest = drawn_case(images=3, filters=2, cells=(4, 4))
    x, moved = (part.clamp(min=0.1).requires_grad_() for part in (x, moved))
    assert torch.autograd.gradcheck(lambda x, moved: equivariance_loss(x, moved, *rest), (x, moved))
    by_x, by_moved = torch.autograd.grad(equivariance_loss(x, moved, *rest).sum(), (x, moved))
    assert min(by_x.abs().max(), by_moved.abs().max()) > 1e-2


# Known values.


def test_maps_that_stay_with_images_that_stay_cost_nothing() -> None:
    x = random_maps(4, 3, 5, 6)
    assert equivariance_loss(x, x, shift(0, 0, (20, 24), 4), STRIDED, (20, 24)).max() < 1e-24


@pytest.mark.parametrize(("across", "down"), [(4, 0), (0, -4), (-8, 4)])
def test_maps_that_are_a_function_of_content_cost_nothing_where_the_image_moves_by_strides(
    across: int, down: int
) -> None:
    images = torch.rand(3, 2, 24, 32, dtype=torch.float64)
    maps = shift(across, down, (24, 32), 3)
    x, moved = (F.avg_pool2d(part, 4) for part in (images, move_images(images, maps)))
    assert equivariance_loss(x, moved, maps, STRIDED, (24, 32)).max() < 1e-20
    assert equivariance_loss(x, x, maps, STRIDED, (24, 32)).min() > 1e-2


def test_a_blob_frozen_at_a_cell_pays_for_a_shift() -> None:
    x = one_hot_maps([14], 5, 6)
    costs = [equivariance_loss(x, x, shift(pixels, 0, (20, 24)), STRIDED, (20, 24)).item() for pixels in (1, 2, 4, 8)]
    # A quarter and half of a cell on leave (3/4, 1/4) and (1/2, 1/2) of it in the cells.
    assert costs == pytest.approx([1 - 0.75 / math.hypot(0.75, 0.25), 1 - math.sqrt(0.5), 1.0, 1.0], abs=1e-12)


def test_a_map_that_shows_the_content_at_its_place_follows_a_shift_by_half_a_cell() -> None:
    x, follower = one_hot_maps([14], 5, 6), 0.5 * (one_hot_maps([13], 5, 6) + one_hot_maps([14], 5, 6))
    assert equivariance_loss(x, follower, shift(2, 0, (20, 24)), STRIDED, (20, 24)).item() == pytest.approx(
        0, abs=1e-20
    )


MIRROR = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
ENLARGED = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]


def tents(points: list[tuple[float, float]], field: ReceptiveField, cells: int, width: int) -> Tensor:
    """Maps (B, 1, n, n) that mark a point: 1 there, falling to 0 within as many pixels along each axis."""
    centres = field.offset + field.stride * torch.arange(cells, dtype=torch.float64)
    across, down = (
        (1 - (centres - double(axis)[:, None]).abs() / width).clamp(min=0) for axis in zip(*points, strict=True)
    )
    return (down[:, :, None] * across[:, None, :])[:, None]


def test_a_map_that_marks_a_point_of_the_image_follows_a_mirror_where_its_units_lie() -> None:
    # Units at 0, 16, 32 and 48 of 64 pixels: a network of stride 16 whose units lie half a cell before the middle.
    field, naive = ReceptiveField(99, 16, 0.0), ReceptiveField(99, 16, 8.0)
    points = [(16.0, 32.0), (32.0, 16.0)]
    mirrored = [(64.0 - x, y) for x, y in points]
    x, moved = tents(points, field, 4, 16), tents(mirrored, field, 4, 16)
    maps = affine_maps(MIRROR, MIRROR)
    assert equivariance_loss(x, moved, maps, field, (64, 64)).item() < 1e-20
    assert equivariance_loss(x, moved, maps, naive, (64, 64)).item() > 0.5


def test_a_map_that_marks_a_point_of_the_image_follows_a_scale_where_its_units_lie() -> None:
    field, naive = ReceptiveField(99, 16, 0.0), ReceptiveField(99, 16, 8.0)
    # Enlarged twice about (32, 32), the mark of (32, 16) is one of (32, 0), and twice as wide.
    x, moved = tents([(32.0, 16.0)], field, 4, 16), tents([(32.0, 0.0)], field, 4, 32)
    maps = affine_maps(ENLARGED)
    assert equivariance_loss(x, moved, maps, field, (64, 64)).item() < 1e-20
    assert equivariance_loss(x, moved, maps, naive, (64, 64)).item() > 0.05


# What counts.


def test_nothing_is_extrapolated() -> None:
    x, moved, maps = random_maps(1, 1, 4, 4), random_maps(1, 1, 4, 4), shift(8, 0, (16, 16))
    value = equivariance_loss(x, moved, maps, STRIDED, (16, 16))
    moved[..., 2:] = 100 * torch.rand(4, 2, dtype=torch.float64)  # these two columns show what no unit has seen
    assert torch.equal(equivariance_loss(x, moved, maps, STRIDED, (16, 16)), value)


def test_images_moved_out_of_view_do_not_count() -> None:
    x, moved = random_maps(3, 2, 4, 4) + 0.1, random_maps(3, 2, 4, 4) + 0.1
    maps = torch.cat([shift(pixels, 0, (16, 16)) for pixels in (4.0, 12.0, 13.0)])  # 12, 4 and no cells in view
    value = equivariance_loss(x, moved, maps, STRIDED, (16, 16))
    assert torch.equal(value, equivariance_loss(x[:2], moved[:2], maps[:2], STRIDED, (16, 16)))
    assert (value != equivariance_loss(x[:1], moved[:1], maps[:1], STRIDED, (16, 16))).all()
    assert equivariance_loss(x[2:], moved[2:], maps[2:], STRIDED, (16, 16)).tolist() == [0, 0]
    down = shift(12, 4, (16, 16))  # 3 of 16 cells
    assert equivariance_loss(x[:1], moved[:1], down, STRIDED, (16, 16)).tolist() == [0, 0]


@pytest.mark.parametrize("branch", [0, 1])
def test_pairs_that_are_silent_in_view_do_not_count_and_give_no_gradient(branch: int) -> None:
    pair = [random_maps(2, 2, 4, 4) + 0.1, random_maps(2, 2, 4, 4) + 0.1]
    pair[branch][1, 0] = 0.0
    pair[branch][1, 0, :, 0 if branch == 0 else -1] = 5.0  # at the border that the move takes out of view
    maps = shift(5, 0, (16, 16), 2)
    value = equivariance_loss(*pair, maps, STRIDED, (16, 16))
    alone = equivariance_loss(pair[0][:1], pair[1][:1], maps[:1], STRIDED, (16, 16))
    assert value[0] == alone[0]
    assert value[1] != alone[1]
    for part in pair:
        part.requires_grad_()
    for gradient in torch.autograd.grad(equivariance_loss(*pair, maps, STRIDED, (16, 16)).sum(), pair):
        assert torch.equal(gradient[1, 0], torch.zeros(4, 4, dtype=torch.float64))
        assert gradient[1, 1].abs().max() > 0


def test_a_filter_that_is_always_silent_costs_nothing() -> None:
    x, moved, *rest = drawn_case()
    x[:, 1] = 0.0
    assert equivariance_loss(x, moved, *rest)[1] == 0
    gradient = gradient_of(lambda x: equivariance_loss(x, moved, *rest).sum(), x)
    assert torch.equal(gradient[:, 1], torch.zeros(5, 5, 7, dtype=torch.float64))


def test_a_nan_spoils_its_own_filter_alone() -> None:
    x, moved, *rest = drawn_case()
    for branch in (x, moved):
        kept = branch.clone()
        branch[:, 1] = math.nan
        value = equivariance_loss(x, moved, *rest)
        branch.copy_(kept)
        assert value[1].isnan()
        assert torch.equal(value[[0, 2]], equivariance_loss(x, moved, *rest)[[0, 2]])


# Invariances and bounds.


@pytest.mark.parametrize("factor", [1e-30, 0.3, 1e30])
def test_the_strength_of_a_filter_does_not_matter(factor: float) -> None:
    x, moved, maps, *rest = drawn_case()
    x, moved, maps = x.float(), moved.float(), maps.float()
    value = equivariance_loss(x, moved, maps, *rest)
    close(equivariance_loss(factor * x, moved, maps, *rest), value, 1e-6)
    close(equivariance_loss(x, factor * moved, maps, *rest), value, 1e-6)


def test_the_order_of_images_and_filters_does_not_matter() -> None:
    x, moved, maps, *rest = drawn_case()
    images, filters = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 1])
    value = equivariance_loss(x, moved, maps, *rest)
    assert (value.diff().abs() > 1e-3).all()
    close(equivariance_loss(x[images], moved[images], maps[images], *rest), value, 1e-12)
    close(equivariance_loss(x[:, filters], moved[:, filters], maps, *rest), value[filters], 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_also_under_autocast(dtype: torch.dtype) -> None:
    x, moved, maps, *rest = drawn_case()
    x, moved = x.to(dtype), moved.to(dtype)
    value = equivariance_loss(x, moved, maps.float(), *rest)
    assert value.dtype == torch.float32
    close(value.double(), expected(x.double(), moved.double(), maps, *rest), 1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(equivariance_loss(x, moved, maps.float(), *rest), value)


# Moves.


def pixel_maps(maps: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(B, 2, 3) in pixels from the centre of the image."""
    half = double([image_size[1] / 2, image_size[0] / 2])
    return torch.cat([half[:, None] * maps[..., :2] / half, half[:, None] * maps[..., 2:]], -1)


def test_images_that_are_not_square_are_rotated_rigidly() -> None:
    images = torch.zeros(2000, 1, 20, 50, dtype=torch.float64)
    linear = pixel_maps(random_affine(images, scale=0.25, shift=0.1, rotation=30.0), (20, 50))[..., :2]
    squares = linear.transpose(1, 2) @ linear
    scale = squares[:, 0, 0].sqrt()
    torch.testing.assert_close(squares, scale[:, None, None] ** 2 * torch.eye(2).double(), rtol=0, atol=1e-6)
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg()
    assert -30 <= angle.min() < -29 < 29 < angle.max() <= 30
    assert 0.8 - 1e-6 <= scale.min() < 0.81 < 1.24 < scale.max() <= 1.25 + 1e-6
    # Uniform between ±a: mean 0 and standard deviation a/√3.
    for drawn, largest in ((angle, 30), (scale.log(), math.log(1.25))):
        assert abs(drawn.mean() / largest) < 0.06
        assert (drawn.std() / largest).item() == pytest.approx(1 / math.sqrt(3), rel=0.05)


def test_shifts_are_shares_of_the_sides() -> None:
    images = torch.zeros(2000, 1, 20, 50, dtype=torch.float64)
    by = pixel_maps(random_affine(images, scale=0.0, shift=0.1, rotation=0.0), (20, 50))[..., 2].abs()
    assert by.amax(0).tolist() == pytest.approx([5.0, 2.0], rel=0.01)
    assert by.mean(0).tolist() == pytest.approx([2.5, 1.0], rel=0.06)


def test_no_scale_shift_or_rotation_leaves_the_images_alone() -> None:
    images = torch.rand(2, 3, 8, 12)
    maps = random_affine(images, scale=0.0, shift=0.0, rotation=0.0)
    assert torch.equal(maps, torch.eye(3)[:2].expand(2, 2, 3))
    close(move_images(images, maps), images, 1e-5)


def test_moves_are_the_same_for_the_same_seed_and_different_for_every_image() -> None:
    drawn = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.manual_seed(7)
        drawn.append(random_affine(torch.zeros(4, 1, 8, 8, dtype=dtype)))
    assert [maps.dtype for maps in drawn] == [torch.float32, torch.float64, torch.float32]
    assert torch.equal(drawn[0], drawn[2])
    close(drawn[0].double(), drawn[1], 0)
    for maps, others in pairwise(drawn[0]):
        assert (maps != others).all()


def test_a_quarter_turn_in_pixels_turns_the_middle_of_a_long_image() -> None:
    images = torch.rand(1, 2, 6, 10, dtype=torch.float64)
    turn = affine_maps([[0.0, -6 / 10, 0.0], [10 / 6, 0.0, 0.0]])  # shows what lies at (−y, x)
    moved = move_images(images, turn)
    close(moved[..., 2:8], images[..., 2:8].rot90(1, (2, 3)), 1e-12)


def test_a_shift_shows_what_lies_there_and_reflects_it_beyond_the_border() -> None:
    images = torch.arange(6.0).expand(1, 1, 4, 6)
    moved = move_images(images, shift(2, 0, (4, 6)).float())
    close(moved[0, 0], torch.tensor([2.0, 3.0, 4.0, 5.0, 5.0, 4.0]).expand(4, 6), 1e-5)


def test_half_precision_images_are_moved_as_in_float32_also_under_autocast() -> None:
    images = torch.rand(2, 3, 16, 24).bfloat16()
    maps = random_affine(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = move_images(images, maps)
    assert moved.dtype == torch.bfloat16
    assert torch.equal(moved, move_images(images.float(), maps).bfloat16())


# Ranks.

SIZES = [5, 2]


def measured(part: slice) -> tuple[Tensor, Tensor]:
    """Value, and gradient by a shared parameter θ for a rank's images."""
    torch.manual_seed(5)
    x, moved, maps, *rest = drawn_case(images=sum(SIZES))
    x[5:, 1] = 0.0  # a filter that is silent on the second rank
    theta = (1 + torch.rand(3, 5, 7, dtype=torch.float64)).requires_grad_()
    value = equivariance_loss(x[part] * theta, moved[part] * theta, maps[part], *rest)
    (gradient,) = torch.autograd.grad((double([1.0, -2.0, 3.0]) * value).sum(), theta)
    return value.detach(), gradient


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    part = (slice(None, SIZES[0]), slice(SIZES[0], None))[rank]
    torch.save(measured(part), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_unequal_shares_equal_one_process(tmp_path: Path) -> None:
    mp.start_processes(one_rank, args=(str(tmp_path),), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    value, gradient = measured(slice(None))
    assert gradient.abs().max() > 1e-3
    for ranked, _ in ranks:
        close(ranked, value, 1e-12)
    close(torch.stack([ranked for _, ranked in ranks]).mean(0), gradient, 1e-12)  # as DDP averages
