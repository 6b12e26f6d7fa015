"""The whole fit of an explanatory graph, layer by layer from the top, from the literal steps beside it."""

import math
from typing import NamedTuple

import numpy

from oracles.explanatory_graph import (
    background,
    blurred_activation,
    centred,
    choose_parents,
    infer,
    log_objective,
    parent_candidates,
    parent_terms,
    spatial_term,
    update,
)

BLUR, WINDOW = 0.025, 0.15


class Layer(NamedTuple):
    """Maps x (image, channel, row, column); unit (r, c) is at offset + stride · (r, c), in pixels of the image."""

    maps: numpy.ndarray
    stride: float
    offset: float


class LearnedLayer(NamedTuple):
    """Nodes are numbered channel by channel; places are (row, column)."""

    mu: numpy.ndarray
    """(channel, node, 2) in cells."""
    sigma: numpy.ndarray
    """(channel, node) in cells."""
    mean_places: numpy.ndarray
    """(channel, node, 2) mean over images of the inferred cell."""
    mean_scores: numpy.ndarray
    """(channel, node) mean over images of the score."""
    parents: numpy.ndarray
    """(channel, node, parent) numbers of nodes of the layer above, best first; no parents in the top layer."""
    strengths: numpy.ndarray
    """(channel, node, parent)."""
    objective: numpy.ndarray
    """(iteration,) log P per unit of activation before each iteration's update; 0 where nothing is active."""
    cells: numpy.ndarray
    """(image, channel, node, 2) inferred after the last iteration."""
    scores: numpy.ndarray
    """(image, channel, node) likewise."""


class Above(NamedTuple):
    """The layer above after its fit, its nodes in one row."""

    cells: numpy.ndarray
    """(image, U, 2)."""
    scores: numpy.ndarray
    """(image, U)."""
    pixels: numpy.ndarray
    """(image, U, 2)."""
    sigma: numpy.ndarray
    """(U) in cells of that layer."""
    stride: float


def fit(layers, places, image_size, iterations=20, candidates=600, parents=15) -> list[LearnedLayer]:
    """Learns every layer; `layers` (of `Layer`) and first `places` (channel, node, 2 each) go from bottom to top."""
    learned: list[LearnedLayer] = []
    above = None
    for layer, first in zip(reversed(layers), reversed(places), strict=True):
        found = fit_layer(layer, first, above, image_size, iterations, candidates, parents)
        learned.insert(0, found)
        images = len(layer.maps)
        above = Above(
            found.cells.reshape(images, -1, 2),
            found.scores.reshape(images, -1),
            in_pixels(found.cells, layer).reshape(images, -1, 2),
            found.sigma.flatten(),
            layer.stride,
        )
    return learned


def fit_layer(layer, places, above, image_size, iterations, candidates, parents) -> LearnedLayer:
    """Learns one layer; `above` is None for the top one."""
    images, _, height, width = layer.maps.shape
    window = WINDOW * max(height, width)
    activation = blurred_activation(scaled(layer.maps), BLUR * height)
    mu = numpy.array(places, dtype=numpy.float64)
    channels, nodes, _ = mu.shape
    sigma = numpy.full((channels, nodes), window)
    chosen = numpy.zeros((channels, nodes, 0), dtype=numpy.int64)
    strengths = numpy.zeros((channels, nodes, 0))
    objective = []
    for iteration in range(1, iterations + 1):
        displacement, lam, delta = guidance(layer, above, chosen, window)
        spatial = spatial_term(mu, sigma, displacement, lam, delta, (height, width), window)
        total = math.fsum(activation.flatten().tolist())
        fit_of_all = log_objective(activation, spatial, background(spatial))
        objective.append(fit_of_all / total if total > 0 else 0.0)
        cells, _, scores = infer(activation, spatial, mu, displacement)
        mu, sigma = update(activation, spatial, mu, sigma, displacement, iteration)
        if above is not None:
            chosen, strengths = edges(layer, cells, scores, above, image_size, candidates, parents)
    displacement, lam, delta = guidance(layer, above, chosen, window)
    spatial = spatial_term(mu, sigma, displacement, lam, delta, (height, width), window)
    cells, _, scores = infer(activation, spatial, mu, displacement)
    return LearnedLayer(
        mu,
        sigma,
        cells.sum(axis=0) / images,
        scores.sum(axis=0) / images,
        chosen,
        strengths,
        numpy.array(objective),
        cells,
        scores,
    )


