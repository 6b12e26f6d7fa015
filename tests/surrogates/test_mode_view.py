from collections import Counter

import numpy as np
import pytest
from surrogates.drawn_rationales import Images, fitted, leaves_below, planted_images, random_images

from interpretable.surrogates import DecisionModeTree
from interpretable.surrogates.class_scores import ClassScores
from interpretable.surrogates.export import mode_view
from interpretable.surrogates.export.mode_view import (
    BARS,
    BARS_OF_IMAGE,
    EXAMPLES,
    FILTERS,
    Names,
    bars,
    images_below,
    view_modes,
)
from interpretable.surrogates.export.review_tree import ROOT, ReviewTree

NAMES = Names(
    filters=[f"filter {number}" for number in range(12)],
    parts={"beak": [0, 3], "leg": [1], "no effect": []},
    classes=("ant", "bee", "cat"),
)


def scores_of(images: Images, rivals: list[int] | None = None) -> ClassScores:
    count = len(images.scores)
    return ClassScores(
        features=images.sums,
        scores=images.scores,
        gradients=images.gradients,
        intercepts=np.zeros(count),
        thresholds=np.zeros(count),
        of_class=np.full(count, True),
        rivals=np.array(rivals if rivals is not None else [-1] * count),
    )


def nothing_tested(filters: int) -> tuple[ClassScores, mode_view.ShownImages]:
    empty = np.empty(0, dtype=int)
    return scores_of(Images(np.empty((0, filters)), np.empty((0, filters)), np.empty(0))), mode_view.ShownImages(
        empty, empty, empty
    )


def view(tree: DecisionModeTree, images: Images, rivals: list[int] | None = None) -> ReviewTree:
    """The tree as it is shown; image k is number 100 + 3 k of the data."""
    indices = 100 + 3 * np.arange(len(images.scores))
    return view_modes(tree, scores_of(images, rivals), indices, *nothing_tested(images.sums.shape[1]), NAMES)


def literal_contributions(tree: DecisionModeTree, images: Images, node: int) -> np.ndarray:
    """w ∘ x of each image by a node, in the units of the scores."""
    safe = np.where(tree.scale_ == 0, 1, tree.scale_)
    lengths = np.linalg.norm(images.gradients * tree.scale_, axis=1)
    return tree.tree_.weights[node] * (images.sums / safe) * lengths[:, None]


