from itertools import combinations

import numpy as np
import pytest
from oracles.decision_mode_tree import grow as literal_grow
from oracles.decision_mode_tree import hypothesis, log_objective, reassigned
from scipy.special import logsumexp
from surrogates.drawn_rationales import MODES, members, planted_images, random_rationales

from interpretable.surrogates.mode_growth import grow
from interpretable.surrogates.mode_nodes import ModeNodes
from interpretable.surrogates.mode_rationale import LinearRationales, filter_scale, linear_rationales
from interpretable.surrogates.mode_tree import fit_rationale

Rationales = tuple[np.ndarray, np.ndarray, np.ndarray]


def check_merges(found: list, expected: list, tolerance: float = 1e-9) -> None:
    assert [merge[:2] for merge in found] == [merge[:2] for merge in expected]
    np.testing.assert_allclose([merge[2] for merge in found], [merge[2] for merge in expected], atol=tolerance)


@pytest.mark.parametrize("penalty", [1.0, 30.0])
@pytest.mark.parametrize("gain", ["objective", "per_image"])
@pytest.mark.parametrize("seed", range(3))
def test_merges_and_gains_are_those_of_the_objective_computed_anew(seed: int, gain: str, penalty: float) -> None:
    x, g, y = random_rationales(12, 5, seed)
    expected, _ = literal_grow(x, y, g, penalty, 1 / y.mean(), gain == "per_image")
    found = members(grow(x, g, y, penalty=penalty, gain=gain), 12)
    assert len(found) > 2
    check_merges(found, expected)


@pytest.mark.parametrize("filters", [2, 3, 20])
def test_the_tree_is_the_literal_one_whatever_the_number_of_filters(filters: int) -> None:
    x, g, y = random_rationales(9, filters, 7)
    expected, _ = literal_grow(x, y, g, 2.0, 0.8)
    found = members(grow(x, g, y, penalty=2.0, temperature=0.8), 9)
    assert len(found) > 2
    check_merges(found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_gain_of_every_pair_at_every_step_is_a_difference_of_objectives(seed: int) -> None:
    x, g, y = random_rationales(12, 4, seed)
    random, gamma = np.random.default_rng(seed), 1 / y.mean()
    nodes = ModeNodes(x, g, y, 1.0, gamma)
    nodes.compare(np.arange(12))
    partition = {image: [image] for image in range(12)}
    while len(partition) > 1:
        before = log_objective(x, y, g, list(partition.values()), 1.0, gamma)
        gains = {}
        for i, j in combinations(sorted(partition), 2):
            others = [group for slot, group in partition.items() if slot not in (i, j)]
            gains[i, j] = log_objective(x, y, g, [*others, partition[i] + partition[j]], 1.0, gamma) - before
            assert nodes.gain(i, j) == pytest.approx(gains[i, j], abs=1e-9)
            assert nodes.gain(j, i) == nodes.gain(i, j)
        best = max(gains, key=lambda pair: gains[pair])
        assert nodes.cheapest_pair() == best
        assert nodes.best_pair(False) == best
        pair = best if random.random() < 0.5 else list(gains)[random.integers(len(gains))]
        nodes.join(*pair)
        nodes.compare(np.array(pair[:1]))
        partition[pair[0]] += partition.pop(pair[1])


@pytest.mark.parametrize("seed", range(3))
def test_a_merge_leaves_the_sum_of_predictions_as_it_is(seed: int) -> None:
    x, g, y = random_rationales(10, 4, seed)
    for first, second in combinations(range(10), 2):
        w, b = hypothesis(x, y, g, [first, second])
        assert (x[[first, second]] @ w + b).sum() == pytest.approx(y[[first, second]].sum(), abs=1e-12)
    nodes = ModeNodes(x, g, y, 0.0, 1 / y.mean())
    nodes.compare(np.arange(10))
    assert np.abs(nodes._shift).max() < 1e-12


def test_gains_stay_exact_where_one_score_towers_over_all_others() -> None:
    x, g, _ = random_rationales(12, 5, 3)
    y = np.array([1.0] * 11 + [400.0])
    expected, _ = literal_grow(x, y, g, 1.0, 1.0)
    found = members(grow(x, g, y, temperature=1.0), 12)
    assert np.isfinite([gain for _, _, gain in found]).all()
    check_merges(found, expected, 1e-6)


def test_predictions_far_beyond_the_scores_are_never_merged_into() -> None:
    x = np.array([[0.0, 0.0], [1e6, -1e6], [1e6, 1e6]])
    g = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]])
    assert grow(x, g, np.array([1.0, 1.1, 0.9])) == []


