"""A decision-mode tree as a reviewer is shown it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.class_scores import ClassScores
from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.export.review_tree import ROOT, Bar, ParsePath, PathStep, ReviewNode, ReviewTree
from interpretable.surrogates.mode_rationale import linear_rationales

BARS = 8
"""Contributions that are shown of a node."""

BARS_OF_IMAGE = 5
"""Contributions that are shown of an image at each step of its path."""

FILTERS = 5
"""Filters of a node whose image regions are shown."""

EXAMPLES = 8
"""Images that a node is shown by."""

RIVALS = 4
"""Classes that are named of those that a node's images are told from."""

_SAME = 1e-6
"""Distance up to which two rationales are one."""


@dataclass(frozen=True)
class Names:
    """What things are called."""

    filters: Sequence[str]
    """Of each filter, different ones differently."""
    parts: Mapping[str, Sequence[int]]
    """Filters of each named part."""
    classes: Sequence[str]


@dataclass(frozen=True)
class ShownImages:
    """Test images, N of them."""

    indices: Int[np.ndarray, " image"]
    """In the test data."""
    labels: Int[np.ndarray, " image"]
    decisions: Int[np.ndarray, " image"]
    """Of the network."""


def view_modes(
    tree: DecisionModeTree,
    fitted: ClassScores,
    fitted_images: Int[np.ndarray, " image"],
    tested: ClassScores,
    test_images: ShownImages,
    names: Names,
) -> ReviewTree:
    """The tree as it is shown: without the nodes below one whose images all have the same rationale.

    Args:
        tree: Of one class.
        fitted: Scores of the images that it was fitted to.
        fitted_images: Their indices in the training data.
        tested: Scores of the test images whose parse paths are shown.
        test_images: These images.
        names: Of filters, parts and classes.
    """
    children = _children_that_differ(tree)
    images = images_below(tree)
    nodes: dict[int, ReviewNode] = {}
    waiting = [ROOT]
    for number in waiting:
        waiting += children[number]
        means, own = tree.tree_.means[number], images[number]
        nodes[number] = ReviewNode(
            title=_title(tree, number, fitted_images[own]),
            images=len(own),
            children=children[number],
            facts=_facts(tree, number, children[number], fitted.rivals[own], names.classes),
            contributions=bars(means, names.filters, BARS),
            parts=_part_bars(means, names.parts),
            filters=tuple(_strongest(means, FILTERS)),
            examples=tuple(fitted_images[own[_typical(tree, number, fitted.rows(own))]].tolist()),
        )
    return ReviewTree(tree.target, nodes, _parse_paths(tree, tested, test_images, names, set(nodes)))


def bars(contributions: Float[np.ndarray, " filter"], names: Sequence[str], count: int) -> tuple[Bar, ...]:
    """The strongest contributions by name."""
    return tuple(Bar(names[place], float(contributions[place])) for place in _strongest(contributions, count))


def images_below(tree: DecisionModeTree) -> list[Int[np.ndarray, " image"]]:
    """Fitted images below each node, ascending."""
    paths = tree.fitted_paths()
    image, depth = np.nonzero(paths >= 0)
    node = paths[image, depth]
    order = np.argsort(node, kind="stable")
    return np.split(image[order], np.cumsum(np.bincount(node, minlength=len(tree.tree_.sizes)))[:-1])


def _children_that_differ(tree: DecisionModeTree) -> list[tuple[int, ...]]:
    """Children of each node, none where all leaves below it have its rationale."""
    children = list(tree.tree_.children)
    uniform = np.array([not below for below in children])
    for number in range(len(children) - 1, -1, -1):  # a node stands before those below it
        below = children[number]
        if below and uniform[list(below)].all():
            distance = np.abs(tree.tree_.weights[list(below)] - tree.tree_.weights[number]).max()
            uniform[number] = distance <= _SAME
    return [() if uniform[number] else below for number, below in enumerate(children)]


def _title(tree: DecisionModeTree, number: int, images: np.ndarray) -> str:
    if number == ROOT:
        return tree.target
    if len(images) == 1:
        return f"image {images[0]}"
    return f"mode {number}" if tree.tree_.parents[number] == ROOT else f"node {number}"


def _facts(
    tree: DecisionModeTree, number: int, children: Sequence[int], rivals: np.ndarray, classes: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    facts = []
    if found := Counter(rivals[rivals >= 0].tolist()).most_common(RIVALS):
        facts.append(("against", ", ".join(f"{classes[rival]} {images}" for rival, images in found)))
    if tree.tree_.children[number] and not children:
        facts.append(("rationale", "the same for all images"))
    used = int((tree.tree_.weights[number] != 0).sum())
    if used < tree.n_features_in_:
        facts.append(("filters", f"{used} of {tree.n_features_in_}"))
    if not np.isnan(tree.tree_.gains[number]):
        facts.append(("Δ log E", f"{tree.tree_.gains[number]:+.3g}"))
    return tuple(facts)


def _part_bars(contributions: np.ndarray, parts: Mapping[str, Sequence[int]]) -> tuple[Bar, ...]:
    sums = [Bar(name, float(contributions[list(filters)].sum())) for name, filters in parts.items()]
    return tuple(sorted(sums, key=lambda bar: -abs(bar.value)))


def _strongest(contributions: np.ndarray, count: int) -> list[int]:
    order = np.argsort(-np.abs(contributions), kind="stable")[:count]
    return [int(place) for place in order if contributions[place] != 0]


def _typical(tree: DecisionModeTree, number: int, own: ClassScores) -> np.ndarray:
    """Positions of the images whose contributions are nearest to the node's."""
    units = linear_rationales(own.features, own.gradients, own.scores, tree.scale_)
    contributed = units.features * units.lengths[:, None] * tree.tree_.weights[number]
    distance = np.linalg.norm(contributed - tree.tree_.means[number], axis=1)
    return np.argsort(distance, kind="stable")[:EXAMPLES]


def _parse_paths(
    tree: DecisionModeTree, scores: ClassScores, tested: ShownImages, names: Names, shown: set[int]
) -> tuple[ParsePath, ...]:
    if not len(tested.indices):
        return ()
    paths = tree.paths(scores.gradients)
    steps: list[list[PathStep]] = [[] for _ in tested.indices]
    for depth in range(paths.shape[1]):
        reached = np.flatnonzero(np.isin(paths[:, depth], list(shown)))
        if not len(reached):
            break
        here = scores.rows(reached)
        predicted = tree.predict(here.features, here.gradients, depth + 1, paths[reached])
        contributed = tree.contributions(here.features, here.gradients, depth + 1, paths[reached])
        for image, score, row in zip(reached, predicted, contributed, strict=True):
            steps[image].append(
                PathStep(int(paths[image, depth]), float(score), bars(row, names.filters, BARS_OF_IMAGE))
            )
    return tuple(
        ParsePath(
            image=int(index),
            name=f"image {index}",
            label=names.classes[label],
            decision=names.classes[decision],
            score=float(score),
            steps=tuple(own),
        )
        for index, label, decision, score, own in zip(
            tested.indices, tested.labels, tested.decisions, scores.scores, steps, strict=True
        )
    )
