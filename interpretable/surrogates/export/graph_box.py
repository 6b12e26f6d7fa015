"""The box of a node of an explanatory graph in a picture, and its patches; all lengths in inches."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch

from interpretable.picture_page import QUIET, write
from interpretable.surrogates.export.box import BOX, THUMBNAIL, THUMBNAILS, draw_thumbnail
from interpretable.surrogates.export.graph_view import GraphView, LayerView

_PAD, _TEXT, _LINE, _GAP = 0.1, 0.38, 0.16, 0.05

HEIGHT = 2 * _PAD + _TEXT + THUMBNAIL
"""Of every box."""

_BADGE = 0.085
"""Radius of the disc with a node's row."""


def draw_node(
    axis: Axes,
    corner: tuple[float, float],
    layer: LayerView,
    node: int,
    row: int,
    colour: str,
    patches: Sequence[np.ndarray],
    gid: str,
) -> None:
    """Draws a node.

    Args:
        axis: In inches, y downwards.
        corner: Upper left one of the box.
        layer: Of the node.
        node: Its position there.
        row: Of its column, from 0 on.
        colour: Of its layer.
        patches: What it looks at in its best images.
        gid: Names the artist.
    """
    x, y = corner
    style = "round,pad=0,rounding_size=0.06"
    axis.add_patch(
        FancyBboxPatch(corner, BOX, HEIGHT, style, facecolor="white", edgecolor=colour, linewidth=1.0, gid=gid)
    )
    left, line = x + _PAD, y + _PAD + 0.08
    draw_badge(axis, (left + _BADGE, line), row, colour)
    left += 2 * _BADGE + 0.06
    room = x + BOX - _PAD - left
    name = f"filter {layer.filters[node]} · node {layer.numbers[node]}"
    write(axis, (left, line + 0.04), name, room, 8.5, weight="bold")
    write(axis, (left, line + 0.04 + _LINE), _facts(layer, node), room, 7.5, color=QUIET)
    for place, patch in enumerate(patches):
        draw_thumbnail(axis, x + _PAD + place * (THUMBNAIL + _GAP), y + _PAD + _TEXT, patch)


def _facts(layer: LayerView, node: int) -> str:
    score, part, purity = f"score ×{layer.scores[node]:.2g}", layer.parts[node], layer.purity[node]
    if not part:
        return score
    return f"{part} · {score}" if np.isnan(purity) else f"{part} {purity:.0%} · {score}"


def draw_badge(axis: Axes, centre: tuple[float, float], row: int, colour: str, *, fires: bool = True) -> None:
    """Draws a node's row in a disc of its layer's colour, or in a ring where it does not fire."""
    face, ink = (colour, "white") if fires else ("white", colour)
    axis.add_patch(Circle(centre, _BADGE, facecolor=face, edgecolor=ink, linewidth=0.8, zorder=4))
    write(axis, (centre[0], centre[1] + 0.03), str(row + 1), 2 * _BADGE, 6, color=ink, ha="center", zorder=5)


def patches_of(view: GraphView, layer: LayerView, node: int) -> list[UInt8[np.ndarray, "height width 3"]]:
    """What a node looks at in the images of the gallery in which it scores highest, best first."""
    known = np.array(sorted(view.images), dtype=np.int64)
    best = known[np.argsort(-layer.activity[known, node], kind="stable")[:THUMBNAILS]]
    return [cut(view.images[i], layer.positions[i, node], layer.side, view.image_size) for i in best.tolist()]


def cut(
    pixels: UInt8[np.ndarray, "height width 3"],
    centre: Float[np.ndarray, "2"],
    side: float,
    image_size: tuple[int, int],
) -> UInt8[np.ndarray, "side_y side_x 3"]:
    """A square of an image about a point, moved to where it lies within the image.

    Args:
        pixels: Of the image at any resolution.
        centre: x and y in pixels of an image of ``image_size``.
        side: Of the square in these pixels; the image's where that is smaller.
        image_size: (H, W).
    """
    spans = []
    for length, size, place in zip(pixels.shape, image_size, centre[::-1], strict=False):
        scale = length / size
        width = min(max(round(side * scale), 1), length)
        start = min(max(round(float(place) * scale - width / 2), 0), length - width)
        spans.append(slice(start, start + width))
    return pixels[spans[0], spans[1]]
