"""An iteration of the explanatory graph as one would first write it: node by node and image by image, in numpy.

Only the cells of a window, the parents of a node and the candidates that a node is compared with are done at once. It
is what the package's own functions are measured against; their sums over all nodes and images are the same.
"""

from math import ceil, exp, floor, pi, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

WINDOW = 0.15
NO_PATTERN = 0.1


class Above(NamedTuple):
    """What is known of the nodes of the layer above, in cells of the layer below."""

    displacements: Float[np.ndarray, "image upper 2"]
    """From their mean places."""
    spreads: Float[np.ndarray, " upper"]
    """σ."""


class Iteration(NamedTuple):
    """Nodes after an iteration, and where they were before it."""

    places: Float[np.ndarray, "channel node 2"]
    """μ after it."""
    spreads: Float[np.ndarray, "channel node"]
    """σ after it."""
    cells: Int[np.ndarray, "image channel node"]
    """Row-major cell of the largest F · G, before it."""
    peaks: Float[np.ndarray, "image channel node"]
    scores: Float[np.ndarray, "image channel node"]
    objective: float
    """Σ F log((Σ G + τ) / (N + 1)) before it."""


class _Window(NamedTuple):
    """What a node sees of an image."""

    part: tuple[slice, slice]
    """Rows and columns of the map."""
    down: Float[np.ndarray, "row 1"]
    """Offsets from the node's centre, in cells."""
    right: Float[np.ndarray, "1 column"]
    density: Float[np.ndarray, "row column"]
    """G."""


def learning_iteration(
    blurred: Float[np.ndarray, "image channel h w"],
    places: Float[np.ndarray, "channel node 2"],
    spreads: Float[np.ndarray, "channel node"],
    parents: Int[np.ndarray, "channel node parent"] | None,
    above: Above | None,
    iteration: int,
) -> Iteration:
    """Guides the nodes by their parents, infers where they are in each image, and moves them.

    Args:
        blurred: F, the blurred activation.
        places: μ in cells, row before column.
        spreads: σ in cells.
        parents: Numbers of nodes above, or None where nothing guides the nodes.
        above: Of those nodes; None without parents.
        iteration: From 1 on.
    """
    images, channels, height, width = blurred.shape
    nodes = spreads.shape[1]
    responsible, mass, squares = (np.zeros((channels, nodes)) for _ in range(3))
    offsets = np.zeros((channels, nodes, 2))
    cells = np.zeros((images, channels, nodes), dtype=np.int64)
    peaks, scores = np.zeros(cells.shape), np.zeros(cells.shape)
    objective = 0.0
    for c in range(channels):
        for i in range(images):
            activation, covered, total, windows = blurred[i, c], np.zeros((height, width)), 0.0, []
            for v in range(nodes):
                if parents is None or above is None:
                    shift, agreement, tolerance = np.zeros(2), 1.0, WINDOW * max(height, width)
                else:
                    shift, agreement, tolerance = _guidance(above, parents[c, v], i)
                centre = places[c, v] + shift
                window = _window(centre, spreads[c, v], agreement, tolerance, height, width)
                covered[window.part] += window.density
                total += window.density.sum()
                windows.append(window)
                product = activation[window.part] * window.density
                scores[i, c, v] = product.sum()
                peaks[i, c, v] = product.max(initial=0)
                if peaks[i, c, v] > 0:
                    row, column = np.unravel_index(product.argmax(), product.shape)
                    row, column = row + window.part[0].start, column + window.part[1].start
                else:
                    row, column = np.clip(np.ceil(centre - 0.5), 0, [height - 1, width - 1])
                cells[i, c, v] = row * width + column
                mass[c, v] += scores[i, c, v]
                squares[c, v] += (product * (window.down**2 + window.right**2)).sum()
            none = NO_PATTERN * total / nodes
            for v, window in enumerate(windows):
                level = covered[window.part] + none
                shared = window.density / np.where(level > 0, level, 1) * activation[window.part]
                responsible[c, v] += shared.sum()
                offsets[c, v] += (shared * window.down).sum(), (shared * window.right).sum()
            active = activation > 0
            with np.errstate(divide="ignore"):  # −∞ where nothing explains an activation
                objective += float(activation[active] @ np.log((covered[active] + none) / (nodes + 1)))
    places, spreads, largest = places.copy(), spreads.copy(), sqrt(height * width / nodes)
    for c in range(channels):
        for v in range(nodes):
            if responsible[c, v] > 0:
                places[c, v] += offsets[c, v] / responsible[c, v] / sqrt(iteration)
            if mass[c, v] > 0:
                spreads[c, v] = min(max(sqrt(squares[c, v] / mass[c, v]), largest / 10), largest)
    return Iteration(places, spreads, cells, peaks, scores, objective)


def _guidance(
    above: Above, parents: Int[np.ndarray, " parent"], image: int
) -> tuple[Float[np.ndarray, "2"], float, float]:
    """Displacement Δ, agreement λ and tolerance δ of a node in an image."""
    moves = above.displacements[image, parents]
    weights = 1 / (len(parents) * above.spreads[parents] ** 2)
    shift = weights @ moves / weights.sum()
    return shift, exp(-(weights @ ((moves - shift) ** 2).sum(1)) / 2), 1 / sqrt(weights.sum())


def _window(
    centre: Float[np.ndarray, "2"], spread: float, agreement: float, tolerance: float, height: int, width: int
) -> _Window:
    """The cells about a centre that a node sees, and its density at each."""
    radius = max(1.0, min(WINDOW * max(height, width), 3 * spread))
    parts, offsets, shares = [], [], []
    for middle, length in zip(centre, (height, width), strict=True):
        start = max(0, floor(middle - radius + 0.5))
        stop = max(start, min(length, ceil(middle + radius - 0.5) + 1))
        offset = np.arange(start, stop) - middle
        parts.append(slice(start, stop))
        offsets.append(offset)
        # A cell at the edge of the window counts by the share of it that lies inside.
        shares.append(np.clip(radius + 0.5 - abs(offset), 0, 1))
    down, right = offsets[0][:, None], offsets[1][None, :]
    density = agreement * np.exp(-(down**2 + right**2) / (2 * tolerance**2)) / (2 * pi * tolerance**2)
    return _Window((parts[0], parts[1]), down, right, density * np.outer(*shares))


def parents_of_node(
    scores: Float[np.ndarray, " image"],
    places: Float[np.ndarray, "image 2"],
    candidate_places: Float[np.ndarray, "image candidate 2"],
    count: int,
) -> tuple[Int[np.ndarray, " parent"], Float[np.ndarray, " parent"]]:
    """Positions of a node's parents among the candidates, best first, and the strengths of these edges.

    Args:
        scores: Of the node in each image.
        places: Of the node, in pixels of the image.
        candidate_places: Of the candidates, likewise.
        count: M.
    """
    own, others = places - places.mean(0), candidate_places - candidate_places.mean(0)
    distance = ((own[:, None] - others) ** 2).sum(-1)
    bandwidth = distance.mean()
    near = np.exp(-distance / (2 * bandwidth)) if bandwidth > 0 else np.ones_like(distance)
    value = scores @ near
    chosen = np.argsort(-value, kind="stable")[:count]
    total = scores.sum()
    return chosen, value[chosen] / total if total > 0 else np.zeros(len(chosen))
