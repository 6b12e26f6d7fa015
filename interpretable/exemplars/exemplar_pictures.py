"""Contact sheets: pictures of prototypes and criticisms, with the value of the witness function under each."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_view import ExemplarSheet, ShownExemplar
from interpretable.figures import BARS, save
from interpretable.surrogates.export.box import QUIET, write

KINDS = {"prototypes": BARS[0], "criticisms": BARS[1]}
"""What is chosen, with its colour in every picture."""

# Inches
_MARGIN, _HEAD, _LINE = 0.25, 0.3, 0.17
_SIDE, _BETWEEN, _BETWEEN_KINDS, _LEAST_WIDTH = 1.1, 0.12, 0.4, 4.4
_MOST_IN_A_ROW = 8
_LETTERS = 15
"""Of the smallest size, to an inch."""

_LEAST_EXPONENT = -3
"""Smaller numbers than of this power of ten are written in units of one."""

_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_sheet(sheet: ExemplarSheet, path: Path) -> None:
    """Draws what was chosen of one set of images: prototypes above, criticisms below if there are any.

    Args:
        sheet: At least one prototype.
        path: The PNG to write.

    Raises:
        ExemplarError: There is no prototype.
    """
    save(sheet_figure(sheet), path)


def draw_sheets(sheets: Sequence[ExemplarSheet], path: Path) -> None:
    """Draws several sets of images below one another: of each, prototypes to the left and criticisms to the right.

    Args:
        sheets: At least one, each with at least one prototype.
        path: The PNG to write.

    Raises:
        ExemplarError: There is no sheet, or no prototype in one.
    """
    save(sheets_figure(sheets), path)


def sheet_figure(sheet: ExemplarSheet) -> Figure:
    """The figure that `draw_sheet` writes, with one axis in inches."""
    _check([sheet])
    kinds = [kind for kind in KINDS if getattr(sheet, kind)]
    width = _page_width(max(_width(_columns([sheet], kind)) for kind in kinds))
    figure, axis = _page()
    top = _MARGIN + _HEAD
    write(axis, (_MARGIN, top - 0.12), sheet.name, width - 2 * _MARGIN, 12, weight="bold")
    for kind in kinds:
        top = _title(axis, kind, _MARGIN, top)
        top = _show(axis, sheet, kind, (_MARGIN, top), _columns([sheet], kind), _exponent([sheet]))
    return _finished(figure, axis, (width, top), [sheet])


def sheets_figure(sheets: Sequence[ExemplarSheet]) -> Figure:
    """The figure that `draw_sheets` writes, with one axis in inches."""
    _check(sheets)
    columns = {kind: _columns(sheets, kind) for kind in KINDS if any(getattr(sheet, kind) for sheet in sheets)}
    lefts = {"prototypes": _MARGIN, "criticisms": _MARGIN + _width(columns["prototypes"]) + _BETWEEN_KINDS}
    last = list(columns)[-1]
    width = _page_width(lefts[last] + _width(columns[last]) - _MARGIN)
    figure, axis = _page()
    top = max(_title(axis, kind, lefts[kind], _MARGIN) for kind in columns)
    for sheet in sheets:
        axis.plot([_MARGIN, width - _MARGIN], [top, top], color="0.8", linewidth=0.8)
        write(axis, (_MARGIN, top + 0.2), sheet.name, width - 2 * _MARGIN, 10, weight="bold")
        corners = {kind: (left, top + _HEAD) for kind, left in lefts.items()}
        top = max(_show(axis, sheet, kind, corners[kind], columns[kind], _exponent(sheets)) for kind in columns)
    return _finished(figure, axis, (width, top), sheets)


def _check(sheets: Sequence[ExemplarSheet]) -> None:
    without = [sheet.name for sheet in sheets if not sheet.prototypes]
    if without or not sheets:
        found = f"{without[0]} has none" if without else "there is no sheet"
        raise ExemplarError(f"Contact sheets show one prototype at least, but {found}; choose prototypes first.")


def _page() -> tuple[Figure, Axes]:
    figure = Figure()
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    return figure, axis


def _finished(figure: Figure, axis: Axes, size: tuple[float, float], sheets: Sequence[ExemplarSheet]) -> Figure:
    """The page with what its numbers mean below all that is on it."""
    width, top = size
    room = width - 2 * _MARGIN
    for line in textwrap.wrap(_meaning(_exponent(sheets)), int(_LETTERS * room), break_on_hyphens=False):
        top += _LINE
        write(axis, (_MARGIN, top), line, room, 8, color=QUIET)
    height = top + _MARGIN
    figure.set_size_inches(width, height)
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _title(axis: Axes, kind: str, left: float, top: float) -> float:
    write(axis, (left, top + _LINE), kind, _SIDE, 10, weight="bold", color=KINDS[kind])
    return top + _LINE + _BETWEEN


def _show(
    axis: Axes, sheet: ExemplarSheet, kind: str, corner: tuple[float, float], columns: int, exponent: int
) -> float:
    """Draws the pictures of a kind in rows, those of a row on one line, and says where the last row ends."""
    chosen: tuple[ShownExemplar, ...] = getattr(sheet, kind)
    labelled = len({exemplar.label for exemplar in (*sheet.prototypes, *sheet.criticisms)}) > 1
    height = _SIDE + _LINE * (1 + labelled) + _BETWEEN
    for place, exemplar in enumerate(chosen):
        row, column = divmod(place, columns)
        middle = corner[0] + column * (_SIDE + _BETWEEN) + _SIDE / 2
        bottom = corner[1] + row * height + _SIDE
        tall, wide = (_SIDE * side / max(exemplar.image.shape[:2]) for side in exemplar.image.shape[:2])
        left = middle - wide / 2
        axis.imshow(exemplar.image, extent=(left, left + wide, bottom, bottom - tall), aspect="auto")
        axis.add_patch(Rectangle((left, bottom - tall), wide, tall, fill=False, edgecolor="0.7", linewidth=0.6))
        write(axis, (middle, bottom + _LINE), _number(exemplar.witness, exponent), _SIDE, 8, ha="center")
        if labelled:
            write(axis, (middle, bottom + 2 * _LINE), exemplar.label, _SIDE, 8, ha="center", color=QUIET)
    return corner[1] + math.ceil(len(chosen) / columns) * height


def _columns(sheets: Sequence[ExemplarSheet], kind: str) -> int:
    """Pictures in a row, so that the most of all sheets fill as few rows as they can evenly."""
    most = max(len(getattr(sheet, kind)) for sheet in sheets)
    return math.ceil(most / math.ceil(most / _MOST_IN_A_ROW))


def _width(columns: int) -> float:
    return columns * (_SIDE + _BETWEEN) - _BETWEEN


def _page_width(content: float) -> float:
    return max(_LEAST_WIDTH, content + 2 * _MARGIN)


def _exponent(sheets: Sequence[ExemplarSheet]) -> int:
    """Power of ten of the witness farthest from 0, which all of a page are written by."""
    most = max(abs(shown.witness) for sheet in sheets for shown in (*sheet.prototypes, *sheet.criticisms))
    return math.floor(math.log10(most)) if most else 0


def _number(witness: float, exponent: int) -> str:
    """A witness with its sign; about three digits of the one farthest from 0."""
    value, decimals = witness, max(0, min(4, 2 - exponent))
    if exponent < _LEAST_EXPONENT:
        value, decimals = witness / 10**exponent, 2
    return (f"{value:+.{decimals}f}" if value else f"{0:.{decimals}f}").replace("-", "−")


def _meaning(exponent: int) -> str:
    unit = f" in units of 10{str(exponent).translate(_POWERS)}" if exponent < _LEAST_EXPONENT else ""
    return (
        f"Under each picture: the witness{unit}. Positive: the prototypes under-represent images like it; negative: "
        "they over-represent them."
    )
