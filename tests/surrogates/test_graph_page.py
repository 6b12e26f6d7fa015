"""The page of an explanatory graph in a real browser."""

import base64
import dataclasses
import json
from pathlib import Path
from urllib.parse import unquote_plus

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.select import Select
from surrogates import in_browser
from surrogates.drawn_graphs import (
    NOT_SHOWN,
    colour_at,
    hostile_graph,
    large_graph,
    one_layer_graph,
    painted,
    small_graph,
    unknown_graph,
)
from surrogates.drawn_trees import HOSTILE_NAMES
from surrogates.in_browser import (
    FORGERIES,
    all_of,
    click_button,
    colour_of,
    each,
    luminance,
    one,
    pixels_of,
    press,
    soon,
    texts,
)

from interpretable.errors import SurrogateError
from interpretable.surrogates.export.graph_page import write_graph_page
from interpretable.surrogates.export.graph_page_data import TOP_IMAGES, graph_data, top_images
from interpretable.surrogates.export.graph_view import GraphView, LayerView
from interpretable.surrogates.export.html_file import as_json
from interpretable.words import one_line

FIRES = 0.5
LARGE_NODES, LARGE_IMAGES = 5000, 100


def opened(browser: WebDriver, page: Path, place: str = "#") -> None:
    """Opens a page anew, with nothing selected unless a place says so."""
    in_browser.opened(browser, page, place)


def write(path: Path, view: GraphView) -> Path:
    write_graph_page(path, view)
    return path


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    return write(folder / "small.html", small_graph())


@pytest.fixture(scope="module")
def large(folder: Path) -> Path:
    return write(folder / "large.html", large_graph(LARGE_NODES, LARGE_IMAGES))


def key(view: GraphView, layer: int, node: int) -> str:
    """What the page calls a node."""
    nodes = view.layers[layer]
    return f"{layer}/{nodes.filters[node]}.{nodes.numbers[node]}"


def name(layer: LayerView, node: int) -> str:
    number = f"{layer.filters[node]}.{layer.numbers[node]}"
    return f"{layer.parts[node]} · {number}" if layer.parts[node] else number


def all_nodes(view: GraphView) -> list[tuple[int, int]]:
    return [(k, node) for k, layer in enumerate(view.layers) for node in range(len(layer.scores))]


def parents_of(view: GraphView, layer: int, node: int) -> list[tuple[str, float]]:
    """Literally from the arrays: keys and strengths of the parents that are shown."""
    edges = zip(view.layers[layer].parents[node], view.layers[layer].strengths[node], strict=True)
    return [(key(view, layer + 1, parent), strength) for parent, strength in edges if parent != NOT_SHOWN]


def children_of(view: GraphView, layer: int, node: int) -> list[tuple[str, float]]:
    if layer == 0:
        return []
    below = view.layers[layer - 1]
    found = [
        (key(view, layer - 1, child), below.strengths[child, slot])
        for child, parents in enumerate(below.parents)
        for slot, parent in enumerate(parents)
        if parent == node
    ]
    return sorted(found, key=lambda edge: -edge[1])


def keys_of(browser: WebDriver, selector: str) -> list[str]:
    return each(browser, selector, "e.dataset.node")


def card(node_key: str) -> str:
    return f".card[data-node='{node_key}']"


