"""Plots of how well prototypes do beside images picked at random: MMD², and errors of the nearest one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_pictures import KINDS
from interpretable.exemplars.exemplar_view import ErrorCurve, Mmd2Curve
from interpretable.figures import save
from interpretable.picture_page import QUIET, drawable
from interpretable.words import shortened

RANDOM = "0.5"
"""Grey of what was picked at random."""

_PANELS_IN_A_ROW = 5
_NAME = 26
"""Characters of a name at most."""

_MARKED = 30
"""Curves of up to so many points show each."""

_WIDE = 20.0
"""Ratio of the largest to the smallest MMD² from which on their axis is logarithmic."""

_ROUNDING = 1e-6
"""Share of the largest MMD² below which one is rounding."""


def draw_mmd2(curves: Sequence[Mmd2Curve], path: Path) -> None:
    """Draws MMD² over the number of prototypes beside that of random picks, mean ± deviation, a panel for each curve.

    Args:
        curves: One or more; panels share their axes.
        path: The PNG to write.

    Raises:
        ExemplarError: There is no curve.
    """
    save(mmd2_figure(curves), path)


def draw_errors(curves: Sequence[ErrorCurve], path: Path) -> None:
    """Draws the error of the nearest prototype likewise, with that of the nearest of all images as a line.

    Args:
        curves: One or more; panels share their axes.
        path: The PNG to write.

    Raises:
        ExemplarError: There is no curve.
    """
    save(errors_figure(curves), path)


def mmd2_figure(curves: Sequence[Mmd2Curve]) -> Figure:
    """The figure that `draw_mmd2` writes, with an axis for each curve."""
    figure, axes = _panels(curves, "MMD² between the prototypes and all images; lower is better", "MMD²")
    for axis, curve in zip(axes, curves, strict=True):
        _compare(axis, curve, 1.0)
    values = np.concatenate([values for curve in curves for values in (curve.prototypes, curve.random_mean)])
    positive = values[values > _ROUNDING * values.max()]
    if len(positive) and positive.max() > _WIDE * positive.min():
        top = max(float((curve.random_mean + curve.random_deviation).max()) for curve in curves)
        axes[0].set(yscale="log", ylim=(positive.min() / 1.3, max(top, positive.max()) * 1.3))
    elif values.min() >= 0:
        axes[0].set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def errors_figure(curves: Sequence[ErrorCurve]) -> Figure:
    """The figure that `draw_errors` writes, with an axis for each curve."""
    figure, axes = _panels(curves, "Test images that the nearest prototype misclassifies", "error (%)")
    for axis, curve in zip(axes, curves, strict=True):
        _compare(axis, curve, 100.0)
        least = 100 * curve.all_rows
        axis.axhline(least, color="0.2", linestyle="--", linewidth=1, label="all images")
        across = axis.get_yaxis_transform()
        axis.text(0.02, least, f"{least:.1f} %", transform=across, va="bottom", fontsize="small", color=QUIET)
    axes[0].set_ylim(0, min(100, axes[0].get_ylim()[1]))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panels(curves: Sequence[Mmd2Curve | ErrorCurve], title: str, unit: str) -> tuple[Figure, list[Axes]]:
    names = [curve.name for curve in curves]
    if not names:
        raise ExemplarError("A plot needs one curve at least, got none; measure one first.")
    rows = math.ceil(len(names) / _PANELS_IN_A_ROW)
    columns = math.ceil(len(names) / rows)
    size = (6.4, 4.4) if len(names) == 1 else (0.8 + 2.4 * max(2, columns), 1.2 + 1.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axis in axes[len(names) :]:
        axis.remove()
    for place, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.set_title(shortened(drawable(name), _NAME), loc="left", fontsize="small", parse_math=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        if place % columns == 0:
            axis.set_ylabel(unit)
        if place + columns >= len(names):
            axis.set_xlabel("number of prototypes")
            axis.tick_params(labelbottom=True)
    axes[0].set_xlim(0.5, max(len(curve.prototypes) for curve in curves) + 0.5)
    return figure, axes[: len(names)]


def _compare(axis: Axes, curve: Mmd2Curve | ErrorCurve, scale: float) -> None:
    """Draws prototypes beside random picks."""
    numbers = np.arange(1, len(curve.prototypes) + 1)
    style: dict[str, Any] = {"marker": "." if len(numbers) <= _MARKED else "", "markersize": 4}
    mean, deviation = scale * curve.random_mean, scale * curve.random_deviation
    axis.fill_between(numbers, mean - deviation, mean + deviation, color=RANDOM, alpha=0.25, linewidth=1)
    axis.plot(numbers, scale * curve.prototypes, color=KINDS["prototypes"], label="prototypes", **style)
    axis.plot(numbers, mean, color=RANDOM, label="random picks, mean ± deviation", **style)
