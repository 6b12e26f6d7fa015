"""A filter tree as arrays over its nodes: where rows come to, what pruning removes, and its records on disk."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64
from sklearn.tree import DecisionTreeClassifier

from interpretable.errors import SurrogateError
from interpretable.surrogates.records import SplitRecord


class TreeNodes(NamedTuple):
    """M nodes; the root is 0 and children come after their parents, a node's first subtree right behind it."""

    left: Int64[np.ndarray, " node"]
    """Number of the child of peaks up to the threshold, −1 for a leaf."""
    right: Int64[np.ndarray, " node"]
    filter: Int64[np.ndarray, " node"]
    """−1 for a leaf."""
    threshold: Float[np.ndarray, " node"]
    """NaN for a leaf."""
    counts: Float[np.ndarray, "node decision"]
    """Fitted images of each decision."""
    impurity: Float[np.ndarray, " node"]
    """Gini impurity, 0 to 1."""
    images: Int64[np.ndarray, " node"]

    @property
    def num_leaves(self) -> int:
        """Number of leaves."""
        return int((self.left < 0).sum())


def nodes_of(fitted: DecisionTreeClassifier, num_decisions: int) -> TreeNodes:
    """The nodes of a classifier that was fitted to decision numbers 0 to ``num_decisions`` − 1, or some of them."""
    tree = fitted.tree_
    leaf = tree.children_left < 0
    counts = np.zeros((tree.node_count, num_decisions))
    counts[:, fitted.classes_] = np.rint(tree.value[:, 0] * tree.n_node_samples[:, None])  # value: their shares
    return TreeNodes(
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        filter=np.where(leaf, -1, tree.feature).astype(np.int64),
        threshold=np.where(leaf, np.nan, tree.threshold),
        counts=counts,
        impurity=tree.impurity.copy(),
        images=tree.n_node_samples.astype(np.int64),
    )


def walk(nodes: TreeNodes, features: Float32[np.ndarray, "row feature"]) -> Int64[np.ndarray, "row level"]:
    """The node that each row is at, level by level from the root; a leaf is repeated until all rows have come to one.

    Features are float32, as scikit-learn compares them with its thresholds in float64.
    """
    at = np.zeros(len(features), dtype=np.int64)
    levels = [at]
    while (inner := nodes.left[at] >= 0).any():
        below = features[np.arange(len(at)), nodes.filter[at]] <= nodes.threshold[at]
        at = np.where(inner, np.where(below, nodes.left[at], nodes.right[at]), at)
        levels.append(at)
    return np.stack(levels, 1)


def collapse_strengths(nodes: TreeNodes) -> Float[np.ndarray, " node"]:
    """Cost-complexity α from which on each node is a leaf (weakest-link pruning, Breiman et al. 1984, ch. 3).

    A row's leaf in the tree pruned with α is the first node on its way whose number here is at most α. Leaves have −∞,
    other nodes more than 0; below a node that becomes a leaf first, numbers are ∞.
    """
    risk = nodes.impurity * nodes.images / nodes.images[0]
    branch, leaves, size = risk.copy(), np.ones(len(risk)), np.ones(len(risk), dtype=np.int64)
    parent = np.full(len(risk), -1)
    for node in np.flatnonzero(nodes.left >= 0)[::-1]:  # children first
        children = [nodes.left[node], nodes.right[node]]
        parent[children] = node
        branch[node], leaves[node], size[node] = (
            branch[children].sum(),
            leaves[children].sum(),
            1 + size[children].sum(),
        )
    strength = np.where(nodes.left < 0, -np.inf, np.inf)
    alpha = np.finfo(float).tiny  # with α = 0 nothing is pruned, not even a split that gains nothing
    gain = np.full(len(risk), np.inf)
    while leaves[0] > 1:
        np.divide(risk - branch, leaves - 1, out=gain, where=leaves > 1)
        weakest = int(gain.argmin())
        strength[weakest] = alpha = max(alpha, gain[weakest])
        removed = leaves[weakest] - 1
        added = risk[weakest] - branch[weakest]
        subtree = slice(weakest, weakest + size[weakest])
        leaves[subtree], gain[subtree] = 1, np.inf
        branch[weakest] = risk[weakest]
        while (weakest := int(parent[weakest])) >= 0:
            leaves[weakest] -= removed
            branch[weakest] += added
    return strength


def importances(nodes: TreeNodes, num_features: int) -> Float[np.ndarray, " feature"]:
    """Share of the whole fall in impurity that each filter's splits bring, summing to 1; 0 where nothing is split."""
    inner = nodes.left >= 0
    weighted = nodes.images * nodes.impurity
    fall = weighted[inner] - weighted[nodes.left[inner]] - weighted[nodes.right[inner]]
    of_filters = np.bincount(nodes.filter[inner], fall, minlength=num_features).astype(np.float64)  # whole if empty
    total: float = of_filters.sum()
    return of_filters / total if total > 0 else of_filters


def records_of(nodes: TreeNodes) -> tuple[SplitRecord, ...]:
    """The nodes as ``tree.json`` holds them."""
    return tuple(
        SplitRecord(
            images=images,
            counts=tuple(counts),
            impurity=impurity,
            filter=None if left < 0 else asked,
            threshold=None if left < 0 else threshold,
            children=() if left < 0 else (left, right),
        )
        for left, right, asked, threshold, counts, impurity, images in zip(*(a.tolist() for a in nodes), strict=True)
    )


def nodes_from(records: Sequence[SplitRecord], num_decisions: int, num_features: int) -> TreeNodes:
    """The nodes that records describe.

    Raises:
        SurrogateError: They do not make a tree; the sentence names the node.
    """
    parents = [0] * len(records)
    for number, record in enumerate(records):
        inner = len(record.children) > 0
        for child in record.children:
            parents[min(child, len(records) - 1)] += 1
        whole = (
            len(record.children) in (0, 2)
            and all(number < child < len(records) for child in record.children)
            and len(record.counts) == num_decisions
            and inner == (record.filter is not None) == (record.threshold is not None)
            and (record.filter is None or record.filter < num_features)
            and parents[number] == (number > 0)
        )
        if not whole:
            raise SurrogateError(
                f"filter_tree.nodes[{number}] does not fit in a tree of {len(records)} nodes, {num_decisions} "
                f"decisions and {num_features} filters; build the tree again."
            )
    children = [record.children or (-1, -1) for record in records]
    return TreeNodes(
        left=np.array([pair[0] for pair in children]),
        right=np.array([pair[1] for pair in children]),
        filter=np.array([-1 if record.filter is None else record.filter for record in records]),
        threshold=np.array([np.nan if record.threshold is None else record.threshold for record in records]),
        counts=np.array([record.counts for record in records], dtype=np.float64),
        impurity=np.array([record.impurity for record in records], dtype=np.float64),
        images=np.array([record.images for record in records]),
    )
