"""HTML files that open from disk and ask for nothing else: style, script, data and pictures in one text."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FunctionLoader, StrictUndefined

from interpretable.surrogates.export.sprites import Sheet, sprite_sheets
from interpretable.words import one_line

_SOURCES = files("interpretable.surrogates.export") / "html"

_STYLE = "base.css"
"""What every page's own style adds to."""

_SCRIPTS = ("dom", "sheets", "header", "tabs")
"""What every page's own scripts call."""

_DIGITS = 6
"""Significant digits of a number on a page; the file that it shows keeps all."""


def finite(value: float) -> float | None:
    """The value to as many digits as a page shows; none for NaN and infinities, which JSON does not have."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def lines(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Texts with what does not print in them written out, so that no name looks like another."""
    return [[one_line(text) for text in row] for row in rows]


def header_data(
    title: str, digest: str, about: Sequence[tuple[str, str]], tables: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, Any]:
    """What stands above everything else on a page."""
    return {
        "title": one_line(title),
        "digest": digest,
        "about": lines(about),
        "tables": [(one_line(name), lines(rows)) for name, rows in tables.items()],
    }


def add_thumbnails(
    images: Mapping[int, UInt8[np.ndarray, "height width 3"]], side: int, sheets: list[Sheet]
) -> dict[int, tuple[int, int, int]]:
    """Adds sheets of the images to those of the page.

    Args:
        images: By number.
        side: Of a thumbnail in pixels at the most; pixels that an image does not have are not stored.
        sheets: Of the page so far.

    Returns:
        Sheet, column and row of each image.

    Raises:
        SurrogateError: An image is not uint8 (H, W, 3).
    """
    largest = max((max(image.shape[:2], default=1) for image in images.values()), default=1)
    sprites = sprite_sheets(images, min(side, 8 * -(-largest // 8)))
    first = len(sheets)
    sheets += sprites.sheets
    return {key: (first + place.sheet, place.column, place.row) for key, place in sprites.positions.items()}


def as_json(value: object) -> str:
    """JSON that may stand in a script element: in ASCII, and without the characters that HTML reads."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def html_file(
    template: str, style: str, scripts: Sequence[str], data: Mapping[str, Any], sheets: Sequence[Sheet]
) -> str:
    """The text of a page, in which nothing runs but its own script.

    Args:
        template: File of it, which extends ``base.html.j2``.
        style: File of the page's own style.
        scripts: Files of the page's own scripts in the order in which they are run, without their ending.
        data: What the scripts read, with its header.
        sheets: Thumbnails.
    """
    css = _source(_STYLE) + _source(style)
    parts = (_source(f"{name}.js") for name in (*_SCRIPTS, *scripts))
    script = "\n".join(['"use strict";', "{", *parts, "}", ""])
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_source)
    )
    return environment.get_template(template).render(
        title=data["title"],
        style=css,
        style_hash=_hash(css),
        script=script,
        script_hash=_hash(script),
        data=as_json({**data, "sheets": [(sheet.columns, sheet.rows) for sheet in sheets]}),
        sheets=[sheet.uri for sheet in sheets],
    )


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
