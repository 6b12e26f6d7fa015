"""An explanatory graph as a picture: a column of nodes for each layer, their edges, and where they are in images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpretable.errors import SurrogateError
from interpretable.figures import BARS
from interpretable.picture_page import QUIET, write
from interpretable.surrogates.export.box import BOX
from interpretable.surrogates.export.graph_box import HEIGHT, draw_badge, draw_node, patches_of
from interpretable.surrogates.export.graph_columns import Columns, Edges, Nodes, columns
from interpretable.surrogates.export.graph_view import GraphView
from interpretable.surrogates.export.picture import draw_edge, save
from interpretable.surrogates.node_layer import FIRES
from interpretable.words import counted

# Inches
_MARGIN, _HEAD, _BETWEEN_COLUMNS, _PITCH = 0.3, 1.36, 1.2, HEIGHT + 0.14
_BEFORE_PANEL, _LEAST_PANEL, _MOST_PANEL, _CAPTION, _BETWEEN_PANELS = 0.5, 2.8, 4.8, 0.24, 0.4

_EDGE = 3.0
"""Width in points of an edge of strength 1."""

_EDGES = 4
"""Strongest edges to a node that are drawn."""

_PALE, _DARK = 0.9, 0.45
"""Greys of edges of strengths 0 and 1."""

_IMAGES = 2
"""Images on which the nodes are marked, if there is room."""

_COLOURS = (*BARS[:3], "#aa3377")
"""Of layers, bottom to top: of BARS' scheme, those on which white numbers are read."""


def draw_graph(view: GraphView, path: Path, *, nodes: int = 6) -> None:
    """Draws the strongest nodes of a graph as PNG or SVG; the same view gives the same bytes.

    Args:
        view: What to draw.
        path: The file, whose suffix says which of the two it is.
        nodes: Of a layer that are drawn at the most; `columns` says which.

    Raises:
        SurrogateError: The suffix is another, or no nodes are asked for.
    """
    save(graph_figure(view, nodes), path)


