"""Thumbnails of many images on a few sheets, so that thousands of them fit into one page."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from interpretable.errors import SurrogateError

_MARGIN = (128, 128, 128)
"""Beside an image that is not square: grey stands back on light and on dark pages."""

_QUALITY = 85


class Sheet(NamedTuple):
    """A picture of square thumbnails in rows and columns."""

    uri: str
    """JPEG as a data URI."""
    columns: int
    rows: int


class Place(NamedTuple):
    """Where a thumbnail is."""

    sheet: int
    column: int
    row: int


class SpriteSheets(NamedTuple):
    """Thumbnails of images, and where each one is."""

    sheets: tuple[Sheet, ...]
    positions: dict[int, Place]


def sprite_sheets(
    images: Mapping[int, UInt8[np.ndarray, "height width 3"]], side: int = 64, per_sheet: int = 400
) -> SpriteSheets:
    """Puts a thumbnail of each image on as few sheets as hold them, in the mapping's order.

    A thumbnail shows the whole image, in its own proportions, centred in a square.

    Args:
        images: RGB images of any size, by number.
        side: Of a thumbnail in pixels; with a multiple of 8, the side of JPEG's blocks, none shades into its neighbour.
        per_sheet: Thumbnails on a sheet at the most. One sheet is decoded at once, at 4·side² bytes a thumbnail.

    Raises:
        SurrogateError: An image is not uint8 (H, W, 3), or a number is not positive.
    """
    if side < 1 or per_sheet < 1:
        raise SurrogateError(
            f"Sheets need a side and a number of thumbnails of at least 1, found {side} and {per_sheet}: enlarge them."
        )
    keys = list(images)
    positions: dict[int, Place] = {}
    sheets: list[Sheet] = []
    for start in range(0, len(keys), per_sheet):
        some = keys[start : start + per_sheet]
        columns = math.ceil(math.sqrt(len(some)))
        for number, key in enumerate(some):
            row, column = divmod(number, columns)
            positions[key] = Place(len(sheets), column, row)
        sheets.append(_sheet(images, some, columns, side))
    return SpriteSheets(tuple(sheets), positions)


def _sheet(images: Mapping[int, np.ndarray], keys: Sequence[int], columns: int, side: int) -> Sheet:
    rows = math.ceil(len(keys) / columns)
    canvas = Image.new("RGB", (columns * side, rows * side), _MARGIN)
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        thumbnail = _thumbnail(images[key], key, side)
        left = column * side + (side - thumbnail.width) // 2
        canvas.paste(thumbnail, (left, row * side + (side - thumbnail.height) // 2))
    buffer = io.BytesIO()
    # Colour at full resolution: at half of it thumbnails of sides that are no multiple of 16 shade into each other.
    canvas.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return Sheet("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), columns, rows)


def _thumbnail(pixels: np.ndarray, key: int, side: int) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise SurrogateError(
            f"Image {key} must be uint8 of shape (H, W, 3), found {pixels.dtype} {pixels.shape}: convert it."
        )
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
