import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch

from interpretable.errors import SurrogateError
from interpretable.surrogates.export.graph_box import cut, patches_of
from interpretable.surrogates.export.graph_columns import columns
from interpretable.surrogates.export.graph_picture import draw_graph, graph_figure
from interpretable.surrogates.export.graph_view import GraphView, LayerView

NAN = float("nan")
SIZE = (48, 64)
LONG = "a very long name that nobody would want to read on a picture " * 5


def drawn_layer(number: int, nodes: int, above: int, images: int = 5, **changes: Any) -> LayerView:
    draw = np.random.default_rng([number, nodes])
    count = min(15, above)
    fields: dict[str, Any] = {
        "name": f"features.{number}",
        "nodes_per_filter": 20,
        "total": 10 * nodes,
        "side": 12.0 + 4 * number,
        "filters": draw.integers(0, 512, nodes),
        "numbers": np.arange(nodes),
        "scores": -np.sort(-draw.gamma(2, 1, nodes)),
        "places": draw.uniform(0, 48, (nodes, 2)),
        "spreads": draw.uniform(1, 5, nodes),
        "parts": tuple(("head", "left front leg", "")[i % 3] for i in range(nodes)),
        "purity": np.where(np.arange(nodes) % 4 == 3, NAN, draw.random(nodes)),
        "instability": np.full(nodes, NAN),
        "parents": draw.random((nodes, above)).argsort(1)[:, :count],
        "strengths": -np.sort(-draw.uniform(0.1, 1, (nodes, count)), axis=1),
        "positions": draw.uniform(-6, 70, (images, nodes, 2)),
        "activity": draw.gamma(2, 0.6, (images, nodes)),
    }
    return LayerView(**{**fields, **changes})


def photograph(number: int) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([4 * x, 5 * y, np.full(SIZE, 40 * number)], -1).astype(np.uint8)


def drawn(*nodes: int, images: int = 5, shown: int = 5, **changes: Any) -> GraphView:
    """A view of layers with so many nodes, bottom to top."""
    layers = [drawn_layer(i, n, above, images) for i, (n, above) in enumerate(zip(nodes, (*nodes[1:], 0), strict=True))]
    fields: dict[str, Any] = {
        "title": "birds · explanatory graph",
        "digest": "ab" * 32,
        "about": (("network", "vgg16"), ("images", "640")),
        "image_size": SIZE,
        "layers": tuple(layers),
        "gallery": tuple(f"bird {i}" for i in range(images)),
        "images": {i: photograph(i) for i in range(shown)},
        "tables": {},
    }
    return GraphView(**{**fields, **changes})


def hostile() -> GraphView:
    view = drawn(6, 4)
    name = '<script>alert("x")</script> $\\frac{1}{0}$ \x1b[31m\u202e \x00 🐝'
    layers = tuple(replace(layer, name=name, parts=(name,) * len(layer.scores)) for layer in view.layers)
    return replace(view, title=name, layers=layers, gallery=(name,) * 5, about=((name, name),))


def long_names() -> GraphView:
    view = drawn(9, 5, 4)
    layers = tuple(
        replace(layer, name=LONG, parts=(LONG,) * len(layer.scores), total=10**9, filters=layer.filters + 10**9)
        for layer in view.layers
    )
    return replace(view, title=LONG, layers=layers, gallery=(LONG,) * 5, about=((LONG, LONG),))


CASES = {
    **{f"{len(s)} layers, {n} nodes": (drawn(*s), n) for s in ((30, 25, 20, 16), (30, 14), (20,)) for n in (1, 6, 12)},
    "few nodes": (drawn(3, 1, 2), 6),
    "a layer without nodes": (drawn(5, 0, 4), 4),
    "no nodes at all": (drawn(0, 0), 4),
    "no images": (drawn(5, 4, shown=0), 3),
    "one image": (drawn(9, 8, shown=1), 8),
    "hostile names": (hostile(), 4),
    "long names": (long_names(), 4),
    "wide images": (drawn(6, 4, image_size=(10, 90)), 6),
    "high images": (drawn(6, 4, image_size=(90, 10)), 6),
}


