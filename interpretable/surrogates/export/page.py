"""The page that a reviewer opens: one HTML file with trees, images and the script that shows them, and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from interpretable.files import write_atomically
from interpretable.surrogates.export.html_file import add_thumbnails, html_file
from interpretable.surrogates.export.page_data import page_data
from interpretable.surrogates.export.review_tree import ReviewDocument
from interpretable.surrogates.export.sprites import Sheet

_SCRIPTS = ("model", "bars", "tree", "node", "images", "search", "main")
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
    write_atomically(path, html_file("page.html.j2", "page.css", _SCRIPTS, data, sheets))


def _chosen(images: Mapping[int, np.ndarray], keys: set[int]) -> dict[int, np.ndarray]:
    return {key: images[key] for key in sorted(keys) if key in images}


def _thumbnails(images: Mapping[int, np.ndarray], sheets: list[Sheet]) -> dict[int, tuple[int, int, int]]:
    side = next((side for number, side in _SIDES if len(images) <= number), _SMALLEST_SIDE)
    return add_thumbnails(images, side, sheets)