def graph_figure(view: GraphView, nodes: int = 6) -> Figure:
    """The figure that `draw_graph` writes, with one axis in inches; boxes have gids such as ``node-0:12.3``."""
    if nodes < 1:
        raise SurrogateError(f"A picture needs one node of each layer at least, got nodes={nodes}; ask for more.")
    shown = columns(view.layers, nodes)
    layout = _arranged(view, shown)
    figure = Figure(figsize=(layout.width, layout.height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    _draw_caption(axis, view, layout)
    for column, strengths in enumerate(shown.edges):
        _draw_edges(axis, layout, column, _strongest(strengths))
    for column, own in enumerate(shown.nodes):
        _draw_column(axis, view, layout, column, own)
    for place, image in enumerate(layout.images):
        _draw_panel(axis, view, shown, layout, place, image)
    axis.set(xlim=(0, layout.width), ylim=(layout.height, 0), aspect="auto")
    return figure


@dataclass(frozen=True)
class _Layout:
    images: list[int]
    """Of the panels."""
    rows: list[int]
    """Nodes of each column."""
    content: float
    """Height below the head."""
    scale: float
    """Inches of the panels per pixel."""
    panel: float
    """Left edge of the panels."""
    width: float

    @property
    def height(self) -> float:
        return _HEAD + self.content + _MARGIN

    def corner(self, column: int, row: int) -> tuple[float, float]:
        """Upper left one of a node's box; columns are centred."""
        return _left(column), _HEAD + (self.content - _boxes(self.rows[column])) / 2 + row * _PITCH


def _arranged(view: GraphView, shown: Columns) -> _Layout:
    rows = [len(own) for own in shown.nodes]
    boxes = _boxes(max(rows))
    height, width = view.image_size
    room = (boxes + _BETWEEN_PANELS) / _IMAGES - _BETWEEN_PANELS
    images = _marked_images(view, shown, _IMAGES if room >= _LEAST_PANEL else 1)
    longest = min(max(room if len(images) > 1 else boxes, _LEAST_PANEL), _MOST_PANEL)
    scale = longest / max(height, width)
    left = _left(len(rows) - 1) + BOX
    if not images:
        return _Layout(images, rows, boxes, scale, left, left + _MARGIN)
    panels = len(images) * (scale * height + _BETWEEN_PANELS) - _BETWEEN_PANELS + _CAPTION
    panel = left + _BEFORE_PANEL
    return _Layout(images, rows, max(boxes, panels), scale, panel, panel + scale * width + _MARGIN)


def _left(column: int) -> float:
    return _MARGIN + column * (BOX + _BETWEEN_COLUMNS)


def _boxes(rows: int) -> float:
    return max(rows * _PITCH - (_PITCH - HEIGHT), 0.0)


def _marked_images(view: GraphView, shown: Columns, count: int) -> list[int]:
    """The images in which most of the drawn nodes fire, of equals those in which they score highest."""
    known = np.array(sorted(view.images), dtype=np.int64)
    drawn = [layer.activity[known][:, own] for layer, own in zip(view.layers[::-1], shown.nodes, strict=True)]
    activity = np.concatenate(drawn, axis=1)
    order = np.lexsort((known, -activity.sum(1), -(activity >= FIRES).sum(1)))
    best: list[int] = known[order[:count]].tolist()
    return best


def _colour(layer: int) -> str:
    return _COLOURS[layer % len(_COLOURS)]


def _draw_caption(axis: Axes, view: GraphView, layout: _Layout) -> None:
    room = layout.width - 2 * _MARGIN
    write(axis, (_MARGIN, 0.35), view.title, room, 13, weight="bold")
    about = " · ".join(f"{word} {what}" for word, what in view.about)
    write(axis, (_MARGIN, 0.57), about, room, 8, color=QUIET)
    legend = "strongest edges, as wide and dark as they are strong · parts with purity · scores over the layer's mean"
    write(axis, (_MARGIN, 0.74), legend, room, 8, color=QUIET)
    for column, (layer, rows) in enumerate(zip(view.layers[::-1], layout.rows, strict=True)):
        place = len(view.layers) - 1 - column
        write(axis, (_left(column), 1.08), layer.name, BOX, 9.5, weight="bold", color=_colour(place))
        of = f"{rows} of {counted(layer.total, 'node')}, {layer.nodes_per_filter} a filter"
        write(axis, (_left(column), 1.24), of, BOX, 7.5, color=QUIET)


def _strongest(strengths: Edges) -> Edges:
    """Of the edges those that are drawn: the strongest ones to each child, and the strongest one of each parent."""
    rank = np.argsort(np.argsort(-strengths, axis=0, kind="stable"), axis=0, kind="stable")
    best = strengths == strengths.max(1, initial=0)[:, None]
    return np.where((rank < _EDGES) | best, strengths, 0)


def _draw_edges(axis: Axes, layout: _Layout, column: int, strengths: Edges) -> None:
    """From a column to the next, weak ones first; those of a node leave it side by side."""
    there = strengths > 0
    starts = HEIGHT * (there.cumsum(1) - 0.5) / np.maximum(there.sum(1), 1)[:, None]
    ends = HEIGHT * (there.cumsum(0) - 0.5) / np.maximum(there.sum(0), 1)
    for place in np.argsort(strengths, axis=None, kind="stable")[strengths.size - there.sum() :].tolist():
        parent, child = divmod(place, strengths.shape[1])
        (x, y), (end, level) = layout.corner(column, parent), layout.corner(column + 1, child)
        draw_edge(
            axis,
            (x + BOX, y + float(starts[parent, child])),
            (end, level + float(ends[parent, child])),
            linewidth=max(0.3, _EDGE * strengths[parent, child]),
            edgecolor=str(_PALE + (_DARK - _PALE) * strengths[parent, child]),
        )


def _draw_column(axis: Axes, view: GraphView, layout: _Layout, column: int, own: Nodes) -> None:
    place = len(view.layers) - 1 - column
    layer = view.layers[place]
    for row, node in enumerate(own.tolist()):
        gid = f"node-{place}:{layer.filters[node]}.{layer.numbers[node]}"
        patches = patches_of(view, layer, node)
        draw_node(axis, layout.corner(column, row), layer, node, row, _colour(place), patches, gid)


def _draw_panel(axis: Axes, view: GraphView, shown: Columns, layout: _Layout, place: int, image: int) -> None:
    """An image of the gallery with the nodes on it, those of upper layers above."""
    height, width = (layout.scale * length for length in view.image_size)
    x, y = layout.panel, _HEAD + place * (height + _BETWEEN_PANELS)
    write(axis, (x, y - 0.1), view.gallery[image], width, 8.5, weight="bold")
    axis.imshow(view.images[image], extent=(x, x + width, y + height, y), aspect="auto")
    for number, layer in enumerate(view.layers):
        for row, node in reversed(list(enumerate(shown.nodes[len(view.layers) - 1 - number].tolist()))):
            across, down = (layer.positions[image, node] * layout.scale).tolist()
            centre = x + min(max(across, 0.0), width), y + min(max(down, 0.0), height)
            draw_badge(axis, centre, row, _colour(number), fires=bool(layer.activity[image, node] >= FIRES))
    if place == len(layout.images) - 1:
        write(axis, (x, y + height + 0.22), "filled where the node fires", width, 7.5, color=QUIET)
