"""Images as a tree of decision modes sees them, without a network: sums of maps, gradients and scores."""

from typing import NamedTuple

import numpy as np

from interpretable.surrogates import DecisionModeTree
from interpretable.surrogates.mode_growth import Merge


class Images(NamedTuple):
    sums: np.ndarray
    gradients: np.ndarray
    scores: np.ndarray

    def of(self, rows: np.ndarray) -> "Images":
        return Images(*(values[rows] for values in self))


def random_images(images: int = 12, filters: int = 5, seed: int = 0) -> Images:
    """Gradients of either sign, sums above 0, scores that a rationale with an intercept of its own makes."""
    random = np.random.default_rng(seed)
    sums = random.gamma(2, 1, (images, filters))
    gradients = random.normal(0.4, 1, (images, filters))
    return Images(sums, gradients, (sums * gradients).sum(1) + random.uniform(2, 6, images))


def random_rationales(images: int = 12, filters: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, unit gradients and scores above 0."""
    random = np.random.default_rng(seed)
    gradients = random.normal(0.3, 1, (images, filters))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    return random.gamma(2, 1, (images, filters)), gradients, random.uniform(0.3, 3, images)


MODES = 3


def planted_images(of_mode: int = 6, seed: int = 0) -> tuple[Images, np.ndarray]:
    """Three decision modes of two filters each, and the mode of each image, in random order.

    A mode's score rests on its own filters alone, which fire alike in all of its images, whereas the filters of the
    other modes vary, and more in one of the two modes than in the other: a rationale that two modes shared would spread
    the scores of both. All filters have the same mean.
    """
    random = np.random.default_rng(seed)
    mode = random.permutation(np.repeat(np.arange(MODES), of_mode))
    filter_mode = np.arange(2 * MODES) // 2
    after = (filter_mode - mode[:, None]) % MODES
    low, high = random.uniform(0, 3, after.shape), random.uniform(7, 10, after.shape)
    sums = np.choose(after, [5 + random.normal(0, 0.01, after.shape), low, high])
    gradients = (after == 0) + random.normal(0, 0.001, after.shape)
    return Images(sums, gradients, 3 + random.normal(0, 0.01, len(mode))), mode


def fitted(images: Images, **options: object) -> DecisionModeTree:
    return DecisionModeTree(**options).fit(images.sums, images.scores, images.gradients)


def leaves_below(tree: DecisionModeTree) -> list[frozenset[int]]:
    """The images of each node."""
    found: list[frozenset[int]] = [frozenset()] * len(tree.tree_.children)
    for node in reversed(range(len(found))):
        image = int(tree.tree_.images[node])
        found[node] = frozenset({image} if image >= 0 else ()).union(*(found[k] for k in tree.tree_.children[node]))
    return found


def groups(tree: DecisionModeTree) -> dict[frozenset[int], int]:
    """Numbers of the nodes by their images, without the root and the leaves."""
    below = leaves_below(tree)
    return {images: node for node, images in enumerate(below) if node and tree.tree_.children[node]}


def members(merges: list[Merge], images: int) -> list[tuple[list[int], list[int], float]]:
    """Merges as the images of both nodes, those with the lowest image first, and the gain."""
    nodes = [[image] for image in range(images)]
    named = []
    for merge in merges:
        first, second = sorted((nodes[merge.first], nodes[merge.second]))
        named.append((first, second, merge.gain))
        nodes.append(sorted(first + second))
    return named
