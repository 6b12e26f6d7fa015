"""Which nodes of a tree a picture shows, and where each is, so that nothing overlaps."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from interpretable.surrogates.export.review_tree import ROOT, ReviewTree


@dataclass(frozen=True)
class Shown:
    """The part of a tree that is drawn."""

    children: Mapping[int, tuple[int, ...]]
    """By the number of every node that is drawn, a node before those below it: its children that are drawn."""
    left_out: Mapping[int, tuple[int, ...]]
    """The children that are not drawn, of nodes that have both kinds."""


def select(tree: ReviewTree, max_depth: int, max_nodes: int) -> Shown:
    """Takes nodes from the root on, always the one with most images next; of equals the higher, then the first.

    Args:
        tree: What to draw.
        max_depth: Depth of the deepest nodes, the root's being 0.
        max_nodes: How many nodes at the most; the root is always taken.
    """
    place = {number: (depth, order) for order, (number, depth) in enumerate(tree.preorder())}
    waiting = [(0, 0, 0, ROOT)]
    taken: set[int] = set()
    while waiting and len(taken) < max(1, max_nodes):
        *_, number = heapq.heappop(waiting)
        taken.add(number)
        for child in tree.nodes[number].children:
            if place[child][0] <= max_depth:
                heapq.heappush(waiting, (-tree.nodes[child].images, *place[child], child))
    ordered = sorted(taken, key=lambda number: place[number][1])
    below = {number: tree.nodes[number].children for number in ordered}
    children = {number: tuple(child for child in below[number] if child in taken) for number in ordered}
    left_out = {n: tuple(c for c in below[n] if c not in taken) for n in ordered if children[n]}
    return Shown(children, {number: rest for number, rest in left_out.items() if rest})


@dataclass(frozen=True)
class Places:
    """Where the nodes are: the root at the left, each depth a column, y downwards from 0."""

    columns: Mapping[int, int]
    """Depth of each node."""
    centres: Mapping[int, float]
    """y of each node."""
    rests: Mapping[int, float]
    """y of the line that stands for the children left out, below their siblings."""
    height: float
    """Of the whole."""


def arrange(shown: Shown, heights: Mapping[int, float], rest_height: float) -> Places:
    """Gives each node a band of its own with the bands of its children within, and centres it on its children.

    Args:
        shown: What is drawn.
        heights: Of the nodes' boxes, each with the gap around it.
        rest_height: Of the line for children that are left out.
    """
    order = list(shown.children)
    columns = {ROOT: 0}
    for number in order:
        columns |= dict.fromkeys(shown.children[number], columns[number] + 1)
    inside: dict[int, float] = {}
    band: dict[int, float] = {}
    for number in reversed(order):
        rest = rest_height if number in shown.left_out else 0.0
        inside[number] = sum(band[child] for child in shown.children[number]) + rest
        band[number] = max(heights[number], inside[number])
    top, rests = {ROOT: 0.0}, {}
    for number in order:
        y = top[number] + (band[number] - inside[number]) / 2
        for child in shown.children[number]:
            top[child] = y
            y += band[child]
        if number in shown.left_out:
            rests[number] = y + rest_height / 2
    centres: dict[int, float] = {}
    for number in reversed(order):
        ends = [centres[child] for child in shown.children[number]]
        middle = (ends[0] + ends[-1]) / 2 if ends else top[number] + band[number] / 2
        # Children of unequal heights may pull a node out of its band, where a neighbour is.
        low, high = top[number] + heights[number] / 2, top[number] + band[number] - heights[number] / 2
        centres[number] = min(max(middle, low), high)
    return Places(columns, centres, rests, band[ROOT])
