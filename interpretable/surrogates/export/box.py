"""The box of a node in a picture; all lengths in inches."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from interpretable.figures import COLOURS
from interpretable.picture_page import QUIET, width_of, write
from interpretable.surrogates.export.review_tree import Bar, ReviewNode, strongest
from interpretable.words import counted, signed

POSITIVE, NEGATIVE = COLOURS["train"], COLOURS["val"]

BOX = 2.7
"""Width of every box."""

_PAD, _LINE, _NAME, _VALUE = 0.1, 0.17, 1.1, 0.62
THUMBNAIL, THUMBNAILS = 0.58, 4
"""Side of the square of an example, and how many stand side by side."""


def box_height(node: ReviewNode, hidden: int, has_images: bool) -> float:
    """Height of a node's box: a line for its title, its facts, each bar and the nodes hidden below it."""
    lines = 1 + bool(node.facts) + len(strongest(node)) + bool(hidden)
    return 2 * _PAD + 0.02 + lines * _LINE + (THUMBNAIL + 0.06) * bool(has_images and node.examples)


def draw_box(
    axis: Axes,
    corner: tuple[float, float],
    number: int,
    node: ReviewNode,
    hidden: int,
    ends: tuple[float, float],
    images: Callable[[int], np.ndarray] | None,
) -> None:
    """Draws a node.

    Args:
        axis: In inches, y downwards.
        corner: Upper left one of the box.
        number: Of the node, which names the artist.
        node: What it says.
        hidden: How many nodes below it are not drawn.
        ends: Least and greatest contribution of the picture, one scale for all of its bars.
        images: Gives the node's examples.
    """
    x, y = corner
    height = box_height(node, hidden, images is not None)
    style = "round,pad=0,rounding_size=0.06"
    axis.add_patch(
        FancyBboxPatch(
            corner, BOX, height, style, facecolor="white", edgecolor="0.7", linewidth=0.8, gid=f"node-{number}"
        )
    )
    y += _PAD + 0.13
    left, right, room = x + _PAD, x + BOX - _PAD, BOX - 2 * _PAD
    images_text = write(axis, (right, y), counted(node.images, "image"), 1.0, 7.5, color=QUIET, ha="right")
    write(axis, (left, y), node.title, room - width_of(images_text) - 0.1, 9, weight="bold")
    y += 0.03
    if node.facts:
        y += _LINE
        write(axis, (left, y), " · ".join(f"{name} {value}" for name, value in node.facts), room, 7.5, color=QUIET)
    for bar in strongest(node):
        y += _LINE
        _draw_bar(axis, left, right, y, bar, ends)
    if hidden:
        y += _LINE
        write(axis, (left, y), f"… {counted(hidden, 'node')} below", room, 7.5, color=QUIET, style="italic")
    if images is not None:
        for place, example in enumerate(node.examples[:THUMBNAILS]):
            draw_thumbnail(axis, left + place * (THUMBNAIL + 0.05), y + 0.1, images(example))


def _draw_bar(axis: Axes, left: float, right: float, y: float, bar: Bar, ends: tuple[float, float]) -> None:
    write(axis, (left, y), bar.name, _NAME, 7.5)
    write(axis, (right, y), signed(bar.value), _VALUE, 7.5, color=QUIET, ha="right")
    start, low, high = left + _NAME + 0.06, min(0.0, ends[0]), max(0.0, ends[1])
    scale = (right - _VALUE - 0.04 - start) / ((high - low) or 1.0)
    zero = start - low * scale
    colour = POSITIVE if bar.value > 0 else NEGATIVE
    axis.add_patch(Rectangle((zero, y - 0.1), bar.value * scale, 0.11, facecolor=colour, linewidth=0))
    axis.plot([zero, zero], [y - 0.13, y + 0.04], color="0.6", linewidth=0.6)


def draw_thumbnail(axis: Axes, x: float, y: float, picture: np.ndarray) -> None:
    """Draws an image in the middle of a square whose upper left corner is given."""
    height, width = (THUMBNAIL * side / max(picture.shape[:2]) for side in picture.shape[:2])
    x, y = x + (THUMBNAIL - width) / 2, y + (THUMBNAIL - height) / 2
    axis.imshow(picture, extent=(x, x + width, y + height, y), aspect="auto", zorder=3)
