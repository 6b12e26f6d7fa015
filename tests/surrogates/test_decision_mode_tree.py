import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles.decision_mode_tree import grow as literal_grow
from oracles.decision_mode_tree import hypothesis, parse_path, vectorise
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from surrogates.drawn_rationales import (
    MODES,
    Images,
    fitted,
    groups,
    leaves_below,
    planted_images,
    random_images,
)
from torch import nn

from interpretable.errors import SurrogateError
from interpretable.surrogates import DecisionModeTree


@pytest.mark.parametrize("gain", ["objective", "per_image"])
@pytest.mark.parametrize("seed", range(3))
def test_nodes_are_those_of_the_literal_tree(seed: int, gain: str) -> None:
    images = random_images(11, 5, seed)
    x, g, y, *_ = vectorise(*images, 49)
    merges, partition = literal_grow(x, y, g, 1.0, 1 / y.mean(), gain == "per_image")
    tree = fitted(images, cells=49, gain=gain)
    found = groups(tree)
    expected = {frozenset(first + second): gain for first, second, gain in merges}
    if len(partition) == 1:  # it is the root
        del expected[frozenset(range(11))]
    assert found.keys() == expected.keys()
    for group, node in found.items():
        assert tree.tree_.gains[node] == pytest.approx(expected[group], rel=2e-6, abs=2e-6)
    below = leaves_below(tree)
    if len(partition) > 1:
        assert {below[child] for child in tree.tree_.children[0]} == set(map(frozenset, partition))
    assert tree.temperature_ == pytest.approx(1 / y.mean(), rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_every_node_has_the_mean_rationale_of_its_images_and_their_mean_contributions(seed: int) -> None:
    images = random_images(11, 5, seed)
    tree = fitted(images, cells=9)
    x, g, y, _, _, lengths = vectorise(*images, 9)
    for node, group in enumerate(leaves_below(tree)):
        weights, intercept = hypothesis(x, y, g, sorted(group))
        np.testing.assert_allclose(tree.tree_.weights[node], weights, rtol=2e-6, atol=1e-6)
        assert tree.tree_.intercepts[node] == pytest.approx(intercept, rel=2e-6, abs=1e-5)
        assert tree.tree_.sizes[node] == len(group)
        of_images = np.stack([weights * x[i] * lengths[i] for i in sorted(group)])
        np.testing.assert_allclose(tree.tree_.means[node], of_images.mean(0), rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
def test_predictions_and_contributions_at_a_level_are_those_of_the_node_that_an_image_comes_to(selection: str) -> None:
    images, others = random_images(11, 5, 3), random_images(8, 5, 4)
    tree = fitted(images, selection=selection, sparsity=1e-3)
    children, weights = dict(enumerate(tree.tree_.children)), dict(enumerate(tree.tree_.weights))
    for level in (1, 2, 3, 4, None):
        predicted = tree.predict(others.sums, others.gradients, level)
        contributed = tree.contributions(others.sums, others.gradients, level)
        for i in range(8):
            slope, x = others.gradients[i] * tree.scale_, others.sums[i] / tree.scale_
            path = parse_path(slope, children, weights)
            node = path[-1] if level is None else path[min(level, len(path)) - 1]
            length = np.linalg.norm(slope)
            np.testing.assert_allclose(contributed[i], tree.tree_.weights[node] * x * length, rtol=1e-12, atol=1e-12)
            whole = contributed[i].sum() + tree.tree_.intercepts[node] * length
            assert predicted[i] == pytest.approx(whole, rel=1e-12)
    found = tree.paths(others.gradients)
    for i in range(8):
        path = parse_path(others.gradients[i] * tree.scale_, children, weights)
        assert found[i].tolist() == path + [-1] * (found.shape[1] - len(path))


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
@pytest.mark.parametrize("seed", range(2))
def test_the_leaves_of_fitted_images_predict_the_score_of_the_network(seed: int, selection: str) -> None:
    images = random_images(30, 20, seed)
    tree = fitted(images, cells=49, selection=selection)
    paths = tree.fitted_paths()
    predicted = tree.predict(images.sums, images.gradients, None, paths)
    size = np.abs(images.sums * images.gradients).sum(1) + np.abs(images.scores)  # what seven digits are of
    assert (np.abs(predicted - images.scores) / size).max() <= 1e-6
    ends = [row[row >= 0] for row in paths]
    assert [tree.tree_.images[row[-1]] for row in ends] == list(range(30))
    for row in ends:
        assert row[0] == 0
        assert all(int(child) in tree.tree_.children[parent] for parent, child in pairwise(row))


def test_rationales_that_are_equal_explain_all_images_exactly_at_every_level() -> None:
    random = np.random.default_rng(0)
    sums, slope = random.uniform(1, 2, (10, 4)), np.array([1.0, -0.5, 2.0, 0.3])
    scores = sums @ slope + 0.7
    tree = fitted(Images(sums, np.tile(slope, (10, 1)), scores))
    for level in (1, 2, 3, None):
        predicted = tree.predict(sums, np.tile(slope, (10, 1)), level, tree.fitted_paths())
        np.testing.assert_allclose(predicted, scores, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_three_planted_modes_stand_below_the_root(seed: int) -> None:
    images, mode = planted_images(8, seed)
    tree = fitted(images)
    below = leaves_below(tree)
    assert {below[child] for child in tree.tree_.children[0]} == {
        frozenset(np.flatnonzero(mode == one).tolist()) for one in range(MODES)
    }
    for child in tree.tree_.children[0]:
        (one,) = set(mode[sorted(below[child])])
        strongest = np.argsort(-np.abs(tree.tree_.weights[child]))[:2]
        assert set(strongest) == {2 * one, 2 * one + 1}
    others, their_mode = planted_images(8, seed + 100)
    came_to = tree.paths(others.gradients)[:, 1]
    for node, one in zip(came_to, their_mode, strict=True):
        assert set(mode[sorted(below[node])]) == {one}


def test_images_in_another_order_make_the_same_tree() -> None:
    images = random_images(12, 5, 1)
    order = np.random.default_rng(0).permutation(12)
    tree, other = fitted(images), fitted(images.of(order))
    renamed = {frozenset(int(order[i]) for i in group): node for group, node in groups(other).items()}
    assert renamed.keys() == groups(tree).keys()
    for group, node in groups(tree).items():
        np.testing.assert_allclose(other.tree_.weights[renamed[group]], tree.tree_.weights[node], rtol=2e-6, atol=1e-7)
    for level in (1, 2, 3, None):
        found = other.predict(images.sums[order], images.gradients[order], level)
        np.testing.assert_allclose(found, tree.predict(images.sums, images.gradients, level)[order], rtol=1e-5)


def test_filters_in_another_order_make_the_same_tree() -> None:
    images = random_images(12, 5, 1)
    order = np.random.default_rng(0).permutation(5)
    tree = fitted(images)
    other = fitted(Images(images.sums[:, order], images.gradients[:, order], images.scores))
    assert other.tree_.children == tree.tree_.children
    np.testing.assert_allclose(other.tree_.weights, tree.tree_.weights[:, order], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("of", ["scores", "features", "each filter"])
def test_units_change_no_merge_and_scale_what_is_predicted(of: str) -> None:
    images = random_images(12, 5, 2)
    factor = np.array([0.01, 3, 1, 200, 7]) if of == "each filter" else np.full(5, 40.0)
    score_factor = 40.0 if of == "scores" else 1.0
    feature_factor = 1.0 if of == "scores" else factor
    scaled = Images(
        images.sums * feature_factor,
        images.gradients * score_factor / feature_factor,
        images.scores * score_factor,
    )
    tree, other = fitted(images), fitted(scaled)
    assert other.tree_.children == tree.tree_.children
    assert other.tree_.images.tolist() == tree.tree_.images.tolist()
    np.testing.assert_allclose(other.tree_.gains, tree.tree_.gains, rtol=1e-5, equal_nan=True)
    np.testing.assert_allclose(other.tree_.weights, tree.tree_.weights, rtol=1e-5, atol=1e-6)
    for level in (1, 2, None):
        found = other.contributions(scaled.sums, scaled.gradients, level)
        expected = tree.contributions(images.sums, images.gradients, level)
        np.testing.assert_allclose(found, expected * score_factor, rtol=1e-5, atol=1e-5)


def test_the_number_of_cells_changes_no_merge_and_no_prediction() -> None:
    # y and x are in units of their share of the mean, whatever the size of the maps
    images = random_images(12, 5, 2)
    tree, other = fitted(images), fitted(images, cells=196)
    assert other.tree_.children == tree.tree_.children
    found = other.predict(images.sums, images.gradients, 2)
    np.testing.assert_allclose(found, tree.predict(images.sums, images.gradients, 2), rtol=1e-5)


def test_an_image_that_comes_twice_changes_no_mode() -> None:
    images, mode = planted_images(5)
    twice = np.tile(np.arange(15), 2)
    below = leaves_below(tree := fitted(images.of(twice)))
    assert {below[child] for child in tree.tree_.children[0]} == {
        frozenset(np.flatnonzero(mode[twice] == one).tolist()) for one in range(MODES)
    }
    paths = tree.paths(images.gradients[twice])
    assert paths[:15].tolist() == paths[15:].tolist()


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
@pytest.mark.parametrize("copies", [2, 3, 10])
def test_copies_of_one_image_are_one_mode_that_predicts_its_score(copies: int, selection: str) -> None:
    images = random_images(1, 4, 0).of(np.zeros(copies, dtype=int))
    tree = fitted(images, selection=selection)
    assert tree.tree_.sizes[0] == copies
    assert len(tree.tree_.children[0]) == 2  # all were merged
    for level in (1, 2, None):
        found = tree.predict(images.sums, images.gradients, level)
        np.testing.assert_allclose(found, images.scores, rtol=5e-6)


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
def test_one_image_is_a_root_with_a_leaf(selection: str) -> None:
    images = random_images(1, 4)
    tree = fitted(images, selection=selection)
    assert tree.tree_.children == ((1,), ())
    assert tree.tree_.images.tolist() == [-1, 0]
    assert tree.fitted_paths().tolist() == [[0, 1]]
    for level in (1, 2, 9, None):
        assert tree.predict(images.sums, images.gradients, level) == pytest.approx(images.scores, rel=5e-6)


@pytest.mark.parametrize("penalty", [0.0, 1e3])
@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
def test_two_images_are_leaves_below_the_root_merged_or_not(penalty: float, selection: str) -> None:
    tree = fitted(random_images(2, 4), penalty=penalty, selection=selection)
    assert tree.tree_.children == ((1, 2), (), ())
    assert tree.fitted_paths().tolist() == [[0, 1], [0, 2]]


def test_what_merges_into_one_node_is_the_root() -> None:
    tree = fitted(random_images(12, 4), penalty=1e6)
    assert len(tree.tree_.children[0]) == 2
    assert len(tree.tree_.children) == 2 * 12 - 1
    assert np.isnan(tree.tree_.gains[0])


def test_nodes_stand_after_those_above_them_and_the_largest_child_first() -> None:
    tree = fitted(random_images(25, 6, 5)).tree_
    for node, below in enumerate(tree.children):
        assert all(child > node for child in below)
        assert tree.sizes[list(below)].tolist() == sorted(tree.sizes[list(below)].tolist(), reverse=True)
        assert below == () or tree.sizes[list(below)].sum() == tree.sizes[node]
        assert all(tree.parents[child] == node for child in below)
    assert tree.parents[0] == -1
    assert sorted(tree.images[tree.images >= 0].tolist()) == list(range(25))


def test_a_filter_that_never_fires_contributes_nothing_even_where_it_fires_later() -> None:
    images = random_images(10, 5)
    images.sums[:, 2] = 0
    tree, without = fitted(images), fitted(Images(*(np.delete(v, 2, 1) for v in images[:2]), images.scores))
    assert not tree.tree_.weights[:, 2].any()
    assert tree.tree_.children == without.tree_.children
    others = random_images(6, 5, 1)
    assert not tree.contributions(others.sums, others.gradients)[:, 2].any()
    np.testing.assert_allclose(
        tree.predict(others.sums, others.gradients, 2),
        without.predict(np.delete(others.sums, 2, 1), np.delete(others.gradients, 2, 1), 2),
        rtol=1e-6,
    )


@pytest.mark.parametrize("selection", ["all", "binary", "sparse"])
def test_gradients_that_cancel_leave_a_root_that_predicts_the_mean(selection: str) -> None:
    slope = np.array([1.0, 2.0, -1.0])
    images = Images(np.array([[1.0, 2, 3], [3, 2, 1]]), np.stack([slope, -slope]), np.array([2.0, 4.0]))
    tree = fitted(images, selection=selection)
    assert not tree.tree_.weights[0].any()
    assert tree.predict(images.sums, images.gradients, 1) == pytest.approx([3, 3], rel=1e-6)
    assert tree.predict(images.sums, images.gradients) == pytest.approx([2, 4], rel=1e-5)


def test_features_of_mean_zero_make_a_tree_that_rounding_does_not_decide() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(5, 2, (20, 4))
    standardised = (raw - raw.mean(0)) / raw.std(0)
    gradients = random.normal(0.3, 1, (20, 4))
    scores = (standardised * gradients).sum(1) + 9
    tree = fitted(Images(standardised, gradients, scores))
    shaken = fitted(Images(standardised + random.normal(0, 1e-12, (20, 4)), gradients, scores))
    np.testing.assert_allclose(tree.scale_, shaken.scale_, rtol=1e-3)
    assert groups(tree).keys() == groups(shaken).keys()


def test_gains_of_a_score_that_towers_over_all_others_are_finite_and_kept() -> None:
    images = random_images(12, 5, 0)
    scores = np.array([1.0] * 11 + [400.0]) * np.linalg.norm(images.gradients * images.sums.mean(0), axis=1)
    tree = fitted(images._replace(scores=scores), temperature=1.0)
    assert np.isfinite(tree.tree_.gains[sorted(groups(tree).values())]).all()
    tree.to_record()


def test_the_other_readings_are_those_of_the_growth_and_of_the_maps_intercept() -> None:
    images = random_images(12, 4, 2)
    default = groups(fitted(images)).keys()
    for options in ({"pair_scores": "sparse", "selection": "sparse", "sparsity": 0.05}, {"assignment": "cosine"}):
        assert groups(fitted(images, **options)).keys() != default
    same = groups(fitted(images, pair_scores="sparse", selection="all"))
    assert same.keys() == default  # every filter, fitted to each pair, is the closed form

    x, g, _, b, _, lengths = vectorise(*images, 1)
    shifted = (b + 1.5) * lengths
    tree = DecisionModeTree(intercept="map").fit(images.sums, images.scores, images.gradients, shifted)
    found = tree.predict(images.sums, images.gradients, None, tree.fitted_paths())
    np.testing.assert_allclose(found, ((x * g).sum(1) + b + 1.5) * lengths, rtol=1e-5)


def test_a_temperature_that_is_given_is_used_and_needs_no_score_above_zero() -> None:
    images = random_images(8, 4)
    assert fitted(images, temperature=0.25).temperature_ == 0.25
    assert fitted(images._replace(scores=-images.scores), temperature=0.25).temperature_ == 0.25


def smooth(features: torch.Tensor) -> torch.Tensor:
    return 3 + features[:, 0] * features[:, 1] + 0.5 * features[:, 2] ** 2


@pytest.mark.parametrize("array", [False, True], ids=["torch function", "numpy function"])
def test_a_callable_is_linearised_by_itself(array: bool) -> None:
    sums = np.random.default_rng(0).uniform(0.5, 2, (12, 3))
    gradients = np.stack([sums[:, 1], sums[:, 0], sums[:, 2]], 1)
    expected = DecisionModeTree().fit(sums, smooth(torch.from_numpy(sums)).numpy(), gradients)
    tree = DecisionModeTree().fit(sums, (lambda rows: smooth(np.asarray(rows))) if array else smooth)
    assert tree.tree_.children == expected.tree_.children
    np.testing.assert_allclose(tree.tree_.weights, expected.tree_.weights, rtol=1e-5, atol=1e-6)


def test_a_torch_module_and_a_scikit_learn_model_can_be_explained() -> None:
    random = np.random.default_rng(0)
    sums = random.uniform(0.5, 2, (30, 4))
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(net[2].bias, 4.0)
    tree = DecisionModeTree().fit(sums, net)
    scores = net(torch.from_numpy(sums).float())[:, 0].detach().double().numpy()
    leaf = torch.from_numpy(sums).float().requires_grad_()
    (gradients,) = torch.autograd.grad(net(leaf).sum(), leaf)
    found = tree.predict(sums, gradients.double().numpy(), None, tree.fitted_paths())
    np.testing.assert_allclose(found, scores, rtol=1e-5)

    linear = LinearRegression().fit(sums, sums @ [1.0, 2, -1, 0.5] + 3)
    tree = DecisionModeTree().fit(sums, linear.predict)
    assert tree.tree_.weights[1:] == pytest.approx(np.tile(tree.tree_.weights[0], (len(tree.tree_.weights) - 1, 1)))
    predicted = tree.predict(sums, np.tile(linear.coef_, (30, 1)), 1)
    np.testing.assert_allclose(predicted, linear.predict(sums), rtol=1e-5)

    decide = LogisticRegression().fit(sums, sums[:, 0] > 1)
    own = sums[decide.decision_function(sums) > 0]
    tree = DecisionModeTree().fit(own, decide.decision_function)
    predicted = tree.predict(own, np.tile(decide.coef_, (len(own), 1)), 1)
    np.testing.assert_allclose(predicted, decide.decision_function(own), rtol=1e-4)


def test_lists_of_numbers_are_taken_and_arrays_are_left_as_they_were() -> None:
    images = random_images(6, 3)
    before = [values.copy() for values in images]
    tree = DecisionModeTree().fit(images.sums.tolist(), images.scores.tolist(), images.gradients.tolist())
    assert tree.tree_.children == fitted(images).tree_.children
    for values, kept in zip(images, before, strict=True):
        assert values.tolist() == kept.tolist()
    single = DecisionModeTree().fit(*(values.astype(np.float32) for values in (images.sums, images.scores)), before[1])
    assert single.tree_.weights.dtype == np.float64


def test_the_arguments_are_kept_as_scikit_learn_expects() -> None:
    tree = DecisionModeTree(target="bird", cells=49, gain="per_image")
    assert clone(tree).get_params() == tree.get_params()
    with pytest.raises(NotFittedError):
        tree.paths(np.ones((1, 2)))
    with pytest.raises(NotFittedError):
        tree.to_record()
    with pytest.raises(NotFittedError):
        tree.fitted_paths()


def test_progress_counts_the_merges() -> None:
    images, seen = random_images(9, 3), []
    tree = DecisionModeTree(penalty=1e6).fit(images.sums, images.scores, images.gradients, progress=seen.append)
    assert seen == list(range(1, 9))
    assert len(tree.tree_.children) == 17


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"selection": "none"}, "selection must be 'all' or 'binary' or 'sparse', got 'none'"),
        ({"pair_scores": "lasso"}, "pair_scores must be 'closed_form' or 'sparse', got 'lasso'"),
        ({"gain": None}, "gain must be 'objective' or 'per_image', got None"),
        ({"assignment": "own"}, "assignment must be 'ancestors' or 'cosine', got 'own'"),
        ({"intercept": "both"}, "intercept must be 'vectorised' or 'map', got 'both'"),
        ({"cells": 0}, "cells must be at least 1"),
        ({"penalty": -1.0}, "penalty and sparsity at least 0"),
        ({"penalty": float("nan")}, "penalty and sparsity at least 0"),
        ({"penalty": float("inf")}, "penalty"),
        ({"sparsity": -1e-9}, "penalty and sparsity at least 0"),
        ({"sparsity": float("nan"), "selection": "sparse"}, "penalty and sparsity at least 0"),
        ({"temperature": -1.0}, "temperature above 0"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"temperature": float("nan")}, "temperature above 0"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SurrogateError, match=sentence):
        fitted(random_images(5, 3), **options)


def test_no_penalty_of_the_lasso_is_in_its_range() -> None:
    images = random_images(20, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = fitted(images, selection="sparse", sparsity=0.0)
    assert np.isfinite(tree.tree_.weights).all()


def changed(images: Images, name: str, index: object, value: float) -> Images:
    array = getattr(images, name).copy()
    array[index] = value
    return images._replace(**{name: array})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda i: i._replace(scores=-i.scores), "scores of a class must be above 0 on average"),
        (lambda i: i._replace(scores=i.scores * 0), "scores of a class must be above 0 on average"),
        (lambda i: changed(i, "gradients", 2, 0.0), "but 1 of 6 have a gradient of 0; leave"),
        (lambda i: i._replace(sums=i.sums * 0), "but 6 of 6 have a gradient of 0"),
        (lambda i: changed(i, "sums", (1, 2), np.nan), "must be finite, got NaN"),
        (lambda i: changed(i, "sums", (1, 2), np.inf), "must be finite, got NaN or infinity"),
        (lambda i: changed(i, "gradients", (1, 2), np.nan), "must be finite, got NaN"),
        (lambda i: changed(i, "scores", 1, np.nan), "one finite number for each of 6 images"),
        (lambda i: i._replace(scores=i.scores[:5]), r"for each of 6 images, got shape \(5,\)"),
        (lambda i: i._replace(scores=i.scores[:, None]), r"for each of 6 images, got shape \(6, 1\)"),
        (lambda i: i._replace(gradients=i.gradients[:, :2]), r"got shapes \(6, 3\) and \(6, 2\)"),
        (lambda i: i._replace(gradients=i.gradients[:5]), r"got shapes \(6, 3\) and \(5, 3\)"),
        (lambda i: i._replace(sums=i.sums[0]), "one row for each image"),
        (lambda i: i.of(np.arange(0)), "one row for each image"),
        (lambda i: i._replace(gradients=None), "needs the gradients of its scores"),
    ],
    ids=[
        "scores below zero",
        "scores of zero",
        "a gradient of zero",
        "filters that never fire",
        "a NaN feature",
        "an infinite feature",
        "a NaN gradient",
        "a NaN score",
        "few scores",
        "a column of scores",
        "gradients of fewer filters",
        "gradients of fewer images",
        "one image without a row",
        "no image",
        "no gradients",
    ],
)
def test_images_that_cannot_be_explained_are_refused(wrong: object, sentence: str) -> None:
    images = wrong(random_images(6, 3))  # type: ignore[operator]
    with pytest.raises(SurrogateError, match=sentence):
        fitted(images)