def figure_of(view: GraphView, nodes: int = 6) -> tuple[Axes, Any]:
    """The figure's one axis, with a renderer that measures at the resolution of the PNG."""
    figure = graph_figure(view, nodes)
    figure.set_dpi(120)
    return figure.axes[0], FigureCanvasAgg(figure).get_renderer()


def boxes_of(axis: Axes) -> dict[str, FancyBboxPatch]:
    return {str(patch.get_gid()): patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)}


def edges_of(axis: Axes) -> list[PathPatch]:
    return [patch for patch in axis.patches if isinstance(patch, PathPatch)]


def panels_of(axis: Axes, renderer: Any) -> list[AxesImage]:
    """Images that lie in no box."""
    boxes = extents(boxes_of(axis).values(), renderer)
    alone = [overlaps(np.concatenate([extents([i], renderer), boxes])) == 0 for i in axis.images]
    return [image for image, is_panel in zip(axis.images, alone, strict=True) if is_panel]


def extents(artists: Any, renderer: Any) -> np.ndarray:
    corners = np.array([artist.get_window_extent(renderer).extents for artist in artists], dtype=float)
    corners = corners.reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def overlaps(areas: np.ndarray, slack: float = 0.0) -> int:
    """Pairs of rectangles (x0, y0, x1, y1) that share more than an edge."""
    low, high = areas[:, None, :2], areas[:, None, 2:]
    meet = (np.minimum(high, areas[None, :, 2:]) - np.maximum(low, areas[None, :, :2]) > slack).all(-1)
    return int(np.triu(meet, 1).sum())


def within(inner: np.ndarray, outer: np.ndarray, slack: float = 0.5) -> np.bool:
    return ((inner[:2] >= outer[:2] - slack) & (inner[2:] <= outer[2:] + slack)).all()


@pytest.mark.parametrize("case", CASES)
def test_nothing_overlaps_or_is_cut_off(case: str) -> None:
    axis, renderer = figure_of(*CASES[case])
    page = np.array([0, 0, renderer.width, renderer.height])
    boxes, panels = extents(boxes_of(axis).values(), renderer), extents(panels_of(axis, renderer), renderer)
    discs = extents([patch for patch in axis.patches if isinstance(patch, Circle)], renderer)
    said = [text for text in axis.texts if text.get_text()]
    on_discs = np.array([text.get_horizontalalignment() == "center" for text in said], dtype=bool)
    texts, images = extents(said, renderer), extents(axis.images, renderer)
    assert overlaps(np.concatenate([boxes, panels])) == 0
    assert overlaps(np.concatenate([texts[~on_discs], images]), slack=1.0) == 0
    assert all(within(area, page) for area in np.concatenate([boxes, texts, images, discs]))
    for disc, number in zip(discs, texts[on_discs], strict=True):
        assert within(number, disc)
    inside = np.concatenate([texts[~on_discs], images])
    for box in boxes:  # what touches a box is in it
        touching = [area for area in inside if overlaps(np.stack([area, box])) == 1]
        assert touching
        assert all(within(area, box) for area in touching)


