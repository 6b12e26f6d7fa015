import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.maps import close, gradient_of, one_hot_maps, per_filter, random_maps
from oracles import part_template as oracle

from interpretable.losses import decompose, effective_images, mutual_information

few = settings(deadline=None, max_examples=20, database=None)

SHAPES = [(1, 2, 3, 3), (2, 1, 2, 5), (4, 3, 4, 3), (7, 2, 5, 4), (5, 2, 1, 6), (3, 2, 6, 6)]
SCALES = [None, 0.5, 5.0]


# The oracle itself.


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
def test_the_two_oracle_gradients_agree(scale: float) -> None:
    maps = random_maps(3, 3, 2).tolist()
    closed = torch.tensor(oracle.mutual_information_gradient(maps, 4.0, scale))
    differences = torch.tensor(oracle.mutual_information_differences(maps, 4.0, scale))
    assert closed.abs().max() > 1e-3 * scale
    torch.testing.assert_close(closed, differences, rtol=0, atol=1e-6)


# Value, decomposition, effective images and gradient.


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [4.0, 1.0])
def test_values_equal_the_oracle(shape: tuple[int, ...], scale: float | None, beta: float) -> None:
    x = random_maps(*shape)
    value = mutual_information(x, beta=beta, scale=scale)
    expected = per_filter(oracle.mutual_information, x, beta, scale)
    if scale == 5.0 and shape[0] > 1:
        assert expected.min() > 0.1
    assert value.dtype == torch.float64
    close(value, expected)
    close(effective_images(x, beta=beta, scale=scale), per_filter(oracle.effective_images, x, beta, scale))
    terms = decompose(x, beta=beta, scale=scale)
    close(
        torch.stack([terms.prior, terms.inter_category, terms.spatial], 1),
        per_filter(oracle.decomposition, x, beta, scale),
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_the_closed_form(shape: tuple[int, ...], scale: float | None) -> None:
    x = random_maps(*shape)
    gradient = gradient_of(lambda x: mutual_information(x, scale=scale).sum(), x)
    close(gradient.transpose(0, 1), per_filter(oracle.mutual_information_gradient, x, 4.0, scale))


def test_the_default_beta_and_scale_are_the_papers() -> None:
    x = 10 * random_maps(4, 2, 3, 5)
    for function in (mutual_information, effective_images):
        close(function(x), function(x, beta=4.0, scale=0.5 / 15), 0)
    close(torch.stack(decompose(x)), torch.stack(decompose(x, beta=4.0, scale=0.5 / 15)), 0)


def test_each_filter_can_have_its_own_scale() -> None:
    x = random_maps(5, 3, 3, 4)
    scale = torch.tensor([0.1, 3.0, 0.0], dtype=torch.float64)
    close(mutual_information(x, scale=scale), per_filter(oracle.mutual_information, x, 4.0, scale))
    close(effective_images(x, scale=scale), per_filter(oracle.effective_images, x, 4.0, scale))
    gradient = gradient_of(lambda x: mutual_information(x, scale=scale).sum(), x)
    close(gradient.transpose(0, 1), per_filter(oracle.mutual_information_gradient, x, 4.0, scale))
    assert torch.equal(gradient[:, 2], torch.zeros(5, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("scale", SCALES)
def test_the_terms_add_up_to_the_mutual_information(scale: float | None) -> None:
    x = random_maps(6, 3, 4, 5)
    terms = decompose(x, scale=scale)
    close(terms.prior - terms.inter_category - terms.spatial, mutual_information(x, scale=scale), 1e-12)
    close(terms.prior, torch.full((3,), math.log(21), dtype=torch.float64), 1e-12)


def test_autograd_agrees_with_finite_differences() -> None:
    x = random_maps(3, 2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mutual_information(x, scale=1.0), x)
    assert torch.autograd.gradcheck(lambda x: tuple(decompose(x, scale=1.0))[1:], x)


# Known values.


def test_one_hot_maps_at_every_cell_reach_the_limit() -> None:
    # As the scale grows T_μ names image μ, and T⁻ none: MI = hw/(hw+1) · log hw, and every image counts.
    x = one_hot_maps(list(range(12)), 3, 4)
    limit = torch.tensor([12 / 13 * math.log(12)], dtype=torch.float64)
    close(mutual_information(x, scale=200.0), limit, 1e-12)
    close(effective_images(x, scale=200.0), torch.tensor([12.0], dtype=torch.float64), 1e-9)
    terms = decompose(x, scale=200.0)
    # p(T⁻|x) = 1/13 of every image; T⁺ is then known exactly
    close(
        terms.inter_category,
        torch.tensor([-(math.log(1 / 13) + 12 * math.log(12 / 13)) / 13], dtype=torch.float64),
        1e-12,
    )
    close(terms.spatial, torch.zeros(1, dtype=torch.float64), 1e-12)


def test_a_loud_image_beside_an_empty_one() -> None:
    # 2 × 4, loud at (0, 1): the templates' values there are 1, ½, 0 (hence both images alike), or below 0.
    x = torch.cat([one_hot_maps([1], 2, 4), one_hot_maps([0], 2, 4, strength=0.0)])
    at_peak = [row[0][1] for row in oracle.template_set(2, 4, 4.0)]
    # columns 0 ... 3 of the upper row: 0, 1, 0, −1; the lower row 2 less and clipped; T⁻
    assert at_peak == [0.0, 1.0, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]
    loud, alike, empty = 1 / 9, 2 / 9, 6 / 9
    p = [loud + alike / 2, empty + alike / 2]
    expected = -p[0] * math.log(p[0]) - p[1] * math.log(p[1]) - alike * math.log(2)
    close(mutual_information(x, scale=500.0), torch.tensor([expected], dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("scale", [None, 5.0])
@pytest.mark.parametrize(
    ("images", "strength"),
    [(1, 1.0), (6, 1.0), (4, 0.0)],
    ids=["a batch of one", "identical images", "all-zero maps"],
)
def test_images_that_cannot_be_told_apart_carry_no_information(
    images: int, strength: float, scale: float | None
) -> None:
    x = strength * random_maps(1, 3, 4, 5).expand(images, 3, 4, 5)
    close(mutual_information(x, scale=scale), torch.zeros(3, dtype=torch.float64), 1e-12)
    close(effective_images(x, scale=scale), torch.full((3,), float(images), dtype=torch.float64), 1e-9)
    gradient = gradient_of(lambda x: mutual_information(x, scale=scale).sum(), x)
    close(gradient, torch.zeros_like(x), 1e-12)


@pytest.mark.parametrize("scale", [None, 1.0, 10.0])
def test_one_hot_maps_at_distinct_places_score_higher_than_flat_ones_and_than_the_same_place(
    scale: float | None,
) -> None:
    strengths = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)[:, None, None, None]
    distinct = mutual_information(one_hot_maps([0, 5, 14, 24], 5, 5) * strengths, scale=scale)
    place = mutual_information(one_hot_maps([12, 12, 12, 12], 5, 5) * strengths, scale=scale)
    flat = mutual_information(torch.full((4, 1, 5, 5), 1 / 25, dtype=torch.float64) * strengths, scale=scale)
    assert distinct > place > 0
    assert distinct > flat > 0


# Bounds and invariances.


@few
@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.01, 1.0, 100.0]), st.integers(0, 99))
def test_the_bounds_hold(images: int, height: int, width: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = random_maps(images, 2, height, width)
    value = mutual_information(x, scale=scale)
    assert (value >= -1e-12).all()
    assert (value <= min(math.log(height * width + 1), math.log(images)) + 1e-12).all()
    count = effective_images(x, scale=scale)
    assert (count >= 1 - 1e-12).all()
    assert (count <= images + 1e-9).all()
    assert (value <= count.log() + 1e-9).all()  # MI <= H(X)
    terms = decompose(x, scale=scale)
    assert (terms.inter_category >= -1e-12).all()
    assert (terms.inter_category <= math.log(2) + 1e-12).all()
    assert (terms.spatial >= -1e-12).all()
    assert (terms.spatial <= math.log(height * width) + 1e-12).all()


@few
@given(st.integers(2, 7), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_the_order_of_images_and_filters_does_not_matter(images: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = random_maps(images, 4, height, width)
    filters = torch.randperm(4)
    value = mutual_information(x, scale=2.0)
    close(mutual_information(x[torch.randperm(images)], scale=2.0), value, 1e-12)
    close(mutual_information(x[:, filters], scale=2.0), value[filters], 1e-12)


def test_transposed_and_mirrored_maps_carry_the_same_information() -> None:
    x = random_maps(6, 3, 4, 5)
    value = mutual_information(x, scale=2.0)
    close(mutual_information(x.transpose(2, 3), scale=2.0), value, 1e-12)
    close(mutual_information(x.flip(3), scale=2.0), value, 1e-12)


def test_a_map_added_to_all_images_scales_every_z_and_changes_nothing() -> None:
    # s(x + g, T) = s(x, T) + s(g, T): the same factor for every image, another for every template.
    x = random_maps(5, 1, 3, 4)
    offset = 3 * torch.rand(3, 4, dtype=torch.float64)
    factors = [oracle.fitness(offset.tolist(), template, 2.0) for template in oracle.template_set(3, 4, 4.0)]
    assert max(factors) - min(factors) > 1
    for function in (mutual_information, effective_images):
        close(function(x + offset, scale=2.0), function(x, scale=2.0), 1e-10)
    close(torch.stack(decompose(x + offset, scale=2.0)), torch.stack(decompose(x, scale=2.0)), 1e-10)
    close(
        gradient_of(lambda x: mutual_information(x + offset, scale=2.0).sum(), x),
        gradient_of(lambda x: mutual_information(x, scale=2.0).sum(), x),
        1e-10,
    )


def test_scaling_z_of_one_positive_template_changes_nothing() -> None:
    # The map whose fitness is 1.5 for one T_μ and 0 for the other positive templates.
    templates = torch.tensor(oracle.template_set(3, 4, 4.0), dtype=torch.float64).flatten(1)
    wanted = torch.zeros(12, dtype=torch.float64)
    wanted[7] = 1.5 / 2.0
    offset = torch.linalg.solve(templates[:-1], wanted)
    assert torch.allclose(templates[:-1] @ offset, wanted)
    x = random_maps(5, 2, 3, 4)
    close(mutual_information(x + offset.reshape(3, 4), scale=2.0), mutual_information(x, scale=2.0), 1e-10)


def test_scaling_the_maps_and_dividing_the_scale_cancel() -> None:
    x = random_maps(5, 3, 3, 4)
    close(mutual_information(7 * x, scale=2.0 / 7), mutual_information(x, scale=2.0), 1e-12)


def test_doubling_every_image_keeps_the_information_and_doubles_the_effective_images() -> None:
    x = random_maps(4, 2, 3, 4)
    twice = torch.cat([x, x])
    close(mutual_information(twice, scale=2.0), mutual_information(x, scale=2.0), 1e-12)
    close(effective_images(twice, scale=2.0), 2 * effective_images(x, scale=2.0), 1e-10)


def test_a_nan_spoils_its_own_filter_alone() -> None:
    x = random_maps(5, 3, 3, 4)
    spoilt = x.clone()
    spoilt[2, 1, 0, 0] = math.nan
    others = [0, 2]
    for function in (mutual_information, effective_images):
        assert torch.equal(function(spoilt)[others], function(x)[others])
        assert function(spoilt)[1].isnan()
    gradient = gradient_of(lambda x: mutual_information(x).sum(), spoilt)
    assert torch.equal(gradient[:, others], gradient_of(lambda x: mutual_information(x).sum(), x)[:, others])


# Precision.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x = random_maps(6, 3, 4, 5).to(dtype)
    value = mutual_information(x, scale=1.0)
    assert value.dtype == torch.float32
    assert torch.equal(value, mutual_information(x.float(), scale=1.0))
    close(value.double(), per_filter(oracle.mutual_information, x.double(), 4.0, 1.0), 1e-5)
    assert gradient_of(lambda x: mutual_information(x, scale=1.0).sum(), x).dtype == dtype


def test_autocast_does_not_lower_the_precision() -> None:
    x = random_maps(6, 3, 4, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = mutual_information(x, scale=1.0)
    assert torch.equal(value, mutual_information(x, scale=1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_activations_stay_finite(dtype: torch.dtype) -> None:
    x = (1e4 * random_maps(6, 3, 14, 14)).to(dtype)
    value = mutual_information(x, scale=1.0)
    assert value.isfinite().all()
    assert (value <= math.log(6) + 1e-4).all()
    assert torch.stack(decompose(x, scale=1.0)).isfinite().all()
    assert effective_images(x, scale=1.0).isfinite().all()
    for function in (mutual_information, effective_images, lambda x, scale: torch.stack(decompose(x, scale=scale))):
        assert gradient_of(lambda x, f=function: f(x, scale=1.0).sum(), x).isfinite().all()
