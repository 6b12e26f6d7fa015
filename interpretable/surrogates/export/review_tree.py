"""What a reviewer is shown of a tree, whatever surrogate it comes from; every export reads this and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

ROOT = 0
"""Number of every tree's root."""

STRONGEST = 3
"""Contributions that stand beside a node."""


class Bar(NamedTuple):
    """A contribution by name: of a filter, or of a part."""

    name: str
    value: float


@dataclass(frozen=True)
class ReviewNode:
    """A node of a tree."""

    title: str
    """Short: a class, "mode 4", "filter 12 > 0.41", "photos/17.jpg"."""
    images: int
    """How many of the images that the tree was fitted on are below it."""
    children: tuple[int, ...] = ()
    """Numbers of the nodes below, none for a leaf."""
    facts: tuple[tuple[str, str], ...] = ()
    """What else is known of it: pairs of a name and a value in words."""
    contributions: tuple[Bar, ...] = ()
    """Of the filters to the score, mean over its images, strongest first."""
    parts: tuple[Bar, ...] = ()
    """The same, added up over the filters of each part."""
    filters: tuple[int, ...] = ()
    """Filters whose image regions say what the node is about, strongest first."""
    examples: tuple[int, ...] = ()
    """Images that it is shown by, indices into the fitted data set, most typical first."""


class PathStep(NamedTuple):
    """Where a test image is at one depth of a tree."""

    node: int
    score: float
    """What the node predicts for the image, in the network's own units."""
    contributions: tuple[Bar, ...] = ()
    """Of the filters to that score, for this image, strongest first."""


@dataclass(frozen=True)
class ParsePath:
    """How a tree explains a test image."""

    image: int
    """Index into the test data set."""
    name: str
    """What the image is called."""
    label: str
    """Its class."""
    decision: str
    """What the network takes it for."""
    score: float
    """The network's own score of the tree's class."""
    steps: tuple[PathStep, ...]
    """From the root to a leaf."""


@dataclass(frozen=True)
class ReviewTree:
    """A tree with the test images that it explains."""

    name: str
    """Of the class that it explains, or of the surrogate."""
    nodes: Mapping[int, ReviewNode]
    """By number; the root's is `ROOT`."""
    paths: tuple[ParsePath, ...] = ()

    def preorder(self) -> list[tuple[int, int]]:
        """Number and depth of every node, a node before those below it; the root's depth is 0."""
        order, waiting = [], [(ROOT, 0)]
        while waiting:
            number, depth = waiting.pop()
            order.append((number, depth))
            waiting += [(child, depth + 1) for child in reversed(self.nodes[number].children)]
        return order


@dataclass(frozen=True)
class ReviewDocument:
    """All trees of a run, as its ``tree.json`` holds them."""

    title: str
    digest: str
    """SHA-256 of ``tree.json``, which a review is bound to."""
    about: tuple[tuple[str, str], ...]
    """Of which network, data and layer: pairs of a name and a value in words."""
    trees: tuple[ReviewTree, ...]
    tables: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Tables by their title, the first row the columns' names."""


def strongest(node: ReviewNode) -> tuple[Bar, ...]:
    """The contributions that stand for a node: of its parts where they are known, otherwise of its filters."""
    return (node.parts or node.contributions)[:STRONGEST]


def numbers_below(tree: ReviewTree) -> dict[int, int]:
    """How many nodes are below each node."""
    below: dict[int, int] = {}
    for number, _ in reversed(tree.preorder()):
        below[number] = sum(1 + below[child] for child in tree.nodes[number].children)
    return below