def literal_sparse(x: np.ndarray, g: np.ndarray, y: np.ndarray, gamma: float, sparsity: float) -> list:
    """All pairs of all steps, with the selection fitted to each and log E from its definition."""

    def objective(partition: list[list[int]]) -> float:
        estimates = np.empty(len(y))
        for group in partition:
            own = LinearRationales(x[group], g[group], y[group], np.zeros(len(group)), np.ones(len(group)))
            weights, intercept = fit_rationale(own, "sparse", sparsity)
            estimates[group] = x[group] @ weights + intercept
        terms = gamma * estimates - logsumexp(gamma * estimates) - gamma * y + logsumexp(gamma * y)
        return float(terms.sum()) - len(partition)

    partition, merges = [[image] for image in range(len(y))], []
    while len(partition) > 1:
        before, gains = objective(partition), {}
        for i, j in combinations(range(len(partition)), 2):
            others = [group for k, group in enumerate(partition) if k not in (i, j)]
            gains[i, j] = objective([*others, sorted(partition[i] + partition[j])]) - before
        best = max(gains, key=lambda pair: gains[pair])
        if not gains[best] > 0:
            break
        i, j = best
        merges.append((partition[i], partition[j], gains[best]))
        others = [group for k, group in enumerate(partition) if k not in best]
        partition = sorted([*others, sorted(partition[i] + partition[j])])
    return merges


@pytest.mark.parametrize("seed", range(2))
def test_pairs_scored_by_their_own_selection_are_those_of_a_literal_loop(seed: int) -> None:
    x, g, y = random_rationales(9, 4, seed)
    own = LinearRationales(x, g, y, np.zeros(9), np.ones(9))

    def predict(leaves: np.ndarray, images: np.ndarray) -> np.ndarray:
        weights, intercept = fit_rationale(LinearRationales(*(v[leaves] for v in own)), "sparse", 0.05)
        return x[images] @ weights + intercept

    found = members(grow(x, g, y, predict=predict), 9)
    expected = literal_sparse(x, g, y, 1 / y.mean(), 0.05)
    assert len(expected) > 3
    check_merges(found, expected)
    assert [m[:2] for m in found] != [m[:2] for m in members(grow(x, g, y), 9)]


def literal_cosine(x: np.ndarray, g: np.ndarray, y: np.ndarray, beta: float, gamma: float, per_image: bool) -> list:
    """Each image is predicted by the node of the most similar direction, found anew after each merge."""
    partition, merges = [[image] for image in range(len(y))], []
    place = list(range(len(y)))
    while len(partition) > 1:
        fits = [hypothesis(x, y, g, group) for group in partition]
        estimates = np.array([x[i] @ fits[place[i]][0] + fits[place[i]][1] for i in range(len(y))])
        gains = {}
        for i, j in combinations(range(len(partition)), 2):
            w, b = hypothesis(x, y, g, partition[i] + partition[j])
            merged = [n for n in range(len(y)) if place[n] in (i, j)]
            after = estimates.copy()
            after[merged] = x[merged] @ w + b
            gain = beta + gamma * (after - estimates).sum()
            gain -= len(y) * (logsumexp(gamma * after) - logsumexp(gamma * estimates))
            gains[i, j] = (gain / max(len(merged), 1) if per_image else gain, gain)
        best = max(gains, key=lambda pair: gains[pair][0])
        if not gains[best][1] > 0:
            break
        i, j = best
        merges.append((partition[i], partition[j], gains[best][1]))
        others = [group for k, group in enumerate(partition) if k not in best]
        partition = sorted([*others, sorted(partition[i] + partition[j])])
        place = list(reassigned(g, [hypothesis(x, y, g, group)[0] for group in partition]))
    return merges


@pytest.mark.parametrize("gain", ["objective", "per_image"])
@pytest.mark.parametrize("seed", range(3))
def test_images_that_move_to_the_most_similar_node_give_the_merges_of_a_literal_loop(seed: int, gain: str) -> None:
    x, g, y = random_rationales(11, 3, seed)
    found = members(grow(x, g, y, penalty=3.0, gain=gain, assignment="cosine"), 11)
    expected = literal_cosine(x, g, y, 3.0, 1 / y.mean(), gain == "per_image")
    assert len(expected) > 3
    check_merges(found, expected)