def test_the_refusal_of_scores_tells_the_mean_that_is_not_above_zero() -> None:
    # over the length of their gradients, 10 and −1 are 0.1 and −100
    images = Images(np.ones((2, 2)), np.array([[100.0, 0], [0, 0.01]]), np.array([10.0, -1]))
    with pytest.raises(SurrogateError, match=r"got -5\d(\.\d+)? over"):
        fitted(images)


@pytest.mark.parametrize(
    "intercepts", [np.ones(4), np.ones((6, 1)), np.array([1.0, 2, np.nan, 1, 1, 1])], ids=["few", "column", "NaN"]
)
@pytest.mark.parametrize("temperature", [None, 1.0])
def test_intercepts_of_maps_that_do_not_fit_are_refused(intercepts: np.ndarray, temperature: float | None) -> None:
    images = random_images(6, 3)
    tree = DecisionModeTree(intercept="map", temperature=temperature)
    with pytest.raises(SurrogateError, match=r"[Ii]ntercepts"):
        tree.fit(images.sums, images.scores, images.gradients, intercepts)


def test_intercepts_of_maps_are_asked_for() -> None:
    images = random_images(6, 3)
    with pytest.raises(SurrogateError, match="needs the intercepts of the full maps; pass intercepts="):
        fitted(images, intercept="map")


