"""What a decision-mode tree says at each of its levels, measured against the network (Zhang et al. 2019, §4)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from interpretable.errors import SurrogateError
from interpretable.surrogates.class_scores import ClassScores
from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.mode_rationale import linear_rationales

LEVELS: tuple[int | None, ...] = (1, 2, 3, 4, 5, 6, 7, None)
"""From the root to the seventh, as far as results are published, and the leaves."""


class LevelMeasures(NamedTuple):
    """One level of a tree; on images of the class, accuracy on all images."""

    level: int | None
    """1 for the root; None for the leaves."""
    nodes: int
    """Nodes of the tree at this level; paths that end above it count with their leaf."""
    prediction_error: float
    """Mean distance of the predicted score to the network's, as a share of the range of the network's."""
    fitness: float
    """Of the contributions to those of the image's own rationale, in [0, 1]."""
    accuracy: float
    """Mean share of the class's images and of the others that the predicted score decides rightly."""
    network_accuracy: float
    """The same of the network's own score."""
    part_errors: dict[str, float]
    """Per part, the error of its contribution against removing its filters, as a share of the mean score."""


def prediction_error(predicted: Float[np.ndarray, " image"], scores: Float[np.ndarray, " image"]) -> float:
    """Mean |h − y| / (max y − min y); 0 where all are equal, infinite where only the scores are."""
    distance, span = float(np.abs(predicted - scores).mean()), float(np.ptp(scores))
    return distance / span if span > 0 else np.inf if distance > 0 else 0.0


def contribution_fitness(
    contributions: Float[np.ndarray, "image filter"], own: Float[np.ndarray, "image filter"]
) -> float:
    """Mean Σ_d min(ρ̂_d, |t_d|) / Σ_d max(ρ̂_d, |t_d|), with ρ̂_d = max(ρ_d · sign t_d, 0).

    Args:
        contributions: ρ, by a rationale of the tree.
        own: t, by the image's own rationale.

    Returns:
        In [0, 1]: 1 for equal contributions, also where nothing contributes; 0 where all have the other sign.
    """
    agreeing, size = np.maximum(contributions * np.sign(own), 0), np.abs(own)
    shared, joint = np.minimum(agreeing, size).sum(1), np.maximum(agreeing, size).sum(1)
    return float(np.divide(shared, joint, out=np.ones_like(shared), where=joint > 0).mean())


def part_contribution_errors(
    contributions: Float[np.ndarray, "image part"],
    removals: Float[np.ndarray, "image part"],
    scores: Float[np.ndarray, " image"],
) -> Float[np.ndarray, " part"]:
    """Mean |ϱ̂ − ϱ*| of each part over the mean score; NaN where that is not above 0.

    Args:
        contributions: ϱ̂, the sum of the contributions of the part's filters.
        removals: ϱ*, what the score loses when the part's filters are set to 0.
        scores: y.
    """
    mean = scores.mean()
    errors: np.ndarray = np.abs(contributions - removals).mean(0) / (mean if mean > 0 else np.nan)
    return errors


def balanced_accuracy(scores: ClassScores, predicted: Float[np.ndarray, " image"]) -> float:
    """Mean of the shares of the class's images, and of all others, on the right side of the threshold."""
    right = (predicted > scores.thresholds) == scores.of_class
    shares = [right[scores.of_class == side].mean() for side in (True, False) if (scores.of_class == side).any()]
    return float(np.mean(shares))


def level_measures(
    tree: DecisionModeTree,
    scores: ClassScores,
    parts: Mapping[str, Sequence[int]],
    removals: Float[np.ndarray, "image part"],
    levels: Sequence[int | None] = LEVELS,
    paths: Int[np.ndarray, "image depth"] | None = None,
) -> list[LevelMeasures]:
    """Measures a tree level by level on the images of a store.

    Args:
        tree: Fitted to scores of the same class and kind.
        scores: Of the images, those of other classes among them.
        parts: Filters of each part.
        removals: What each image's score loses when a part's filters are set to 0; NaN of other classes' images.
        levels: 1 for the root; None for the leaves.
        paths: Where the images are, their parse paths where omitted.

    Raises:
        SurrogateError: None of the images is of the class.
    """
    if not scores.of_class.any():
        raise SurrogateError(
            f"A tree is measured on images of its class, but none of {len(scores.scores)} is; give some of "
            f"{tree.target}."
        )
    found = tree.paths(scores.gradients) if paths is None else paths
    of_class = scores.of_class
    own_units = linear_rationales(scores.features, scores.gradients, scores.scores, tree.scale_)
    own = (own_units.features * own_units.gradients * own_units.lengths[:, None])[of_class]
    network = balanced_accuracy(scores, scores.scores)
    depth = _depths(tree)
    measured = []
    for level in levels:
        predicted = tree.predict(scores.features, scores.gradients, level, found)
        contributed = tree.contributions(scores.features, scores.gradients, level, found)[of_class]
        of_parts = np.stack([contributed[:, list(filters)].sum(1) for filters in parts.values()] or [own[:, 0]], 1)
        errors = part_contribution_errors(of_parts[:, : len(parts)], removals[of_class], scores.scores[of_class])
        measured.append(
            LevelMeasures(
                level=level,
                nodes=_nodes_at(tree, depth, level),
                prediction_error=prediction_error(predicted[of_class], scores.scores[of_class]),
                fitness=contribution_fitness(contributed, own),
                accuracy=balanced_accuracy(scores, predicted),
                network_accuracy=network,
                part_errors=dict(zip(parts, errors.tolist(), strict=True)),
            )
        )
    return measured


def _depths(tree: DecisionModeTree) -> np.ndarray:
    depths = np.zeros(len(tree.tree_.parents), dtype=np.int64)
    for node, parent in enumerate(tree.tree_.parents):  # a node stands before those below it
        depths[node] = depths[parent] + 1 if parent >= 0 else 1
    return depths


def _nodes_at(tree: DecisionModeTree, depths: np.ndarray, level: int | None) -> int:
    leaves = tree.tree_.images >= 0
    if level is None:
        return int(leaves.sum())
    return int(((depths == level) | (leaves & (depths < level))).sum())