def scaled(maps) -> numpy.ndarray:
    """x̃: each channel over its standard deviation over all images and cells, over 1 where that is 0."""
    x = numpy.array(maps, dtype=numpy.float64)
    for c in range(x.shape[1]):
        values = x[:, c].flatten().tolist()
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        # The mean of equal values need not be that value to the last bit.
        x[:, c] /= deviation if min(values) < max(values) else 1.0
    return x


def guidance(layer, above, chosen, window) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Displacement (image, channel, node, 2), λ (image, channel, node) and δ (channel, node) from the parents chosen.

    A node without parents is not displaced, and has λ = 1 and δ = window.
    """
    images = len(layer.maps)
    channels, nodes, count = chosen.shape
    displacement = numpy.zeros((images, channels, nodes, 2))
    lam = numpy.ones((images, channels, nodes))
    delta = numpy.full((channels, nodes), window)
    if count > 0:
        mean = above.cells.sum(axis=0) / images
        for c, v in numpy.ndindex(channels, nodes):
            own = chosen[c, v]
            displacement[:, c, v], delta[c, v], lam[:, c, v] = parent_terms(
                above.cells[:, own], mean[own], above.sigma[own], above.stride / layer.stride
            )
    return displacement, lam, delta


def in_pixels(cells, layer) -> numpy.ndarray:
    """Centres of units in the image."""
    return layer.offset + layer.stride * numpy.asarray(cells, dtype=numpy.float64)


def edges(layer, cells, scores, above, image_size, candidates, parents) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Parents (channel, node, parent) of every node, and the strengths of these edges."""
    pixels = in_pixels(cells, layer)
    channels, nodes = scores.shape[1:]
    chosen = [
        choose_parents(scores[:, c, v], pixels[:, c, v], above.scores, above.pixels, image_size, candidates, parents)
        for c, v in numpy.ndindex(channels, nodes)
    ]
    compared = parent_candidates(above.scores, above.pixels, image_size, candidates)
    strengths = [
        edge_strengths(scores[:, c, v], pixels[:, c, v], above.pixels, compared, own)
        for (c, v), own in zip(numpy.ndindex(channels, nodes), chosen, strict=True)
    ]
    shape = (channels, nodes, len(chosen[0]))
    return numpy.array(chosen, dtype=numpy.int64).reshape(shape), numpy.array(strengths).reshape(shape)


def edge_strengths(scores, places, upper_places, compared, chosen) -> list[float]:
    """Σ_I S exp(−‖h − h'‖² / (2 b)) / Σ_I S of each parent chosen, b the mean of ‖h − h'‖² over those compared.

    S (image) and `places` (image, 2) are the node's, `upper_places` (image, U, 2), h a place minus its mean over
    images. 0 for a node without any score; b = 0 leaves every exponent 0.
    """
    child = centred(numpy.asarray(places, dtype=numpy.float64).tolist())

    def squared_distances(u: int) -> list[float]:
        moves = centred(upper_places[:, u].tolist())
        return [(own[0] - move[0]) ** 2 + (own[1] - move[1]) ** 2 for own, move in zip(child, moves, strict=True)]

    if not chosen:
        return []
    distances = {u: squared_distances(u) for u in compared}
    bandwidth = math.fsum(math.fsum(values) for values in distances.values()) / (len(compared) * len(child))
    total = math.fsum(float(score) for score in scores)
    strengths = []
    for u in chosen:
        near = [math.exp(-distance / (2 * bandwidth)) if bandwidth > 0 else 1.0 for distance in distances[u]]
        agreement = math.fsum(float(score) * weight for score, weight in zip(scores, near, strict=True))
        strengths.append(agreement / total if total > 0 else 0.0)
    return strengths
