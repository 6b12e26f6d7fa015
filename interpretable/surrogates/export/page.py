"""The page that a reviewer opens: one HTML file with trees, images and the script that shows them, and nothing else."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined

from interpretable.files import write_atomically
from interpretable.surrogates.export.page_data import page_data
from interpretable.surrogates.export.review_tree import ReviewDocument
from interpretable.surrogates.export.sprites import Sheet, sprite_sheets

_SOURCES = files("interpretable.surrogates.export") / "html"

_SCRIPTS = ("dom", "model", "bars", "tree", "node", "images", "search", "main")
"""Parts of the page's script in the order in which they are run."""

_SIDES = ((400, 128), (1600, 96))
"""Up to how many images have thumbnails of which side in pixels; more have the last."""

_SMALLEST_SIDE = 64


def write_page(
    path: Path,
    document: ReviewDocument,
    *,
    train_images: Mapping[int, UInt8[np.ndarray, "height width 3"]],
    test_images: Mapping[int, UInt8[np.ndarray, "height width 3"]],
    filter_regions: Mapping[int, Sequence[UInt8[np.ndarray, "height width 3"]]],
    filter_names: Mapping[int, str],
) -> None:
    """Writes the review page, which opens from disk and asks for nothing else.

    An image that is not given is left out of the page; one that the document does not show is not written.

    Args:
        path: The HTML file.
        document: The trees.
        train_images: Example images of the nodes, by their number there.
        test_images: Images of the parse paths, by their number there.
        filter_regions: Top image regions of the filters, strongest first.
        filter_names: What the filters are called.

    Raises:
        SurrogateError: An image is not uint8 (H, W, 3).
    """
    nodes = [node for tree in document.trees for node in tree.nodes.values()]
    examples = {key for node in nodes for key in node.examples}
    explained = {parse.image for tree in document.trees for parse in tree.paths}
    shown = {number for node in nodes for number in node.filters}
    crops = [(number, crop) for number in sorted(shown) for crop in filter_regions.get(number, ())]
    regions: dict[int, list[int]] = {number: [] for number, _ in crops}
    for key, (number, _) in enumerate(crops):
        regions[number].append(key)

    sheets: list[Sheet] = []
    data = page_data(document, filter_names) | {
        "regions": regions,
        "places": {
            "train": _thumbnails(_chosen(train_images, examples), sheets),
            "test": _thumbnails(_chosen(test_images, explained), sheets),
            "region": _thumbnails({key: crop for key, (_, crop) in enumerate(crops)}, sheets),
        },
    }
    data["sheets"] = [(sheet.columns, sheet.rows) for sheet in sheets]
    write_atomically(path, _render(data, [sheet.uri for sheet in sheets]))


def _chosen(images: Mapping[int, np.ndarray], keys: set[int]) -> dict[int, np.ndarray]:
    return {key: images[key] for key in sorted(keys) if key in images}


def _thumbnails(images: Mapping[int, np.ndarray], sheets: list[Sheet]) -> dict[int, tuple[int, int, int]]:
    """Adds sheets of the images and says where each one is."""
    largest = max((max(image.shape[:2], default=1) for image in images.values()), default=1)
    side = next((side for number, side in _SIDES if len(images) <= number), _SMALLEST_SIDE)
    sprites = sprite_sheets(
        images, min(side, 8 * -(-largest // 8))
    )  # pixels that an image does not have are not stored
    first = len(sheets)
    sheets += sprites.sheets
    return {key: (first + place.sheet, place.column, place.row) for key, place in sprites.positions.items()}


def as_json(value: object) -> str:
    """JSON that may stand in a script element: in ASCII, and without the characters that HTML reads."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _render(data: Mapping[str, Any], sheets: Sequence[str]) -> str:
    style = _source("page.css")
    script = "\n".join(['"use strict";', "{", *(_source(f"{name}.js") for name in _SCRIPTS), "}", ""])
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_source("page.html.j2")).render(
        title=data["title"],
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=as_json(data),
        sheets=sheets,
    )


def _source(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
