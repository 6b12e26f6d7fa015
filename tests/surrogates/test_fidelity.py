import numpy as np
import pytest

from interpretable.errors import SurrogateError
from interpretable.surrogates.fidelity import FidelityRow, fidelity_table
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.linear_surrogate import LinearSurrogate


def case(names: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """A network that decides by three filters as a tree of depth 2 does, and is wrong on every fifth test image."""
    generator = np.random.default_rng(0)
    peaks = generator.random((500, 5))
    decisions = np.where(peaks[:, 1] <= 0.5, 1 * (peaks[:, 0] > 0.4), 2 + (peaks[:, 3] > 0.6))
    labels = np.where(np.arange(500) % 5 == 0, (decisions + 1) % 4, decisions)
    if names is not None:
        decisions, labels = names[decisions], names[labels]
    return {
        "X_train": peaks[:300],
        "decisions_train": decisions[:300],
        "X_test": peaks[300:],
        "decisions_test": decisions[300:],
        "labels_test": labels[300:],
    }


def test_the_rows_are_what_each_surrogate_scores() -> None:
    data = case()
    rows = fidelity_table(**data, depths=(1, 2, 3))
    network, majority, linear, *trees = rows
    assert network == FidelityRow("network", None, None, 1.0, pytest.approx(0.8))
    most = np.bincount(data["decisions_train"]).argmax()
    assert majority == FidelityRow(
        "majority", None, None, (data["decisions_test"] == most).mean(), (data["labels_test"] == most).mean()
    )
    fitted = LinearSurrogate().fit(data["X_train"], data["decisions_train"])
    assert linear[:3] == ("linear", None, np.count_nonzero(fitted.coef_))
    assert linear.fidelity == fitted.score(data["X_test"], data["decisions_test"])
    assert linear.accuracy == fitted.score(data["X_test"], data["labels_test"])
    assert [(tree.surrogate, tree.depth) for tree in trees] == [("filter tree", depth) for depth in (1, 2, 3)]
    for tree in trees:
        alone = FilterTree(max_depth=tree.depth).fit(data["X_train"], data["decisions_train"])
        assert tree.size == alone.tree_.num_leaves
        assert tree.fidelity == alone.score(data["X_test"], data["decisions_test"])
        assert tree.accuracy == alone.score(data["X_test"], data["labels_test"])


def test_a_network_that_is_a_tree_is_repeated_from_its_depth_on() -> None:
    trees = fidelity_table(**case(), depths=(1, 2, 5))[3:]
    assert trees[0].size == 2
    assert trees[0].fidelity < 0.7
    assert [tree.size for tree in trees[1:]] == [4, 4]
    assert min(tree.fidelity for tree in trees[1:]) > 0.97


def test_names_of_decisions_do_not_matter() -> None:
    numbers = fidelity_table(**case(), depths=(2,))
    assert fidelity_table(**case(np.array(["ant", "bee", "cat", "dog"])), depths=(2,)) == numbers


def test_progress_is_shown_over_all_surrogates() -> None:
    seen = []

    def track(items, what):
        seen.append((len(items), what))
        return items

    assert fidelity_table(**case(), depths=(1, 2), track=track) == fidelity_table(**case(), depths=(1, 2))
    assert seen == [(3, "surrogates")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decisions_train": np.zeros(299, int)}, "'X_train': 300, 'decisions_train': 299"),
        ({"labels_test": np.zeros(199, int)}, "'labels_test': 199"),
        (
            {"X_test": np.zeros((0, 5)), "decisions_test": np.zeros(0, int), "labels_test": np.zeros(0, int)},
            "at least one",
        ),
        ({"labels_test": np.array(["ant"] * 200)}, "all as numbers or all as strings; got .*'labels_test': '<U3'"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, words: str) -> None:
    with pytest.raises(SurrogateError, match=words):
        fidelity_table(**(case() | change))
