import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from surrogates.drawn_trees import deep_document, hostile_document, large_document, small_document, wide_document

from interpretable.errors import SurrogateError
from interpretable.surrogates.export.box import NEGATIVE, POSITIVE
from interpretable.surrogates.export.layout import arrange, select
from interpretable.surrogates.export.levels import draw_levels, levels_figure
from interpretable.surrogates.export.picture import draw_tree, tree_figure
from interpretable.surrogates.export.review_tree import Bar, ReviewNode, ReviewTree, numbers_below

LONG = "a very long name that nobody would want to read on a picture " * 5


def photograph(index):
    return np.full((32, 48, 3), index % 7 / 7)


def single():
    return ReviewTree(
        "bird", {0: ReviewNode("bird", 1, contributions=(Bar("filter 1", 0.5),), examples=(0, 1, 2, 3, 4))}
    )


def long_names():
    tree = small_document().trees[0]
    nodes = {
        number: replace(
            node,
            title=f"{LONG}{number}",
            parts=tuple(Bar(LONG + bar.name, 1e-5 * bar.value) for bar in node.parts),
            facts=((LONG, LONG),),
        )
        for number, node in tree.nodes.items()
    }
    return ReviewTree(LONG, nodes)


def huge_counts():
    tree = wide_document().trees[0]
    return replace(tree, nodes={n: replace(node, images=node.images * 10**7) for n, node in tree.nodes.items()})


CASES = {
    "one node": (single(), {"images": photograph}),
    "seven nodes": (small_document().trees[0], {}),
    "seven nodes with images": (small_document().trees[0], {"images": photograph}),
    "three nodes without contributions": (small_document().trees[1], {}),
    "twelve children": (wide_document().trees[0], {"images": photograph}),
    "some of fifty children": (wide_document(50).trees[0], {"max_nodes": 20}),
    "six levels": (deep_document().trees[0], {"max_depth": 6}),
    "sixty of a thousand nodes": (large_document().trees[0], {"max_depth": 5, "max_nodes": 60}),
    "fourteen of a thousand nodes": (large_document().trees[0], {"max_nodes": 14}),
    "long names": (long_names(), {}),
    "long counts": (huge_counts(), {}),
    "hostile names": (hostile_document().trees[0], {"images": photograph}),
}


def drawn(tree, **options):
    """The figure's one axis, with a renderer that measures at the resolution of the PNG."""
    figure = tree_figure(tree, **options)
    figure.set_dpi(120)
    return figure.axes[0], FigureCanvasAgg(figure).get_renderer()


def boxes_of(axis):
    return {patch.get_gid(): patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)}


def extents(artists, renderer):
    found = [artist.get_window_extent(renderer).extents for artist in artists]
    corners = np.array(found, dtype=float).reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)  # bars to the left have negative widths


def overlaps(areas, slack=0.0):
    """Pairs of rectangles (x0, y0, x1, y1) that share more than an edge."""
    low, high = areas[:, None, :2], areas[:, None, 2:]
    meet = (np.minimum(high, areas[None, :, 2:]) - np.maximum(low, areas[None, :, :2]) > slack).all(-1)
    return int(np.triu(meet, 1).sum())


def within(inner, outer):
    return ((inner[:2] >= outer[:2] - 0.5) & (inner[2:] <= outer[2:] + 0.5)).all()


@pytest.mark.parametrize("case", CASES)
def test_nothing_overlaps_or_is_cut_off(case):
    tree, options = CASES[case]
    axis, renderer = drawn(tree, **options)
    page = np.array([0, 0, renderer.width, renderer.height])
    boxes = extents(boxes_of(axis).values(), renderer)
    said = [text for text in axis.texts if text.get_text()]
    texts, images = extents(said, renderer), extents(axis.images, renderer)
    bars = extents([p for p in axis.patches if isinstance(p, Rectangle)], renderer)
    assert overlaps(boxes) == 0
    assert overlaps(np.concatenate([texts, images, bars]), slack=1.0) == 0
    assert all(within(area, page) for area in np.concatenate([boxes, texts, images, bars]))
    inside = np.concatenate([texts, images, bars])
    for box in boxes:  # what touches a box is in it
        touching = [area for area in inside if overlaps(np.stack([area, box])) == 1]
        assert touching
        assert all(within(area, box) for area in touching)


def test_a_picture_that_overlaps_is_noticed():
    assert overlaps(np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 1]])) == 1


def test_every_node_of_a_small_tree_is_there_once_by_its_title():
    tree = small_document().trees[0]
    axis, _ = drawn(tree)
    boxes = [p.get_gid() for p in axis.patches if isinstance(p, FancyBboxPatch)]
    assert sorted(boxes) == [f"node-{number}" for number in tree.nodes]
    titles = [text.get_text() for text in axis.texts]
    assert all(titles.count(node.title) == 1 + (node.title == tree.name) for node in tree.nodes.values())


