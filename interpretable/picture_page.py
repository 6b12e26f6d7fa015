"""Pages of pictures with what is written on them: text fits its room whatever it says; all lengths in inches."""

import math
import textwrap
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from interpretable.words import one_line, shortened

QUIET = "0.4"
"""Grey of what is read second."""

MARGIN, LINE = 0.25, 0.17
"""Around a page, and from one line of the smallest size to the next."""

_FONT = "DejaVu Sans"
"""Comes with matplotlib, so that a picture is the same everywhere."""

_LETTERS = 15
"""Of the smallest size, to an inch."""

_MOST_IN_A_ROW = 8

_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def empty_page() -> tuple[Figure, Axes]:
    """A page with one axis all over it; `of_size` says at the end how large it is."""
    figure = Figure()
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    return figure, axis


def of_size(figure: Figure, axis: Axes, width: float, height: float) -> Figure:
    """The page with its axis in inches, y downwards."""
    figure.set_size_inches(width, height)
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def explained(figure: Figure, axis: Axes, size: tuple[float, float], meaning: str) -> Figure:
    """The page with what its numbers mean below all that is on it, which ends at the size."""
    width, top = size
    room = width - 2 * MARGIN
    for line in textwrap.wrap(meaning, int(_LETTERS * room), break_on_hyphens=False):
        top += LINE
        write(axis, (MARGIN, top), line, room, 8, color=QUIET)
    return of_size(figure, axis, width, top + MARGIN)


def write(axis: Axes, at: tuple[float, float], text: str, room: float, size: float, **style: Any) -> Text:
    """Writes a line with its baseline at a point, shortened to its room; nothing in it is markup."""
    font = FontProperties(
        family=_FONT, size=size, weight=style.pop("weight", "normal"), style=style.pop("style", "normal")
    )
    line = drawable(text)
    if _width(line, font) > room:
        fits = bisect_right(range(2, len(line)), room, key=lambda length: _width(shortened(line, length), font))
        line = shortened(line, 1 + max(1, fits))
    return axis.text(*at, line, fontproperties=font, parse_math=False, **style)


def write_below(
    axis: Axes,
    at: tuple[float, float],
    lines: Iterable[tuple[str, Mapping[str, str]]],
    room: float,
    size: float,
    ha: str = "left",
) -> None:
    """Writes lines, each with its style, one below another, the first of them a line below a point."""
    for number, (line, style) in enumerate(lines, 1):
        write(axis, (at[0], at[1] + number * LINE), line, room, size, ha=ha, **style)


def drawable(text: str) -> str:
    """A text on one line, with a square for each character that the font lacks, which matplotlib would warn of."""
    glyphs = get_font(findfont(FontProperties(family=_FONT)))
    return "".join(c if glyphs.get_char_index(ord(c)) else "\N{WHITE SQUARE}" for c in one_line(text))


def width_of(text: Text) -> float:
    """The room that a written line takes."""
    return _width(text.get_text(), text.get_fontproperties())


def _width(line: str, font: FontProperties) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
    return 1.03 * float(width) / 72  # on pixels, letters take up to 3 % more


def draw_framed(
    axis: Axes, picture: np.ndarray, bottom: tuple[float, float], side: float, colour: str = "0.7", line: float = 0.6
) -> None:
    """Draws a picture in a square, upon the middle of whose lower side it stands, with a frame of a width in points."""
    middle, y = bottom
    tall, wide = (side * length / max(picture.shape[:2]) for length in picture.shape[:2])
    left = middle - wide / 2
    axis.imshow(picture, extent=(left, left + wide, y, y - tall), aspect="auto")
    axis.add_patch(Rectangle((left, y - tall), wide, tall, fill=False, edgecolor=colour, linewidth=line))


def even_columns(most: int) -> int:
    """Pictures in a row, so that so many fill as few rows of eight as they can evenly; 1 for none."""
    return math.ceil(most / math.ceil(most / _MOST_IN_A_ROW)) if most else 1


def largest_exponent(numbers: Iterable[float]) -> int:
    """Power of ten of the number farthest from 0; 0 where there is none but 0."""
    most = max(map(abs, numbers), default=0.0)
    return math.floor(math.log10(most)) if most else 0


def power_of_ten(exponent: int) -> str:
    """``10⁻⁴``."""
    return f"10{str(exponent).translate(_POWERS)}"
