"""A grown tree of decision modes as arrays over its nodes, and as records of its file."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.mode_growth import Merge
from interpretable.surrogates.mode_paths import ABSENT
from interpretable.surrogates.mode_rationale import LinearRationales, Rationale, mean_direction, select_filters
from interpretable.surrogates.records import Contribution, ModeRecord

Selection = Literal["all", "binary", "sparse"]

TOP = 10
"""Filters whose contributions are kept with each node."""

_DIGITS = 7
"""Significant digits that are kept, about as many as float32 maps have."""


class ModeTree(NamedTuple):
    """Nodes from the root, number 0, downwards; a node stands before those below it."""

    weights: Float[np.ndarray, "node filter"]
    """w of h(x) = w · x + b."""
    intercepts: Float[np.ndarray, " node"]
    """b."""
    children: tuple[tuple[int, ...], ...]
    """Nodes below each, that with the most images first."""
    parents: Int[np.ndarray, " node"]
    """Node above each, −1 for the root."""
    sizes: Int[np.ndarray, " node"]
    """Fitted images below each, itself included."""
    images: Int[np.ndarray, " node"]
    """The image of each leaf, −1 for other nodes."""
    gains: Float[np.ndarray, " node"]
    """Δ log E in nats of the merge that made a node; NaN for leaves and the root."""
    means: Float[np.ndarray, "node filter"]
    """Mean contributions w ∘ x of each node's images to their scores, in the scores' units; after reading a file, of
    the strongest filters alone."""


def fit_rationale(rationales: LinearRationales, selection: Selection, sparsity: float) -> Rationale:
    """The rationale that images share: along their mean direction, with the filters that the lasso selects.

    Args:
        rationales: Of the images; that of a single one is its own.
        selection: ``"sparse"`` weighs filters by the lasso's α, ``"binary"`` keeps those of α ≠ 0 as they are and
            ``"all"`` every filter.
        sparsity: λ / √images of the lasso.
    """
    weights = mean_direction(rationales.gradients)
    if selection != "all" and len(rationales.scores) > 1:
        alpha = select_filters(rationales.features, weights, rationales.scores, sparsity)
        weights = weights * (alpha if selection == "sparse" else alpha != 0)
    return Rationale(weights, float((rationales.scores - rationales.features @ weights).mean()))


def build_tree(
    rationales: LinearRationales, merges: Sequence[Merge], selection: Selection, sparsity: float
) -> ModeTree:
    """The tree that merges make: what nothing merged stands below the root, which is fitted to all images."""
    count = len(rationales.scores)
    grown = [(), *[()] * count, *((1 + merge.first, 1 + merge.second) for merge in merges)]  # the root first
    below = {child for children in grown for child in children}
    top = [node for node in range(1, len(grown)) if node not in below]
    # One node below the root is the root.
    grown[0] = grown[top[0]] if len(top) == 1 and count > 1 else tuple(top)
    members: list[np.ndarray] = [np.arange(count), *np.arange(count)[:, None]]
    for merge in merges:
        members.append(np.sort(np.concatenate([members[1 + merge.first], members[1 + merge.second]])))
    order = [0]
    for node in order:
        order += sorted(grown[node], key=lambda child: (-len(members[child]), members[child][0]))
    number = {node: place for place, node in enumerate(order)}
    gains = {1 + count + place: merge.gain for place, merge in enumerate(merges)}
    parts = rationales.features * rationales.lengths[:, None]  # of what w is multiplied with, in the scores' units
    fitted = [fit_rationale(rows_of(rationales, members[node]), selection, sparsity) for node in order]
    weights = rounded(np.stack([rationale.weights for rationale in fitted]))
    children = tuple(tuple(sorted(number[child] for child in grown[node])) for node in order)
    parents = np.full(len(order), ABSENT)
    for node, numbers in enumerate(children):
        parents[list(numbers)] = node
    leaf = [node for node in order if 0 < node <= count]
    images = np.full(len(order), ABSENT)
    images[[number[node] for node in leaf]] = np.array(leaf) - 1
    return ModeTree(
        weights=weights,
        intercepts=rounded(np.array([rationale.intercept for rationale in fitted])),
        children=children,
        parents=parents,
        sizes=np.array([len(members[node]) for node in order]),
        images=images,
        gains=rounded(np.array([gains.get(node, np.nan) if node else np.nan for node in order])),
        means=rounded(weights * np.stack([parts[members[node]].mean(0) for node in order])),
    )


def to_records(tree: ModeTree) -> tuple[ModeRecord, ...]:
    """The nodes as the file holds them, with the `TOP` strongest contributions of each."""
    strongest = np.argsort(-np.abs(tree.means), axis=1, kind="stable")[:, :TOP]
    return tuple(
        ModeRecord(
            images=int(tree.sizes[node]),
            children=children,
            image=None if tree.images[node] == ABSENT else int(tree.images[node]),
            gain=None if np.isnan(tree.gains[node]) else float(tree.gains[node]),
            intercept=float(tree.intercepts[node]),
            rationale=tuple(tree.weights[node].tolist()),
            contributions=tuple(
                Contribution(filter=int(place), value=float(tree.means[node, place]))
                for place in strongest[node]
                if tree.means[node, place] != 0
            ),
        )
        for node, children in enumerate(tree.children)
    )


def from_records(records: Sequence[ModeRecord]) -> ModeTree:
    """The tree of a file whose nodes have been checked."""
    parents = np.full(len(records), ABSENT)
    means = np.zeros((len(records), len(records[0].rationale)))
    for node, record in enumerate(records):
        parents[list(record.children)] = node
        for contribution in record.contributions:
            means[node, contribution.filter] = contribution.value
    return ModeTree(
        weights=np.array([record.rationale for record in records]),
        intercepts=np.array([record.intercept for record in records]),
        children=tuple(record.children for record in records),
        parents=parents,
        sizes=np.array([record.images for record in records]),
        images=np.array([ABSENT if record.image is None else record.image for record in records]),
        gains=np.array([np.nan if record.gain is None else record.gain for record in records]),
        means=means,
    )


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest numbers of `_DIGITS` significant decimal digits, which a file holds exactly and in few characters."""
    size = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    places = np.clip(np.nan_to_num(_DIGITS - 1 - size), -300, 300)  # powers of ten that are finite
    # Powers of ten up to 22 are exact, so the quotient, or the product, is the number nearest to the decimal one.
    after, before = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    result: np.ndarray = np.rint(values / before * after) / after * before
    return result


def rows_of(rationales: LinearRationales, images: Int[np.ndarray, " row"]) -> LinearRationales:
    """The rationales of some images."""
    return LinearRationales(*(values[images] for values in rationales))
