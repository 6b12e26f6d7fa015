import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.part_template import positive_template
from torch import Tensor

from interpretable.templates import centroid, part_templates, peak, template_mask, templates_at

few = settings(deadline=None, max_examples=25, database=None)
sides = st.integers(min_value=1, max_value=9)


def one_hot_map(height: int, width: int, row: int, column: int) -> Tensor:
    x = torch.zeros(1, 1, height, width)
    x[0, 0, row, column] = 1.0
    return x


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 3), (4, 7), (9, 2), (1, 6)])
@pytest.mark.parametrize("beta", [4.0, 1.5, 0.25])
def test_templates_are_the_literal_formula(height: int, width: int, beta: float) -> None:
    templates = part_templates(height, width, beta)
    literal = [positive_template(height, width, a, b, beta) for a in range(height) for b in range(width)]
    assert templates.shape == (height * width, height, width)
    torch.testing.assert_close(templates.double(), torch.tensor(literal, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_row_of_a_template_by_hand() -> None:
    # w = 8, β = 4: half a unit a column away from the peak, clipped at −1; h = 4: a whole unit a row
    template = part_templates(4, 8)[1 * 8 + 3]
    assert template[1].tolist() == [-0.5, 0.0, 0.5, 1.0, 0.5, 0.0, -0.5, -1.0]
    assert template[2].tolist() == [-1.0, -1.0, -0.5, 0.0, -0.5, -1.0, -1.0, -1.0]
    assert torch.equal(template[0], template[2])
    assert template[3].tolist() == [-1.0] * 8


@few
@given(sides, sides)
def test_a_template_is_1_at_its_own_cell_alone_and_never_below_minus_1(height: int, width: int) -> None:
    templates = part_templates(height, width)
    flat = templates.flatten(1)
    assert torch.equal(flat.diagonal(), torch.ones(height * width))
    assert torch.equal((flat == 1).sum(1), torch.ones(height * width, dtype=torch.int64))
    assert flat.min() >= -1
    if height > 1 and width > 1:  # the far corner is then at least 2/β away
        assert torch.equal(flat.amin(1), -torch.ones(height * width))


@few
@given(sides, sides)
def test_transposing_the_map_transposes_the_templates(height: int, width: int) -> None:
    upright = part_templates(height, width).reshape(height, width, height, width)
    lying = part_templates(width, height).reshape(width, height, width, height)
    torch.testing.assert_close(upright, lying.permute(1, 0, 3, 2), rtol=0, atol=1e-6)


@few
@given(sides, sides)
def test_mirroring_the_map_mirrors_the_templates(height: int, width: int) -> None:
    templates = part_templates(height, width).reshape(height, width, height, width)
    torch.testing.assert_close(templates, templates.flip(0, 1, 2, 3), rtol=0, atol=1e-6)


def test_the_peak_is_the_flat_index_of_the_maximum() -> None:
    x = torch.zeros(2, 2, 3, 5)
    x[0, 0, 2, 4] = 1.0
    x[0, 1, 1, 0] = 0.1
    x[1, 0, 0, 3] = 2.0
    x[1, 1] = torch.arange(-15.0, 0.0).reshape(3, 5).flip(0, 1)
    index = peak(x)
    assert index.dtype == torch.int64
    assert index.tolist() == [[14, 5], [3, 0]]


@pytest.mark.parametrize("size", [2, 5, 14, 40])
def test_a_tie_of_peaks_goes_to_the_lowest_index(size: int) -> None:
    x = torch.zeros(3, 1, size, size)
    x[1] = 0.5
    x[2, 0, size - 1, 0] = x[2, 0, 1, 1] = x[2, 0, size - 1, size - 1] = 7.0
    assert peak(x).flatten().tolist() == [0, 0, size + 1 if size > 2 else 2]


def test_the_peak_of_a_transposed_view_is_read_in_row_major_order() -> None:
    x = torch.rand(2, 3, 4, 6)
    view = x.transpose(2, 3)
    assert torch.equal(peak(view), peak(view.contiguous()))


@few
@given(sides, sides, st.data())
def test_of_a_one_hot_map_peak_and_centroid_are_its_cell(height: int, width: int, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, height - 1))
    column = data.draw(st.integers(0, width - 1))
    x = one_hot_map(height, width, row, column)
    assert peak(x).item() == centroid(x).item() == row * width + column


def test_centroids_of_known_maps() -> None:
    x = torch.zeros(1, 4, 5, 7)
    x[0, 0] = 1.0  # flat: the centre (2, 3)
    x[0, 1, 0, 0], x[0, 1, 4, 6] = 1.0, 3.2  # (4, 6) · 3.2/4.2 = (3.05, 4.57): (3, 5)
    x[0, 2, 1, 2:5] = 2.0  # a horizontal bar: its middle (1, 3)
    x[0, 3, 0, 1], x[0, 3, 3, 1] = 1.0, 4.0  # (2.4, 1): (2, 1)
    assert centroid(x).dtype == torch.int64
    assert centroid(x).tolist() == [[2 * 7 + 3, 3 * 7 + 5, 1 * 7 + 3, 2 * 7 + 1]]
    assert peak(x).tolist() == [[0, 4 * 7 + 6, 1 * 7 + 2, 3 * 7 + 1]]


def test_the_centroid_of_an_all_zero_map_is_a_cell_of_the_map() -> None:
    index = centroid(torch.zeros(2, 3, 4, 5))
    assert ((index >= 0) & (index < 20)).all()


@pytest.mark.parametrize("beta", [4.0, 2.0])
@pytest.mark.parametrize(("position", "cell"), [("argmax", peak), ("centroid", centroid)])
def test_the_mask_is_the_clipped_template_of_the_cell(position: str, cell, beta: float) -> None:
    x = torch.rand(4, 3, 5, 6) ** 4
    bank = part_templates(5, 6, beta)
    expected = torch.stack([torch.stack([bank[i] for i in row]) for row in cell(x).tolist()]).clamp(min=0)
    assert not torch.equal(peak(x), centroid(x))
    torch.testing.assert_close(template_mask(x, beta=beta, position=position), expected, rtol=0, atol=1e-6)


def test_the_argmax_is_the_default_position_of_the_mask() -> None:
    x = torch.rand(4, 3, 5, 6)
    assert torch.equal(template_mask(x), template_mask(x, beta=4.0, position="argmax"))


@few
@given(st.integers(2, 10), st.data())
def test_the_mask_is_1_at_the_peak_and_reaches_less_than_a_beta_th_of_the_side(n: int, data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    mask = template_mask(one_hot_map(n, n, row, column))[0, 0]
    assert mask[row, column] == 1
    assert mask.min() == 0
    for i in range(n):
        for j in range(n):
            assert (mask[i, j] > 1e-6).item() == (4 * (abs(i - row) + abs(j - column)) < n)


def test_the_mask_of_an_all_zero_map_leaves_the_map_all_zero() -> None:
    x = torch.zeros(1, 2, 3, 4)
    assert torch.equal(x * template_mask(x), x)


def test_no_gradient_flows_through_the_mask() -> None:
    x = torch.rand(2, 3, 4, 5, requires_grad=True)
    mask = template_mask(x)
    assert not mask.requires_grad
    (gradient,) = torch.autograd.grad((x * mask).sum(), x)
    assert torch.equal(gradient, mask)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_mask_has_the_type_of_the_map(dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 4, 5).to(dtype)
    assert template_mask(x).dtype == dtype


@pytest.mark.parametrize("position", ["argmax", "centroid"])
@pytest.mark.parametrize("beta", [4.0, torch.tensor([3.0, 4.0, 5.0])])
def test_positions_and_masks_are_those_of_the_numbers_and_lie_in_memory_as_the_maps_do(
    position: str, beta: float | Tensor
) -> None:
    x = torch.randint(3, (5, 3, 6, 7)).float()  # several cells share a maximum
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(peak(last), x.flatten(2).argmax(-1))
    assert torch.equal(peak(x), x.flatten(2).argmax(-1))
    mask = template_mask(last, beta, position)
    assert torch.equal(mask, template_mask(x, beta, position))
    assert mask.stride() == last.stride()
    assert template_mask(x, beta, position).stride() == x.stride()
    some = torch.cat([last, last], 1)[:, :3]
    assert torch.equal(template_mask(some, beta, position), mask)
    assert template_mask(some, beta, position).stride() == last.stride()


def test_templates_at_positions_are_those_of_the_bank() -> None:
    bank = part_templates(4, 5, 3.0)
    positions = torch.tensor([[0, 7, 19], [12, 4, 3]])
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(templates_at(x, positions, 3.0), bank[positions])
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(templates_at(last, positions, 3.0), templates_at(x, positions, 3.0))
    assert templates_at(last, positions, 3.0).stride() == last.stride()
    each = templates_at(x, positions, torch.tensor([3.0, 4.0, 6.0]))
    for c, beta in enumerate((3.0, 4.0, 6.0)):
        torch.testing.assert_close(each[:, c], part_templates(4, 5, beta)[positions[:, c]])