def test_bars_are_as_long_as_their_contributions_and_coloured_by_sign():
    tree = small_document().trees[0]
    axis, _ = drawn(tree)
    bars = [p for p in axis.patches if isinstance(p, Rectangle)]
    values = np.array([bar.value for number, _ in tree.preorder() for bar in tree.nodes[number].parts[:3]])
    lengths = np.array([bar.get_width() for bar in bars])
    assert np.allclose(lengths / lengths[0], values / values[0])
    colours = [POSITIVE if value > 0 else NEGATIVE for value in values]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == colours


def test_edges_are_as_wide_as_their_share_of_the_images_and_start_side_by_side():
    nodes = {0: ReviewNode("bird", 10, (1, 2)), 1: ReviewNode("a", 9), 2: ReviewNode("b", 1)}
    axis, _ = drawn(ReviewTree("bird", nodes))
    edges = [patch for patch in axis.patches if isinstance(patch, PathPatch)]
    wide, thin = [edge.get_linewidth() for edge in edges]
    assert wide == pytest.approx(9 * thin)
    upper, lower = [edge.get_path().vertices[0, 1] for edge in edges]
    assert 72 * (lower - upper) == pytest.approx((wide + thin) / 2)


def test_nodes_left_out_are_counted_below_their_parent():
    tree = deep_document(10).trees[0]
    axis, _ = drawn(tree, max_depth=3)
    assert [t.get_text() for t in axis.texts if "below" in t.get_text()] == ["… 14 nodes below"]
    assert len(boxes_of(axis)) == 7


def test_the_children_with_most_images_stay_and_the_others_are_counted():
    sizes = (1, 5, 2, 9, 3)
    nodes = {0: ReviewNode("bird", sum(sizes), (1, 2, 3, 4, 5))}
    nodes |= {number: ReviewNode(f"mode {number}", size) for number, size in enumerate(sizes, 1)}
    axis, _ = drawn(ReviewTree("bird", nodes), max_nodes=3)
    assert sorted(boxes_of(axis)) == ["node-0", "node-2", "node-4"]
    assert "+ 3 more (6 images)" in [text.get_text() for text in axis.texts]
    assert "3 of 6 nodes" in axis.texts[1].get_text()


@pytest.mark.parametrize("most", [0, 1, 7, 60, 1000, 2000])
def test_as_many_nodes_are_taken_as_allowed_and_each_after_its_parent(most):
    tree = large_document().trees[0]
    shown = select(tree, 1000, most)
    assert len(shown.children) == min(max(1, most), 1000)
    seen = {0}
    for number, children in shown.children.items():
        assert number in seen
        seen |= set(children)
    assert seen == set(shown.children)
    below = numbers_below(tree)
    ends = [n for n, children in shown.children.items() if not children]
    skipped = sum(1 + below[child] for rest in shown.left_out.values() for child in rest)
    assert sum(below[n] for n in ends) + skipped + len(shown.children) == 1000


def test_bands_of_a_column_are_disjoint_for_boxes_of_any_height():
    tree = large_document(300).trees[0]
    shown = select(tree, 1000, 300)
    heights = {n: float(h) for n, h in zip(shown.children, np.random.default_rng(0).uniform(0.1, 9, 300), strict=True)}
    places = arrange(shown, heights, 0.3)
    for column in set(places.columns.values()):
        spans = sorted(
            (places.centres[n] - heights[n] / 2, places.centres[n] + heights[n] / 2)
            for n in shown.children
            if places.columns[n] == column
        )
        assert spans[0][0] >= -1e-9
        assert spans[-1][1] <= places.height + 1e-9
        assert all(above[1] <= below[0] + 1e-9 for above, below in pairwise(spans))


def test_long_names_are_shortened_but_numbers_are_not():
    axis, _ = drawn(long_names())
    texts = [text.get_text() for text in axis.texts]
    titles = [text for text in texts if text.startswith("a very") and text[-1] in "0123456"]
    assert sorted(text[-1] for text in titles) == list("0123456")
    assert all("…" in text and len(text) < 40 for text in titles)
    numbers = [text for text in texts if text[0] in "+-"]
    assert len(numbers) == 21
    assert all(abs(float(text)) < 1e-4 for text in numbers)


def test_a_dollar_sign_is_not_mathematics():
    axis, _ = drawn(ReviewTree("$\\frac{1}{0}$", {0: ReviewNode("$x^2$ and $", 1)}))
    assert {"$\\frac{1}{0}$", "$x^2$ and $"} <= {text.get_text() for text in axis.texts}
    assert not any(text.get_parse_math() for text in axis.texts)


@pytest.mark.parametrize("case", ["hostile names", "seven nodes with images"])
def test_svg_holds_every_box_and_nothing_that_a_name_brought(tmp_path, case):
    tree, options = CASES[case]
    draw_tree(tree, tmp_path / "tree.svg", **options)
    root = ET.parse(tmp_path / "tree.svg").getroot()
    tags = {element.tag.split("}")[1] for element in root.iter()} - {
        "RDF",
        "Work",
        "type",
        "format",
        "creator",
        "Agent",
    }
    assert tags <= {"svg", "metadata", "title", "defs", "style", "g", "path", "use", "image", "clipPath", "rect"}
    ids = [element.get("id") for element in root.iter() if str(element.get("id")).startswith("node-")]
    assert sorted(ids) == [f"node-{number}" for number in tree.nodes]
    assert sum("image" in element.tag for element in root.iter()) == sum(
        min(4, len(node.examples)) for node in tree.nodes.values()
    )
    assert not any(name.lower().startswith("on") for element in root.iter() for name in element.attrib)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_tree_gives_the_same_bytes(tmp_path, suffix):
    for name in "ab":
        draw_tree(small_document().trees[0], tmp_path / f"{name}.{suffix}", images=photograph)
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert b"dc:date" not in first


def test_png_shows_both_colours_and_the_images(tmp_path):
    path = tmp_path / "new" / "tree.PNG"
    draw_tree(small_document().trees[0], path, images=lambda index: np.array([[[0, 255, 0]]], dtype=np.uint8))
    picture = matplotlib.image.imread(path)[..., :3]
    for colour in (POSITIVE, NEGATIVE, "#00ff00"):
        assert (np.abs(picture - to_rgb(colour)).max(-1) < 0.02).sum() > 500, colour
    assert [file.name for file in path.parent.iterdir()] == ["tree.PNG"]


def test_another_suffix_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(SurrogateError, match=r"tree\.pdf was expected to end in \.png or \.svg"):
        draw_tree(single(), tmp_path / "tree.pdf")
    assert list(tmp_path.iterdir()) == []


def test_sixty_of_a_thousand_nodes_are_drawn_in_seconds(tmp_path):
    tree = large_document().trees[0]
    start = time.perf_counter()
    draw_tree(tree, tmp_path / "tree.png", max_depth=20)
    assert time.perf_counter() - start < 20


LEVELS = (
    {"level": "1", "prediction_error": 0.3, "fitness": 0.2, "accuracy": 0.6, "network_accuracy": 0.9},
    {"level": "2", "prediction_error": 0.2, "fitness": float("nan"), "accuracy": 0.7, "network_accuracy": 0.9},
    {"level": "leaves", "prediction_error": 0.1, "fitness": 0.9, "network_accuracy": 0.9, "part_error/_$beak$": 0.5},
)


def test_levels_are_drawn_in_a_panel_per_measure_without_those_unknown():
    error, fitness, accuracy, parts = levels_figure(LEVELS).axes
    curves = [[line.get_xydata().tolist() for line in axis.lines] for axis in (error, fitness, accuracy, parts)]
    assert curves == [
        [[[0, 0.3], [1, 0.2], [2, 0.1]]],
        [[[0, 0.2], [2, 0.9]]],
        [[[0, 0.6], [1, 0.7]], [[0, 0.9], [1, 0.9], [2, 0.9]]],
        [[[2, 0.5]]],
    ]
    assert accuracy.lines[1].get_linestyle() == "--"
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["tree", "network"]
    assert [text.get_text().strip() for text in parts.get_legend().get_texts()] == ["_$beak$"]
    assert not parts.get_legend().get_texts()[0].get_parse_math()
    assert [label.get_text() for label in error.get_xticklabels()] == ["1", "2", "leaves"]


def test_a_measure_that_no_level_has_is_said_to_be_unmeasured(tmp_path):
    axes = levels_figure([{"level": "1", "accuracy": 0.5}]).axes
    assert [[text.get_text() for text in axis.texts] for axis in axes] == [["not measured"]] * 2 + [
        [],
        ["not measured"],
    ]
    draw_levels([], tmp_path / "levels.svg")
    assert ET.parse(tmp_path / "levels.svg").getroot().tag.endswith("svg")


def test_many_parts_differ_in_colour_or_line(tmp_path):
    levels = [{"level": str(level), **{f"part_error/part {p}": p + level for p in range(12)}} for level in range(3)]
    looks = {(line.get_color(), line.get_linestyle()) for line in levels_figure(levels).axes[3].lines}
    assert len(looks) == 12
    draw_levels(levels, tmp_path / "levels.png")
    assert matplotlib.image.imread(tmp_path / "levels.png").shape[:2] == (768, 1320)