def test_lower_columns_hold_the_best_children_of_each_node_above_in_turn() -> None:
    top = drawn_layer(2, 3, 0, scores=np.array([5.0, 4.0, 1.0]))
    lower = drawn_layer(
        1,
        6,
        3,
        scores=np.array([9.0, 3.0, 2.0, 2.0, 1.0, 1.0]),
        parents=np.array([[-1, -1], [0, 2], [0, 1], [0, -1], [2, 1], [1, 0]]),
        strengths=np.array([[1.0, 0.9], [0.5, 0.1], [0.9, 0.8], [0.8, 0.7], [0.9, 0.1], [1.0, 0.0]]),
    )
    # Times scores, node 0 above has 2 (1.8), 3 (1.6) and 1 (1.5), node 1 has 2 (1.6), 5 (1.0) and 4 (0.1), node 2 has
    # 4 (0.9) and 1 (0.3); node 0 hangs on nothing.
    for most, expected in ((1, {2}), (2, {2, 5}), (3, {2, 5, 4}), (4, {2, 5, 4, 3}), (5, {2, 5, 4, 3, 1})):
        found = columns((lower, top), most)
        assert found.nodes[0].tolist() == [0, 1, 2][:most]
        assert set(found.nodes[1].tolist()) == expected
    found = columns((lower, top), 6)
    # Mean rows of their parents: 3 hangs on 0; 1 on 0 and, weakly, 2; 2 on 0 and 1; 5 on 1; 4 on 2 and, weakly, 1.
    assert found.nodes[1].tolist() == [3, 1, 2, 5, 4, 0]
    assert found.edges[0].T.tolist() == [[0.8, 0, 0], [0.5, 0, 0.1], [0.9, 0.8, 0], [0, 1, 0], [0, 0.1, 0.9], [0, 0, 0]]


def test_nodes_that_have_children_stand_before_stronger_ones_that_have_none() -> None:
    lower = drawn_layer(1, 2, 4, parents=np.array([[3], [1]]), strengths=np.array([[0.5], [0.0]]))
    assert columns((lower, drawn_layer(2, 4, 0)), 3).nodes[0].tolist() == [3, 0, 1]
    assert columns((lower, drawn_layer(2, 4, 0)), 1).edges[0].tolist() == [[0.5]]


@pytest.mark.parametrize("nodes", [1, 3, 6, 12])
def test_every_node_but_those_of_the_top_hangs_on_a_drawn_one_where_it_can(nodes: int) -> None:
    view = drawn(40, 30, 20, 15)
    found = columns(view.layers, nodes)
    assert [len(own) for own in found.nodes] == [nodes] * 4
    assert all(len(set(own)) == nodes for own in found.nodes)
    for place, strengths in enumerate(found.edges):
        assert (strengths.max(0) > 0).all()
        layer = view.layers[::-1][place + 1]
        for parent, above in enumerate(found.nodes[place]):
            for child, node in enumerate(found.nodes[place + 1]):
                edge = layer.strengths[node][layer.parents[node] == above]
                assert strengths[parent, child] == (edge[0] if len(edge) else 0)


def test_edges_are_drawn_between_the_boxes_of_parent_and_child_as_wide_and_dark_as_they_are_strong() -> None:
    lower = drawn_layer(
        0, 2, 2, parents=np.array([[0], [1]]), strengths=np.array([[0.25], [1.0]]), filters=np.array([7, 8])
    )
    upper = drawn_layer(1, 2, 0, filters=np.array([3, 4]))
    axis, _ = figure_of(drawn(2, 2, layers=(lower, upper)))
    weak, strong = edges_of(axis)
    assert strong.get_linewidth() == pytest.approx(4 * weak.get_linewidth())
    assert to_rgb(strong.get_edgecolor())[0] < to_rgb(weak.get_edgecolor())[0] - 0.2
    boxes = boxes_of(axis)
    for edge, parent, child in ((weak, "node-1:3.0", "node-0:7.0"), (strong, "node-1:4.1", "node-0:8.1")):
        start, end = edge.get_path().vertices[[0, -1]]
        for (x, y), box, side in ((start, boxes[parent], 1), (end, boxes[child], 0)):
            assert x == pytest.approx(box.get_x() + side * box.get_width())
            assert box.get_y() < y < box.get_y() + box.get_height()


def test_of_many_edges_the_strongest_to_each_child_and_of_each_parent_are_drawn() -> None:
    view = drawn(40, 12)
    (strengths,) = columns(view.layers, 12).edges
    assert (strengths > 0).sum() == 144
    order = np.argsort(-strengths, axis=0)[:4]
    expected = {(parent, child) for child in range(12) for parent in order[:, child]}
    expected |= {(parent, int(strengths[parent].argmax())) for parent in range(12)}
    axis, _ = figure_of(view, 12)
    widths = sorted(edge.get_linewidth() for edge in edges_of(axis))
    assert widths == pytest.approx(sorted(3 * strengths[edge] for edge in expected))


