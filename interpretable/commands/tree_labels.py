"""``interpretable tree-labels``: a table of the filters, in which a reviewer names their parts."""

import math
from pathlib import Path

from interpretable.commands.evaluate import evaluated
from interpretable.commands.terminal import say
from interpretable.errors import RunError
from interpretable.evaluation import Evaluation
from interpretable.evaluation.evaluation import FILE_NAME as METRICS
from interpretable.runs import Run, load_run
from interpretable.surrogates.filter_labels import FILE_NAME, FilterLabel, merged, read_labels, write_labels


def write_filter_labels(run: Path) -> None:
    """Writes ``tree/filters.csv``; names and notes in one that is there are kept."""
    opened = load_run(run)
    labels = suggested_labels(opened)
    path = opened.folder / "tree" / FILE_NAME
    if path.exists():
        labels = merged(labels, read_labels(path, len(labels)))
    write_labels(path, labels)
    shown = run / "tree" / FILE_NAME
    suggestions = sum(bool(label.suggested_part) for label in labels)
    say(f"{shown}: {len(labels)} filters, {suggestions} with a suggested part")
    say(
        f"Next: fill in the column name where the suggestion is wrong, then `interpretable tree {run} --labels {shown}`"
    )


def suggested_labels(run: Run) -> list[FilterLabel]:
    """The part that each filter of the top part layer hits most often; the run is evaluated where it is not yet.

    Raises:
        RunError: The run was evaluated on another layer.
    """
    found = evaluated(run)
    layers = len(run.model.net.part_filters)
    top = f"net.part_filters.{layers - 1}"
    if layers and found.about["layer"] != top:
        raise RunError(
            f"{run.folder / METRICS} is of the layer {found.about['layer']}, but the tree is of {top}; evaluate it "
            f"with `interpretable evaluate {run.folder} --layer {top}`."
        )
    return labels_of(found)


def labels_of(evaluation: Evaluation) -> list[FilterLabel]:
    """A label for each filter of an evaluation, empty for those that no part was measured for."""
    count = max(map(len, evaluation.filters.values()))
    none = [math.nan] * count
    parts, purities = (evaluation.filters.get(name, none) for name in ("part", "part_purity"))
    return [
        FilterLabel(number, evaluation.about["parts"][int(part)], None if math.isnan(purity) else round(purity, 4))
        if part >= 0
        else FilterLabel(number)
        for number, (part, purity) in enumerate(zip(parts, purities, strict=True))
    ]
