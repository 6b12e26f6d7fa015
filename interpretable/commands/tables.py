"""Tables on the terminal: measures down, runs across, and beside each measure what chance would score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from interpretable.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Measure:
    """A row of the table."""

    name: str
    """Name of the number in metrics.json."""
    label: str
    higher_is_better: bool | None = None
    floors: tuple[tuple[str, str], ...] = ()
    """What to read it against: name of the number, and a word for it."""
    interval: tuple[str, str] | None = None


MEASURES = (
    Measure("accuracy", "accuracy", True),
    Measure(
        "location_instability",
        "location instability",
        False,
        (("location_centre", "centre"), ("location_random", "random places")),
    ),
    Measure(
        "location_best_class",
        "… on each filter's best class",
        False,
        (("location_centre_best_class", "centre"), ("location_random_best_class", "random places")),
    ),
    Measure("tracking", "tracking R²", True, interval=("tracking_low", "tracking_high")),
    Measure("hit_rate", "hit rate", True, (("constant_hit_rate", "best constant"),)),
    Measure("part_purity", "part purity", True),
    Measure("part_interpretability", "part interpretability", True),
    Measure("part_interpretability_upsampled", "… of upsampled maps", True),
    Measure(
        "keypoint_error",
        "keypoint error (%)",
        False,
        (("keypoint_mean_keypoint", "mean keypoint"), ("keypoint_fixed_centre", "fixed centre")),
    ),
    Measure("nmi", "NMI of filters and keypoints (%)", True),
    Measure("ari", "ARI of filters and keypoints (%)", True),
    Measure("class_share", "class purity: share of one class", True),
    Measure("class_entropy", "class purity: entropy (nats)", False),
    Measure("mutual_information", "mutual information (nats)", True, (("mutual_information_bound", "bound"),)),
    Measure("spatial_entropy", "spatial entropy (nats)", False),
    Measure("inter_category_entropy", "inter-category entropy (nats)", False),
    Measure("effective_images", "effective images of 64", True),
    Measure("spread", "spread of the peaks", None, (("landmark_spread", "of the landmarks"),)),
    Measure("distinct_cells", "cells that hold an image's peaks", None),
    Measure("sparsity", "silent cells", None),
    Measure("dead", "dead filters", False),
    Measure("largest_drop", "largest drop without one filter", None),
    Measure("accuracy_without_top/20", "class accuracy without its top 20 filters", None),
    Measure("accuracy_with_top_alone/20", "class accuracy with its top 20 alone", None),
    Measure("idle_filters", "filters without which no class loses", None),
    Measure("filters_explaining_95", "filters that explain 95 % of all", None),
)


def measure_table(runs: Mapping[str, Evaluation]) -> Table:
    """The measures that any of the runs has, a column for each."""
    table = Table("measure", "", title=None)
    for name in runs:
        table.add_column(name, justify="right")
    table.add_column("read against", style="dim")
    for measure in MEASURES:
        if not any(measure.name in run.numbers for run in runs.values()):
            continue
        better = {True: "↑", False: "↓", None: ""}[measure.higher_is_better]
        cells = [_cell(run, measure) for run in runs.values()]
        table.add_row(measure.label, better, *cells, _floors(runs, measure))
    return table


def _cell(run: Evaluation, measure: Measure) -> str:
    text = number(run.numbers.get(measure.name, math.nan))
    if measure.interval:
        low, high = (number(run.numbers.get(name, math.nan)) for name in measure.interval)
        text += f" ({low} to {high})"
    return text


def _floors(runs: Mapping[str, Evaluation], measure: Measure) -> str:
    """What the runs' numbers are read against; once where it is the same for all."""
    words = []
    for name, word in (*measure.floors, (f"random_network/{measure.name}", "random network")):
        values = [number(run.numbers[name]) for run in runs.values() if name in run.numbers]
        if values:
            words.append(f"{word} {values[0] if len(set(values)) == 1 else ' / '.join(values)}")
    return ", ".join(words)


def number(value: float) -> str:
    """Three significant digits, a dash where nothing counted."""
    if math.isnan(value):
        return "–"
    return (
        f"{value:.0f}"
        if value.is_integer() and abs(value) >= 2
        else f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )
