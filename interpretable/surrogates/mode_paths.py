"""Finding the way of images down a tree: at each node to the child whose rationale is the most similar."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

ABSENT = -1
"""Stands where a path has ended already."""

_PRODUCTS = 2**24
"""Of images and nodes that are held at once, 128 MiB."""


def parse_paths(
    gradients: Float[np.ndarray, "image filter"],
    weights: Float[np.ndarray, "node filter"],
    children: Sequence[Sequence[int]],
) -> Int[np.ndarray, "image depth"]:
    """Nodes from the root to a leaf: of a node's children the one with the largest cosine to the image's gradient.

    Args:
        gradients: g; their length does not matter.
        weights: w of each node.
        children: Numbers of the nodes below each, the root's number being 0.

    Returns:
        Node numbers, `ABSENT` after a leaf; of equal cosines the first child's.
    """
    lengths = np.linalg.norm(weights, axis=1)
    directions = weights / np.where(lengths > 0, lengths, 1)[:, None]
    parts = np.array_split(gradients, 1 + len(gradients) * len(weights) // _PRODUCTS)
    paths = [_paths_of(part @ directions.T, children) for part in parts]
    depth = max(path.shape[1] for path in paths)
    return np.concatenate([np.pad(p, ((0, 0), (0, depth - p.shape[1])), constant_values=ABSENT) for p in paths])


def _paths_of(
    cosines: Float[np.ndarray, "image node"], children: Sequence[Sequence[int]]
) -> Int[np.ndarray, "image depth"]:
    """Paths by the cosines of images and nodes, which may lack a factor for each image."""
    node = np.zeros(len(cosines), dtype=np.int64)
    path = [node]
    numbers = np.array([len(below) for below in children])
    while (goes_on := (node != ABSENT) & (numbers[node] > 0)).any():
        images = np.flatnonzero(goes_on)
        table = _padded([children[number] for number in np.unique(node[images])])
        options = table[np.unique(node[images], return_inverse=True)[1]]  # (image, child)
        similar = np.where(options == ABSENT, -np.inf, np.take_along_axis(cosines[images], np.maximum(options, 0), 1))
        node = np.full(len(cosines), ABSENT)
        node[images] = options[np.arange(len(images)), similar.argmax(1)]
        path.append(node)
    return np.stack(path, axis=1)


def ancestors(leaves: Int[np.ndarray, " image"], parents: Int[np.ndarray, " node"]) -> Int[np.ndarray, "image depth"]:
    """Nodes from the root down to given ones, `ABSENT` after them."""
    upwards = [leaves]
    while (upwards[-1] > 0).any():
        upwards.append(np.where(upwards[-1] > 0, parents[upwards[-1]], ABSENT))
    path = np.stack(upwards[::-1], axis=1)  # right-aligned
    order = np.argsort(path == ABSENT, axis=1, kind="stable")
    return np.take_along_axis(path, order, axis=1)


def node_at(paths: Int[np.ndarray, "image depth"], level: int | None) -> Int[np.ndarray, " image"]:
    """The node of each image at a level, the root's being 1; its leaf where its path ends before, or for None."""
    ends = (paths != ABSENT).sum(1) - 1
    place = ends if level is None else np.minimum(ends, level - 1)
    nodes: np.ndarray = paths[np.arange(len(paths)), place]
    return nodes


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    table = np.full((len(rows), max(map(len, rows))), ABSENT)
    for row, numbers in zip(table, rows, strict=True):
        row[: len(numbers)] = numbers
    return table
