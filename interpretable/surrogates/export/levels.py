"""The plot of a decision-mode tree's measures at each of its levels."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpretable.figures import BARS, STYLES
from interpretable.picture_page import QUIET, drawable
from interpretable.surrogates.export.picture import save
from interpretable.words import shortened

_PANELS = {
    "Prediction error (of the scores' spread)": "prediction_error",
    "Fitness of the contributions": "fitness",
    "Classification accuracy": "accuracy",
}
_PARTS = "part_error/"
_PARTS_TITLE = "Error of part contributions (of the mean score)"
_NAME = 24
"""Characters of a part's name at most."""


def draw_levels(levels: Sequence[Mapping[str, float | str]], path: str | Path) -> None:
    """Draws prediction error, fitness, accuracy and the error of part contributions over the levels of a tree.

    Args:
        levels: One mapping per level, from the root's side to the leaves: under ``"level"`` what it is called, under
            ``"prediction_error"``, ``"fitness"``, ``"accuracy"``, ``"network_accuracy"`` and ``"part_error/<part>"``
            its measures; those that are missing, NaN or infinite are left out.
        path: The PNG or SVG to write.

    Raises:
        SurrogateError: The path's suffix is another.
    """
    save(levels_figure(levels), Path(path))


def levels_figure(levels: Sequence[Mapping[str, float | str]]) -> Figure:
    """The figure that `draw_levels` writes."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, (title, quantity) in zip(axes.flat, _PANELS.items(), strict=False):
        _prepare(axis, title, levels)
        _curve(axis, levels, quantity, color=BARS[0], label="tree")
    if _curve(axes.flat[2], levels, "network_accuracy", color="0.3", linestyle="--", marker="", label="network"):
        axes.flat[2].legend(frameon=False, fontsize="small")
    _prepare(axes.flat[3], _PARTS_TITLE, levels)
    _draw_parts(axes.flat[3], levels)
    for axis in axes.flat:
        if not axis.lines:
            axis.set_yticks([])
            axis.text(0.5, 0.5, "not measured", color=QUIET, ha="center", transform=axis.transAxes)
    return figure


def _prepare(axis: Axes, title: str, levels: Sequence[Mapping[str, float | str]]) -> None:
    axis.set_title(title, loc="left", fontsize="medium")
    axis.set_xlabel("level of the tree")
    axis.set_xticks(range(len(levels)), [drawable(str(level["level"])) for level in levels], parse_math=False)
    axis.set_xlim(-0.3, len(levels) - 0.7)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_parts(axis: Axes, levels: Sequence[Mapping[str, float | str]]) -> None:
    """A curve per part; their names stand beside the panel, for there may be many."""
    parts = sorted({name for level in levels for name in level if name.startswith(_PARTS)})
    for number, name in enumerate(parts):
        label = shortened(drawable(name.removeprefix(_PARTS)), _NAME)
        style = STYLES[number // len(BARS) % len(STYLES)]
        _curve(
            axis, levels, name, color=BARS[number % len(BARS)], linestyle=style, label=f" {label}"
        )  # one that begins with _ is left out
    if axis.lines:
        legend = axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        for text in legend.get_texts():
            text.set_parse_math(False)


def _curve(axis: Axes, levels: Sequence[Mapping[str, float | str]], quantity: str, **style: Any) -> bool:
    """Draws a quantity where it is known, and says whether it is anywhere."""
    values = [(place, float(level.get(quantity, math.nan))) for place, level in enumerate(levels)]
    known = [(place, value) for place, value in values if math.isfinite(value)]
    if known:
        axis.plot(*zip(*known, strict=True), markersize=4, **{"marker": "o", **style})
    return bool(known)
