"""Sheets of training images: those that helped or harmed decisions, and those of the highest self-influence."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpretable.errors import InfluenceError
from interpretable.figures import BARS, save
from interpretable.influence.influence_view import InfluenceRow, InfluenceWords, InfluentialImage
from interpretable.picture_page import (
    LINE,
    MARGIN,
    QUIET,
    draw_framed,
    empty_page,
    even_columns,
    explained,
    largest_exponent,
    power_of_ten,
    write,
    write_below,
)

_KINDS = {"helpful": BARS[0], "harmful": BARS[1]}

_OTHERWISE = "#e08214"
"""Orange, of what the network names otherwise than its label."""

# Inches
_SIDE, _BETWEEN, _BETWEEN_KINDS, _QUERY = 0.95, 0.1, 0.45, 1.6
_CAPTION = 4 * LINE + 0.12

_PLAIN = range(-2, 4)
"""Powers of ten of the largest number of a row in which its numbers need no unit."""


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
    columns = [even_columns(max(len(getattr(row, kind)) for row in rows)) for kind in _KINDS]
    lefts = [MARGIN + _QUERY, MARGIN + _QUERY + _width(columns[0]) + _BETWEEN_KINDS]
    width = lefts[1] + _width(columns[1]) + MARGIN
    figure, axis = empty_page()
    top = MARGIN + LINE
    headings = zip(lefts, columns, _KINDS.values(), (words.helpful, words.harmful), strict=True)
    for left, number, colour, heading in headings:
        write(axis, (left, top), heading, _width(number), 10, weight="bold", color=colour)
    for row in rows:
        top += 0.14
        axis.plot([MARGIN, width - MARGIN], [top, top], color="0.85", linewidth=0.8)
        top += 0.14
        exponent = _exponent([*row.helpful, *row.harmful])
        _query(axis, row, (MARGIN, top), exponent)
        ends = [top + _SIDE + _CAPTION]
        for kind, left, number in zip(_KINDS, lefts, columns, strict=True):
            ends.append(_show(axis, getattr(row, kind), (left, top), number, exponent))
        top = max(ends)
    shown: list[InfluenceRow | InfluentialImage] = [*rows]
    shown += [image for row in rows for image in (*row.helpful, *row.harmful)]
    return explained(figure, axis, (width, top), _with_frames(words.meaning, shown))


def self_influence_figure(images: Sequence[InfluentialImage], title: str, meaning: str) -> Figure:
    """The figure that `draw_self_influence` writes, with one axis in inches."""
    _check(images)
    columns = even_columns(len(images))
    width = 2 * MARGIN + max(_width(columns), _width(5))
    exponent = _exponent(images)
    figure, axis = empty_page()
    write(axis, (MARGIN, MARGIN + LINE), title, width - 2 * MARGIN, 10, weight="bold")
    top = _show(axis, images, (MARGIN, MARGIN + 2 * LINE), columns, exponent)
    unit = _unit(exponent)
    meaning += f" Numbers are in units of {unit} nats." if unit else ""
    return explained(figure, axis, (width, top), _with_frames(meaning, images))


def _check(shown: Sequence[object]) -> None:
    if not shown:
        raise InfluenceError("A sheet shows one image at least, got none; ask for the influence of some first.")


def _query(axis: Axes, row: InfluenceRow, corner: tuple[float, float], exponent: int) -> None:
    left, top = corner
    room = _QUERY - 2 * _BETWEEN
    unit = _unit(exponent)
    _draw(axis, row, (left + _SIDE / 2, top + _SIDE))
    loss = f"loss {row.loss:.2g}" + (f", unit {unit}" if unit else "")
    captions = [(row.name, {"weight": "bold"}), (row.label, {}), (loss, {"color": QUIET}), *_otherwise(row)]
    write_below(axis, (left, top + _SIDE), captions, room, 8)


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
        _draw(axis, shown, (middle, bottom))
        number, index = _number(shown.influence, exponent), str(shown.index)
        captions = [(number, {}), (shown.label, {}), (index, {"color": QUIET}), *_otherwise(shown)]
        write_below(axis, (middle, bottom), captions, _SIDE, 8, ha="center")
    return corner[1] + max(1, math.ceil(len(images) / columns)) * height


def _draw(axis: Axes, shown: InfluenceRow | InfluentialImage, bottom: tuple[float, float]) -> None:
    """Draws an image, framed in orange where the network names it otherwise."""
    colour, line = (_OTHERWISE, 2.2) if shown.label != shown.predicted else ("0.7", 0.6)
    draw_framed(axis, shown.image, bottom, _SIDE, colour, line)


def _otherwise(shown: InfluenceRow | InfluentialImage) -> list[tuple[str, dict[str, str]]]:
    """What the network names an image, where that is not its label."""
    return [(f"as {shown.predicted}", {"color": _OTHERWISE})] if shown.label != shown.predicted else []


def _width(columns: int) -> float:
    """Of pictures beside one another, and of a heading at the least."""
    return max(3, columns) * (_SIDE + _BETWEEN) - _BETWEEN


def _exponent(images: Sequence[InfluentialImage]) -> int:
    """Power of ten of the largest influence."""
    return largest_exponent(shown.influence for shown in images)


def _unit(exponent: int) -> str:
    return "" if exponent in _PLAIN else power_of_ten(exponent)


def _number(influence: float, exponent: int) -> str:
    """An influence with its sign, in its unit; three digits of the largest."""
    decimals = max(0, 2 - exponent) if exponent in _PLAIN else 2
    value = influence if exponent in _PLAIN else influence / 10.0**exponent
    return (f"{value:+.{decimals}f}" if value else "0").replace("-", "−")


def _with_frames(meaning: str, images: Sequence[InfluenceRow | InfluentialImage]) -> str:
    if all(shown.label == shown.predicted for shown in images):
        return meaning
    return f"{meaning} Orange: the network names the image otherwise."
