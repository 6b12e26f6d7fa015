import json
from pathlib import Path

import numpy as np
import pytest
from oracles.decision_mode_tree import best_split
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from interpretable.documents import read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.imitation import held_out
from interpretable.surrogates.linear_surrogate import LinearSurrogate
from interpretable.surrogates.records import DocumentRecord
from interpretable.surrogates.tree_nodes import collapse_strengths, importances, nodes_of, walk


@parametrize_with_checks([FilterTree(), FilterTree(pruning=0.0, max_depth=None)])
def test_it_is_a_scikit_learn_classifier(estimator, check) -> None:
    check(estimator)


def noisy(rows: int = 400, filters: int = 6, seed: int = 0, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Four decisions by two filters, some of them at random."""
    generator = np.random.default_rng(seed)
    peaks = generator.random((rows, filters))
    decisions = 2 * (peaks[:, 1] > 0.5) + (peaks[:, 2] > 0.3)
    wrong = generator.random(rows) < noise
    return peaks, np.where(wrong, generator.integers(0, 4, rows), decisions)


def planted(rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Decision 0 where filter 3 is low; else 1 where filter 0 is low; else 2 or 3 by filter 5."""
    peaks = np.random.default_rng(3).random((rows, 7))
    inner = np.where(peaks[:, 0] <= 0.4, 1, np.where(peaks[:, 5] <= 0.7, 2, 3))
    return peaks, np.where(peaks[:, 3] <= 0.5, 0, inner)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_split_is_the_best_of_all(seed: int) -> None:
    peaks, decisions = noisy(60, 4, seed)
    tree = FilterTree(max_depth=1, pruning=0.0).fit(peaks, decisions).tree_
    asked, threshold, decrease = best_split(peaks.astype(np.float32), decisions)
    assert tree.filter[0] == asked
    assert tree.threshold[0] == pytest.approx(threshold, abs=1e-7)
    children = [tree.left[0], tree.right[0]]
    found = tree.impurity[0] - (tree.images[children] * tree.impurity[children]).sum() / tree.images[0]
    assert found == pytest.approx(decrease, abs=1e-12)


@pytest.mark.parametrize("pruning", ["validation", 0.0])
def test_a_planted_tree_is_recovered(pruning) -> None:
    peaks, decisions = planted()
    fitted = FilterTree(pruning=pruning).fit(peaks, decisions)
    tree = fitted.tree_
    assert tree.num_leaves == 4
    splits = {int(f): float(t) for f, t in zip(tree.filter, tree.threshold, strict=True) if f >= 0}
    assert set(splits) == {3, 0, 5}
    for asked, threshold in {3: 0.5, 0: 0.4, 5: 0.7}.items():
        assert splits[asked] == pytest.approx(threshold, abs=0.02)
    np.testing.assert_array_equal(fitted.predict(peaks), decisions)
    assert set(np.flatnonzero(fitted.feature_importances_)) == {0, 3, 5}


def test_permuted_filters_give_the_same_tree_with_permuted_filters() -> None:
    peaks, decisions = planted()
    order = np.random.default_rng(0).permutation(7)
    fitted = FilterTree().fit(peaks, decisions)
    permuted = FilterTree().fit(peaks[:, order], decisions)
    inner = fitted.tree_.filter >= 0
    np.testing.assert_array_equal(order[permuted.tree_.filter[inner]], fitted.tree_.filter[inner])
    for name in ("left", "right", "threshold", "counts"):
        np.testing.assert_array_equal(getattr(permuted.tree_, name), getattr(fitted.tree_, name))
    np.testing.assert_allclose(permuted.feature_importances_, fitted.feature_importances_[order], atol=1e-15)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("names", [None, np.array(["owl", "cat", "bee", "ant"])])
def test_its_own_arrays_decide_exactly_as_scikit_learn_does(alpha: float, names) -> None:
    peaks, decisions = noisy()
    decisions = decisions if names is None else names[decisions]
    peaks[::3] = peaks[::3].round(1)  # ties between rows
    fitted = FilterTree(pruning=alpha, max_depth=6, min_samples_leaf=2).fit(peaks, decisions)
    cart = DecisionTreeClassifier(ccp_alpha=alpha, max_depth=6, min_samples_leaf=2, random_state=0).fit(
        peaks, decisions
    )
    thresholds = cart.tree_.threshold[cart.tree_.children_left >= 0]
    fresh = np.random.default_rng(1).random((2000, 6))
    fresh[: len(thresholds)] = thresholds[:, None]  # rounded to float32 these lie on either side
    fresh[len(thresholds) : 2 * len(thresholds)] = np.nextafter(thresholds, 1)[:, None]
    for rows in (peaks, fresh):
        np.testing.assert_array_equal(fitted.predict(rows), cart.predict(rows))
        np.testing.assert_array_equal(fitted.predict_proba(rows), cart.predict_proba(rows))
        np.testing.assert_array_equal(fitted.apply(rows), cart.apply(rows))
        ways = cart.decision_path(rows)
        expected = [way.tolist() for way in np.split(ways.indices, ways.indptr[1:-1])]
        assert fitted.decision_path_of(rows) == expected
    np.testing.assert_allclose(fitted.feature_importances_, cart.feature_importances_, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(fitted.tree_.counts.sum(1), fitted.tree_.images)


@pytest.mark.parametrize("seed", range(4))
def test_pruning_within_the_arrays_is_scikit_learns_pruning(seed: int) -> None:
    peaks, decisions = noisy(150, 3, seed)
    if seed == 3:  # splits that gain nothing by themselves
        peaks = np.repeat([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]], 5, axis=0).astype(float)
        decisions = (peaks[:, 0] != peaks[:, 1]).astype(int)
    full = DecisionTreeClassifier(random_state=0).fit(peaks, decisions)
    nodes = nodes_of(full, 4)
    strengths = collapse_strengths(nodes)
    levels = walk(nodes, peaks.astype(np.float32))
    path = np.unique(strengths[np.isfinite(strengths)])
    expected = full.cost_complexity_pruning_path(peaks, decisions).ccp_alphas
    np.testing.assert_allclose(np.unique(path.round(12)), np.unique(expected[expected > 0].round(12)), atol=1e-11)
    edges = np.concatenate([path, [1.0]])
    for alpha in [0.0, *(edges[:-1] + edges[1:]) / 2]:
        leaves = np.take_along_axis(levels, (strengths[levels] <= alpha).argmax(1)[:, None], 1)[:, 0]
        pruned = DecisionTreeClassifier(ccp_alpha=alpha, random_state=0).fit(peaks, decisions)
        shares = nodes.counts[leaves][:, full.classes_] / nodes.images[leaves, None]
        np.testing.assert_array_equal(shares, pruned.predict_proba(peaks))
        assert len(set(leaves)) == pruned.get_n_leaves()


def test_a_node_below_a_collapsed_one_is_never_reached_and_leaves_are_always_leaves() -> None:
    peaks, decisions = noisy(150, 3)
    nodes = nodes_of(DecisionTreeClassifier(random_state=0).fit(peaks, decisions), 4)
    strengths = collapse_strengths(nodes)
    np.testing.assert_array_equal(np.isneginf(strengths), nodes.left < 0)
    assert strengths[0] == strengths[np.isfinite(strengths)].max()


def literal_pruning(peaks: np.ndarray, decisions: np.ndarray, fraction: float) -> float:
    """By one refit for each α: the largest with the highest agreement on the rows held out."""
    codes = np.unique(decisions, return_inverse=True)[1]
    fitted, judged = held_out(codes, fraction, 0)
    cart = DecisionTreeClassifier(max_depth=8, random_state=0)
    best = (-1.0, 0.0)
    for alpha in cart.cost_complexity_pruning_path(peaks[fitted], codes[fitted]).ccp_alphas:
        nudged = float(max(alpha, 0)) * (1 + 1e-9)  # a refit rounds as it likes at the very edge
        pruned = DecisionTreeClassifier(max_depth=8, random_state=0, ccp_alpha=nudged).fit(peaks[fitted], codes[fitted])
        best = max(best, (pruned.score(peaks[judged], codes[judged]), float(alpha)))
    return best[1]


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_of_pruning_is_that_of_most_agreement_held_out_found_by_refitting(seed: int) -> None:
    peaks, decisions = noisy(300, 5, seed)
    fitted = FilterTree().fit(peaks, decisions)
    assert fitted.pruning_ == pytest.approx(literal_pruning(peaks, decisions, 0.2), rel=1e-9)
    np.testing.assert_array_equal(
        fitted.tree_.threshold, FilterTree(pruning=fitted.pruning_).fit(peaks, decisions).tree_.threshold
    )


def test_noise_is_pruned_away_and_of_equally_faithful_trees_the_simplest_is_taken() -> None:
    peaks, decisions = noisy(2000, noise=0.1)
    fitted = FilterTree(validation_fraction=0.4).fit(peaks, decisions)
    assert FilterTree(pruning=0.0).fit(peaks, decisions).tree_.num_leaves > 30
    assert fitted.tree_.num_leaves == 4
    # a single row of noise among 200: a tree with and one without a leaf for it agree equally on the rows held out
    one = np.arange(200.0)[:, None]
    sides = (one[:, 0] >= 100).astype(int)
    sides[50] = 1
    lone = FilterTree().fit(one, sides)
    assert lone.tree_.num_leaves == 2
    assert lone.tree_.threshold[0] == pytest.approx(99.5)


def test_where_no_split_is_confirmed_the_tree_is_its_root() -> None:
    generator = np.random.default_rng(0)
    fitted = FilterTree().fit(generator.random((200, 3)), (np.arange(200) == 50).astype(int))
    assert fitted.tree_.num_leaves == 1
    assert fitted.feature_importances_.tolist() == [0.0, 0.0, 0.0]
    assert fitted.decision_path_of(generator.random((2, 3))) == [[0], [0]]


def test_one_decision_gives_a_constant() -> None:
    fitted = FilterTree().fit(np.random.default_rng(0).random((20, 3)), ["ant"] * 20)
    assert fitted.predict(np.zeros((2, 3))).tolist() == ["ant", "ant"]
    assert fitted.predict_proba(np.zeros((2, 3))).tolist() == [[1.0], [1.0]]


def test_held_out_rows_are_a_rounded_share_of_each_decision_and_leave_rare_ones_alone() -> None:
    codes = np.array([0] * 100 + [1] * 8 + [2] * 2 + [3])
    fitted, judged = held_out(codes, 0.2, 0)
    assert np.bincount(codes[judged], minlength=4).tolist() == [20, 2, 0, 0]
    assert sorted([*fitted, *judged]) == list(range(111))
    np.testing.assert_array_equal(held_out(codes, 0.2, 0)[1], judged)
    assert not np.array_equal(held_out(codes, 0.2, 1)[1], judged)
    assert np.bincount(codes[held_out(codes, 0.99, 0)[0]]).tolist() == [1, 1, 1, 1]


def test_decisions_that_are_all_rare_are_held_out_alike_and_too_few_rows_are_both() -> None:
    fitted, judged = held_out(np.arange(10), 0.2, 0)
    assert (len(fitted), len(judged)) == (8, 2)
    assert sorted([*fitted, *judged]) == list(range(10))
    for codes in (np.array([0, 1]), np.array([0])):
        fitted, judged = held_out(codes, 0.2, 0)
        assert fitted.tolist() == judged.tolist() == list(range(len(codes)))
    np.testing.assert_array_equal(FilterTree().fit([[0.0], [1.0]], [5, 7]).predict([[0.1], [0.9]]), [5, 7])


def test_a_black_box_is_imitated_by_its_own_decisions() -> None:
    peaks, decisions = noisy()
    forest = RandomForestClassifier(5, random_state=0).fit(peaks, decisions)
    direct = FilterTree().fit(peaks, forest.predict(peaks))
    for box in (forest.predict, forest.predict_proba):
        asked = FilterTree().fit(peaks, box)
        np.testing.assert_array_equal(asked.tree_.threshold, direct.tree_.threshold)
    with pytest.raises(SurrogateError, match="returned NaN for row 0"):
        FilterTree().fit(peaks, lambda x: x[:, 0] * np.nan)


def test_decisions_at_a_depth_are_those_of_the_nodes_there() -> None:
    peaks, decisions = planted()
    fitted = FilterTree(pruning=0.0).fit(peaks, decisions)
    ways = fitted.decision_path_of(peaks)
    deepest = max(len(way) for way in ways) - 1
    assert deepest == 3
    for depth in range(deepest + 2):
        nodes = [way[min(depth, len(way) - 1)] for way in ways]
        expected = fitted.classes_[fitted.tree_.counts[nodes].argmax(1)]
        np.testing.assert_array_equal(fitted.predict_at_depth(peaks, depth), expected)
    assert set(fitted.predict_at_depth(peaks, 0)) == {np.bincount(decisions).argmax()}
    np.testing.assert_array_equal(fitted.predict_at_depth(peaks, 99), fitted.predict(peaks))
    agreement = [(fitted.predict_at_depth(peaks, depth) == decisions).mean() for depth in range(4)]
    assert agreement == sorted(agreement)
    with pytest.raises(SurrogateError, match=r"depth must be 0 .* got -1"):
        fitted.predict_at_depth(peaks, -1)


@pytest.mark.parametrize("names", [None, np.array(["a", "zebra", "é", "</b>"]), np.array([-3, 0, 5, 2**40])])
@pytest.mark.parametrize("pruning", ["validation", 0])
def test_a_loaded_tree_is_the_saved_one_bit_for_bit(tmp_path: Path, names, pruning) -> None:
    peaks, decisions = noisy(filters=4)
    decisions = decisions if names is None else names[decisions]
    fitted = FilterTree(pruning=pruning, max_depth=None, random_state=np.int64(3)).fit(peaks, decisions)
    fitted.save(tmp_path / "tree.json")
    loaded = FilterTree.load(str(tmp_path / "tree.json"))
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.pruning_, loaded.n_features_in_) == (fitted.pruning_, 4)
    fresh = np.random.default_rng(9).random((500, 4))
    for verb in ("predict", "predict_proba", "apply"):
        np.testing.assert_array_equal(getattr(loaded, verb)(fresh), getattr(fitted, verb)(fresh))
    assert loaded.decision_path_of(fresh) == fitted.decision_path_of(fresh)
    np.testing.assert_array_equal(loaded.feature_importances_, fitted.feature_importances_)
    for own, other in zip(loaded.tree_, fitted.tree_, strict=True):
        np.testing.assert_array_equal(own, other)
        assert own.dtype == other.dtype
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tree.json").read_bytes()


