import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import part_template as oracle
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import InterpretableError
from interpretable.losses import PartTemplateLoss, decompose, effective_images, mean_peak, mutual_information

few = settings(deadline=None, max_examples=20, database=None)

SHAPES = [(1, 2, 3, 3), (2, 1, 2, 5), (4, 3, 4, 3), (7, 2, 5, 4), (5, 2, 1, 6), (3, 2, 6, 6)]
SCALES = [None, 0.5, 5.0]


def random_maps(*shape: int) -> Tensor:
    """Maps after a ReLU: float64, about half of the cells zero, a few strong."""
    return (2 * torch.randn(shape, dtype=torch.float64)).clamp(min=0)


def filters_first(x: Tensor) -> list[list[oracle.Map]]:
    return x.transpose(0, 1).tolist()


def per_filter(function: Callable[..., Any], x: Tensor, beta: float, scale: float | Tensor | None) -> Tensor:
    """An oracle's result for every filter, (C, ...)."""
    default = 0.5 / (x.shape[2] * x.shape[3])
    scales = torch.full((x.shape[1],), default) if scale is None else torch.as_tensor(scale).expand(x.shape[1])
    results = [function(maps, beta, s) for maps, s in zip(filters_first(x), scales.double().tolist(), strict=True)]
    return torch.tensor(results, dtype=torch.float64)


def double(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x), x)
    return gradient


def one_hot_maps(cells: list[int], height: int, width: int, strength: float = 1.0) -> Tensor:
    """(B, 1, h, w), image k active at the flat index cells[k] alone."""
    x = torch.zeros(len(cells), 1, height * width, dtype=torch.float64)
    x[torch.arange(len(cells)), 0, torch.tensor(cells)] = strength
    return x.reshape(-1, 1, height, width)


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


# The loss module.


def test_the_mean_peak_is_over_the_maps_that_fire() -> None:
    x = torch.zeros(4, 3, 2, 2)
    x[0, 0, 1, 1], x[1, 0, 0, 1], x[1, 0, 0, 0], x[3, 0, 0, 0] = 2.0, 4.0, 1.0, 9.0
    x[2, 1, 1, 0] = 0.5
    assert mean_peak(x).tolist() == [5.0, 0.5, 0.0]
    y = random_maps(5, 4, 3, 3)
    close(mean_peak(y), double([oracle.mean_peak(maps) for maps in filters_first(y)]), 1e-12)


def test_a_nan_reaches_the_loss_but_not_the_running_peak() -> None:
    x = random_maps(5, 2, 3, 3)
    spoilt = x.clone()
    spoilt[3, 1, 2, 2] = math.nan
    loss = PartTemplateLoss(2).double()
    assert loss(spoilt).isnan()
    kept = x[[0, 1, 2, 4]]
    assert torch.equal(loss.running_peak, torch.stack([mean_peak(x)[0], mean_peak(kept)[1]]))


def test_each_training_call_moves_the_running_peak_of_the_filters_that_fire() -> None:
    loss = PartTemplateLoss(3)
    x = one_hot_maps([0, 1], 2, 2).float().repeat(1, 3, 1, 1) * torch.tensor([2.0, 4.0, 0.0])[:, None, None]
    loss(x)
    assert loss.running_peak.tolist() == [2.0, 4.0, 0.0]
    y = one_hot_maps([0, 1], 2, 2).float().repeat(1, 3, 1, 1) * torch.tensor([3.0, 0.0, 5.0])[:, None, None]
    loss(y)
    torch.testing.assert_close(loss.running_peak, torch.tensor([2.1, 4.0, 5.0]))


def test_evaluation_leaves_the_buffers_alone() -> None:
    loss = PartTemplateLoss(3, objective="class_aware", num_classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    loss(random_maps(4, 3, 3, 3).float(), labels)
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    loss.eval()
    loss(5 * random_maps(4, 3, 3, 3).float(), labels)
    after = loss.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def as_sets(labels: Tensor) -> list[set[int]]:
    if labels.ndim == 1:
        return [{label} for label in labels.tolist()]
    return [{k for k, carried in enumerate(row) if carried} for row in labels.tolist()]


INTEGER_LABELS = [
    torch.tensor([0, 0, 2, 0, 2, 2, 0]),
    torch.tensor([1, 1, 0, 2, 1, 0, 0]),
    torch.tensor([2, 1] * 3 + [1]),
]
MULTI_HOT_LABELS = [torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1]])] * 3


