"""The plot of which share of the data, of the prototypes and of the criticisms each class has."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_pictures import KINDS
from interpretable.exemplars.exemplar_view import ClassCounts
from interpretable.figures import save
from interpretable.picture_page import drawable
from interpretable.words import shortened

_DATA = "0.85"
_CLASSES_IN_A_COLUMN = 50
_NAME = 26
"""Characters of a name at most."""


def draw_class_counts(counts: ClassCounts, path: Path) -> None:
    """Draws shares of the classes as bars, those of prototypes and criticisms on that of the data.

    Args:
        counts: Of one class or more; where there are no criticisms, there are no bars of them.
        path: The PNG to write.

    Raises:
        ExemplarError: There is no class.
    """
    save(class_counts_figure(counts), path)


def class_counts_figure(counts: ClassCounts) -> Figure:
    """The figure that `draw_class_counts` writes, with an axis for each column of classes."""
    if not counts.classes:
        raise ExemplarError(
            "Shares of classes need one class at least, got none; count the images of each class first."
        )
    columns = math.ceil(len(counts.classes) / _CLASSES_IN_A_COLUMN)
    rows = math.ceil(len(counts.classes) / columns)
    height = 0.4 if rows <= 12 else 0.24
    figure = Figure(figsize=(max(6.0, 3.4 * columns), 1.2 + height * rows), layout="constrained")
    figure.suptitle("Share of each class", x=0.01, ha="left", fontsize="medium")
    apart = 0.19 if counts.criticisms.any() else 0.0
    bars = {
        "data": (counts.data, _DATA, 0.0, 0.86),
        "prototypes": (counts.prototypes, KINDS["prototypes"], -apart, 0.3),
        "criticisms": (counts.criticisms, KINDS["criticisms"], apart, 0.3),
    }
    names = [shortened(drawable(name), _NAME) for name in counts.classes]
    for column, axis in enumerate(figure.subplots(1, columns, sharex=True, squeeze=False)[0]):
        own = slice(column * rows, (column + 1) * rows)
        places = np.arange(len(names[own]))
        for kind, (numbers, colour, shift, thickness) in bars.items():
            if total := int(numbers.sum()):
                shares = 100 * numbers[own] / total
                axis.barh(places + shift, shares, thickness, color=colour, label=f"{kind} ({total:,})")
        axis.set_yticks(places, names[own], fontsize="small", parse_math=False)
        axis.set(xlabel="share (%)", ylim=(rows - 0.4, -0.6))
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right"]].set_visible(False)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure
