"""A filter tree as a reviewer is shown it."""

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.export.mode_view import EXAMPLES, Names, ShownImages
from interpretable.surrogates.export.review_tree import ROOT, ParsePath, PathStep, ReviewNode, ReviewTree
from interpretable.surrogates.filter_tree import FilterTree

NAME = "all classes by filters"

DECISIONS = 3
"""Decisions of a node that are named."""


def view_filter_tree(
    tree: FilterTree,
    fitted: Float[np.ndarray, "image filter"],
    fitted_images: Int[np.ndarray, " image"],
    peaks: Float[np.ndarray, "tested filter"],
    tested: ShownImages,
    names: Names,
) -> ReviewTree:
    """The tree with every test image's way down; a step's score is the share of its images decided as the image is.

    Args:
        tree: Fitted to the network's decisions.
        fitted: Peaks that it was fitted to.
        fitted_images: Indices of their images in the training data.
        peaks: Of the test images.
        tested: The test images.
        names: Of filters and classes.
    """
    found = tree.tree_
    examples: list[list[int]] = [[] for _ in found.images]
    for image, way in enumerate(tree.decision_path_of(fitted)):
        for number in way:
            if len(examples[number]) < EXAMPLES:
                examples[number].append(int(fitted_images[image]))
    titles = [NAME] + [""] * (len(found.images) - 1)
    for number in np.flatnonzero(found.left >= 0).tolist():
        name, threshold = names.filters[found.filter[number]], found.threshold[number]
        titles[found.left[number]] = f"{name} ≤ {threshold:.3g}"
        titles[found.right[number]] = f"{name} > {threshold:.3g}"
    shares = found.counts / found.images[:, None]
    nodes = {
        number: ReviewNode(
            title=titles[number],
            images=int(found.images[number]),
            children=(int(found.left[number]), int(found.right[number])) if found.left[number] >= 0 else (),
            facts=(("decisions", _decisions(shares[number], tree.classes_, names)),),
            filters=(int(found.filter[number]),) if found.left[number] >= 0 else (),
            examples=tuple(examples[number]),
        )
        for number in range(ROOT, len(titles))
    }
    column = np.searchsorted(tree.classes_, tested.decisions)  # of each image's decision, where the tree knows it
    column = np.where(np.isin(tested.decisions, tree.classes_), column, -1)
    alike = np.concatenate([shares, np.zeros((len(shares), 1))], axis=1)  # the last one for decisions never fitted
    paths = tuple(
        ParsePath(
            image=int(index),
            name=f"image {index}",
            label=names.classes[label],
            decision=names.classes[decision],
            score=1.0,
            steps=tuple(PathStep(number, float(alike[number, place])) for number in way),
        )
        for index, label, decision, place, way in zip(
            tested.indices, tested.labels, tested.decisions, column, tree.decision_path_of(peaks), strict=True
        )
    )
    return ReviewTree(NAME, nodes, paths)


def _decisions(shares: np.ndarray, classes: np.ndarray, names: Names) -> str:
    """The most frequent decisions of a node in words."""
    order = [place for place in np.argsort(-shares, kind="stable")[:DECISIONS] if shares[place] > 0]
    return ", ".join(f"{names.classes[classes[place]]} {shares[place]:.0%}" for place in order)
