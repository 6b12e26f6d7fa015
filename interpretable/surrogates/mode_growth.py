"""Growing a tree of decision modes: which rationales are merged, in which order (Zhang et al. 2019, §3)."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from interpretable.surrogates.mode_nodes import ModeNodes, Predict

Gain = Literal["objective", "per_image"]
Assignment = Literal["ancestors", "cosine"]


class Merge(NamedTuple):
    """Two nodes that became one; leaves are numbered by their image, merged nodes from N on in the order of growth."""

    first: int
    second: int
    gain: float
    """Δ log E in nats."""


def grow(
    features: Float[np.ndarray, "image filter"],
    gradients: Float[np.ndarray, "image filter"],
    scores: Float[np.ndarray, " image"],
    *,
    penalty: float = 1.0,
    temperature: float | None = None,
    gain: Gain = "objective",
    assignment: Assignment = "ancestors",
    predict: Predict | None = None,
    progress: Callable[[int], None] = lambda merges: None,
) -> list[Merge]:
    """Merges the two nodes that raise log E most, until no merge raises it.

    E = Π_i [P_t(x_i) / P_0(x_i)] · exp(−β|V|) over the N images i, with V the nodes that nothing holds yet, P(x_i) =
    exp(γŷ_i) / Σ_j exp(γŷ_j), ŷ_i what the node of image i predicts, and P_0 the same of the leaves. Merging v and v′
    into u changes log E by β + γ Σ_{i∈u} (h_u(x_i) − ŷ_i) − N log(Θ′ / Θ) with Θ = Σ_j exp(γŷ_j).

    A node's rationale is the mean direction of its leaves with the intercept in closed form, so that every score
    follows from products of images with summed gradients. After a merge only the new node is scored, against all k
    others at once, in O(n·k + N) for its n images. Memory is six N × N matrices.

    Args:
        features: x.
        gradients: g, of length 1.
        scores: y, which the leaves predict.
        penalty: β.
        temperature: γ, 1 / mean y where omitted.
        gain: Whether the best merge is that of the largest Δ log E, or of the largest per image of the merged node.
        assignment: Whether an image stays below its own ancestors, or belongs to the node whose direction has the
            largest cosine to its gradient, found anew after each merge.
        predict: Fits another rationale, once per pair of nodes that is scored.
        progress: Called with the number of merges after each.

    Returns:
        The merges in their order, of equal ones first that of the nodes with the lowest images.
    """
    nodes = ModeNodes(
        features, gradients, scores, penalty, 1 / float(scores.mean()) if temperature is None else temperature, predict
    )
    nodes.compare(np.arange(len(scores)))
    in_place = gain == "objective" and assignment == "ancestors"
    merges: list[Merge] = []
    while len(merges) < len(scores) - 1:
        first, second = (
            nodes.cheapest_pair() if in_place and not nodes.dominated else nodes.best_pair(gain == "per_image")
        )
        best = nodes.gain(first, second)
        if not best > 0:
            break
        merges.append(Merge(int(nodes.number[first]), int(nodes.number[second]), best))
        nodes.join(first, second)
        if assignment == "cosine":
            nodes.assign_by_cosine()
        nodes.compare(np.flatnonzero(nodes.alive) if assignment == "cosine" else np.array([first]))
        progress(len(merges))
    return merges