def test_decisions_that_no_file_can_name_are_refused() -> None:
    fitted = FilterTree().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 1.0])
    with pytest.raises(SurrogateError, match=r"must imitate integers or strings, got 0\.0"):
        fitted.to_record()


def test_an_unfitted_tree_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        FilterTree().save(tmp_path / "tree.json")
    assert list(tmp_path.iterdir()) == []


def saved(folder: Path) -> Path:
    FilterTree().fit(*planted()).save(folder / "tree.json")
    return folder / "tree.json"


def test_a_file_without_a_filter_tree_is_refused(tmp_path: Path) -> None:
    LinearSurrogate(strength=1.0).fit(*planted(50)).save(tmp_path / "tree.json")
    with pytest.raises(SurrogateError, match="holds no filter_tree"):
        FilterTree.load(tmp_path / "tree.json")
    with pytest.raises(SurrogateError, match=r"nothing\.json is missing"):
        FilterTree.load(tmp_path / "nothing.json")


def test_a_truncated_or_edited_file_is_refused_with_the_field(tmp_path: Path) -> None:
    path = saved(tmp_path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(SurrogateError, match="breaks off or is damaged"):
        FilterTree.load(path)
    content = json.loads(text)
    content["filter_tree"]["nodes"][0]["threshold"] = 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(SurrogateError, match="the field filter_tree was changed"):
        FilterTree.load(path)
    content["filter_tree"]["nodes"][0]["threshold"] = "low"
    path.write_text(json.dumps(content))
    with pytest.raises(SurrogateError, match=r"filter_tree\.nodes\[0\]\.threshold"):
        FilterTree.load(path)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"children": (2, 2)}),
        (0, {"children": (1, 99)}),
        (0, {"children": (1,)}),
        (0, {"filter": 7}),
        (0, {"filter": None}),
        (0, {"threshold": None}),
        (0, {"counts": (1.0,)}),
        (2, {"children": (1, 2)}),
    ],
)
def test_nodes_that_make_no_tree_are_refused_even_under_a_fresh_digest(tmp_path: Path, number: int, change) -> None:
    path = saved(tmp_path)
    record = read_document(path, DocumentRecord).filter_tree
    assert record is not None
    assert record.nodes[2].children
    nodes = list(record.nodes)
    nodes[number] = nodes[number].model_copy(update=change)
    write_document(path, DocumentRecord(filter_tree=record.model_copy(update={"nodes": tuple(nodes)})))
    with pytest.raises(SurrogateError, match=r"filter_tree\.nodes\[\d\] does not fit in a tree of 7 nodes"):
        FilterTree.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameters": {"colour": 1}}, "takes no argument colour"),
        ({"decisions": (1, 0, 2, 3)}, "in ascending order"),
        ({"decisions": (0, 1, 2, "3")}, "in ascending order"),
    ],
)
def test_arguments_and_decisions_of_another_form_are_refused(tmp_path: Path, change, words: str) -> None:
    record = read_document(saved(tmp_path), DocumentRecord).filter_tree
    assert record is not None
    with pytest.raises(SurrogateError, match=words):
        FilterTree.from_record(record.model_copy(update=change))


@pytest.mark.parametrize(
    "arguments",
    [{"max_depth": 0}, {"pruning": -1.0}, {"pruning": "some"}, {"validation_fraction": 1.0}, {"random_state": None}],
)
def test_arguments_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match=f"The '{next(iter(arguments))}' parameter"):
        FilterTree(**arguments).fit(*planted(20))


def test_importances_of_a_root_alone_are_nothing() -> None:
    nodes = nodes_of(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 0]), 1)
    assert importances(nodes, 3).tolist() == [0.0, 0.0, 0.0]