@pytest.mark.parametrize(
    "labels",
    [None, INTEGER_LABELS, MULTI_HOT_LABELS, [rows.float() for rows in MULTI_HOT_LABELS]],
    ids=["label-free", "one class", "multi-hot", "multi-hot floats"],
)
def test_value_gradient_and_state_follow_the_literal_loss_over_steps(labels: list[Tensor] | None) -> None:
    options = {} if labels is None else {"objective": "class_aware", "num_classes": 3}
    loss = PartTemplateLoss(4, **options, temperature=0.5, beta=3.0).double()
    literal = oracle.PartTemplateLoss(4, num_classes=0 if labels is None else 3, temperature=0.5, beta=3.0)
    categories = set()
    for step in range(4):
        own = None if labels is None else labels[step % 3]
        x = random_maps(7, 4, 3, 4) * torch.rand(7, 1, 1, 1, dtype=torch.float64) * 5 ** torch.rand(4, 1, 1).double()
        if step == 0 and labels is None:
            x[:, 3] = 0.0  # a filter that wakes up in the second step
        training = step < 3
        if training:
            literal.observe(filters_first(x), None if own is None else as_sets(own))
        expected, gradient = literal.value_and_gradient(filters_first(x), None if own is None else as_sets(own))
        x.requires_grad_()
        value = loss.train(training)(x, own)
        assert value.ndim == 0
        assert value.item() == pytest.approx(expected, abs=1e-8)
        close(torch.autograd.grad(value, x)[0].transpose(0, 1), double(gradient))
        close(loss.running_peak, double([peak or 0.0 for peak in literal.running_peak]), 1e-12)
        if own is not None:
            categories |= {literal.category(c) for c in range(4)}
            responses = [[math.nan if r is None else r for r in row] for row in literal.class_response]
            torch.testing.assert_close(loss.class_response, double(responses), rtol=0, atol=1e-12, equal_nan=True)
    assert labels is None or len(categories) > 1


def test_the_loss_is_minus_the_mean_information_at_the_scale_of_peak_and_temperature() -> None:
    x = random_maps(6, 3, 4, 4)
    loss = PartTemplateLoss(3, temperature=0.3).double()
    close(loss(x), -mutual_information(x, scale=1 / (0.3 * mean_peak(x))).mean(), 1e-12)


def test_no_gradient_flows_through_the_running_peak() -> None:
    x = random_maps(6, 3, 4, 4)
    scale = 1 / (0.2 * mean_peak(x))
    flowing = gradient_of(lambda x: -mutual_information(x, scale=5 / x.amax((2, 3)).mean(0)).mean(), x)
    held = gradient_of(lambda x: -mutual_information(x, scale=scale).mean(), x)
    assert (flowing - held).abs().max() > 1e-3  # or the test could not fail
    loss = PartTemplateLoss(3).double()
    close(gradient_of(loss, x), held, 1e-12)
    assert not loss.running_peak.requires_grad


def test_the_loss_of_the_first_batch_does_not_depend_on_the_scale_of_the_activations() -> None:
    x = random_maps(6, 3, 4, 4)
    close(PartTemplateLoss(3).double()(1000 * x), PartTemplateLoss(3).double()(x), 1e-10)


@pytest.mark.parametrize("objective", ["mutual_information", "class_aware"])
def test_a_dead_filter_counts_zero_and_gets_no_gradient(objective: str) -> None:
    x = random_maps(6, 2, 3, 3)
    x[:, 1] = 0.0
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    one, two = (PartTemplateLoss(n, objective=objective, num_classes=3).double() for n in (1, 2))
    close(2 * two(x, labels), one(x[:, :1], labels), 1e-12)
    assert torch.equal(gradient_of(lambda x: two(x, labels), x)[:, 1], torch.zeros(6, 3, 3).double())


