"""The page of an explanatory graph: one HTML file with its nodes, images and the script that shows them."""

from pathlib import Path

from interpretable.errors import SurrogateError
from interpretable.files import write_atomically
from interpretable.surrogates.export.graph_page_data import graph_data
from interpretable.surrogates.export.graph_view import GraphView
from interpretable.surrogates.export.html_file import add_thumbnails, html_file
from interpretable.surrogates.export.sprites import Sheet

_SCRIPTS = ("arrays", "model", "filters", "pictures", "chips", "columns", "cards", "edges", "node", "images", "main")
"""Parts of the page's script in the order in which they are run."""

_SIDES = ((60, 320), (150, 256), (400, 192))
"""Up to how many images are kept at which longer side in pixels; more have the last."""

_SMALLEST_SIDE = 128


def write_graph_page(path: Path, view: GraphView) -> None:
    """Writes the page, which opens from disk and asks for nothing else.

    Images are kept whole, once each, and every patch is cut from them where it is shown. An image of the gallery that
    has no pixels is left out of what shows images.

    Args:
        path: The HTML file.
        view: The graph.

    Raises:
        SurrogateError: An image is not uint8 (H, W, 3), or not of the proportions of the view's image size.
    """
    _check_proportions(view)
    sheets: list[Sheet] = []
    shown = {key: view.images[key] for key in range(len(view.gallery)) if key in view.images}
    side = next((side for number, side in _SIDES if len(shown) <= number), _SMALLEST_SIDE)
    data = graph_data(view)
    data["images"] = add_thumbnails(shown, side, sheets)
    scripts = [f"graph/{name}" for name in _SCRIPTS]
    write_atomically(path, html_file("graph/graph.html.j2", "graph/graph.css", scripts, data, sheets))


def _check_proportions(view: GraphView) -> None:
    """A position is found in a picture only if the picture is the whole image."""
    height, width = view.image_size
    for key, image in view.images.items():
        if image.ndim != 3:
            continue  # told of by whoever makes the thumbnails
        rows, columns = image.shape[:2]
        if abs(rows * width - columns * height) > max(height, width):  # one row or column of rounding
            raise SurrogateError(
                f"Image {key} must have the proportions of the positions on it, {height} × {width} (height × width), "
                f"found {rows} × {columns}: pass the image that the network saw, at any resolution."
            )
