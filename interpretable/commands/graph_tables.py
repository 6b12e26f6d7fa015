"""Tables of explanatory graphs: the measures of nodes beside those of the raw filters."""

import math
from collections.abc import Mapping

from interpretable.commands.tables import number
from interpretable.commands.tree_tables import Rows
from interpretable.evaluation.evaluation import Evaluation
from interpretable.metrics.few_shot_localisation import SHOTS

_PLACES = {
    "instability ↓": "location_instability",
    "centre": "location_centre",
    "random": "location_random",
    "tracking ↑": "tracking",
    "hits ↑": "hit_rate",
    "constant": "constant_hit_rate",
    "purity ↑": "part_purity",
}
"""Columns of the first table and the numbers in them."""

_INTERVALS = ("tracking_low", "tracking_high")
"""Numbers whose mean over graphs is none of theirs."""


def mean_evaluations(measured: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, Evaluation]:
    """The mean over graphs of the numbers of each layer's filters and nodes.

    Args:
        measured: For each graph, the numbers of filters and of nodes by layer.
    """
    graphs = list(measured.values())
    if len(graphs) == 1:
        return dict(graphs[0])
    means = {}
    for what in graphs[0]:
        means[what] = Evaluation()
        for name in graphs[0][what].numbers:
            found = [graph[what].numbers.get(name, math.nan) for graph in graphs]
            there = [value for value in found if not math.isnan(value)]
            if name not in _INTERVALS:
                means[what].add(**{name: sum(there) / len(there) if there else math.nan})
    return means


def measure_rows(measured: Mapping[str, Mapping[str, Evaluation]]) -> Rows:
    """Every number of every graph as text, the columns' names first; the means over graphs last."""
    names = list(
        dict.fromkeys(name for graph in measured.values() for found in graph.values() for name in found.numbers)
    )
    rows: list[tuple[str, ...]] = [("graph", "of", *names)]
    for graph, found in (*measured.items(), ("mean of graphs", mean_evaluations(measured))):
        rows += [
            (graph, what, *(str(evaluation.numbers.get(name, math.nan)) for name in names))
            for what, evaluation in found.items()
        ]
    return tuple(rows)


def place_rows(means: Mapping[str, Evaluation]) -> Rows:
    """Whether filters and nodes stay on parts, beside what constant and random places reach, as text."""
    return (
        ("", *_PLACES),
        *(
            (what, *(number(found.numbers.get(name, math.nan)) for name in _PLACES.values()))
            for what, found in means.items()
        ),
    )


def few_shot_rows(means: Mapping[str, Evaluation]) -> Rows:
    """Error of a part's place, predicted from filters and nodes after it was pointed out in few images, as text."""
    rows: list[tuple[str, ...]] = [("places of", *(f"{shots} image{'s' if shots > 1 else ''}" for shots in SHOTS))]
    for what, found in means.items():
        rows += [_errors(what, found, "nodes"), _errors(f"{what}, by ridge regression", found, "ridge")]
    return (*rows, _errors("none: the mean position", next(iter(means.values())), "mean"))


def _errors(name: str, found: Evaluation, method: str) -> tuple[str, ...]:
    return (name, *(number(found.numbers.get(f"few_shot_{shots}/{method}", math.nan)) for shots in SHOTS))