@pytest.mark.parametrize("training", [True, False])
def test_before_any_filter_fires_the_loss_is_zero(training: bool) -> None:
    x = torch.zeros(4, 2, 3, 3) if training else random_maps(4, 2, 3, 3).float()
    loss = PartTemplateLoss(2).train(training)
    assert loss(x).item() == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(gradient_of(loss, x), torch.zeros_like(x))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"running_peak"}),
        ({"objective": "class_aware", "num_classes": 3}, {"running_peak", "class_response"}),
    ],
)
def test_the_state_survives_saving_and_loading(options: dict[str, Any], names: set[str]) -> None:
    x, labels = random_maps(6, 4, 3, 3).float(), torch.tensor([0, 1, 2, 0, 1, 2])
    trained = PartTemplateLoss(4, **options)
    trained(x, labels)
    state = trained.state_dict()
    assert names <= state.keys()
    restored = PartTemplateLoss(4, **options)
    restored.load_state_dict(state)
    y = 2 * random_maps(6, 4, 3, 3).float()
    for mode in (False, True):  # the moving averages go on where they stopped
        assert torch.equal(restored.train(mode)(y, labels), trained.train(mode)(y, labels))
    assert torch.equal(restored.running_peak, trained.running_peak)


# The class-aware objective.


def class_aware(**options: Any) -> PartTemplateLoss:
    return PartTemplateLoss(**{"num_filters": 3, "num_classes": 3, "objective": "class_aware"} | options).double()


def test_renaming_the_classes_changes_nothing() -> None:
    x = random_maps(7, 3, 3, 4)
    for labels in (INTEGER_LABELS[1], MULTI_HOT_LABELS[0]):
        names = torch.tensor([2, 0, 1])
        renamed = names[labels] if labels.ndim == 1 else labels[:, names.argsort()]
        one, two = class_aware(), class_aware()
        close(two(x, renamed), one(x, labels), 1e-12)
        close(two.class_response[:, names], one.class_response, 1e-12)


def test_integer_labels_are_one_hot_labels() -> None:
    x, labels = random_maps(7, 3, 3, 4), INTEGER_LABELS[1]
    close(class_aware()(x, torch.nn.functional.one_hot(labels, 3)), class_aware()(x, labels), 1e-12)


def test_a_category_without_images_in_the_batch_counts_zero() -> None:
    x = random_maps(4, 1, 3, 3)
    loss = class_aware(num_filters=1)
    loss(x, torch.tensor([2, 2, 2, 2]))
    labels = torch.tensor([0, 1, 0, 1])
    loss.eval()
    assert loss(x, labels).item() == 0
    assert torch.equal(gradient_of(lambda x: loss(x, labels), x), torch.zeros_like(x))


def test_a_batch_of_members_alone_is_told_apart_by_place_alone() -> None:
    # p(T⁻) = 0: as the temperature falls, h·w templates name h·w images, log hw nats
    x = one_hot_maps(list(range(6)), 2, 3)
    loss = class_aware(num_filters=1, temperature=0.001)
    assert loss(x, torch.ones(6, dtype=torch.int64)).item() == pytest.approx(-math.log(6), abs=1e-9)


def test_a_filter_that_fires_for_its_category_alone_scores_higher_than_one_that_fires_for_all() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    everywhere = one_hot_maps([0, 8, 0, 8], 3, 3)
    selective = everywhere.clone()
    selective[2:] = 0
    assert class_aware(num_filters=1)(selective, labels) < class_aware(num_filters=1)(everywhere, labels) - 0.1


