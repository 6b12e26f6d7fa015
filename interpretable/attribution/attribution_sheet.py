"""Sheets of attributions: a row for each image, a column for each method."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpretable.attribution.signed_colours import PERCENTILE, full_colour, overlaid
from interpretable.errors import AttributionError
from interpretable.figures import save
from interpretable.picture_page import LINE, MARGIN, QUIET, empty_page, of_size, write, write_below
from interpretable.words import signed

# Inches
_SIDE, _BETWEEN, _WORDS = 1.6, 0.14, 1.6
_LEAST_WIDTH, _KEY = 6.6, 1.2
_LETTERS = 17
"""Of the smallest size, to an inch."""

_HEADING_LETTERS = 18
"""Of a heading, to a picture."""

_MEANING = (
    "Red speaks for the class that is explained, blue against it, and the image is grey below. All columns have one "
    f"rule: attributions are summed over the colour channels, and colours are full at the {PERCENTILE}th percentile of "
    "the magnitudes in that picture, which is the number below it. Maps of a layer are interpolated to the image."
)


class ShownAttribution(NamedTuple):
    """What one method says of an image."""

    values: np.ndarray
    """(H, W), of each pixel, summed over channels."""
    note: str = ""
    """What is known beside that."""


class AttributionRow(NamedTuple):
    """An image with its attributions by every method, in the order of the columns."""

    name: str
    image: np.ndarray
    """(H, W, 3) uint8."""
    label: str
    """Empty where it is not known."""
    explained: str
    """The class that is explained."""
    logit: float
    attributions: tuple[ShownAttribution, ...]


class AttributionSheet(NamedTuple):
    """Images by methods."""

    columns: tuple[str, ...]
    """Names of the methods."""
    rows: tuple[AttributionRow, ...]
    notes: str = ""
    """What the notes of the attributions mean."""


def draw_attributions(sheet: AttributionSheet, path: Path) -> None:
    """Draws the images with what they are and what is explained, and beside each of them its attributions.

    Args:
        sheet: At least one row and one column.
        path: The PNG to write.

    Raises:
        AttributionError: There is no row or no column, or a row has other columns than the sheet.
    """
    save(attributions_figure(sheet), path)


def attributions_figure(sheet: AttributionSheet) -> Figure:
    """The figure that `draw_attributions` writes, with one axis in inches."""
    if not (sheet.rows and sheet.columns) or any(len(row.attributions) != len(sheet.columns) for row in sheet.rows):
        raise AttributionError(
            "A sheet must have one image and one method at least, and each image an attribution by each method, got "
            f"{len(sheet.columns)} methods and {[len(row.attributions) for row in sheet.rows]} attributions."
        )
    figure, axis = empty_page()
    lefts = [MARGIN + _WORDS + number * (_SIDE + _BETWEEN) for number in range(len(sheet.columns) + 1)]
    width = max(_LEAST_WIDTH, lefts[-1] + _SIDE + MARGIN)
    top = _draw_headings(axis, lefts, ("image", *sheet.columns))
    for row in sheet.rows:
        top = _draw_row(axis, lefts, top, row)
    return of_size(figure, axis, width, _draw_meaning(axis, width, top, sheet.notes) + MARGIN)


def _draw_headings(axis: Axes, lefts: Sequence[float], headings: Sequence[str]) -> float:
    """Writes the columns' names on as many lines as the longest needs, and says where the rows begin."""
    wrapped = [textwrap.wrap(heading, _HEADING_LETTERS) for heading in headings]
    most = max(map(len, wrapped))
    for left, lines in zip(lefts, wrapped, strict=True):
        for number, line in enumerate(lines, most - len(lines) + 1):
            at = (left + _SIDE / 2, MARGIN + number * LINE)
            write(axis, at, line, _SIDE + _BETWEEN / 2, 9, weight="bold", ha="center")
    return MARGIN + most * LINE + _BETWEEN / 2


def _draw_row(axis: Axes, lefts: Sequence[float], top: float, row: AttributionRow) -> float:
    """Draws an image with its words and attributions, and says where the next row begins."""
    tall, wide = (_SIDE * side / max(row.image.shape[:2]) for side in row.image.shape[:2])
    _draw_picture(axis, (lefts[0], top), (wide, tall), row.image)
    words = [
        (row.name, {"weight": "bold"}),
        *([("label", {"color": QUIET}), (row.label, {})] if row.label else []),
        ("explained class", {"color": QUIET}),
        (row.explained, {}),
        (f"logit {signed(row.logit)}", {}),
    ]
    write_below(axis, (MARGIN, top), words, _WORDS - _BETWEEN, 8)
    for left, shown in zip(lefts[1:], row.attributions, strict=True):
        full = full_colour(shown.values)
        _draw_picture(axis, (left, top), (wide, tall), overlaid(row.image, shown.values, full))
        below = [(line, {"color": QUIET}) for line in (f"±{full:.3g}" if full else "0 everywhere", shown.note)]
        write_below(axis, (left + _SIDE / 2, top + tall), below, _SIDE + _BETWEEN / 2, 7.5, ha="center")
    lines = 1 + any(shown.note for shown in row.attributions)
    height: float = max(tall + lines * LINE, len(words) * LINE)
    return top + height + _BETWEEN


def _draw_picture(axis: Axes, corner: tuple[float, float], size: tuple[float, float], picture: np.ndarray) -> None:
    """Draws a picture in the middle of its column."""
    (left, top), (wide, tall) = corner, size
    left += (_SIDE - wide) / 2
    axis.imshow(picture, extent=(left, left + wide, top + tall, top), aspect="auto")
    axis.add_patch(Rectangle((left, top), wide, tall, fill=False, edgecolor="0.7", linewidth=0.6))


def _draw_meaning(axis: Axes, width: float, top: float, notes: str) -> float:
    """Draws the key of the colours and what they mean, and says where that ends."""
    bottom = top + LINE
    scale = np.linspace(-1, 1, 201)[None]
    ramp = overlaid(np.full((1, 201, 3), 128, np.uint8), scale, 1.0)
    axis.imshow(ramp, extent=(MARGIN, MARGIN + _KEY, bottom, bottom - 0.12), aspect="auto")
    for place, text, side in ((0.0, "−", "left"), (0.5, "0", "center"), (1.0, "+", "right")):
        write(axis, (MARGIN + place * _KEY, bottom + 0.14), text, _KEY, 8, color=QUIET, ha=side)
    left = MARGIN + _KEY + 0.25
    room = width - left - MARGIN
    lines = textwrap.wrap(f"{_MEANING} {notes}".strip(), math.floor(_LETTERS * room), break_on_hyphens=False)
    for number, line in enumerate(lines):
        write(axis, (left, bottom + number * LINE), line, room, 8, color=QUIET)
    return bottom + max(len(lines) - 1, 1) * LINE
