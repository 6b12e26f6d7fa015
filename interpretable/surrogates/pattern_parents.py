"""Edges of an explanatory graph: which nodes of the layer above keep their place to a node, and what they say of it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from interpretable.surrogates.part_patterns import WINDOW, Guidance

PARENTS = 15
"""M, nodes of the layer above that a node hangs on."""

CANDIDATES = 600
"""Nodes of the layer above that parents are chosen from, those of the highest scores."""

STILL = 0.5
"""Share of the nodes above whose places vary least over images; a place that never changes says nothing."""

BORDER = 0.1
"""Share of the image at each side in which a node above is no parent."""

_PAIRS = 2**24
"""Triples of a node, a candidate and an image that are compared at once."""


def without_parents(images: int, channels: int, nodes: int, height: int, width: int) -> Guidance:
    """What guides the top layer, and the first iteration of every layer: nothing, with the first spread."""
    tolerance = torch.full((channels, nodes), WINDOW * max(height, width))
    return Guidance(torch.zeros(images, channels, nodes, 2), torch.ones(images, channels, nodes), tolerance)


def guidance(
    displacements: Float[Tensor, "image upper 2"],
    spreads: Float[Tensor, " upper"],
    parents: Int[Tensor, "channel node parent"],
) -> Guidance:
    """What the parents' places in each image say of the nodes below them.

    The product of the parents' Gaussians, each to the power 1/M, is one Gaussian about the node's own place, moved by
    the weighted mean of their displacements, w = 1 / (M σ²), with the variance 1 / Σ w; what it is scaled by falls with
    the weighted variance of the displacements.

    Args:
        displacements: Of the nodes above from their mean places, in cells of the layer below.
        spreads: σ of the nodes above, in the same cells.
        parents: Numbers of the nodes above.
    """
    shape = parents.shape
    weights = 1 / (shape[-1] * spreads[parents] ** 2)
    total = weights.sum(-1)
    bags, weights = parents.flatten(0, 1), weights.flatten(0, 1)

    def summed(table: Tensor) -> Tensor:
        """Σ over the parents of w times rows (upper, …) of a table."""
        flat = table.flatten(1)
        found = F.embedding_bag(bags, flat, per_sample_weights=weights, mode="sum")
        return found.view(*shape[:2], *table.shape[1:])

    moved = displacements.transpose(0, 1)
    shifts = summed(moved) / total[..., None, None]  # (channel, node, image, 2)
    variance = summed((moved**2).sum(-1)) - total[..., None] * (shifts**2).sum(-1)
    agreement = torch.exp(-variance.clamp(min=0) / 2)
    return Guidance(shifts.movedim(2, 0), agreement.movedim(2, 0), total.rsqrt())


def candidate_parents(
    scores: Float[Tensor, "image upper"], places: Float[Tensor, "image upper 2"], size: tuple[float, float]
) -> Int[Tensor, " candidate"]:
    """Nodes above that may be parents, highest score first: those that move, lie within the image and fire strongest.

    Args:
        scores: Of the nodes above in each image.
        places: Of them, row before column, in pixels of the image.
        size: (H, W) of the images in pixels.
    """
    variance = places.var(0, correction=0).sum(-1)
    order = variance.argsort(descending=True, stable=True)
    moves = torch.zeros_like(variance, dtype=torch.bool)
    moves[order[: len(order) - int(STILL * len(order))]] = True
    mean = places.mean(0) / places.new_tensor(size)
    inside = ((mean > BORDER) & (mean < 1 - BORDER)).all(-1)
    ranked = scores.sum(0).argsort(descending=True, stable=True)
    return ranked[(moves & inside)[ranked]][:CANDIDATES]


def choose_parents(
    scores: Float[Tensor, "image node"],
    places: Float[Tensor, "image node 2"],
    candidate_places: Float[Tensor, "image candidate 2"],
    count: int = PARENTS,
) -> Int[Tensor, "node parent"]:
    """Of each node the candidates that keep their place to it: those with the largest Σ S exp(−‖h − h′‖² / 2b).

    h are places less their mean over images, and b is the mean of ‖h − h′‖² over images and candidates.

    Args:
        scores: S of the nodes in each image.
        places: Of them, in pixels of the image.
        candidate_places: Of the candidates.
        count: M.

    Returns:
        Positions among the candidates, best first; of equal ones the first.
    """
    own, others = places - places.mean(0), candidate_places - candidate_places.mean(0)
    # The mean of centred places is 0, and with it the product of the means.
    bandwidth = (own**2).sum(-1).mean(0) + (others**2).sum(-1).mean()
    images, candidates = others.shape[:2]
    chosen = []
    step = max(1, _PAIRS // (images * candidates))
    for start in range(0, own.shape[1], step):
        part = slice(start, start + step)
        scale = 1 / (2 * bandwidth[part]).clamp(min=torch.finfo(own.dtype).tiny)
        distance = (own[:, part, None] - others[:, None]).square().sum(-1)  # (image, node, candidate)
        value = (scores[:, part, None] * torch.exp(-distance * scale[:, None])).sum(0)
        chosen.append(value.sort(descending=True, stable=True).indices[:, :count])
    return torch.cat(chosen)