def test_images_of_other_filters_or_levels_that_are_none_are_refused() -> None:
    tree, images = fitted(random_images(6, 3)), random_images(4, 3, 1)
    other = random_images(4, 5)
    for call in (tree.predict, tree.contributions):
        with pytest.raises(SurrogateError, match="fitted to 3 filters, got 5"):
            call(other.sums, other.gradients)
        with pytest.raises(SurrogateError, match="must be finite"):
            call(changed(images, "sums", (0, 0), np.nan).sums, images.gradients)
        with pytest.raises(SurrogateError, match="same images and filters"):
            call(images.sums[:2], images.gradients)
        for level in (0, -1):
            with pytest.raises(SurrogateError, match=f"counted from 1, the root, got {level}"):
                call(images.sums, images.gradients, level)
    with pytest.raises(SurrogateError, match="fitted to 3 filters, got 5"):
        tree.paths(other.gradients)


def test_paths_of_other_images_are_refused() -> None:
    tree, images = fitted(random_images(6, 3)), random_images(4, 3, 1)
    with pytest.raises(SurrogateError, match=r"[Pp]aths"):
        tree.predict(images.sums, images.gradients, None, tree.fitted_paths())


def test_an_image_whose_score_depends_on_no_filter_is_predicted_as_zero() -> None:
    tree = fitted(random_images(6, 3))
    assert tree.predict(np.ones((1, 3)), np.zeros((1, 3))).tolist() == [0]
    assert tree.contributions(np.ones((1, 3)), np.zeros((1, 3))).tolist() == [[0, 0, 0]]
