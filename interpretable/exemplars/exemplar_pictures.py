"""Contact sheets: pictures of prototypes and criticisms, with the value of the witness function under each."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_view import ExemplarSheet, ShownExemplar
from interpretable.figures import BARS, save
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

KINDS = {"prototypes": BARS[0], "criticisms": BARS[1]}
"""What is chosen, with its colour in every picture."""

# Inches
_HEAD, _SIDE, _BETWEEN, _BETWEEN_KINDS, _LEAST_WIDTH = 0.3, 1.1, 0.12, 0.4, 4.4

_LEAST_EXPONENT = -3
"""Smaller numbers than of this power of ten are written in units of one."""


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
    figure, axis = empty_page()
    top = MARGIN + _HEAD
    write(axis, (MARGIN, top - 0.12), sheet.name, width - 2 * MARGIN, 12, weight="bold")
    for kind in kinds:
        top = _title(axis, kind, MARGIN, top)
        top = _show(axis, sheet, kind, (MARGIN, top), _columns([sheet], kind), _exponent([sheet]))
    return explained(figure, axis, (width, top), _meaning(_exponent([sheet])))


def sheets_figure(sheets: Sequence[ExemplarSheet]) -> Figure:
    """The figure that `draw_sheets` writes, with one axis in inches."""
    _check(sheets)
    columns = {kind: _columns(sheets, kind) for kind in KINDS if any(getattr(sheet, kind) for sheet in sheets)}
    lefts = {"prototypes": MARGIN, "criticisms": MARGIN + _width(columns["prototypes"]) + _BETWEEN_KINDS}
    last = list(columns)[-1]
    width = _page_width(lefts[last] + _width(columns[last]) - MARGIN)
    figure, axis = empty_page()
    top = max(_title(axis, kind, lefts[kind], MARGIN) for kind in columns)
    for sheet in sheets:
        axis.plot([MARGIN, width - MARGIN], [top, top], color="0.8", linewidth=0.8)
        write(axis, (MARGIN, top + 0.2), sheet.name, width - 2 * MARGIN, 10, weight="bold")
        corners = {kind: (left, top + _HEAD) for kind, left in lefts.items()}
        top = max(_show(axis, sheet, kind, corners[kind], columns[kind], _exponent(sheets)) for kind in columns)
    return explained(figure, axis, (width, top), _meaning(_exponent(sheets)))


def _check(sheets: Sequence[ExemplarSheet]) -> None:
    without = [sheet.name for sheet in sheets if not sheet.prototypes]
    if without or not sheets:
        found = f"{without[0]} has none" if without else "there is no sheet"
        raise ExemplarError(f"Contact sheets show one prototype at least, but {found}; choose prototypes first.")


def _title(axis: Axes, kind: str, left: float, top: float) -> float:
    write(axis, (left, top + LINE), kind, _SIDE, 10, weight="bold", color=KINDS[kind])
    return top + LINE + _BETWEEN


def _show(
    axis: Axes, sheet: ExemplarSheet, kind: str, corner: tuple[float, float], columns: int, exponent: int
) -> float:
    """Draws the pictures of a kind in rows, those of a row on one line, and says where the last row ends."""
    chosen: tuple[ShownExemplar, ...] = getattr(sheet, kind)
    labelled = len({exemplar.label for exemplar in (*sheet.prototypes, *sheet.criticisms)}) > 1
    height = _SIDE + LINE * (1 + labelled) + _BETWEEN
    for place, exemplar in enumerate(chosen):
        row, column = divmod(place, columns)
        middle = corner[0] + column * (_SIDE + _BETWEEN) + _SIDE / 2
        bottom = corner[1] + row * height + _SIDE
        draw_framed(axis, exemplar.image, (middle, bottom), _SIDE)
        captions = [(_number(exemplar.witness, exponent), {}), (exemplar.label, {"color": QUIET})]
        write_below(axis, (middle, bottom), captions[: 1 + labelled], _SIDE, 8, ha="center")
    return corner[1] + math.ceil(len(chosen) / columns) * height


def _columns(sheets: Sequence[ExemplarSheet], kind: str) -> int:
    """Pictures in a row of each sheet."""
    return even_columns(max(len(getattr(sheet, kind)) for sheet in sheets))


def _width(columns: int) -> float:
    return columns * (_SIDE + _BETWEEN) - _BETWEEN


def _page_width(content: float) -> float:
    return max(_LEAST_WIDTH, content + 2 * MARGIN)


def _exponent(sheets: Sequence[ExemplarSheet]) -> int:
    """Power of ten of the witness farthest from 0, which all of a page are written by."""
    return largest_exponent(shown.witness for sheet in sheets for shown in (*sheet.prototypes, *sheet.criticisms))


def _number(witness: float, exponent: int) -> str:
    """A witness with its sign; about three digits of the one farthest from 0."""
    value, decimals = witness, max(0, min(4, 2 - exponent))
    if exponent < _LEAST_EXPONENT:
        value, decimals = witness / 10**exponent, 2
    return (f"{value:+.{decimals}f}" if value else f"{0:.{decimals}f}").replace("-", "−")


def _meaning(exponent: int) -> str:
    unit = f" in units of {power_of_ten(exponent)}" if exponent < _LEAST_EXPONENT else ""
    return (
        f"Under each picture: the witness{unit}. Positive: the prototypes under-represent images like it; negative: "
        "they over-represent them."
    )