def test_boxes_say_filter_node_part_purity_and_score() -> None:
    layer = drawn_layer(
        0,
        3,
        0,
        filters=np.array([12, 0, 7]),
        numbers=np.array([3, 1, 2]),
        parts=("head", "left leg", ""),
        purity=np.array([0.834, NAN, NAN]),
        scores=np.array([2.345, 1.0, 0.5]),
        total=40,
    )
    axis, _ = figure_of(drawn(3, layers=(layer,)))
    assert list(boxes_of(axis)) == ["node-0:12.3", "node-0:0.1", "node-0:7.2"]
    texts = [text.get_text() for text in axis.texts]
    for name, facts in (
        ("filter 12 · node 3", "head 83% · score ×2.3"),
        ("filter 0 · node 1", "left leg · score ×1"),
        ("filter 7 · node 2", "score ×0.5"),
    ):
        assert texts[texts.index(name) + 1] == facts
    assert {"birds · explanatory graph", "features.0", "3 of 40 nodes, 20 a filter"} <= set(texts)


def test_columns_stand_from_the_top_layer_on_the_left_to_the_bottom_one() -> None:
    axis, _ = figure_of(drawn(5, 4, 3))
    left = {gid.removeprefix("node-")[0]: box.get_x() for gid, box in boxes_of(axis).items()}
    assert left["2"] < left["1"] < left["0"]
    headings = {text.get_text(): text.get_position()[0] for text in axis.texts if text.get_text().startswith("feat")}
    assert headings == {f"features.{place}": left[str(place)] for place in range(3)}
    colours = {gid[5]: to_hex(box.get_edgecolor()) for gid, box in boxes_of(axis).items()}
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize(
    ("centre", "side", "rows", "columns"),
    [
        ((32.0, 24.0), 10, (19, 29), (27, 37)),
        ((0.0, 0.0), 10, (0, 10), (0, 10)),
        ((-50.0, 24.0), 10, (19, 29), (0, 10)),
        ((64.0, 48.0), 10, (38, 48), (54, 64)),
        ((32.0, 100.0), 10, (38, 48), (27, 37)),
        ((32.0, 24.0), 60, (0, 48), (2, 62)),
        ((10.0, 24.0), 500, (0, 48), (0, 64)),
        ((10.4, 24.4), 0.1, (24, 25), (10, 11)),
    ],
)
def test_a_patch_is_a_square_about_the_place_moved_into_the_image(
    centre: tuple[float, float], side: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    pixels = photograph(1)
    assert cut(pixels, np.array(centre), side, SIZE).tolist() == pixels[slice(*rows), slice(*columns)].tolist()


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_a_patch_shows_the_same_region_at_any_resolution(scale: float) -> None:
    height, width = int(SIZE[0] * scale), int(SIZE[1] * scale)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x, y, x], -1).astype(np.uint8)
    found = cut(pixels, np.array([20.0, 30.0]), 8, SIZE)
    assert found.shape == (8 * scale, 8 * scale, 3)
    assert found[0, 0, :2].tolist() == [16 * scale, 26 * scale]