def test_a_class_first_seen_without_activation_is_averaged_from_zero() -> None:
    loss = class_aware(num_filters=1, num_classes=2)
    x = one_hot_maps([0, 1], 2, 2)
    x[1] = 0
    labels = torch.tensor([0, 1])
    loss(x, labels)
    assert loss.class_response.tolist() == [[1.0, 0.0]]
    loss(torch.ones(2, 1, 2, 2).double(), labels)
    close(loss.class_response, torch.tensor([[1.3, 0.4]]).double(), 1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: PartTemplateLoss(2, objective="class_aware"),
        lambda x: PartTemplateLoss(2, objective="class_aware", num_classes=2)(x),
    ],
    ids=["no number of classes", "no labels"],
)
def test_a_wrong_use_of_the_loss_is_refused_in_a_sentence(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(InterpretableError, match=r"\w+ .* \w+"):
        call(torch.rand(3, 2, 4, 4))


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    # In a process of its own: within a test the signature's check of types comes first.
    code = "from interpretable.losses import PartTemplateLoss; PartTemplateLoss(2, 'mutual information')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip().splitlines()[-1] == (
        "interpretable.errors.ConfigurationError: The part-template objective must be one of mutual_information, "
        "class_aware, got 'mutual information'."
    )


# Two ranks.

SIZES = [5, 3]
ARGUMENTS = {"scale": 1.5}


def losses_of(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What is compared over ranks: a loss each, weighted so that filters do not cancel."""
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    terms = decompose(x, **ARGUMENTS)
    return {
        "mutual_information": (weights * mutual_information(x, **ARGUMENTS)).sum(),
        "decompose": (weights * (terms.inter_category + 2 * terms.spatial)).sum(),
        "effective_images": (weights * effective_images(x, **ARGUMENTS)).sum(),
        "label_free": PartTemplateLoss(3).double()(x, labels),
        "class_aware": class_aware()(x, labels),
    }


def case_of_two_ranks() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    x = random_maps(sum(SIZES), 3, 3, 4)
    x[5:, 1] = 0.0  # a filter that is silent on the second rank
    return x, torch.tensor([0, 0, 1, 2, 0, 1, 0, 1]), 1 + torch.rand(3, 3, 4, dtype=torch.float64)


def values_and_gradients(part: slice) -> dict[str, Tensor]:
    """Values and gradients by a shared parameter θ for one rank's images x · θ."""
    x, labels, theta = case_of_two_ranks()
    theta.requires_grad_()
    results = {}
    for name, value in losses_of(x[part] * theta, labels[part]).items():
        results[f"{name} value"] = value.detach()
        (results[f"{name} gradient"],) = torch.autograd.grad(value, theta, retain_graph=True)
    with torch.no_grad():
        loss, aware = PartTemplateLoss(3).double(), class_aware()
        for scale in (1.0, 2.0):
            loss(scale * x[part])
            aware(scale * x[part], labels[part])
    results["running_peak"] = loss.running_peak
    results["class_response"] = aware.class_response
    results["local"] = mutual_information(x[part], scale=1.5, statistics="local")
    return results


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    part = slice(0, SIZES[0]) if rank == 0 else slice(SIZES[0], None)
    torch.save(values_and_gradients(part), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """Results of two processes with 5 and 3 images."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.start_processes(one_rank, args=(str(folder),), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.parametrize("name", ["mutual_information", "decompose", "effective_images", "label_free", "class_aware"])
def test_two_ranks_equal_one_process(two_ranks: list[dict[str, Tensor]], name: str) -> None:
    alone = values_and_gradients(slice(None))
    for ranked in two_ranks:
        close(ranked[f"{name} value"], alone[f"{name} value"], 1e-10)
    assert alone[f"{name} gradient"].abs().max() > 1e-3
    average = (two_ranks[0][f"{name} gradient"] + two_ranks[1][f"{name} gradient"]) / 2  # as DDP does
    close(average, alone[f"{name} gradient"], 1e-10)


@pytest.mark.ddp
@pytest.mark.parametrize("buffer", ["running_peak", "class_response"])
def test_two_ranks_keep_the_buffers_of_one_process(two_ranks: list[dict[str, Tensor]], buffer: str) -> None:
    alone = values_and_gradients(slice(None))[buffer]
    for ranked in two_ranks:
        close(ranked[buffer], alone, 1e-12)


@pytest.mark.ddp
def test_local_statistics_are_those_of_the_ranks_own_images(two_ranks: list[dict[str, Tensor]]) -> None:
    x, _, _ = case_of_two_ranks()
    close(two_ranks[0]["local"], mutual_information(x[:5], scale=1.5), 1e-12)
    close(two_ranks[1]["local"], mutual_information(x[5:], scale=1.5), 1e-12)