def click(browser: WebDriver, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def set_to(browser: WebDriver, label: str, value: float | str) -> None:
    """What a reader does to a control, whatever its kind."""
    script = (
        "const e = document.querySelector(`[aria-label='${arguments[0]}']`); e.value = arguments[1];"
        "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, { bubbles: true }));"
    )
    browser.execute_script(script, label, str(value))


def places_on(browser: WebDriver, selector: str) -> np.ndarray:
    """Centres of elements as shares of the picture that they stand on."""
    script = (
        "(() => { const a = e.getBoundingClientRect(), b = e.closest('.picture').getBoundingClientRect();"
        "return [(a.left + a.width / 2 - b.left) / b.width, (a.top + a.height / 2 - b.top) / b.height]; })()"
    )
    return np.array(each(browser, selector, script)).reshape(-1, 2)


def shares(view: GraphView, positions: np.ndarray) -> np.ndarray:
    height, width = view.image_size
    return positions / (width, height)


def test_a_page_opened_without_a_place_shows_the_strongest_node_of_the_bottom_layer_that_hangs_on_others(
    browser, small, folder
):
    view = small_graph()
    node = next(node for node in range(len(view.layers[0].scores)) if parents_of(view, 0, node))
    in_browser.opened(browser, small)
    assert unquote_plus(browser.current_url).endswith(f"#node={key(view, 0, node)}")
    assert texts(browser, "[aria-selected=true] .name") == [name(view.layers[0], node)]
    browser.back()
    assert browser.current_url == "about:blank"
    in_browser.opened(browser, write(folder / "alone.html", one_layer_graph()))
    assert "#" not in browser.current_url


def test_the_page_opens_from_disk_without_a_message_or_a_request(browser, small):
    opened(browser, small)
    click(browser, ".card")
    one(browser, "#tab-images").click()
    all_of(browser, ".tile")[0].click()
    soon(lambda: bool(all_of(browser, "button.marker")))
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []


def test_no_other_script_than_the_pages_own_runs(browser, small):
    opened(browser, small)
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.forged = 1';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.forged=1>');"
    )
    soon(lambda: any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser")))
    assert browser.execute_script("return window.forged") is None


def test_the_header_names_the_graph_its_digest_and_its_tables(browser, small):
    view = small_graph()
    opened(browser, small)
    assert browser.title == view.title == one(browser, "h1").text
    assert list(zip(texts(browser, ".about dt"), texts(browser, ".about dd"), strict=True)) == list(view.about)
    assert one(browser, ".digest code").text == view.digest[:12]
    one(browser, ".digest").click()
    assert one(browser, ".digest code").text == view.digest
    assert not one(browser, "table").is_displayed()
    one(browser, ".tables summary").click()
    assert one(browser, "table").is_displayed()
    assert texts(browser, "th, td") == [cell for table in view.tables.values() for row in table for cell in row]


def test_columns_go_from_the_top_layer_to_the_bottom_one_with_the_strongest_node_first(browser, small):
    view = small_graph()
    opened(browser, small)
    assert texts(browser, ".column-head h3") == [layer.name for layer in reversed(view.layers)]
    left = each(browser, ".cards", "e.getBoundingClientRect().left")
    assert left == sorted(left)
    strongest = max(layer.scores.max() for layer in view.layers)
    for column, layer in zip(all_of(browser, ".cards"), reversed(view.layers), strict=True):
        nodes = range(len(layer.scores))
        assert [e.get_attribute("textContent") for e in all_of(column, ".card .name")] == [
            name(layer, n) for n in nodes
        ]
        assert [e.text for e in all_of(column, ".score .value")] == [f"{score:.2f}" for score in layer.scores]
        assert [e.text for e in all_of(column, ".purity")] == [f"{100 * share:.0f} %" for share in layer.purity]
        bars = [
            e.size["width"] / column.find_element("css selector", ".track").size["width"]
            for e in all_of(column, ".score .bar")
        ]
        np.testing.assert_allclose(bars, layer.scores / strongest, atol=0.01)
    assert "Lines lead from parents, at their left, to children" in one(browser, ".edge-note").text


ENLARGED = 240


def enlarged_patches(browser: WebDriver, node: str) -> list[np.ndarray]:
    """What the patches of a node's card show, in squares large enough to tell pixels of the image apart."""
    script = (
        "document.getElementById('enlarged')?.remove(); const box = document.createElement('div'); box.id = 'enlarged';"
        "box.style.cssText = 'position: fixed; top: 0; left: 0; z-index: 9; display: flex';"
        "for (const e of document.querySelectorAll(arguments[0])) {"
        "const copy = e.cloneNode(); copy.style.width = arguments[1]; copy.style.borderRadius = 0; box.append(copy); }"
        "document.body.append(box);"
    )
    browser.execute_script(script, f"{card(node)} .patch", f"{ENLARGED}px")
    together = pixels_of(one(browser, "#enlarged"))
    return np.split(together, together.shape[1] // ENLARGED, axis=1)


@pytest.mark.parametrize("size", [(120, 160), (160, 120), (96, 96)])
def test_a_patch_shows_the_pixels_around_its_nodes_position_where_it_is_most_active(browser, folder, size):
    view = small_graph(size)
    opened(browser, write(folder / f"patches{size[0]}.html", view))
    height, width = size
    moved = 0
    for k, node in all_nodes(view):
        layer = view.layers[k]
        patches = enlarged_patches(browser, key(view, k, node))
        order = np.argsort(-layer.activity[:, node])[:4]
        for shown, image in zip(patches, order, strict=True):
            around = layer.positions[image, node] - layer.side / 2
            left, top = np.clip(around, 0, np.array([width, height]) - layer.side)
            moved += (left, top) != tuple(around)
            for x, y in ((0.5, 0.5), (0.1, 0.5), (0.9, 0.5), (0.5, 0.1), (0.5, 0.9)):
                row, column = round(y * ENLARGED), round(x * ENLARGED)
                found = shown[row - 2 : row + 2, column - 2 : column + 2].mean(axis=(0, 1))
                place = left + x * layer.side - 0.5, top + y * layer.side - 0.5  # pixel 0 reaches from 0 to 1
                np.testing.assert_allclose(found, colour_at(*place, size, image), atol=4)  # 1.5 to 2.5 of its pixels
    assert moved > 5  # squares at the border are among them


def test_a_square_larger_than_the_image_shows_all_that_fits(browser, folder):
    view = small_graph((80, 80))
    layer = dataclasses.replace(view.layers[2], side=500.0)
    view = dataclasses.replace(view, layers=(layer,))
    opened(browser, write(folder / "wide.html", view))
    shown = pixels_of(one(browser, ".patch"))
    image = int(np.argmax(layer.activity[:, 0]))
    last = len(shown) - 5
    np.testing.assert_allclose(shown[4, 4], colour_at(6, 6, (80, 80), image), atol=14)
    np.testing.assert_allclose(shown[last, last], colour_at(73, 73, (80, 80), image), atol=14)


def test_images_without_pixels_show_no_patches(browser, folder):
    view = small_graph()
    few = dataclasses.replace(view, images={key: view.images[key] for key in (1, 3)})
    opened(browser, write(folder / "few.html", few))
    layer = view.layers[2]
    order = [k for k in np.argsort(-layer.activity[:, 0]) if k in few.images]
    patches = all_of(browser, f"{card(key(view, 2, 0))} .patch")
    assert len(patches) == 2
    for element, image in zip(patches, order, strict=True):
        assert colour_of(element)[2] == pytest.approx(painted(4, 4, image)[0, 0, 2], abs=6)
    one(browser, "#tab-images").click()
    assert texts(browser, ".tile .no-picture") == [view.gallery[k] for k in (0, 2, 4)]
    assert browser.get_log("browser") == []


def test_a_click_shows_exactly_a_nodes_parents_and_children_with_their_strengths(browser, small):
    view = small_graph()
    opened(browser, small)
    for k, node in all_nodes(view):
        own = key(view, k, node)
        click(browser, card(own))
        assert one(browser, ".node h2").text == name(view.layers[k], node)
        assert keys_of(browser, ".card[aria-selected=true]") == [own]
        expected = {"parents": parents_of(view, k, node), "children": children_of(view, k, node)}
        for kind, edges in expected.items():
            assert keys_of(browser, f".{kind} .node-chip") == [other for other, _ in edges]
            assert texts(browser, f".{kind} .node-chip .value") == [f"{strength:.2f}" for _, strength in edges]
        tied = {other for edges in expected.values() for other, _ in edges}
        assert set(keys_of(browser, ".card.tied")) == tied
        lines = each(browser, ".edges .own", "[e.dataset.parent, e.dataset.child]")
        assert {end for line in lines for end in line} - {own} == tied
        assert all(own in line for line in lines)
        assert len(lines) == len(tied)


def test_what_is_tied_to_the_selected_node_stands_first_in_its_column(browser, small):
    view = small_graph()
    opened(browser, small)
    click(browser, card(key(view, 1, 3)))
    top, middle, bottom = (
        [e.get_attribute("data-node") for e in all_of(column, ".card")] for column in all_of(browser, ".cards")
    )
    assert top[:2] == [other for other, _ in parents_of(view, 1, 3)]
    assert middle == [key(view, 1, node) for node in range(4)]
    assert bottom[:2] == [other for other, _ in children_of(view, 1, 3)]
    assert texts(browser, ".group") == [
        f"Parents of {key(view, 1, 3)[2:]}",
        "Others",
        f"Children of {key(view, 1, 3)[2:]}",
        "Others",
    ]
    assert sorted(top) == sorted(key(view, 2, node) for node in range(3))


def test_a_chip_selects_its_node(browser, small):
    view = small_graph()
    opened(browser, small)
    click(browser, card(key(view, 0, 0)))
    parent, _ = parents_of(view, 0, 0)[0]
    one(browser, ".parents .node-chip").click()
    assert keys_of(browser, ".card[aria-selected=true]") == [parent]
    assert browser.current_url.endswith(f"#node={parent.replace('/', '%2F')}")


def test_a_line_is_as_wide_as_its_edge_is_strong_and_joins_its_cards(browser, small):
    view = small_graph()
    opened(browser, small)
    lines = each(browser, ".edges path", "[e.dataset.parent, e.dataset.child, parseFloat(e.style.strokeWidth)]")
    strengths = {
        (parent, key(view, k, node)): strength
        for k, node in all_nodes(view)
        for parent, strength in parents_of(view, k, node)
    }
    assert {tuple(line[:2]) for line in lines} <= set(strengths)
    order = sorted(lines, key=lambda line: strengths[tuple(line[:2])])
    assert len(order) >= 8
    assert [line[2] for line in order] == sorted(line[2] for line in order)
    ends = browser.execute_script(
        "const box = (k) => document.querySelector(`.card[data-node='${k}']`).getBoundingClientRect();"
        "return [...document.querySelectorAll('.edges path')].map((e) => { const r = e.getBoundingClientRect();"
        "const p = box(e.dataset.parent), c = box(e.dataset.child); const m = (b) => b.top + b.height / 2;"
        "const o = e.ownerSVGElement.getBoundingClientRect(); const at = (s) => e.getPointAtLength(s);"
        "const first = at(0), last = at(e.getTotalLength());"
        "return [first.x + o.left - p.right, first.y + o.top - m(p), last.x + o.left - c.left, last.y + o.top - m(c)];"
        "})"
    )
    np.testing.assert_allclose(ends, 0, atol=1.5)


def test_lines_are_drawn_between_cards_in_sight_and_follow_them(browser, folder):
    view = large_graph(24, 4, parents=3)
    opened(browser, write(folder / "lines.html", view))
    edges = {(parent, key(view, k, node)) for k, node in all_nodes(view) for parent, _ in parents_of(view, k, node)}
    middle = "(() => { const r = e.getBoundingClientRect(); return r.top + r.height / 2; })()"

    def in_sight() -> set[str]:
        box = browser.execute_script("return document.querySelector('.cards').getBoundingClientRect().toJSON()")
        places = zip(keys_of(browser, ".card"), each(browser, ".card", middle), strict=True)
        return {node for node, y in places if box["top"] < y < box["bottom"]}

    def holds() -> bool:
        near = in_sight()
        expected = {edge for edge in edges if near >= set(edge)}
        drawn = each(browser, ".edges path", "[e.dataset.parent, e.dataset.child]")
        return 0 < len(expected) < len(edges) and {tuple(ends) for ends in drawn} == expected

    soon(holds)
    before = in_sight()
    browser.execute_script("for (const e of document.querySelectorAll('.cards')) e.scrollTop = 400")
    soon(lambda: in_sight() != before and holds())


def test_weak_edges_are_left_out_by_the_slider(browser, small):
    view = small_graph()
    opened(browser, small)
    set_to(browser, "Edges from", 0.65)
    strong = {
        (parent, key(view, k, node))
        for k, node in all_nodes(view)
        for parent, strength in parents_of(view, k, node)
        if strength >= 0.65
    }
    drawn = {tuple(ends) for ends in each(browser, ".edges path", "[e.dataset.parent, e.dataset.child]")}
    assert drawn
    assert drawn <= strong
    click(browser, card(key(view, 1, 3)))
    assert keys_of(browser, ".card.tied") == [other for other, s in children_of(view, 1, 3) if s >= 0.65]
    assert len(all_of(browser, ".parents .node-chip")) == 2  # the detail has all of them


def test_a_nodes_images_have_markers_at_its_own_and_its_parents_positions(browser, small):
    view = small_graph()
    for k, node in ((0, 0), (0, 3), (1, 2), (2, 1)):
        opened(browser, small, f"#node={key(view, k, node)}")
        layer = view.layers[k]
        firing = [int(i) for i in np.argsort(-layer.activity[:, node]) if layer.activity[i, node] >= FIRES]
        assert [int(image) for image in each(browser, ".position", "e.dataset.image")] == firing
        assert texts(browser, ".position .caption bdi") == [view.gallery[i] for i in firing]
        own = shares(view, layer.positions[firing, node])
        np.testing.assert_allclose(places_on(browser, ".position .marker.self"), own, atol=0.004)
        parents = [parent for parent in layer.parents[node] if parent != NOT_SHOWN]
        for place, image in enumerate(firing):
            marked = places_on(browser, f".position:nth-child({place + 1}) .marker.parent").reshape(-1, 2)
            expected = shares(view, view.layers[k + 1].positions[image, parents]) if parents else np.empty((0, 2))
            np.testing.assert_allclose(marked, expected, atol=0.004)


def test_the_pixels_below_a_marker_are_those_of_its_position(browser, small):
    view = small_graph()
    opened(browser, small, "#view=images&image=2")
    browser.execute_script("document.querySelectorAll('.marker').forEach((e) => (e.style.visibility = 'hidden'))")
    shown = pixels_of(one(browser, ".image > .picture"))
    shown_height, shown_width = shown.shape[:2]
    assert shown_width / shown_height == pytest.approx(160 / 120, rel=0.02)
    for x, y in ((20, 20), (80, 60), (140, 100)):
        found = shown[round((y + 0.5) / 120 * shown_height), round((x + 0.5) / 160 * shown_width)]
        np.testing.assert_allclose(found, colour_at(x, y, view.image_size, 2), atol=6)


def test_an_image_is_marked_with_the_nodes_that_fire_in_it_most_active_first(browser, small):
    view = small_graph()
    opened(browser, small)
    one(browser, "#tab-images").click()
    assert texts(browser, ".tile .caption bdi") == list(view.gallery)
    all_of(browser, ".tile")[2].click()
    firing = [(k, node) for k, node in all_nodes(view) if view.layers[k].activity[2, node] >= FIRES]

    def rank(place: tuple[int, int]) -> tuple[float, float]:
        layer, node = view.layers[place[0]], place[1]
        return np.floor(32 * layer.activity[2, node]), layer.scores[node]

    firing.sort(key=rank, reverse=True)
    expected = [key(view, k, node) for k, node in firing]
    assert keys_of(browser, ".firing .node-chip") == expected
    assert keys_of(browser, "button.marker") == expected[::-1]  # the most active one lies on top
    places = shares(view, np.array([view.layers[k].positions[2, node] for k, node in firing[::-1]]))
    np.testing.assert_allclose(places_on(browser, "button.marker"), places, atol=0.003)
    colours = each(browser, "button.marker", "getComputedStyle(e).backgroundColor")
    by_layer = {(node_key[0], colour) for node_key, colour in zip(expected[::-1], colours, strict=True)}
    assert len(by_layer) == len({layer for layer, _ in by_layer}) == len({colour for _, colour in by_layer}) == 3
    set_to(browser, "Nodes shown at the most", 4)
    assert keys_of(browser, ".firing .node-chip") == expected[:4]
    assert keys_of(browser, "button.marker") == expected[:4][::-1]


def test_a_marker_selects_its_node_and_the_image_stays(browser, small):
    view = small_graph()
    opened(browser, small, "#view=images&image=1")
    chosen = keys_of(browser, "button.marker")[0]
    click(browser, f"button.marker[data-node='{chosen}']")
    assert keys_of(browser, ".marker.self") == keys_of(browser, ".card[aria-selected=true]") == [chosen]
    set_to(browser, "Nodes shown at the most", 1)
    assert keys_of(browser, ".marker.self") == [chosen]  # although it is not the most active one
    set_to(browser, "Image", 3)
    assert one(browser, ".picture .pixels").get_attribute("aria-label") == view.gallery[3]
    one(browser, "#tab-node").click()
    assert keys_of(browser, ".card[aria-selected=true]") == [chosen]
    all_of(browser, ".position")[0].click()
    assert one(browser, "[aria-label=Image]").is_displayed()


def left(browser: WebDriver) -> set[str]:
    return set(keys_of(browser, ".card"))


def test_filters_leave_only_what_matches(browser, small):
    view = small_graph()
    nodes = {key(view, k, node): (view.layers[k], node) for k, node in all_nodes(view)}
    claims = {
        ("Part", "head"): lambda layer, n: layer.parts[n] == "head",
        ("Filter number", "1"): lambda layer, n: layer.filters[n] == 1,
        ("Search nodes by name", " BEAK"): lambda layer, n: layer.parts[n] == "beak",
        ("Search nodes by name", "0.1"): lambda layer, n: name(layer, n).endswith("0.1"),
        ("Score from", "0.9"): lambda layer, n: layer.scores[n] >= 0.9,
        ("Purity from", "0.7"): lambda layer, n: layer.purity[n] >= 0.7,
    }
    for (label, value), claim in claims.items():
        opened(browser, small)
        assert left(browser) == set(nodes)
        set_to(browser, label, value)
        expected = {node for node, (layer, n) in nodes.items() if claim(layer, n)}
        assert 0 < len(expected) < len(nodes), label
        assert left(browser) == expected
        click_button(browser, "Clear filters")
        assert left(browser) == set(nodes)


def test_filters_hold_together_and_for_images_too(browser, small):
    view = small_graph()
    opened(browser, small, "#view=images&image=0")
    set_to(browser, "Purity from", 0.5)
    set_to(browser, "Score from", 0.8)
    expected = {
        key(view, k, n)
        for k, n in all_nodes(view)
        if view.layers[k].purity[n] >= 0.5 and view.layers[k].scores[n] >= 0.8
    }
    assert left(browser) == expected
    fires = {key(view, k, n) for k, n in all_nodes(view) if view.layers[k].activity[0, n] >= FIRES}
    assert set(keys_of(browser, "button.marker")) == expected & fires
    set_to(browser, "Search nodes by name", "zebra")
    assert left(browser) == set()
    assert texts(browser, ".group") == ["No node is left by the filters."] * 3


def test_a_layer_is_hidden_with_its_lines(browser, small):
    opened(browser, small)
    toggles = all_of(browser, ".toggles input")
    toggles[1].click()
    assert texts(browser, ".column-head h3") == ["layer4", "layer2"]
    assert all_of(browser, ".edges path") == []  # the two are no neighbours
    toggles[0].click()
    toggles[2].click()
    assert one(browser, ".columns").text == "All layers are hidden."
    toggles[1].click()
    assert texts(browser, ".column-head h3") == ["layer3"]


def test_an_address_opens_the_same_view(browser, small):
    view = small_graph()
    opened(browser, small)
    set_to(browser, "Purity from", 0.5)
    set_to(browser, "Edges from", 0.4)
    all_of(browser, ".toggles input")[2].click()
    chosen = keys_of(browser, ".card")[0]
    click(browser, card(chosen))
    one(browser, "#tab-images").click()
    all_of(browser, ".tile")[4].click()
    set_to(browser, "Nodes shown at the most", 3)
    seen = lambda: (  # noqa: E731
        left(browser),
        keys_of(browser, ".card[aria-selected=true]"),
        keys_of(browser, "button.marker"),
        each(browser, ".top-bar input, .top-bar select", "[e.value, e.checked]"),
        each(browser, ".edges path", "[e.dataset.parent, e.dataset.child]"),
        one(browser, ".picture .pixels").get_attribute("aria-label"),
    )
    soon(lambda: "markers=3" in browser.current_url)
    before = seen()
    assert before[1] == [chosen]
    assert before[5] == view.gallery[4]
    opened(browser, small, browser.current_url.partition(".html")[2])
    assert seen() == before


def test_back_returns_to_the_node_before(browser, small):
    view = small_graph()
    opened(browser, small)
    first, second = key(view, 2, 1), key(view, 0, 4)
    click(browser, card(first))
    click(browser, card(second))
    browser.back()
    soon(lambda: keys_of(browser, ".card[aria-selected=true]") == [first])
    browser.back()
    soon(lambda: keys_of(browser, ".card[aria-selected=true]") == [])
    browser.forward()
    soon(lambda: one(browser, ".node h2").text == name(view.layers[2], 1))


@pytest.mark.parametrize(
    "place",
    [
        *("#node=9/9.9", "#node=", "#image=99", "#part=zebra", "#filter=x", "#hide=7", "#score=high", "#view=x"),
        *("#nonsense=1", "#__proto__=1", "#node=%E0%A4%A"),
    ],
)
def test_an_address_of_nothing_shows_the_whole_graph_and_says_so(browser, small, place):
    opened(browser, small, place)
    assert len(left(browser)) == len(all_nodes(small_graph()))
    assert one(browser, "#status").get_attribute("textContent") == "The address names no place of this page."
    assert browser.get_log("browser") == []


def test_keys_walk_the_cards_and_enter_selects(browser, small):
    view = small_graph()
    opened(browser, small)
    browser.execute_script("document.querySelector('.card').focus()")
    told = []
    walk = (Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.END, Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.HOME, Keys.ARROW_LEFT)
    for pressed in walk:
        press(browser, pressed)
        told += keys_of(browser, ".card:focus")
    places = [(2, 1), (1, 0), (1, 3), (1, 2), (2, 1), (2, 0), (2, 0)]
    assert told == [key(view, *place) for place in places]
    assert all_of(browser, ".card[aria-selected=true]") == []
    assert each(browser, ".cards", "e.querySelectorAll('.card[tabindex=\"0\"]').length") == [1, 1, 1]
    press(browser, Keys.ENTER)
    chosen = [key(view, 2, 0)]
    assert keys_of(browser, ".card[aria-selected=true]") == keys_of(browser, ".card:focus") == chosen
    press(browser, Keys.ESCAPE)
    assert all_of(browser, ".card[aria-selected=true]") == []
    press(browser, Keys.SPACE)
    assert keys_of(browser, ".card[aria-selected=true]") == chosen
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("aria-label") == "Search nodes by name"


def test_everything_that_is_worked_with_has_a_name(browser, small):
    view = small_graph()
    opened(browser, small, f"#node={key(view, 1, 0)}")
    named = "e.computedName ?? (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent)"
    for _ in range(2):
        for selector in (
            "button",
            "input:not([type=checkbox])",
            "select",
            "a",
            "[role=listbox]",
            "[role=option]",
            "[role=img]",
        ):
            names = each(browser, selector, named)
            assert all(text and text.strip() for text in names), selector
        one(browser, "#tab-images").click()
    layer = view.layers[1]
    assert one(browser, card(key(view, 1, 0))).get_attribute("aria-label") == (
        f"{name(layer, 0)}, score {layer.scores[0]:.2f}, purity {100 * layer.purity[0]:.0f} %"
    )


def test_names_are_text_whatever_they_say(browser, folder):
    view = hostile_graph((*FORGERIES, *HOSTILE_NAMES))
    page = write(folder / "hostile.html", view)
    opened(browser, page)
    assert browser.title == " ".join(one_line(view.title).split())
    assert texts(browser, "h1") == [one_line(view.title)]
    assert texts(browser, ".column-head h3 bdi") == [one_line(layer.name) for layer in reversed(view.layers)]
    for k, node in all_nodes(view):
        click(browser, card(key(view, k, node)))
        part = one_line(view.layers[k].parts[node])
        assert texts(browser, ".node h2 bdi") == ([part] if part else [])
        assert browser.execute_script("return [window.forged, document.images.length]") == [None, 0]
    one(browser, "#tab-images").click()
    assert texts(browser, ".tile .caption bdi") == [one_line(image) for image in view.gallery]
    for image in range(len(view.gallery)):
        opened(browser, page, f"#view=images&image={image}")
        assert one(browser, ".picture .pixels").get_attribute("aria-label") == one_line(view.gallery[image])
    parts = [option.get_attribute("value") for option in Select(one(browser, "[aria-label=Part]")).options[1:]]
    assert parts == sorted({one_line(part) for layer in view.layers for part in layer.parts} - {""})
    for part in parts:
        set_to(browser, "Part", part)
        assert set(texts(browser, ".card .name bdi")) == {part}
    soon(lambda: parts[-1] in unquote_plus(browser.current_url))
    opened(browser, page, browser.current_url.partition(".html")[2])
    assert set(texts(browser, ".card .name bdi")) == {parts[-1]}
    assert browser.execute_script("return window.forged") is None
    assert browser.get_log("browser") == []


def test_of_five_thousand_nodes_the_strongest_are_listed_and_more_on_request(browser, large):
    opened(browser, large)
    view = large_graph(LARGE_NODES, LARGE_IMAGES)
    amounts = each(browser, ".cards", "e.querySelectorAll('.card').length")
    assert amounts == [60, 60, 60]
    one(browser, ".cards .more button").click()
    assert each(browser, ".cards", "e.querySelectorAll('.card').length") == [120, 60, 60]
    assert keys_of(browser, ".cards:nth-of-type(1) .card")[:120] == [key(view, 2, node) for node in range(120)]
    assert keys_of(browser, ".card:focus") == [key(view, 2, 60)]
    assert len(all_of(browser, ".edges path")) <= 300
    set_to(browser, "Filter number", "3")
    expected = {key(view, k, n) for k, n in all_nodes(view) if view.layers[k].filters[n] == 3}
    assert left(browser) == expected


def test_a_node_that_is_not_listed_is_found_by_its_address(browser, large):
    view = large_graph(LARGE_NODES, LARGE_IMAGES)
    node = len(view.layers[0].scores) - 1
    opened(browser, large, f"#node={key(view, 0, node)}")
    selected = one(browser, ".card[aria-selected=true]")
    assert selected.get_attribute("data-node") == key(view, 0, node)
    assert selected.is_displayed()
    assert keys_of(browser, ".parents .node-chip") == [parent for parent, _ in parents_of(view, 0, node)]
    assert len(all_of(browser, ".card.tied")) == len(parents_of(view, 0, node))


def test_five_thousand_nodes_open_select_and_filter_within_a_second(browser, large):
    opened(browser, large)
    paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
    soon(lambda: browser.execute_script(paint) is not None)
    assert browser.execute_script(paint) < 4000
    timed = "const start = performance.now(); {} document.body.offsetHeight; return performance.now() - start;"
    for column in range(3):
        act = f"document.querySelectorAll('.cards')[{column}].querySelectorAll('.card')[4].click();"
        assert browser.execute_script(timed.format(act)) < 1000
    act = (
        "const e = document.querySelector('input.search'); e.value = 'beak'; e.dispatchEvent(new Event('input'));"
        "document.querySelector('#tab-images').click(); document.querySelectorAll('.tile')[5].click();"
    )
    assert browser.execute_script(timed.format(act)) < 2000
    assert len(all_of(browser, "button.marker")) in (50, 51)


def test_a_layer_alone_has_neither_lines_nor_parents(browser, folder):
    view = one_layer_graph()
    opened(browser, write(folder / "one.html", view))
    assert left(browser) == {key(view, 0, node) for node in range(3)}
    assert all_of(browser, ".edges path") == []
    assert not one(browser, "[aria-label='Edges from']").is_displayed()
    click(browser, ".card")
    assert one(browser, ".node").text.count("hangs on nothing") == 1
    assert one(browser, ".node").text.count("Nothing hangs on the bottom layer") == 1
    assert browser.get_log("browser") == []


def test_a_node_whose_parents_are_all_not_shown_says_so(browser, small):
    opened(browser, small, f"#node={key(small_graph(), 0, 4)}")
    assert "No parent of this node is shown." in one(browser, ".node").text
    assert all_of(browser, ".parents, .edges .own") == []


def test_what_is_not_known_is_left_out(browser, folder):
    view = unknown_graph()
    opened(browser, write(folder / "unknown.html", view), f"#node={key(view, 1, 0)}")
    assert not one(browser, "[aria-label=Part]").is_displayed()
    assert not one(browser, "[aria-label='Purity from']").is_displayed()
    assert texts(browser, ".facts dt") == ["score", "σ", "mean place", "fires in"]
    assert set(texts(browser, ".purity")) == {""}
    assert one(browser, ".node h2").text == key(view, 1, 0)[2:]
    assert "NaN" not in one(browser, "body").text
    assert "null" not in one(browser, "body").text
    assert browser.get_log("browser") == []


def test_a_graph_without_a_gallery_still_shows_its_nodes(browser, folder):
    view = small_graph()
    layers = tuple(
        dataclasses.replace(layer, positions=layer.positions[:0], activity=layer.activity[:0]) for layer in view.layers
    )
    opened(browser, write(folder / "bare.html", dataclasses.replace(view, layers=layers, gallery=(), images={})))
    click(browser, card(key(view, 1, 0)))
    assert "The node fires in no image of the gallery." in one(browser, ".node").text
    one(browser, "#tab-images").click()
    assert one(browser, ".panel").text == "The graph has no gallery of images."
    assert browser.get_log("browser") == []


def test_a_graph_without_layers_says_so(browser, folder):
    opened(browser, write(folder / "none.html", dataclasses.replace(small_graph(), layers=())))
    assert one(browser, ".columns").text == "This graph has no layer."
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(browser, small, scheme):
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    try:
        opened(browser, small, f"#node={key(small_graph(), 1, 0)}")
        paper = luminance(one(browser, "body").value_of_css_property("background-color"))
        assert (paper > 0.5) == (scheme == "light")
        for selector in (
            "h1",
            "dt",
            ".card .name",
            ".card .purity",
            ".column-head .quiet",
            ".node-chip .value",
            ".group",
        ):
            ink = luminance(one(browser, selector).value_of_css_property("color"))
            contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
            assert contrast >= 4.5, selector  # WCAG 2.2, 1.4.3
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_narrow_window_is_not_scrolled_sideways(browser, folder):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for view in (small_graph(), hostile_graph()):
            for place in (f"#node={key(view, 1, 0)}", "#view=images&image=1", "#view=images"):
                opened(browser, write(folder / "narrow.html", view), place)
                assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


def test_positions_and_activities_are_rounded_as_stated():
    view = small_graph()
    data = graph_data(view)
    for layer, found in zip(view.layers, data["layers"], strict=True):
        positions = unpacked(found["positions"], "<u2").reshape(layer.positions.shape) * 160 / data["share"]
        np.testing.assert_allclose(positions, layer.positions, atol=160 / data["share"] / 2 + 1e-9)
        strengths = unpacked(found["strengths"], "<u2").reshape(layer.strengths.shape) / data["share"]
        np.testing.assert_allclose(strengths, layer.strengths, atol=0.5 / data["share"] + 1e-9)
        np.testing.assert_array_equal(unpacked(found["parents"], "<i4").reshape(layer.parents.shape), layer.parents)
        activity = unpacked(found["activity"], "u1").reshape(layer.activity.shape) / data["activity"]
        np.testing.assert_array_less(activity, layer.activity + 1e-9)
        np.testing.assert_allclose(activity, np.minimum(layer.activity, 255 / 32), atol=1 / data["activity"])


def test_a_node_fires_on_the_page_exactly_where_it_does():
    layer = small_graph().layers[2]
    activity = np.array([[0.0, 0.5, np.nextafter(0.5, 0)], [0.499, 0.501, 7.96], [8.0, 1e9, np.nan]])
    layers = (dataclasses.replace(layer, activity=activity, positions=layer.positions[:3]),)
    view = dataclasses.replace(small_graph(), layers=layers, gallery=("a", "b", "c"))
    found = unpacked(graph_data(view)["layers"][0]["activity"], "u1").reshape(3, 3)
    np.testing.assert_array_equal(found >= 16, activity >= FIRES)
    np.testing.assert_array_equal(found[2], [255, 255, 0])


def test_positions_outside_the_image_are_moved_to_its_border():
    layer = small_graph().layers[2]
    positions = layer.positions.copy()
    positions[0, :2] = (-7, 30), (500, 400)
    view = dataclasses.replace(small_graph(), layers=(dataclasses.replace(layer, positions=positions),))
    data = graph_data(view)
    found = unpacked(data["layers"][0]["positions"], "<u2").reshape(positions.shape)[0, :2] * 160 / data["share"]
    np.testing.assert_allclose(found, [(0, 30), (160, 120)], atol=0.01)


def test_top_images_are_those_of_highest_activity_among_the_shown_ones():
    random = np.random.default_rng(0)
    activity = np.maximum(np.rint(random.normal(0.5, 1, (40, 7))), 0)  # with many equal ones
    shown = sorted(random.choice(40, 25, replace=False).tolist())
    found = top_images(activity, shown)
    for node in range(7):
        order = sorted((k for k in shown if activity[k, node] > 0), key=lambda k: (-activity[k, node], k))
        assert found[node].tolist() == (order + [-1] * TOP_IMAGES)[:TOP_IMAGES]
    assert (top_images(activity, []) == -1).all()


def test_data_hold_nothing_that_html_reads():
    text = as_json(graph_data(hostile_graph((*FORGERIES, "half \ud800 of a pair"))))
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    assert FORGERIES[0] in json.dumps(json.loads(text))


def test_five_thousand_nodes_on_a_hundred_images_take_less_than_ten_megabytes(large):
    assert large.stat().st_size < 10e6
    assert large.read_text().count('id="sheet-') == 1  # every image is kept once, and no patch is


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((120, 160, 3)), "Image 1 must be uint8"),
        (np.zeros((9,), np.uint8), "Image 1 must be uint8"),
        (np.zeros((120, 120, 3), np.uint8), "Image 1 must have the proportions"),
    ],
)
def test_a_page_that_cannot_be_written_leaves_the_last_one(tmp_path, image, message):
    view = small_graph()
    page = write(tmp_path / "graph.html", view)
    before = page.read_bytes()
    with pytest.raises(SurrogateError, match=message):
        write(page, dataclasses.replace(view, images={**view.images, 1: image}))
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("shape", [(60, 80), (30, 40), (37, 50), (241, 320)])
def test_images_may_have_any_resolution(tmp_path, shape):
    view = small_graph()
    write(tmp_path / "graph.html", dataclasses.replace(view, images={0: painted(*shape, 0)}))
