"""Rationales of a decision mode: of single images, and the one that several images share (Zhang et al. 2019, §3)."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoLars

_SWEEPS = 2000
"""Of coordinate descent, which takes tens of them where there are more images than filters."""

CANCELLED = 1e-7
"""Length of the sum of unit vectors, as a share of their number, up to which it is rounding, and they have no mean."""


class LinearRationales(NamedTuple):
    """y = g · x + b of each image, in units in which g has length 1."""

    features: Float[np.ndarray, "image filter"]
    """x, sums over the cells of each map as shares of the filter's mean activation."""
    gradients: Float[np.ndarray, "image filter"]
    """g; zero where a score does not depend on any filter."""
    scores: Float[np.ndarray, " image"]
    """y over the length that g had."""
    intercepts: Float[np.ndarray, " image"]
    """b."""
    lengths: Float[np.ndarray, " image"]
    """What g, y and b were divided by: the length of g."""


class Rationale(NamedTuple):
    """h(x) = w · x + b."""

    weights: Float[np.ndarray, " filter"]
    intercept: float


def filter_scale(sums: Float[np.ndarray, "image filter"], cells: int = 1) -> Float[np.ndarray, " filter"]:
    """Scale s of each filter: its mean activation, by size, over images and cells; 0 for one that never fires."""
    scale: np.ndarray = np.abs(sums).mean(0) / cells
    return scale


def linear_rationales(
    sums: Float[np.ndarray, "image filter"],
    gradients: Float[np.ndarray, "image filter"],
    scores: Float[np.ndarray, " image"],
    scale: Float[np.ndarray, " filter"],
    intercepts: Float[np.ndarray, " image"] | None = None,
) -> LinearRationales:
    """Rationales of images as vectors over the filters: x = sums / s, g = s · gradients, over the length of g.

    Args:
        sums: Sum over the cells of each map.
        gradients: Gradient of the score at the maps, mean over their cells.
        scores: Of the class that is explained.
        scale: s, from `filter_scale`; a filter of scale 0 is left out, x and g being 0.
        intercepts: b of the full maps; where omitted it is what is left of the score, y − g · x.
    """
    fires = scale != 0
    features = np.divide(sums, scale, out=np.zeros_like(sums), where=fires)
    scaled = gradients * scale
    if intercepts is None:
        intercepts = scores - (scaled * features).sum(1)
    lengths = np.linalg.norm(scaled, axis=1)
    units = np.where(lengths > 0, lengths, 1)
    return LinearRationales(features, scaled / units[:, None], scores / units, intercepts / units, lengths)


def mean_direction(gradients: Float[np.ndarray, "image filter"]) -> Float[np.ndarray, " filter"]:
    """The unit vector with the largest mean cosine to unit gradients: their normalised sum, 0 where they cancel."""
    total = gradients.sum(0)
    length = float(np.linalg.norm(total))
    direction: np.ndarray = total / length if length > CANCELLED * len(gradients) else np.zeros_like(total)
    return direction


def select_filters(
    features: Float[np.ndarray, "image filter"],
    direction: Float[np.ndarray, " filter"],
    scores: Float[np.ndarray, " image"],
    sparsity: float,
) -> Float[np.ndarray, " filter"]:
    """α that minimises mean (w · x + b − y)² + λ‖α‖₁ over α and b, with w = α ∘ direction and λ = sparsity · √images.

    Of fewer images than filters by least-angle regression: there coordinate descent ends far from the optimum, with
    every filter selected, when the penalty is as small as the paper's.
    """
    alpha = sparsity * np.sqrt(len(scores)) / 2  # scikit-learn halves the squares
    count, filters = features.shape
    descends = count > filters and alpha > 0
    lasso = Lasso(alpha, max_iter=_SWEEPS) if descends else LassoLars(alpha, max_iter=4 * filters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of images that are equal up to rounding
        lasso.fit(features * direction, scores)
    return np.reshape(lasso.coef_, filters).astype(np.float64)  # of one filter LARS gives a number
