"""How well scores of training images find those with wrong labels."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Float64
from torch import Tensor

from interpretable.errors import InfluenceError


class MislabelDetection(NamedTuple):
    """The mislabel detection curve."""

    found: Float64[Tensor, " image"]
    """Share of the wrong labels that are among the first 1..N images."""
    area: Float64[Tensor, ""]
    """Under the curve from (0, 0), over the share of images looked at: 1/2 by chance, 1 − (share wrong) / 2 at best."""


def mislabel_detection(scores: Float[Tensor, " image"], wrong: Bool[Tensor, " image"]) -> MislabelDetection:
    """Shares of the wrong labels that are found by looking at images in the order of descending scores.

    Images of equal scores are looked at in their order. Koh and Liang 2017, §5.4, with self-influence as the scores.

    Args:
        scores: (N,) such as ``self_influence()``.
        wrong: (N,) whether the image's label is wrong.

    Raises:
        InfluenceError: Scores and labels are not as many, a score is NaN, or no label is wrong.
    """
    if scores.ndim != 1 or scores.shape != wrong.shape or not wrong.any():
        raise InfluenceError(
            "A detection curve needs a score for each of some labels of which at least one is wrong, got scores of "
            f"shape {tuple(scores.shape)}, labels of shape {tuple(wrong.shape)} and {int(wrong.sum())} wrong ones."
        )
    if scores.isnan().any():
        raise InfluenceError(
            f"Scores must be numbers, got NaN in row {int(scores.isnan().int().argmax())} of {len(scores)}; leave out "
            "images without a score, and their labels."
        )
    hits = wrong[scores.argsort(descending=True, stable=True)].double()
    found = hits.cumsum(0) / hits.sum()
    return MislabelDetection(found, found.mean() - 0.5 / len(found))