def equal_groups(sizes: tuple[int, ...], filters: int = 5, seed: int = 0) -> Images:
    """Groups of images whose rationales are the same in each group, their sums and scores not."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    directions = 3 * np.eye(len(sizes), filters) + random.uniform(0.1, 0.2, (len(sizes), filters))
    sums = random.gamma(2, 1, (len(group), filters)) + 1
    gradients = directions[group]
    return Images(sums, gradients, (sums * gradients).sum(1) + 1 + group)


@pytest.mark.parametrize("seed", range(2))
def test_every_node_has_its_number_its_images_and_those_below_it(seed):
    images = random_images(12, 5, seed)
    tree = fitted(images, target="cat")
    shown = view(tree, images)
    assert shown.name == "cat"
    assert sorted(shown.nodes) == list(range(len(tree.tree_.children)))
    for number, below in enumerate(leaves_below(tree)):
        node = shown.nodes[number]
        assert node.images == len(below)
        assert node.children == tree.tree_.children[number]
        if number == ROOT:
            title = "cat"
        elif len(below) == 1:
            title = f"image {100 + 3 * next(iter(below))}"
        else:
            title = f"{'mode' if number in tree.tree_.children[ROOT] else 'node'} {number}"
        assert node.title == title


def test_images_below_are_those_of_the_leaves_in_ascending_order():
    images = random_images(14, 5, 3)
    tree = fitted(images)
    found = images_below(tree)
    assert [set(own.tolist()) for own in found] == leaves_below(tree)
    assert all((np.diff(own) > 0).all() for own in found)


def test_contributions_are_the_mean_over_the_nodes_images_and_parts_are_their_sums():
    images = random_images(12, 12, 1)
    tree = fitted(images)
    shown = view(tree, images)
    for number, below in enumerate(leaves_below(tree)):
        mean = literal_contributions(tree, images, number)[sorted(below)].mean(0)
        strongest = sorted(range(12), key=lambda place: -abs(mean[place]))
        node = shown.nodes[number]
        assert [bar.name for bar in node.contributions] == [f"filter {place}" for place in strongest[:BARS]]
        assert [bar.value for bar in node.contributions] == pytest.approx(mean[strongest[:BARS]], rel=1e-5)
        assert node.filters == tuple(strongest[:FILTERS])
        sums = {"beak": mean[0] + mean[3], "leg": mean[1], "no effect": 0}
        assert {bar.name: bar.value for bar in node.parts} == pytest.approx(sums, rel=1e-5, abs=1e-9)
        sizes = [abs(bar.value) for bar in node.parts]
        assert sizes == sorted(sizes, reverse=True)


def test_a_filter_that_contributes_nothing_is_neither_a_bar_nor_shown():
    images = random_images(10, 5)
    images.sums[:, 2] = 0
    tree = fitted(images)
    for node in view(tree, images).nodes.values():
        assert 2 not in node.filters
        assert "filter 2" not in {bar.name for bar in node.contributions}
        assert ("filters", "4 of 5") in node.facts
    assert [fact for fact in view(fitted(random_images(10, 5)), images).nodes[ROOT].facts if fact[0] == "filters"] == []


def test_bars_are_the_strongest_of_either_sign_first_of_equals_first():
    found = bars(np.array([0.5, -2.0, 0.0, 2.0, 0.25]), NAMES.filters, 3)
    assert [tuple(bar) for bar in found] == [("filter 1", -2.0), ("filter 3", 2.0), ("filter 0", 0.5)]
    assert bars(np.zeros(4), NAMES.filters, 3) == ()


def test_examples_are_the_nodes_own_images_most_typical_first():
    images = random_images(25, 5, 2)
    tree = fitted(images)
    shown = view(tree, images)
    assert max(len(below) for below in leaves_below(tree)) > EXAMPLES
    for number, below in enumerate(leaves_below(tree)):
        own = sorted(below)
        distance = np.linalg.norm(literal_contributions(tree, images, number)[own] - tree.tree_.means[number], axis=1)
        typical = [100 + 3 * own[place] for place in np.argsort(distance)[:EXAMPLES]]
        assert list(shown.nodes[number].examples) == typical


def test_rivals_are_counted_most_frequent_first_and_left_out_where_there_are_none():
    images = random_images(12, 5)
    rivals = [0, 2, 0, 0, 2, 0, 0, 0, 2, 2, 0, 0]
    tree = fitted(images, target="bee")
    shown = view(tree, images, rivals)
    assert shown.nodes[ROOT].facts[0] == ("against", "ant 8, cat 4")
    for number, below in enumerate(leaves_below(tree)):
        counted = Counter(NAMES.classes[rivals[image]] for image in below)
        text = dict(shown.nodes[number].facts)["against"]
        assert dict(pair.split(" ") for pair in text.split(", ")) == {name: str(n) for name, n in counted.items()}
    without = view(tree, images)
    assert [fact for node in without.nodes.values() for fact in node.facts if fact[0] == "against"] == []


def test_the_gain_of_a_merge_is_a_fact_of_its_node_alone():
    images = random_images(12, 5)
    tree = fitted(images)
    for number, node in view(tree, images).nodes.items():
        gain = tree.tree_.gains[number]
        expected = [] if np.isnan(gain) else [("Δ log E", f"{gain:+.3g}")]
        assert [fact for fact in node.facts if fact[0] == "Δ log E"] == expected


def test_images_of_one_rationale_are_one_node():
    images = equal_groups((9,))
    tree = fitted(images, target="cat")
    assert len(tree.tree_.children) > 9
    shown = view(tree, images)
    assert list(shown.nodes) == [ROOT]
    node = shown.nodes[ROOT]
    assert (node.title, node.images, node.children) == ("cat", 9, ())
    assert ("rationale", "the same for all images") in node.facts
    assert len(node.examples) == EXAMPLES


def test_nodes_below_one_whose_images_have_the_same_rationale_are_left_out_and_the_others_keep_their_numbers():
    images = equal_groups((6, 4))
    tree = fitted(images)
    below = leaves_below(tree)
    same = [len({image < 6 for image in own}) == 1 for own in below]
    expected = {ROOT}
    for number, children in enumerate(tree.tree_.children):
        if number in expected and not same[number]:
            expected.update(children)
    assert 1 < len(expected) < len(below)
    shown = view(tree, images)
    assert shown.nodes.keys() == expected
    for number, node in shown.nodes.items():
        assert node.images == len(below[number])
        assert node.children == (() if same[number] else tree.tree_.children[number])
        assert (("rationale", "the same for all images") in node.facts) == (same[number] and len(below[number]) > 1)


def test_a_single_image_is_its_own_leaf_and_says_nothing_of_being_the_same():
    images = equal_groups((5, 1))
    tree = fitted(images)
    (number,) = [number for number, own in enumerate(leaves_below(tree)) if own == {5}]
    leaf = view(tree, images).nodes[number]
    assert (leaf.title, leaf.images, leaf.examples) == ("image 115", 1, (115,))
    assert "rationale" not in dict(leaf.facts)


@pytest.mark.parametrize("kind", ["modes", "random", "equal groups"])
def test_a_test_images_path_is_the_trees_until_the_last_node_that_is_shown(kind):
    if kind == "modes":
        images, others = planted_images(6)[0], planted_images(3, 7)[0]
    elif kind == "random":
        images, others = random_images(12, 6, 4), random_images(9, 6, 5)
    else:
        images, others = equal_groups((6, 4), 6), random_images(9, 6, 5)
    tree = fitted(images, target="bee")
    count = len(others.scores)
    labels, decisions = np.arange(count) % 3, np.full(count, 1)
    tested = mode_view.ShownImages(7 + 2 * np.arange(count), labels, decisions)
    fitted_indices = np.arange(len(images.scores))
    shown = view_modes(tree, scores_of(images), fitted_indices, scores_of(others), tested, NAMES)
    paths = tree.paths(others.gradients)
    steps = 0
    for place, path in enumerate(shown.paths):
        assert (path.image, path.name) == (7 + 2 * place, f"image {7 + 2 * place}")
        assert (path.label, path.decision) == (NAMES.classes[place % 3], "bee")
        assert path.score == others.scores[place]
        whole = [int(node) for node in paths[place] if node >= 0]
        kept = [node for node in whole if node in shown.nodes]
        assert whole[: len(kept)] == kept
        assert [step.node for step in path.steps] == kept
        assert shown.nodes[kept[-1]].children == ()
        for level, step in enumerate(path.steps, 1):
            steps += 1
            assert step.score == pytest.approx(tree.predict(others.sums, others.gradients, level)[place])
            row = tree.contributions(others.sums, others.gradients, level)[place]
            assert step.contributions == bars(row, NAMES.filters, BARS_OF_IMAGE)
    assert len(shown.paths) == count
    assert steps > count


def test_without_test_images_there_are_no_paths():
    images = random_images(8, 5)
    assert view(fitted(images), images).paths == ()
