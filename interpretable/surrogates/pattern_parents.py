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

_NODES = 64
"""Nodes that are compared with the candidates at once."""

_TRIPLES = 2**20
"""Triples of a node, a candidate and an image that are compared at once, as many as the caches of a processor hold."""


def without_parents(images: int, spreads: Float[Tensor, "channel node"], size: tuple[int, int]) -> Guidance:
    """What guides the top layer, and the first iteration of every layer: nothing, with the first spread.

    Args:
        images: How many.
        spreads: σ, whose shape, device and type count.
        size: Height and width of the maps.
    """
    tolerance = torch.full_like(spreads, WINDOW * max(size))
    nothing = spreads.new_zeros(images, *spreads.shape, 2)
    return Guidance(nothing, torch.ones_like(nothing[..., 0]), tolerance)


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
) -> tuple[Int[Tensor, "node parent"], Float[Tensor, "node parent"]]:
    """Of each node the candidates that keep their place to it: those with the largest Σ S exp(−‖h − h′‖² / 2b).

    h are places less their mean over images, and b is the mean of ‖h − h′‖² over images and candidates.

    Args:
        scores: S of the nodes in each image.
        places: Of them, in pixels of the image.
        candidate_places: Of the candidates.
        count: M.

    Returns:
        Positions among the candidates, best first, of equal ones the first; and that sum over Σ S, in [0, 1], which is
        0 for a node that no image activates.
    """
    own, others = places - places.mean(0), candidate_places - candidate_places.mean(0)
    together = (own * others.mean(1, keepdim=True)).sum(-1).mean(0)
    bandwidth = own.square().sum(-1).mean(0) + others.square().sum(-1).mean() - 2 * together
    # Where a node moves exactly as its candidates do, what is left is rounding, and no distance counts.
    exact = bandwidth <= 8 * torch.finfo(own.dtype).eps * own.square().sum(-1).mean(0)
    scale = torch.where(exact, 0, 1 / (2 * bandwidth))
    # log S − ‖h − h′‖² / 2b = [2h / 2b, −1 / 2b, log S − ‖h‖² / 2b] · [h′, ‖h′‖², 1], a matrix product for each image.
    left = torch.cat(
        [
            2 * own * scale[:, None],
            -scale.expand(len(own), -1)[..., None],
            (scores.log() - own.square().sum(-1) * scale)[..., None],
        ],
        -1,
    )
    right = torch.cat([others, others.square().sum(-1, keepdim=True), torch.ones_like(others[..., :1])], -1).mT
    images = max(1, _TRIPLES // (_NODES * others.shape[1]))
    chosen, strengths = [], []
    for nodes in torch.split(left, _NODES, 1):
        value = nodes.new_zeros(nodes.shape[1], others.shape[1])
        for some, candidates in zip(torch.split(nodes, images), torch.split(right, images), strict=True):
            value += torch.bmm(some, candidates).exp_().sum(0)
        ranked = value.sort(descending=True, stable=True)
        chosen.append(ranked.indices[:, :count])
        strengths.append(ranked.values[:, :count])
    total = scores.sum(0)[:, None]
    return torch.cat(chosen), torch.where(total > 0, torch.cat(strengths) / total, 0).clamp(max=1)
