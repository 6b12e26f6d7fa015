"""Where a part is, predicted from the positions of many nodes after it was pointed out in a few images.

All positions are shares of the diagonal of their image.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.metrics.peak_table import PeakTable

NODES = 20
"""Nodes that a part is predicted from: enough to average their noise, few enough to be near a small part."""

RIGIDITY = 0.1
"""Prior variance of an offset per square of its length: off by a third of it. It has no say with one shot, where only
the ratio of variances counts, and little with more, as it counts as one observation."""

REACH = 0.1
"""Diagonals below which a shorter offset is hardly better: a cell or two of the maps that nodes come from, which is
what their positions are known to."""

RIDGE = 0.01
"""Penalty per coordinate, whose square is 1 on average: small, as a ridge regression on few images must follow them to
say more than their mean, and large against rounding."""

_CONSTANT = 1e-6
"""Standard deviation in diagonals up to which a coordinate is constant: the rounding of pixels in float32."""

_NUMBERS_AT_ONCE = 2**20
"""Bounds what is computed at once, so that memory does not grow with the number of nodes, images and draws."""


def landmark_shares(table: PeakTable, rows: Int64[Tensor, "*shape"], part: int) -> Float[Tensor, "*shape 2"]:
    """Where a part is in images."""
    return table.landmarks[rows, part].double() / _diagonals(table, rows)[..., None]


def mean_scores(table: PeakTable) -> Float[Tensor, " node"]:
    """Mean score of each node over all images, those where it is silent included; infinite if it is in all."""
    total = table.values.new_zeros(table.values.shape[1], dtype=torch.float64)
    for some in torch.split(table.values, max(1, _NUMBERS_AT_ONCE // max(1, len(total)))):
        total += some.double().clamp(min=0).sum(0)
    return torch.where(total > 0, total / len(table.values), torch.inf)


def node_predictions(
    train: PeakTable,
    test: PeakTable,
    part: int,
    shots: Int64[Tensor, "draw shot"],
    images: Int64[Tensor, " image"],
    scale: Float[Tensor, " node"],
) -> Float[Tensor, "draw image 2"]:
    """Positions of a part by the nodes that keep their offset to it, "nodes" of `few_shot_localisation`.

    Args:
        train: Images to learn from.
        test: Images to predict in.
        part: Which one.
        shots: Rows of the training images of each draw, all of which show the part.
        images: Rows of the test images.
        scale: What scores are divided by, of `mean_scores`.
    """
    nodes = train.values.shape[1]
    numbers = 2 * (nodes * shots.shape[1] + min(NODES, nodes) * len(images))
    some = torch.split(shots, max(1, _NUMBERS_AT_ONCE // max(1, numbers)))
    return torch.cat([_node_predictions(train, test, part, each, images, scale) for each in some])


def _node_predictions(
    train: PeakTable, test: PeakTable, part: int, shots: Tensor, images: Tensor, scale: Tensor
) -> Tensor:
    landmarks = landmark_shares(train, shots, part)  # (draw, shot, 2)
    scores = train.values[shots].double().clamp(min=0) / scale  # (draw, shot, node)
    fires = (scores > 0)[..., None]
    places = train.positions[shots].double() / _diagonals(train, shots)[..., None, None]
    offsets = torch.where(fires, landmarks[:, :, None] - places, 0)
    number = fires.sum(1).clamp(min=1)
    offset = offsets.sum(1) / number  # (draw, node, 2)
    spread = torch.where(fires, offsets - offset[:, None], 0).square().sum((1, -1))
    variance = (spread + RIGIDITY * (offset.square().sum(-1) + REACH**2)) / number.squeeze(-1)
    weight, chosen = (scores.mean(1) / variance).topk(min(NODES, scores.shape[-1]))
    draws = torch.arange(len(shots), device=shots.device)[:, None]
    precision = torch.where(weight > 0, 1 / variance[draws, chosen], 0)  # a node that no shot excites says nothing
    pairs = images[:, None], chosen[:, None]  # (draw, image, chosen)
    weights = precision[:, None] * test.values[pairs].double().clamp(min=0) / scale[chosen][:, None]
    found = test.positions[pairs].double() / _diagonals(test, images)[:, None, None] + offset[draws, chosen][:, None]
    total = weights.sum(-1, keepdim=True)
    predicted = torch.where(weights[..., None] > 0, weights[..., None] * found, 0).sum(-2) / total
    return torch.where(total > 0, predicted, landmarks.mean(1, keepdim=True))


class Similarities(NamedTuple):
    """Scalar products of the images of one class, as vectors of the standardised coordinates of all nodes."""

    train: Float[Tensor, "shown shown"]
    test: Float[Tensor, "image shown"]
    coordinates: int
    """How many vary over the training images."""


def similarities(
    train: PeakTable, test: PeakTable, rows: Int64[Tensor, " shown"], images: Int64[Tensor, " image"]
) -> Similarities:
    """What a ridge regression on all coordinates needs to know of the images of a class, at least one to train on.

    A coordinate is standardised by its mean and deviation over the training images in which its node fires, annotated
    or not; it is 0 where its node is silent and where it is constant.

    Args:
        train: Images to learn from.
        test: Images to predict in.
        rows: Those of the class in the one.
        images: Those of the class in the other.
    """
    products = train.values.new_zeros(len(rows) + len(images), len(rows), dtype=torch.float64)
    coordinates = 0
    nodes = torch.arange(train.values.shape[1], device=rows.device)
    for some in torch.split(nodes, max(1, _NUMBERS_AT_ONCE // (2 * len(products)))):
        places = _places_or_nan(train, rows, some)
        mean = places.nanmean(0)
        deviation = (places - mean).square().nanmean(0).sqrt()
        varies = deviation > _CONSTANT
        both = torch.cat([places, _places_or_nan(test, images, some)])
        features = torch.where(varies & ~both.isnan(), (both - mean) / deviation, 0).flatten(1)
        products += features @ features[: len(rows)].T
        coordinates += int(varies.sum())
    return Similarities(products[: len(rows)], products[len(rows) :], coordinates)


def ridge_predictions(
    known: Similarities,
    landmarks: Float[Tensor, "draw shot 2"],
    shots: Int64[Tensor, "draw shot"],
    images: Int64[Tensor, " image"],
) -> Float[Tensor, "draw image 2"]:
    """Positions of a part by ridge regression in its dual form, "ridge" of `few_shot_localisation`.

    Args:
        known: Of the class.
        landmarks: Where the part is in the shots.
        shots: Numbers, among the training images of the class, of those of each draw.
        images: Numbers, among the test images of the class, of those to predict in.
    """
    among = known.train[shots[:, :, None], shots[:, None]]
    to_mean = among.mean(1, keepdim=True)
    centred = among - to_mean - to_mean.mT + to_mean.mean(-1, keepdim=True)
    mean = landmarks.mean(1, keepdim=True)
    penalty = RIDGE * max(1, known.coordinates) * torch.eye(shots.shape[1]).to(centred)
    weights: Tensor = torch.linalg.solve(centred + penalty, landmarks - mean)
    # The weights of the shots sum to 0, so the products need no centring over these.
    return mean + (known.test[images[:, None], shots[:, None]] - to_mean) @ weights


def _places_or_nan(table: PeakTable, rows: Tensor, nodes: Tensor) -> Tensor:
    """Positions (row, node, 2), NaN of a silent node."""
    pairs = rows[:, None], nodes
    shares = table.positions[pairs].double() / _diagonals(table, rows)[:, None, None]
    return torch.where((table.values[pairs] > 0)[..., None], shares, torch.nan)


def _diagonals(table: PeakTable, rows: Tensor) -> Tensor:
    return table.sizes[rows].double().square().sum(-1).sqrt()
