"""Tables of a run's trees: against the network by level, and what simple surrogates keep of its decisions."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from interpretable.commands.tables import number
from interpretable.files import write_atomically
from interpretable.surrogates.fidelity import FidelityRow
from interpretable.surrogates.filter_labels import shielded
from interpretable.surrogates.fitting import FittedSurrogates
from interpretable.surrogates.level_measures import LevelMeasures

Rows = tuple[tuple[str, ...], ...]

MEAN = "mean of classes"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d+)?(e[+-]?\d+)?|inf)|nan", re.ASCII)


def level_name(level: int | None) -> str:
    """``"1"`` for the root, …, ``"leaves"``."""
    return "leaves" if level is None else str(level)


def level_columns(measures: LevelMeasures) -> dict[str, float]:
    """The numbers of a level by name."""
    return {
        "nodes": measures.nodes,
        "prediction_error": measures.prediction_error,
        "fitness": measures.fitness,
        "accuracy": measures.accuracy,
        "network_accuracy": measures.network_accuracy,
        **{f"part_error/{part}": error for part, error in measures.part_errors.items()},
    }


def mean_levels(fitted: FittedSurrogates) -> list[dict[str, float | str]]:
    """The numbers of each level, averaged over the classes."""
    rows: list[dict[str, float | str]] = []
    for of_level in zip(*(explained.levels for explained in fitted.classes.values()), strict=True):
        columns = [level_columns(measures) for measures in of_level]
        means = {name: _mean([column[name] for column in columns]) for name in columns[0]}
        rows.append({"level": level_name(of_level[0].level), **means})
    return rows


def level_rows(fitted: FittedSurrogates, every_part: bool = True) -> Rows:
    """The mean levels as text, the columns' names first; the parts' errors each, or their mean alone."""
    levels = mean_levels(fitted)
    parts = [name for name in levels[0] if name.startswith("part_error/")]
    if parts and not every_part:
        levels = [{**level, "part_error": _mean([float(level[name]) for name in parts])} for level in levels]
    names = [name for name in levels[0] if name != "level" and (every_part or name not in parts)]
    header = ("level", *(_heading(name) for name in names))
    return (header, *((str(level["level"]), *(_cell(name, float(level[name])) for name in names)) for level in levels))


def fidelity_rows(fidelity: Sequence[FidelityRow]) -> Rows:
    """The surrogates as text, the columns' names first."""
    header = ("surrogate", "depth", "leaves or weights", "fidelity", "accuracy")
    return (
        header,
        *(
            (
                row.surrogate,
                "" if row.depth is None else str(row.depth),
                "" if row.size is None else str(row.size),
                number(row.fidelity),
                number(row.accuracy),
            )
            for row in fidelity
        ),
    )


def write_levels(fitted: FittedSurrogates, path: Path) -> None:
    """Writes the numbers of every class and level, and their means, as CSV."""
    rows: list[dict[str, float | str]] = [
        {"class": name, "level": level_name(measures.level), **level_columns(measures)}
        for name, explained in fitted.classes.items()
        for measures in explained.levels
    ]
    rows += [{"class": MEAN, **row} for row in mean_levels(fitted)]
    write_csv(path, (tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)))


def write_csv(path: Path, rows: Rows) -> None:
    """Writes rows of text as CSV, atomically: numbers as they are, other texts in quotes and shielded as formulas."""
    write_atomically(path, "".join(",".join(map(_quoted, row)) + "\n" for row in rows))


def table_of(title: str, rows: Rows) -> Table:
    """Rows of text for the terminal."""
    table = Table(title=escape(title), title_justify="left")
    for place, heading in enumerate(rows[0]):
        table.add_column(escape(heading), justify="right" if place else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def _quoted(cell: str) -> str:
    # The csv module tells numbers by their type, which these have not, and leaves a lone carriage return bare.
    return cell if not cell or _NUMBER.fullmatch(cell) else '"' + shielded(cell).replace('"', '""') + '"'


def _mean(values: Sequence[float]) -> float:
    """Mean of those that are finite, NaN without any."""
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else np.nan


def _cell(name: str, value: float) -> str:
    return f"{value:.3g}" if name == "nodes" else number(value)


def _heading(name: str) -> str:
    part = name.removeprefix("part_error/")
    return f"error of {part}" if part != name else name.replace("_", " ")
