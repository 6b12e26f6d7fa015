"""Tables of influence: who helped and who harmed each query, and whom the network learned by heart."""

from collections.abc import Callable, Sequence
from itertools import zip_longest

from torch import Tensor

from interpretable.commands.influence_methods import Influence
from interpretable.commands.influence_request import Queries
from interpretable.commands.tree_tables import Rows

LISTED = 10
"""Rows of self-influence on the terminal."""


def ranked(influence: Tensor, top: int) -> dict[str, list[int]]:
    """The training images that helped most and those that harmed most, strongest first; equal ones in their order.

    Args:
        influence: (N,) on one query; what has none, or is of the other sign, is not listed.
        top: How many of each kind at the most.
    """
    return {
        kind: [int(index) for index in signed.argsort(descending=True, stable=True)[:top] if signed[index] > 0]
        for kind, signed in (("helpful", influence), ("harmful", -influence))
    }


def by_self_influence(found: Influence) -> list[int]:
    """The training images by descending self-influence; equal ones in their order."""
    order: list[int] = found.itself.argsort(descending=True, stable=True).tolist()
    return order


def influence_rows(found: Influence, influence: Tensor, queries: Queries, classes: Sequence[str], top: int) -> Rows:
    """A row per query and listed training image as text, the columns' names first."""
    rows = [("query", "rank", "kind", "index", "label", "influence", "misclassified")]
    for name, on_query in zip(queries.names, influence, strict=True):
        for kind, indices in ranked(on_query, top).items():
            for rank, index in enumerate(indices, start=1):
                wrong = "no" if found.predicted[index] == found.labels[index] else "yes"
                label = classes[int(found.labels[index])]
                rows.append((name, str(rank), kind, str(index), label, repr(float(on_query[index])), wrong))
    return tuple(rows)


def self_influence_rows(found: Influence, classes: Sequence[str], number: Callable[[float], str] = repr) -> Rows:
    """A row per training image as text, the highest self-influence first, after the columns' names.

    Args:
        found: What was computed.
        classes: Names of the labels.
        number: Writes a number; all of its digits where omitted.
    """
    return (
        ("index", "label", "self_influence", "predicted"),
        *(
            (str(i), classes[int(found.labels[i])], number(float(found.itself[i])), classes[int(found.predicted[i])])
            for i in by_self_influence(found)
        ),
    )


def query_rows(found: Influence, influence: Tensor, classes: Sequence[str], top: int) -> Rows:
    """Helpful and harmful training images of one query side by side, for the terminal."""
    sides = [
        [(str(index), classes[int(found.labels[index])], f"{float(influence[index]):+.2e}") for index in indices]
        for indices in ranked(influence, top).values()
    ]
    header = ("rank", "helpful", "label", "influence", "harmful", "label", "influence")
    pairs = zip_longest(*sides, fillvalue=("", "", ""))
    return (header, *((str(rank), *left, *right) for rank, (left, right) in enumerate(pairs, start=1)))


def query_title(queries: Queries, place: int, classes: Sequence[str]) -> str:
    """A query, the class of its loss and the one that is predicted."""
    label, predicted = classes[int(queries.labels[place])], classes[int(queries.predicted[place])]
    seen = "" if label == predicted else f", seen as {predicted}"
    return f"{queries.names[place]}: {label}{seen}, loss {float(queries.losses[place]):.2g} nats"
