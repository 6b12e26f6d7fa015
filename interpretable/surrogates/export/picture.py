"""A tree as a picture, from left to right: boxes with contributions, edges as wide as their share of the images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from interpretable.errors import SurrogateError
from interpretable.files import written_atomically
from interpretable.picture_page import QUIET, write
from interpretable.surrogates.export.box import BOX, NEGATIVE, POSITIVE, box_height, draw_box
from interpretable.surrogates.export.layout import Places, Shown, arrange, select
from interpretable.surrogates.export.review_tree import ROOT, ReviewTree, numbers_below, strongest
from interpretable.words import counted

# Inches
_MARGIN, _HEAD, _BETWEEN_COLUMNS, _BETWEEN_BOXES, _REST = 0.3, 0.9, 0.85, 0.14, 0.26
_LEAST_WIDTH = 4.6
_EDGE = 0.3
"""Width of an edge that all images pass."""

_RESOLUTION, _MOST_PIXELS = 120.0, 30_000
"""Pixels per inch, and along a side at the most; larger pictures have fewer per inch."""


def draw_tree(
    tree: ReviewTree,
    path: str | Path,
    max_depth: int = 3,
    max_nodes: int = 60,
    images: Callable[[int], np.ndarray] | None = None,
) -> None:
    """Draws the upper part of a tree as PNG or SVG; the same tree gives the same bytes.

    Args:
        tree: What to draw.
        path: The file, whose suffix says which of the two it is.
        max_depth: Depth of the deepest nodes drawn, the root's being 0.
        max_nodes: How many nodes are drawn at the most; of siblings, those with most images.
        images: Gives an image of the fitted data set by its index, for the boxes to show a node's examples; (H, W, 3),
            uint8 or between 0 and 1.

    Raises:
        SurrogateError: The suffix is another.
    """
    save(tree_figure(tree, max_depth, max_nodes, images), Path(path))


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG or SVG, atomically and without the date.

    Raises:
        SurrogateError: The suffix is another.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise SurrogateError(f"{path} was expected to end in .png or .svg, which are what is drawn; rename it.")
    resolution = min(_RESOLUTION, _MOST_PIXELS / max(figure.get_size_inches()))
    # Each image of its own: composed, they would be one as large as the page.
    with (
        written_atomically(path) as temporary,
        rc_context({"svg.hashsalt": "interpretable", "image.composite_image": False}),
    ):
        figure.savefig(temporary, format=kind, dpi=resolution, metadata={"Date": None} if kind == "svg" else {})


def tree_figure(
    tree: ReviewTree,
    max_depth: int = 3,
    max_nodes: int = 60,
    images: Callable[[int], np.ndarray] | None = None,
) -> Figure:
    """The figure that `draw_tree` writes, with one axis in inches; the box of node 7 has the gid ``node-7``."""
    shown, below = select(tree, max_depth, max_nodes), numbers_below(tree)
    hidden = {number: 0 if children else below[number] for number, children in shown.children.items()}
    heights = {n: box_height(tree.nodes[n], hidden[n], images is not None) for n in shown.children}
    places = arrange(shown, {number: height + _BETWEEN_BOXES for number, height in heights.items()}, _REST)
    width = max(_left(max(places.columns.values())) + BOX + _MARGIN, _LEAST_WIDTH)
    height = _HEAD + places.height + _MARGIN
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    _draw_caption(axis, tree, len(shown.children), width - 2 * _MARGIN)
    _draw_edges(axis, tree, shown, places)
    bars = [bar.value for number in shown.children for bar in strongest(tree.nodes[number])]
    ends = (min(bars, default=0.0), max(bars, default=0.0))
    for number in shown.children:
        corner = (_left(places.columns[number]), _HEAD + places.centres[number] - heights[number] / 2)
        draw_box(axis, corner, number, tree.nodes[number], hidden[number], ends, images)
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _left(column: int) -> float:
    return _MARGIN + column * (BOX + _BETWEEN_COLUMNS)


def _draw_caption(axis: Axes, tree: ReviewTree, drawn: int, room: float) -> None:
    write(axis, (_MARGIN, 0.33), tree.name, room, 13, weight="bold")
    total = len(tree.nodes)
    nodes = counted(total, "node") if drawn == total else f"{drawn} of {counted(total, 'node')}"
    images = counted(tree.nodes[ROOT].images, "image")
    write(axis, (_MARGIN, 0.54), f"{images} · {nodes} · edges as wide as their share of images", room, 8, color=QUIET)
    if any(strongest(node) for node in tree.nodes.values()):
        write(axis, (_MARGIN, 0.72), "■ raises the score", 1.3, 8, color=POSITIVE)
        write(axis, (_MARGIN + 1.3, 0.72), "■ lowers it", 1.3, 8, color=NEGATIVE)


def _draw_edges(axis: Axes, tree: ReviewTree, shown: Shown, places: Places) -> None:
    """Each node's edges leave it side by side, the first child's on top."""
    share = _EDGE / tree.nodes[ROOT].images
    for number, children in shown.children.items():
        x, end = _left(places.columns[number]) + BOX, _left(places.columns[number] + 1)
        y = _HEAD + places.centres[number] - share * tree.nodes[number].images / 2
        for child in children:
            width = share * tree.nodes[child].images
            draw_edge(axis, (x, y + width / 2), (end, _HEAD + places.centres[child]), linewidth=max(0.6, 72 * width))
            y += width
        if number in shown.left_out:
            rest = shown.left_out[number]
            images = sum(tree.nodes[child].images for child in rest)
            at = (end, _HEAD + places.rests[number])
            draw_edge(axis, (x, y + share * images / 2), at, linewidth=0.8, linestyle=":")
            text = f"+ {len(rest)} more ({counted(images, 'image')})"
            write(axis, (end + 0.05, at[1] + 0.04), text, BOX, 8, color=QUIET, style="italic")


def draw_edge(axis: Axes, start: tuple[float, float], end: tuple[float, float], **style: float | str) -> None:
    """Draws a grey curve that leaves one box and reaches another level."""
    middle = (start[0] + end[0]) / 2
    curve = Curve(
        [start, (middle, start[1]), (middle, end[1]), end], [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    )
    look = {"edgecolor": "0.8", "capstyle": "butt", **style}
    axis.add_patch(PathPatch(curve, facecolor="none", zorder=0.5, **look))
