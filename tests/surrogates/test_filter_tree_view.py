import numpy as np
import pytest

from interpretable.surrogates import FilterTree
from interpretable.surrogates.export import mode_view
from interpretable.surrogates.export.filter_tree_view import NAME, view_filter_tree
from interpretable.surrogates.export.mode_view import EXAMPLES, Names
from interpretable.surrogates.export.review_tree import ROOT, ReviewTree

NAMES = Names(["beak · 0", "filter 1", "leg · 2"], {"beak": [0], "leg": [2]}, ("ant", "bee", "cat", "dog"))


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Class 3 where filter 2 is above 0.5, otherwise class 1 where filter 0 is above 2, otherwise class 0; never 2."""
    peaks = np.zeros((30, 3), np.float32)
    peaks[:, 1] = np.arange(30) % 2
    peaks[:12, 2] = 1
    peaks[12:22, 0] = 4
    decisions = np.repeat([3, 1, 0], [12, 10, 8])
    order = np.random.default_rng(0).permutation(30)
    return peaks[order], decisions[order]


def judged() -> tuple[np.ndarray, mode_view.ShownImages]:
    peaks = np.array([[0, 0, 1], [4, 0, 0], [0, 0, 0], [4, 0, 1]], np.float32)
    return peaks, mode_view.ShownImages(np.array([5, 6, 9, 11]), np.array([3, 1, 2, 0]), np.array([3, 1, 0, 3]))


@pytest.fixture(scope="module")
def fitted() -> FilterTree:
    return FilterTree(pruning=0.0).fit(*planted())


@pytest.fixture(scope="module")
def shown(fitted: FilterTree) -> ReviewTree:
    peaks, _ = planted()
    return view_filter_tree(fitted, peaks, 200 + np.arange(30), *judged(), NAMES)


def test_nodes_have_the_numbers_images_and_children_of_the_tree(fitted, shown):
    assert shown.name == NAME
    assert list(shown.nodes) == list(range(len(fitted.tree_.images)))
    assert len(shown.nodes) == 5
    for number, node in shown.nodes.items():
        assert node.images == fitted.tree_.images[number]
        inner = fitted.tree_.left[number] >= 0
        assert node.children == ((fitted.tree_.left[number], fitted.tree_.right[number]) if inner else ())
    assert shown.nodes[ROOT].images == 30


def test_a_node_is_called_by_the_question_that_leads_to_it_and_shows_the_filter_that_it_asks(shown):
    titles = {(node.title, node.images, node.filters) for node in shown.nodes.values()}
    assert titles == {
        (NAME, 30, (2,)),
        ("leg · 2 > 0.5", 12, ()),
        ("leg · 2 ≤ 0.5", 18, (0,)),
        ("beak · 0 > 2", 10, ()),
        ("beak · 0 ≤ 2", 8, ()),
    }


def test_decisions_are_named_most_frequent_first_and_absent_ones_not(shown):
    by_images = {node.images: dict(node.facts)["decisions"] for node in shown.nodes.values()}
    assert by_images[30] == "dog 40%, bee 33%, ant 27%"
    assert by_images[18] == "bee 56%, ant 44%"
    assert (by_images[12], by_images[10], by_images[8]) == ("dog 100%", "bee 100%", "ant 100%")


def test_examples_are_the_first_images_that_pass_a_node(fitted, shown):
    peaks, _ = planted()
    ways = fitted.decision_path_of(peaks)
    for number, node in shown.nodes.items():
        passing = [200 + image for image, way in enumerate(ways) if number in way]
        assert list(node.examples) == passing[:EXAMPLES]
        assert len(passing) == node.images


def test_the_path_of_a_test_image_is_its_way_with_the_share_that_is_decided_as_it_is(fitted, shown):
    peaks, images = judged()
    assert [path.image for path in shown.paths] == images.indices.tolist()
    assert [path.label for path in shown.paths] == ["dog", "bee", "cat", "ant"]
    assert [path.decision for path in shown.paths] == ["dog", "bee", "ant", "dog"]
    for decision, way, path in zip(images.decisions, fitted.decision_path_of(peaks), shown.paths, strict=True):
        assert [step.node for step in path.steps] == way
        column = fitted.classes_.tolist().index(decision)
        assert [step.score for step in path.steps] == pytest.approx(
            [fitted.tree_.counts[node, column] / fitted.tree_.images[node] for node in way]
        )
    assert shown.paths[0].steps[0].score == pytest.approx(0.4)


def test_a_network_that_decides_for_one_class_alone_is_a_root():
    peaks, _ = planted()
    tree = FilterTree(pruning=0.0).fit(peaks, np.full(30, 2))
    shown = view_filter_tree(tree, peaks, np.arange(30), *judged(), NAMES)
    assert list(shown.nodes) == [ROOT]
    assert shown.nodes[ROOT].facts == (("decisions", "cat 100%"),)
    assert all([step.node for step in path.steps] == [ROOT] for path in shown.paths)
