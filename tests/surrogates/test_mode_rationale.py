import warnings

import numpy as np
import pytest
import torch
from oracles.decision_mode_tree import cosine, hypothesis, sparse_selection, vectorise
from oracles.decision_mode_tree import mean_direction as searched_direction
from surrogates.drawn_rationales import random_images, random_rationales
from torch import nn

from interpretable.activations import rationales
from interpretable.surrogates.mode_rationale import (
    LinearRationales,
    Rationale,
    filter_scale,
    linear_rationales,
    mean_direction,
    select_filters,
)
from interpretable.surrogates.mode_tree import fit_rationale, rounded


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cells", [1, 49])
def test_images_are_vectorised_as_the_formula_says(seed: int, cells: int) -> None:
    sums, gradients, scores = random_images(9, 6, seed)
    sums[:, 4] = 0
    x, g, y, b, scale, lengths = vectorise(sums, gradients, scores, cells)
    own_scale = filter_scale(sums, cells)
    found = linear_rationales(sums, gradients, scores, own_scale)
    np.testing.assert_allclose(own_scale, scale, rtol=1e-13)
    for value, expected in zip(found, (x, g, y, b, lengths), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_a_filter_that_never_fires_is_left_out() -> None:
    sums, gradients, scores = random_images(5, 3)
    sums[:, 1] = 0
    found = linear_rationales(sums, gradients, scores, filter_scale(sums))
    assert not found.features[:, 1].any()
    assert not found.gradients[:, 1].any()
    without = linear_rationales(np.delete(sums, 1, 1), np.delete(gradients, 1, 1), scores, filter_scale(sums)[[0, 2]])
    np.testing.assert_allclose(found.intercepts, without.intercepts, rtol=1e-12)
    np.testing.assert_allclose(found.gradients[:, [0, 2]], without.gradients, rtol=1e-12)


def test_a_score_that_depends_on_no_filter_is_kept_as_it_is() -> None:
    found = linear_rationales(np.ones((2, 3)), np.array([[0.0, 0, 0], [3, 4, 0]]), np.array([7.0, 10]), np.ones(3))
    assert found.lengths.tolist() == [0, 5]
    assert found.gradients[0].tolist() == [0, 0, 0]
    assert found.scores.tolist() == [7, 2]
    assert found.intercepts.tolist() == pytest.approx([7, 0.6])


def test_given_intercepts_are_only_put_in_units_of_the_gradient() -> None:
    found = linear_rationales(
        np.ones((1, 2)), np.array([[3.0, 4]]), np.array([10.0]), np.ones(2), intercepts=np.array([20.0])
    )
    assert found.intercepts.tolist() == [4]
    assert found.scores.tolist() == [2]


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_direction_is_the_one_that_an_optimiser_finds(seed: int) -> None:
    _, gradients, _ = random_rationales(4, 4, seed)
    found, searched = mean_direction(gradients), searched_direction(gradients)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(found, searched, atol=1e-6)
    assert sum(cosine(g, found) for g in gradients) >= sum(cosine(g, searched) for g in gradients) - 1e-12


def test_no_direction_has_a_larger_mean_cosine_than_the_mean_direction() -> None:
    random = np.random.default_rng(0)
    for seed in range(20):
        _, gradients, _ = random_rationales(7, 10, seed)
        others = mean_direction(gradients) + random.normal(0, 10.0 ** random.uniform(-4, 1), (200, 10))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        assert (others @ gradients.sum(0)).max() <= mean_direction(gradients) @ gradients.sum(0) + 1e-12


def mean_rationale(x: np.ndarray, g: np.ndarray, y: np.ndarray) -> Rationale:
    return fit_rationale(LinearRationales(x, g, y, np.zeros(len(y)), np.ones(len(y))), "all", 0.0)


def test_opposite_gradients_have_no_direction() -> None:
    assert mean_direction(np.array([[0.6, 0.8], [-0.6, -0.8]])).tolist() == [0, 0]
    rationale = mean_rationale(np.ones((2, 2)), np.array([[0.6, 0.8], [-0.6, -0.8]]), np.array([1.0, 4.0]))
    assert rationale.weights.tolist() == [0, 0]
    assert rationale.intercept == 2.5


def test_gradients_that_cancel_up_to_rounding_have_no_direction() -> None:
    _, gradients, _ = random_rationales(3, 5)
    assert np.abs(mean_direction(np.concatenate([gradients, -gradients]))).max() == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_rationale_is_the_closed_form(seed: int) -> None:
    x, g, y = random_rationales(6, 4, seed)
    weights, intercept = hypothesis(x, y, g, [0, 2, 5])
    found = mean_rationale(x[[0, 2, 5]], g[[0, 2, 5]], y[[0, 2, 5]])
    np.testing.assert_allclose(found.weights, weights, rtol=1e-12)
    assert found.intercept == pytest.approx(intercept, rel=1e-12)


def lasso_objective(x: np.ndarray, direction: np.ndarray, y: np.ndarray, alpha: np.ndarray, penalty: float) -> float:
    residual = y - x @ (alpha * direction)
    residual = residual - residual.mean()
    return float((residual**2).mean() + penalty * np.abs(alpha).sum())


@pytest.mark.parametrize(
    ("images", "filters", "sparsity"),
    [
        (40, 6, 1e-6),
        (40, 6, 0.03),
        (30, 12, 0.01),
        (9, 8, 1e-3),
        (8, 8, 1e-2),
        (6, 15, 1e-2),
        (3, 15, 1e-3),
        (2, 5, 1.0),
    ],
)
def test_no_selection_of_filters_is_better_than_the_one_that_is_found(
    images: int, filters: int, sparsity: float
) -> None:
    for seed in range(3):
        x, g, y = random_rationales(images, filters, seed)
        direction, penalty = mean_direction(g), sparsity * np.sqrt(images)
        alpha = select_filters(x, direction, y, sparsity)
        expected, _ = sparse_selection(x, y, direction, penalty)
        lowest = lasso_objective(x, direction, y, expected, penalty)
        assert lasso_objective(x, direction, y, alpha, penalty) <= lowest + 1e-4 * y.var()


@pytest.mark.parametrize("filters", [20, 60])
def test_fewer_images_than_filters_never_select_more_filters_than_images(filters: int) -> None:
    x, g, y = random_rationales(10, filters)
    direction, penalty = mean_direction(g), 1e-6 * np.sqrt(10)
    alpha = select_filters(x, direction, y, 1e-6)
    assert 0 < (alpha != 0).sum() <= 10
    residual = y - x @ (alpha * direction)
    slopes = 2 * (x * direction).T @ (residual - residual.mean()) / 10
    assert np.abs(slopes).max() <= penalty * 1.01  # the condition of the optimum


def test_a_penalty_above_all_correlations_selects_nothing() -> None:
    x, g, y = random_rationales(10, 4)
    assert not select_filters(x, mean_direction(g), y, 1e3).any()
    assert not select_filters(x[:3], mean_direction(g), y[:3], 1e3).any()


@pytest.mark.parametrize("images", [3, 30])
def test_without_a_penalty_the_selection_is_that_of_least_squares(images: int) -> None:
    x, g, y = random_rationales(images, 5)
    direction = mean_direction(g)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alpha = select_filters(x, direction, y, 0.0)
    design = np.column_stack([x * direction, np.ones(images)])
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    lowest = float(((y - design @ best) ** 2).mean())
    assert lasso_objective(x, direction, y, alpha, 0) <= lowest + 1e-6 * y.var()


@pytest.mark.parametrize("images", [2, 12])
def test_images_that_are_all_alike_select_nothing(images: int) -> None:
    x, g, y = (np.repeat(values[:1], images, axis=0) for values in random_rationales(1, 5))
    alpha = select_filters(x, mean_direction(g), y, 1e-6)
    assert np.abs(alpha * mean_direction(g)).max() < 1e-6


def test_selections_weigh_keep_or_ignore_what_the_lasso_found() -> None:
    x, g, y = random_rationales(20, 6)
    own = LinearRationales(x, g, y, np.zeros(20), np.ones(20))
    direction, alpha = mean_direction(g), select_filters(x, mean_direction(g), y, 0.01)
    assert 0 < (alpha != 0).sum() < 6
    expected = {"all": direction, "binary": direction * (alpha != 0), "sparse": direction * alpha}
    for selection, weights in expected.items():
        found = fit_rationale(own, selection, 0.01)
        assert found.weights.tolist() == weights.tolist()
        assert found.intercept == pytest.approx(float((y - x @ weights).mean()), abs=1e-12)


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
def test_a_single_image_keeps_its_own_rationale(selection: str) -> None:
    x, g, y = random_rationales(1, 6)
    found = fit_rationale(LinearRationales(x, g, y, y - (x * g).sum(1), np.ones(1)), selection, 1.0)
    np.testing.assert_allclose(found.weights, g[0], rtol=1e-14)
    assert found.intercept == pytest.approx(float(y[0] - x[0] @ g[0]), rel=1e-12)


def test_seven_significant_digits_are_kept_of_any_size() -> None:
    values = np.array([0.0, 123456789.0, -1.23456789e-12, 9.99999996, 1.2345678e-200, 1.7e308, np.nan, -0.5])
    expected = [0.0, 123456800.0, -1.234568e-12, 10.0, 1.234568e-200, 1.7e308, np.nan, -0.5]
    np.testing.assert_allclose(rounded(values), expected, rtol=1e-15)
    random = np.random.default_rng(0)
    values = random.normal(size=2000) * 10.0 ** random.uniform(-12, 12, 2000)
    assert rounded(values).tolist() == [float(f"{value:.6e}") for value in values]
    assert rounded(rounded(values)).tolist() == rounded(values).tolist()


@pytest.mark.parametrize("value", [5e-324, 2.5e-310, -1e-303, 0.0])
def test_numbers_next_to_zero_stay_next_to_zero(value: float) -> None:
    assert abs(rounded(np.array([value]))[0] - value) <= 1e-302


class PiecewiseLinear(nn.Module):
    """Convolution of one cell, ReLU, mean over the cells, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Conv2d(6, 10, 1), nn.Linear(10, 3)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(maps).relu().mean((2, 3)))


def test_a_rationale_is_exact_above_a_piecewise_linear_head() -> None:
    # Every unit is on, or off, at all cells of an image, so that the gradient is the same all over each map.
    head = PiecewiseLinear()
    nn.init.normal_(head.mix.bias, std=0.2)
    images = 40
    pattern = torch.rand(images, 6, 1, 1) * 3
    maps = pattern * (1 + 0.02 * torch.rand(images, 1, 5, 5))
    mix, out = head.mix.weight[:, :, 0, 0].double(), head.out.weight.double()
    before = torch.einsum("uf,nfhw->nuhw", mix, maps.double()) + head.mix.bias.double()[:, None, None]
    on = (before > 0).flatten(2)
    uniform = (on.all(2) | ~on.any(2)).all(1)
    maps, on = maps[uniform], on[uniform][:, :, 0].double()
    assert len(maps) >= 20
    assert len(np.unique(on.numpy(), axis=0)) > 3
    target = 1
    classes = torch.full((len(maps), 1), target)
    linear = rationales(head, maps, classes)
    scores = head(maps)[:, target].detach().double().numpy()
    slope = torch.einsum("u,nu,uf->nf", out[target], on, mix).detach().numpy() / 25
    constant = (on * out[target] * head.mix.bias.double()).sum(1) + head.out.bias[target].double()

    sums = maps.sum((2, 3)).double().numpy()
    scale = filter_scale(sums, 25)
    found = linear_rationales(sums, linear.gradients[:, 0].double().numpy(), scores, scale)
    np.testing.assert_allclose(found.gradients * found.lengths[:, None], slope * scale, atol=1e-5)
    np.testing.assert_allclose(found.intercepts * found.lengths, constant.detach().numpy(), atol=1e-5)
    explained = (found.gradients * found.features).sum(1) + constant.detach().numpy() / found.lengths
    np.testing.assert_allclose(explained * found.lengths, scores, atol=1e-5)
    of_maps = linear_rationales(sums, linear.gradients[:, 0].double().numpy(), scores, scale, constant.detach().numpy())
    np.testing.assert_allclose(of_maps.intercepts, found.intercepts, atol=1e-5)
