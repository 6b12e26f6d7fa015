"""How faithfully each surrogate repeats a network's decisions on images that it was not fitted on, by its size."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from interpretable.errors import SurrogateError
from interpretable.progress import Track
from interpretable.surrogates.filter_tree import FilterTree
from interpretable.surrogates.linear_surrogate import LinearSurrogate


class FidelityRow(NamedTuple):
    """A predictor on the held-out images."""

    surrogate: str
    """"network", "majority" (the decision most frequent on the fitted images, always), "linear" or "filter tree"."""
    depth: int | None
    """Levels that a tree was allowed."""
    size: int | None
    """Leaves of a tree, weights of the linear surrogate that are not 0."""
    fidelity: float
    """Share of the images on which it decides as the network does."""
    accuracy: float
    """Share of the images that it names rightly."""


def fidelity_table(
    X_train: Float[np.ndarray, "train feature"],  # noqa: N803
    decisions_train: Shaped[np.ndarray, " train"],
    X_test: Float[np.ndarray, "test feature"],  # noqa: N803
    decisions_test: Shaped[np.ndarray, " test"],
    labels_test: Shaped[np.ndarray, " test"],
    depths: Sequence[int] = tuple(range(1, 9)),
    track: Track | None = None,
) -> list[FidelityRow]:
    """The network and the majority decision, then the linear surrogate and a filter tree of each depth.

    Each surrogate is fitted anew to the training images' decisions with its default arguments; a tree of each depth is
    pruned on training images alone.

    Args:
        X_train: Filter peaks of the images to fit on.
        decisions_train: The network's decisions on them.
        X_test: Filter peaks of the images to judge on.
        decisions_test: The network's decisions on them.
        labels_test: What they truly show, in the same names or numbers as the decisions.
        depths: Of the trees.
        track: Shows how far it is.

    Raises:
        SurrogateError: Arrays do not belong together, or there is nothing to judge on.
    """
    _refuse_unequal(X_train, decisions_train, X_test, decisions_test, labels_test)
    decisions, images = np.unique(decisions_train, return_counts=True)

    def row(name: str, depth: int | None, size: int | None, decided: np.ndarray) -> FidelityRow:
        fidelity, accuracy = (decided == decisions_test).mean(), (decided == labels_test).mean()
        return FidelityRow(name, depth, size, float(fidelity), float(accuracy))

    rows = [
        row("network", None, None, decisions_test),
        row("majority", None, None, np.full(len(X_test), decisions[images.argmax()])),
    ]
    surrogates: Iterable[LinearSurrogate | FilterTree]
    surrogates = [LinearSurrogate(), *(FilterTree(max_depth=depth) for depth in depths)]
    for surrogate in surrogates if track is None else track(surrogates, "surrogates"):
        decided = surrogate.fit(X_train, decisions_train).predict(X_test)
        if isinstance(surrogate, FilterTree):
            rows.append(row("filter tree", surrogate.max_depth, surrogate.tree_.num_leaves, decided))
        else:
            rows.append(row("linear", None, int(np.count_nonzero(surrogate.coef_)), decided))
    return rows


def _refuse_unequal(
    train: np.ndarray, decisions: np.ndarray, test: np.ndarray, decisions_test: np.ndarray, labels_test: np.ndarray
) -> None:
    lengths = (
        {"X_train": train, "decisions_train": decisions},
        {
            "X_test": test,
            "decisions_test": decisions_test,
            "labels_test": labels_test,
        },
    )
    for arrays in lengths:
        found = {name: len(array) for name, array in arrays.items()}
        if len(set(found.values())) > 1 or 0 in found.values():
            raise SurrogateError(f"Peaks, decisions and labels must be of the same images, at least one; got {found}.")
    kinds = {"decisions_train": decisions, "decisions_test": decisions_test, "labels_test": labels_test}
    if len({"text" if array.dtype.kind in "UO" else "number" for array in kinds.values()}) > 1:
        raise SurrogateError(
            "Decisions and labels must be named alike, all as numbers or all as strings; got "
            f"{ {name: str(array.dtype) for name, array in kinds.items()} }."
        )