def test_patches_are_of_the_images_in_which_the_node_scores_highest() -> None:
    activity = np.array([[0.1], [3.0], [0.9], [2.0], [0.9], [9.0]])
    view = drawn(1, images=6, layers=(drawn_layer(0, 1, 0, 6, activity=activity),))
    blue = [int(patch[0, 0, 2]) // 40 for patch in patches_of(view, view.layers[0], 0)]
    assert blue == [1, 3, 2, 4]  # image 5 scores highest, but its pixels are not there


def test_markers_are_where_the_nodes_are_and_filled_where_they_fire() -> None:
    positions = np.zeros((5, 2, 2))
    positions[2] = [[16.0, 12.0], [200.0, -5.0]]
    activity = np.zeros((5, 2))
    activity[2] = [0.5, 0.49]
    layer = drawn_layer(0, 2, 0, positions=positions, activity=activity)
    axis, renderer = figure_of(drawn(2, layers=(layer,)))
    (panel,) = panels_of(axis, renderer)
    left, right, bottom, top = panel.get_extent()
    assert panel.get_array().tolist() == photograph(2).tolist()
    assert (bottom - top) / (right - left) == pytest.approx(48 / 64)
    markers = [p for p in axis.patches if isinstance(p, Circle) and p.center[0] > left - 0.01]
    assert [marker.center for marker in markers] == [
        pytest.approx((right, top)),  # beyond the image, so at its border
        pytest.approx((left + (right - left) / 4, top + (bottom - top) / 4)),
    ]
    white = [to_hex(marker.get_facecolor()) == "#ffffff" for marker in markers]
    assert white == [True, False]


def test_panels_are_of_the_images_in_which_most_nodes_fire() -> None:
    fires = np.repeat([2, 6, 0, 6, 3], 6).reshape(5, 6) > np.arange(6)
    activity = np.where(fires, [[1.0], [1.0], [1.0], [2.0], [30.0]], 0.4)
    view = drawn(6, layers=(drawn_layer(0, 6, 0, activity=activity),))
    for shown, expected in ((view, [3, 1]), (replace(view, images={4: photograph(4), 0: photograph(0)}), [4, 0])):
        panels = panels_of(*figure_of(shown))
        assert [int(np.asarray(panel.get_array())[0, 0, 2]) // 40 for panel in panels] == expected


@pytest.mark.parametrize("case", ["hostile names", "4 layers, 6 nodes"])
def test_svg_holds_every_box_and_nothing_that_a_name_brought(tmp_path: Any, case: str) -> None:
    view, nodes = CASES[case]
    draw_graph(view, tmp_path / "graph.svg", nodes=nodes)
    root = ET.parse(tmp_path / "graph.svg").getroot()
    about = {"RDF", "Work", "type", "format", "creator", "Agent"}
    tags = {element.tag.split("}")[1] for element in root.iter()} - about
    assert tags <= {"svg", "metadata", "title", "defs", "style", "g", "path", "use", "image", "clipPath", "rect"}
    ids = [element.get("id") for element in root.iter() if str(element.get("id")).startswith("node-")]
    assert len(ids) == len(set(ids)) == sum(min(nodes, len(layer.scores)) for layer in view.layers)
    assert not any(name.lower().startswith("on") for element in root.iter() for name in element.attrib)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_view_gives_the_same_bytes(tmp_path: Any, suffix: str) -> None:
    for name in "ab":
        draw_graph(drawn(5, 4), tmp_path / f"{name}.{suffix}", nodes=3)
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert b"dc:date" not in first


def test_png_shows_patches_and_colours_of_the_layers(tmp_path: Any) -> None:
    view = drawn(5, 4, images=2, shown=0)
    green = np.full((4, 4, 3), (0, 255, 0), dtype=np.uint8)
    draw_graph(replace(view, images={0: green, 1: green}), tmp_path / "new" / "graph.PNG", nodes=3)
    picture = matplotlib.image.imread(tmp_path / "new" / "graph.PNG")[..., :3]
    for colour in ("#4477aa", "#ee6677", "#00ff00"):
        assert (np.abs(picture - to_rgb(colour)).max(-1) < 0.02).sum() > 400, colour
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["graph.PNG"]


def test_another_suffix_is_refused_and_writes_nothing(tmp_path: Any) -> None:
    with pytest.raises(SurrogateError, match=r"graph\.pdf was expected to end in \.png or \.svg"):
        draw_graph(drawn(3, 2), tmp_path / "graph.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("nodes", [0, -1])
def test_a_picture_of_no_nodes_is_refused(tmp_path: Any, nodes: int) -> None:
    with pytest.raises(SurrogateError, match=f"one node of each layer at least, got nodes={nodes}; ask for more"):
        draw_graph(drawn(3, 2), tmp_path / "graph.png", nodes=nodes)
