"""Sheets of training images: those that helped or harmed decisions, and those of the highest self-influence."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpretable.errors import InfluenceError
from interpretable.figures import BARS, save
from interpretable.influence.influence_view import InfluenceRow, InfluenceWords, InfluentialImage
from interpretable.surrogates.export.box import QUIET, write

_KINDS = {"helpful": BARS[0], "harmful": BARS[1]}

_OTHERWISE = "#e08214"
"""Orange, of what the network names otherwise than its label."""

# Inches
_MARGIN, _LINE = 0.25, 0.17
_SIDE, _BETWEEN, _BETWEEN_KINDS, _QUERY = 0.95, 0.1, 0.45, 1.6
_CAPTION = 4 * _LINE + 0.12
_MOST_IN_A_ROW = 8
_LETTERS = 15
"""Of the smallest size, to an inch."""

_PLAIN = range(-2, 4)
"""Powers of ten of the largest number of a row in which its numbers need no unit."""

_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_influence(rows: Sequence[InfluenceRow], words: InfluenceWords, path: Path) -> None:
    """Draws a row per image: itself, then its most helpful training images, and after a gap the most harmful ones.

    Args:
        rows: At least one.
        words: What the numbers mean.
        path: The PNG to write.

    Raises:
        InfluenceError: There is no row.
    """
    save(influence_figure(rows, words), path)


def draw_self_influence(images: Sequence[InfluentialImage], title: str, meaning: str, path: Path) -> None:
    """Draws training images in rows of eight, in their order, with their influence on themselves.

    Args:
        images: At least one.
        title: What stands above.
        meaning: What the numbers are, below.
        path: The PNG to write.

    Raises:
        InfluenceError: There is no image.
    """
    save(self_influence_figure(images, title, meaning), path)


def influence_figure(rows: Sequence[InfluenceRow], words: InfluenceWords) -> Figure:
    """The figure that `draw_influence` writes, with one axis in inches."""
    _check(rows)
    columns = [_columns(max(len(getattr(row, kind)) for row in rows)) for kind in _KINDS]
    lefts = [_MARGIN + _QUERY, _MARGIN + _QUERY + _width(columns[0]) + _BETWEEN_KINDS]
    width = lefts[1] + _width(columns[1]) + _MARGIN
    figure, axis = _page()
    top = _MARGIN + _LINE
    headings = zip(lefts, columns, _KINDS.values(), (words.helpful, words.harmful), strict=True)
    for left, number, colour, heading in headings:
        write(axis, (left, top), heading, _width(number), 10, weight="bold", color=colour)
    for row in rows:
        top += 0.14
        axis.plot([_MARGIN, width - _MARGIN], [top, top], color="0.85", linewidth=0.8)
        top += 0.14
        exponent = _exponent([*row.helpful, *row.harmful])
        _query(axis, row, (_MARGIN, top), exponent)
        ends = [top + _SIDE + _CAPTION]
        for kind, left, number in zip(_KINDS, lefts, columns, strict=True):
            ends.append(_show(axis, getattr(row, kind), (left, top), number, exponent))
        top = max(ends)
    shown: list[InfluenceRow | InfluentialImage] = [*rows]
    shown += [image for row in rows for image in (*row.helpful, *row.harmful)]
    return _finished(figure, axis, (width, top), _with_frames(words.meaning, shown))


def self_influence_figure(images: Sequence[InfluentialImage], title: str, meaning: str) -> Figure:
    """The figure that `draw_self_influence` writes, with one axis in inches."""
    _check(images)
    columns = _columns(len(images))
    width = 2 * _MARGIN + max(_width(columns), _width(5))
    exponent = _exponent(images)
    figure, axis = _page()
    write(axis, (_MARGIN, _MARGIN + _LINE), title, width - 2 * _MARGIN, 10, weight="bold")
    top = _show(axis, images, (_MARGIN, _MARGIN + 2 * _LINE), columns, exponent)
    unit = _unit(exponent)
    meaning += f" Numbers are in units of {unit} nats." if unit else ""
    return _finished(figure, axis, (width, top), _with_frames(meaning, images))


def _check(shown: Sequence[object]) -> None:
    if not shown:
        raise InfluenceError("A sheet shows one image at least, got none; ask for the influence of some first.")


def _page() -> tuple[Figure, Axes]:
    figure = Figure()
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    return figure, axis


def _finished(figure: Figure, axis: Axes, size: tuple[float, float], meaning: str) -> Figure:
    """The page with what its numbers mean below all that is on it."""
    width, top = size
    room = width - 2 * _MARGIN
    for line in textwrap.wrap(meaning, int(_LETTERS * room), break_on_hyphens=False):
        top += _LINE
        write(axis, (_MARGIN, top), line, room, 8, color=QUIET)
    height = top + _MARGIN
    figure.set_size_inches(width, height)
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _query(axis: Axes, row: InfluenceRow, corner: tuple[float, float], exponent: int) -> None:
    left, top = corner
    room = _QUERY - 2 * _BETWEEN
    unit = _unit(exponent)
    _draw(axis, row.image, left + _SIDE / 2, top + _SIDE, row.label != row.predicted)
    _caption(axis, left, top + _SIDE, row.name, room, weight="bold")
    _caption(axis, left, top + _SIDE + _LINE, row.label, room)
    loss = f"loss {row.loss:.2g}" + (f", unit {unit}" if unit else "")
    _caption(axis, left, top + _SIDE + 2 * _LINE, loss, room, color=QUIET)
    if row.label != row.predicted:
        _caption(axis, left, top + _SIDE + 3 * _LINE, f"as {row.predicted}", room, color=_OTHERWISE)


def _show(
    axis: Axes, images: Sequence[InfluentialImage], corner: tuple[float, float], columns: int, exponent: int
) -> float:
    """Draws images in rows, and says where the last row ends."""
    if not images:
        write(axis, (corner[0], corner[1] + _SIDE / 2), "none", _SIDE, 8, color=QUIET)
    height = _SIDE + _CAPTION
    for place, shown in enumerate(images):
        row, column = divmod(place, columns)
        middle = corner[0] + column * (_SIDE + _BETWEEN) + _SIDE / 2
        bottom = corner[1] + row * height + _SIDE
        otherwise = shown.label != shown.predicted
        _draw(axis, shown.image, middle, bottom, otherwise)
        _caption(axis, middle, bottom, _number(shown.influence, exponent), _SIDE, ha="center")
        _caption(axis, middle, bottom + _LINE, shown.label, _SIDE, ha="center")
        _caption(axis, middle, bottom + 2 * _LINE, str(shown.index), _SIDE, ha="center", color=QUIET)
        if otherwise:
            _caption(axis, middle, bottom + 3 * _LINE, f"as {shown.predicted}", _SIDE, ha="center", color=_OTHERWISE)
    return corner[1] + max(1, math.ceil(len(images) / columns)) * height


def _caption(axis: Axes, x: float, above: float, line: str, room: float, **style: Any) -> None:
    write(axis, (x, above + _LINE), line, room, 8, **style)


def _draw(axis: Axes, image: np.ndarray, middle: float, bottom: float, otherwise: bool) -> None:
    """Draws a picture in the middle of its square, framed where the network names it otherwise."""
    tall, wide = (_SIDE * side / max(image.shape[:2]) for side in image.shape[:2])
    left = middle - wide / 2
    axis.imshow(image, extent=(left, left + wide, bottom, bottom - tall), aspect="auto")
    colour, line = (_OTHERWISE, 2.2) if otherwise else ("0.7", 0.6)
    axis.add_patch(Rectangle((left, bottom - tall), wide, tall, fill=False, edgecolor=colour, linewidth=line))


def _columns(most: int) -> int:
    """Pictures in a row, so that so many fill as few rows as they can evenly."""
    return math.ceil(most / math.ceil(most / _MOST_IN_A_ROW)) if most else 1


def _width(columns: int) -> float:
    """Of pictures beside one another, and of a heading at the least."""
    return max(3, columns) * (_SIDE + _BETWEEN) - _BETWEEN


def _exponent(images: Sequence[InfluentialImage]) -> int:
    """Power of ten of the largest influence."""
    most = max((abs(shown.influence) for shown in images), default=0.0)
    return math.floor(math.log10(most)) if most else 0


def _unit(exponent: int) -> str:
    return "" if exponent in _PLAIN else f"10{str(exponent).translate(_POWERS)}"


def _number(influence: float, exponent: int) -> str:
    """An influence with its sign, in its unit; three digits of the largest."""
    decimals = max(0, 2 - exponent) if exponent in _PLAIN else 2
    value = influence if exponent in _PLAIN else influence / 10.0**exponent
    return (f"{value:+.{decimals}f}" if value else "0").replace("-", "−")


def _with_frames(meaning: str, images: Sequence[InfluenceRow | InfluentialImage]) -> str:
    if all(shown.label == shown.predicted for shown in images):
        return meaning
    return f"{meaning} Orange: the network names the image otherwise."