@pytest.mark.parametrize("gain", ["objective", "per_image"])
@pytest.mark.parametrize("seed", range(3))
def test_three_planted_modes_are_found_and_each_is_complete_before_two_are_mixed(seed: int, gain: str) -> None:
    (sums, gradients, scores), mode = planted_images(seed=seed)
    own = linear_rationales(sums, gradients, scores, filter_scale(sums))
    merges = members(grow(own.features, own.gradients, own.scores, gain=gain), len(mode))
    assert len(merges) == len(mode) - MODES
    for first, second, _ in merges:
        assert len(set(mode[first + second])) == 1
    forced = members(grow(own.features, own.gradients, own.scores, penalty=1e3), len(mode))
    mixed = [len(set(mode[first + second])) > 1 for first, second, _ in forced]
    assert mixed == [False] * (len(mode) - MODES) + [True] * (MODES - 1)


def test_images_are_numbered_anew_and_the_tree_with_them() -> None:
    x, g, y = random_rationales(12, 5, 1)
    order = np.random.default_rng(0).permutation(12)
    expected = [({*map(int, a)}, {*map(int, b)}, gain) for a, b, gain in members(grow(x, g, y, penalty=9.0), 12)]
    found = members(grow(x[order], g[order], y[order], penalty=9.0), 12)
    for (a, b, gain), (first, second, known) in zip(found, expected, strict=True):
        assert [{*order[a].tolist()}, {*order[b].tolist()}] in ([first, second], [second, first])
        assert gain == pytest.approx(known, abs=1e-9)


def test_filters_may_stand_in_any_order() -> None:
    x, g, y = random_rationales(12, 5, 1)
    order = np.random.default_rng(0).permutation(5)
    check_merges(members(grow(x[:, order], g[:, order], y), 12), members(grow(x, g, y), 12))


def test_a_unit_of_the_score_changes_no_merge() -> None:
    x, g, y = random_rationales(12, 5, 1)
    # y = g·x + b in other units, with g kept at length 1
    check_merges(members(grow(7 * x, g, 7 * y), 12), members(grow(x, g, y), 12))


def test_growth_ends_where_no_merge_gains_and_goes_to_one_node_where_all_do() -> None:
    x, g, y = random_rationales(12, 5, 0)
    assert grow(x, g, y, penalty=0.0) == [] or min(m.gain for m in grow(x, g, y, penalty=0.0)) > 0
    assert len(grow(x, g, y, penalty=1e6)) == 11
    partial = grow(x, g, y)
    assert all(merge.gain > 0 for merge in partial)
    _, partition = literal_grow(x, y, g, 1.0, 1 / y.mean())
    assert len(partition) == 12 - len(partial)


def test_nodes_are_numbered_in_the_order_of_growth() -> None:
    x, g, y = random_rationales(12, 5, 0)
    seen: list[int] = []
    merges = grow(x, g, y, penalty=1e6, progress=seen.append)
    assert seen == list(range(1, 12))
    used = [node for merge in merges for node in (merge.first, merge.second)]
    assert sorted(used) == list(range(22))  # each node once, all but the last
    assert all(max(merge.first, merge.second) < 12 + k for k, merge in enumerate(merges))


def test_equal_images_are_merged_in_the_order_of_their_numbers() -> None:
    x, g, y = np.ones((4, 2)), np.tile([1.0, 0.0], (4, 1)), np.ones(4)
    merges = members(grow(x, g, y), 4)
    assert [merge[:2] for merge in merges] == [([0], [1]), ([0, 1], [2]), ([0, 1, 2], [3])]
    assert [merge[2] for merge in merges] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("options", [{}, {"gain": "per_image"}, {"assignment": "cosine"}])
def test_one_image_grows_nothing_and_two_grow_one_node_at_most(options: dict[str, str]) -> None:
    x, g, y = random_rationales(2, 3)
    assert grow(x[:1], g[:1], y[:1], **options) == []
    before = log_objective(x, y, g, [[0], [1]], 1.0, 0.1)
    gain = log_objective(x, y, g, [[0, 1]], 1.0, 0.1) - before
    (merge,) = grow(x, g, y, temperature=0.1, **options)
    assert merge[:2] == (0, 1)
    assert merge.gain == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"gain": "per_image"}, {"assignment": "cosine"}])
def test_opposite_gradients_are_merged_into_their_mean_score(options: dict[str, str]) -> None:
    x, y = np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([1.0, 3.0])
    g = np.array([[0.6, 0.8], [-0.6, -0.8]])
    (merge,) = grow(x, g, y, penalty=5.0, temperature=0.5, **options)
    # both are predicted as 2: Σŷ stays, Θ falls from e^½ + e^1½ to 2e
    assert merge.gain == pytest.approx(5 - 2 * np.log(2 * np.e / (np.exp(0.5) + np.exp(1.5))), abs=1e-9)
