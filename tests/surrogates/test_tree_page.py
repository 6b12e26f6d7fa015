"""The review page in a real browser."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.select import Select
from surrogates.drawn_trees import (
    HOSTILE_NAMES,
    deep_document,
    hostile_document,
    large_document,
    small_document,
    wide_document,
)
from surrogates.in_browser import (
    FORGERIES,
    all_of,
    click_button,
    colour_of,
    each,
    luminance,
    one,
    opened,
    press,
    soon,
    texts,
)

from interpretable.errors import SurrogateError
from interpretable.figures import COLOURS
from interpretable.surrogates.export.html_file import as_json
from interpretable.surrogates.export.page import write_page
from interpretable.surrogates.export.page_data import page_data
from interpretable.surrogates.export.review_tree import (
    ROOT,
    Bar,
    ParsePath,
    PathStep,
    ReviewDocument,
    ReviewNode,
    ReviewTree,
)
from interpretable.words import one_line

MINUS = "\u2212"


def write(path: Path, document: ReviewDocument, **images: Any) -> Path:
    nothing: dict[str, Any] = {"train_images": {}, "test_images": {}, "filter_regions": {}, "filter_names": {}}
    write_page(path, document, **(nothing | images))
    return path


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    return write(folder / "small.html", small_document())


@pytest.fixture(scope="module")
def large(folder: Path) -> Path:
    return write(folder / "large.html", large_document(1000))


def titles(browser: WebDriver) -> list[str]:
    return texts(browser, ".row .title")


def test_the_page_opens_from_disk_without_a_message_or_a_request(browser, folder):
    image = np.zeros((32, 32, 3), np.uint8)
    page = write(folder / "quiet.html", small_document(), train_images={0: image}, test_images={0: image})
    opened(browser, page)
    one(browser, "#tab-images").click()
    all_of(browser, ".tile")[0].click()
    soon(lambda: bool(all_of(browser, ".steps")))
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


def test_the_header_names_the_document_its_digest_and_its_tables(browser, small):
    document = small_document()
    opened(browser, small)
    assert browser.title == document.title == one(browser, "h1").text
    assert texts(browser, ".about dt") == [name for name, _ in document.about]
    assert texts(browser, ".about dd") == [value for _, value in document.about]
    assert one(browser, ".digest code").text == document.digest[:12]
    one(browser, ".digest").click()
    assert one(browser, ".digest code").text == document.digest
    assert not one(browser, "table").is_displayed()
    one(browser, ".tables summary").click()
    assert one(browser, "table").is_displayed()
    assert texts(browser, "figcaption") == list(document.tables)
    cells = [cell for table in document.tables.values() for row in table for cell in row]
    assert texts(browser, "th, td") == cells


def test_only_the_first_levels_of_a_large_tree_are_made(browser, large):
    opened(browser, large)
    nodes = large_document(1000).trees[0].nodes
    levels = each(browser, ".row", "Number(e.ariaLevel)")
    assert len(nodes[ROOT].children) < len(levels) <= 40
    assert max(levels) < 8
    assert set(each(browser, ".row[aria-expanded=false]", "Number(e.ariaLevel)")) == {max(levels)}


def test_a_triangle_opens_and_closes_what_is_below(browser, small):
    opened(browser, small)
    assert titles(browser) == [
        "bird",
        "mode 1",
        "photos/000.jpg",
        "photos/001.jpg",
        "mode 2",
        "photos/002.jpg",
        "photos/003.jpg",
    ]
    all_of(browser, ".twist")[1].click()
    assert titles(browser) == ["bird", "mode 1", "mode 2", "photos/002.jpg", "photos/003.jpg"]
    assert each(browser, ".row", "e.ariaExpanded") == ["true", "false", "true", None, None]
    all_of(browser, ".twist")[1].click()
    assert len(titles(browser)) == 7
    click_button(browser, "Collapse all")
    assert titles(browser) == ["bird"]
    click_button(browser, "Expand all")
    assert len(titles(browser)) == 7


def test_rows_show_their_share_of_the_images_and_their_strongest_part(browser, small):
    opened(browser, small)
    tree = small_document().trees[0]
    whole, *below = each(browser, ".row .size .bar", "e.getBoundingClientRect().width")
    order = [number for number, _ in tree.preorder()]
    for width, number in zip(below, order[1:], strict=True):
        assert width / whole == pytest.approx(tree.nodes[number].images / tree.nodes[ROOT].images, abs=0.03)
    assert texts(browser, ".row .images") == [str(tree.nodes[number].images) for number in order]
    assert texts(browser, ".row .top bdi") == [tree.nodes[number].parts[0].name for number in order]


def test_a_nodes_detail_shows_its_images_facts_and_bars_in_proportion(browser, small):
    opened(browser, small)
    all_of(browser, ".row")[1].click()
    node = small_document().trees[0].nodes[1]
    assert one(browser, ".node h2").text == node.title
    assert one(browser, ".amount").text == "2 images\n50.0 % of the tree's"
    assert list(zip(texts(browser, ".facts dt"), texts(browser, ".facts dd"), strict=True)) == list(node.facts)
    for part, bars in ((".part:nth-of-type(1)", node.parts), (".part:nth-of-type(2)", node.contributions)):
        assert texts(browser, f"{part} .name") == [bar.name for bar in bars]
        left, right = (each(browser, f"{part} .bar", f"e.getBoundingClientRect().{side}") for side in ("left", "right"))
        zero = each(browser, f"{part} .zero", "e.getBoundingClientRect().left")
        for k, bar in enumerate(bars):
            width, strongest = right[k] - left[k], right[0] - left[0]
            assert width / strongest == pytest.approx(abs(bar.value / bars[0].value), abs=0.01)
            assert (left[k] if bar.value > 0 else right[k]) == pytest.approx(zero[k], abs=0.5)
        for shown, bar in zip(texts(browser, f"{part} .value"), bars, strict=True):
            assert shown[0] == ("+" if bar.value > 0 else MINUS)
            assert float(shown[1:]) == pytest.approx(abs(bar.value), abs=0.006)


def test_a_breadcrumb_leads_to_the_nodes_above(browser, small):
    opened(browser, small, "#bird/5")
    assert texts(browser, ".crumbs li") == ["bird", "mode 2", "photos/002.jpg"]
    all_of(browser, ".crumbs a")[1].click()
    soon(lambda: one(browser, ".node h2").text == "mode 2")
    assert one(browser, ".row[aria-selected=true] .title").text == "mode 2"


def test_thumbnails_show_their_own_images(browser, folder):
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (3, 500, 3), dtype=np.uint8)  # more than a sheet holds
    train, test, region = ({k: np.broadcast_to(c, (16, 16, 3)) for k, c in enumerate(kind)} for kind in colours)
    node = ReviewNode("all", 500, filters=(7, 3), examples=(499, 0, 401))
    paths = tuple(ParsePath(k, f"{k}.png", "bird", "bird", 1.0, (PathStep(ROOT, 1.0),)) for k in range(500))
    document = dataclasses.replace(small_document(), trees=(ReviewTree("bird", {ROOT: node}, paths),))
    crops = {3: [region[0], region[1]], 7: [region[2]]}
    shown = {"train_images": train, "test_images": test, "filter_regions": crops, "filter_names": {3: "beak"}}
    page = write(folder / "pictures.html", document, **shown)
    opened(browser, page)
    assert texts(browser, ".filter-name bdi") == ["filter 7", "beak"]
    for row, keys in zip(all_of(browser, ".filter-rows li"), ((2,), (0, 1)), strict=True):
        found = [colour_of(picture) for picture in all_of(row, ".thumbnail")]
        np.testing.assert_allclose(found, colours[2, keys], atol=8)
    examples = all_of(browser, ".gallery .thumbnail")
    np.testing.assert_allclose([colour_of(picture) for picture in examples], colours[0, [499, 0, 401]], atol=8)
    opened(browser, page, "#bird/image/450")
    np.testing.assert_allclose(colour_of(one(browser, ".subject .thumbnail")), colours[1, 450], atol=8)


def test_images_that_are_not_given_are_left_out(browser, folder):
    image = np.zeros((16, 16, 3), np.uint8)
    page = write(folder / "few.html", small_document(), train_images={999: image}, test_images={1: image})
    opened(browser, page)
    assert all_of(browser, ".node .gallery") == []
    one(browser, "#tab-images").click()
    assert [len(all_of(tile, ".thumbnail")) for tile in all_of(browser, ".tile")] == [0, 1]
    assert one(browser, ".tile .no-picture").text == "test/000.jpg"
    assert page.read_text().count('id="sheet-') == 1  # nor is an image written that no node shows


@pytest.mark.parametrize(
    ("query", "first"),
    [
        pytest.param("MODE 2", "mode 2", id="title"),
        pytest.param("photos/002", "photos/002.jpg", id="leaf"),
        pytest.param("filter 12 >", "filter 12 > 0.41", id="another tree"),
        pytest.param("forehead", "bird", id="filter"),
        pytest.param("test/001", "test/001.jpg", id="image"),
    ],
)
def test_search_finds_and_leads_there(browser, folder, query, first):
    names = {number: f"forehead {number}" for number in range(16)}
    opened(browser, write(folder / "search.html", small_document(), filter_names=names))
    click_button(browser, "Collapse all")
    press(browser, "/")
    one(browser, ".search").send_keys(query)
    assert texts(browser, ".results li > bdi")[0] == first
    press(browser, Keys.ENTER)
    assert one(browser, ".panel h2").text == first
    selected = one(browser, ".row[aria-selected=true]")
    assert selected.is_displayed()
    if not first.startswith("test/"):
        assert one(selected, ".title").text == first
        assert "match" in selected.get_attribute("class")


def test_search_steps_through_all_nodes_of_a_part(browser, small):
    opened(browser, small)
    nodes = small_document().trees[0].nodes
    one(browser, ".search").send_keys("no part")
    assert one(browser, ".found").text == f"{len(nodes)} matches"
    visited = []
    for _ in nodes:
        press(browser, Keys.ENTER)
        visited.append(one(browser, ".node h2").text)
    assert visited == [nodes[number].title for number in sorted(nodes)]
    press(browser, Keys.ESCAPE)
    assert all_of(browser, ".results li") == []
    assert all_of(browser, ".row.match") == []


def test_what_is_not_there_is_said_not_to_be(browser, small):
    opened(browser, small)
    one(browser, ".search").send_keys("zebra")
    assert one(browser, ".found").text == "Nothing is called so."


@pytest.mark.parametrize("image", [0, 1])
def test_a_test_images_parse_path_is_marked_and_told_in_order(browser, small, image):
    tree = small_document().trees[0]
    path = tree.paths[image]
    opened(browser, small)
    click_button(browser, "Collapse all")
    one(browser, "#tab-images").click()
    all_of(browser, ".tile")[image].click()
    soon(lambda: bool(all_of(browser, ".image")))
    names = [tree.nodes[step.node].title for step in path.steps]
    assert texts(browser, ".row.on-path .title") == names
    assert texts(browser, ".row.on-path .step") == [str(1 + k) for k in range(len(names))]
    assert texts(browser, ".steps summary a") == names
    assert one(browser, ".image h2").text == path.name
    verdict = one(browser, ".verdict").text
    assert verdict == ("✓ taken for bird" if image == 0 else "✕ taken for cat")
    own = one(browser, ".subject strong").text
    assert own == f"{path.score:.{len(own.partition('.')[2])}f}"
    numbers = each(browser, ".steps .numbers", "e.innerText")
    middle = "(e.getBoundingClientRect().left + e.getBoundingClientRect().right) / 2"
    own, predicted = (each(browser, f".score-line .{kind}", middle) for kind in ("own", "predicted"))
    bars = each(browser, ".steps > li", "[...e.querySelectorAll('.name')].map((name) => name.textContent)")
    for k, step in enumerate(path.steps):
        score, gap = (float(number) for number in numbers[k].replace(MINUS, "-").split())
        assert score == pytest.approx(step.score, abs=0.006)
        assert gap == pytest.approx(step.score - path.score, abs=0.006)
        assert (predicted[k] > own[k]) == (step.score > path.score)
        assert bars[k] == [bar.name for bar in step.contributions]


def test_the_path_stays_marked_while_its_nodes_are_read_until_it_is_cleared(browser, small):
    opened(browser, small, "#bird/image/0")
    all_of(browser, ".steps summary a")[1].click()
    soon(lambda: one(browser, ".panel h2").text == "mode 1")
    assert len(all_of(browser, ".row.on-path")) == 3
    one(browser, ".path-chip button").click()
    assert all_of(browser, ".row.on-path") == []
    assert not one(browser, ".path-chip").is_displayed()


def test_test_images_are_chosen_by_name_class_decision_and_error(browser, large, folder):
    kinds = [("bird", "bird"), ("bird", "cat"), ("cat", "cat"), ("cat", "bird")]
    paths = tuple(ParsePath(k, f"{k:04}.png", *kinds[k % 4], 1.0, (PathStep(ROOT, 1.0),)) for k in range(1000))
    tree = dataclasses.replace(small_document().trees[0], paths=paths)
    page = write(folder / "many.html", dataclasses.replace(small_document(), trees=(tree,)))
    opened(browser, page, "#bird/images")
    amount = one(browser, ".controls > .quiet")
    assert amount.text == "1,000 of 1,000 images"
    listed = len(all_of(browser, ".tile"))
    assert 100 <= listed < 1000
    browser.execute_script("document.querySelector('#right').scrollTop = 1e6")
    soon(lambda: len(all_of(browser, ".tile")) > listed)
    one(browser, "#wrong-only").click()
    assert amount.text == "500 of 1,000 images"
    label, decision = all_of(browser, ".controls select")
    label.send_keys("cat")
    assert amount.text == "250 of 1,000 images"
    one(browser, ".controls input[type=search]").send_keys("001")
    assert texts(browser, ".tile .no-picture") == [
        p.name for p in paths if p.label == "cat" != p.decision and "001" in p.name
    ]
    decision.send_keys("cat")
    assert all_of(browser, ".tile") == []


def test_the_test_images_at_a_node_are_listed(browser, small):
    opened(browser, small, "#bird/2")
    assert texts(browser, ".node .tile .no-picture") == ["test/001.jpg"]
    assert "1 of 2, 1 taken for another class" in one(browser, ".node").text


def test_arrow_keys_walk_the_tree(browser, small):
    opened(browser, small)
    one(browser, ".row").click()
    told = []
    keys = (Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    for key in (*keys, Keys.END, Keys.ARROW_UP, Keys.HOME):
        press(browser, key)
        told.append((texts(browser, ".row:focus .title")[0], len(titles(browser))))
    assert told == [
        ("mode 1", 7),
        ("mode 1", 5),  # closed
        ("mode 2", 5),
        ("photos/002.jpg", 5),  # open already: to its first child
        ("mode 2", 5),
        ("mode 2", 3),
        ("mode 2", 3),
        ("mode 1", 3),
        ("bird", 3),
    ]
    assert one(browser, ".node h2").text == "bird"
    assert each(browser, ".row", "e.tabIndex") == [0, -1, -1]
    press(browser, Keys.ARROW_DOWN, "*")
    assert len(all_of(browser, ".row")) == 7


def test_closing_a_node_above_the_chosen_one_chooses_it(browser, small):
    opened(browser, small, "#bird/5")
    all_of(browser, ".twist")[0].click()
    assert titles(browser) == ["bird"]
    assert one(browser, ".node h2").text == "bird"


def test_rows_say_their_place_to_a_screen_reader(browser, small):
    opened(browser, small)
    rows = "[role=tree] > [role=treeitem]"
    places = each(browser, rows, "[e.ariaLevel, e.ariaPosInSet, e.ariaSetSize]")
    assert places == [list(place) for place in ("111", "212", "312", "322", "222", "312", "322")]


def test_an_address_names_a_place_and_back_returns(browser, small):
    opened(browser, small, "#bird/5")
    heading = lambda text: soon(lambda: one(browser, ".panel h2").text == text)  # noqa: E731
    heading("photos/002.jpg")
    all_of(browser, ".row")[1].click()
    heading("mode 1")
    assert browser.current_url.endswith("#bird/1")
    one(browser, "#tab-images").click()
    assert browser.current_url.endswith("#bird/images")
    all_of(browser, ".tile")[1].click()
    heading("test/001.jpg")
    assert browser.current_url.endswith("#bird/image/1")
    browser.back()
    soon(lambda: len(all_of(browser, ".tile")) == 2)
    browser.back()
    heading("mode 1")
    browser.back()
    heading("photos/002.jpg")


@pytest.mark.parametrize("place", ["#bird/99", "#cat/0", "#bird/image/7", "#%E0%A4%A/0", "#nonsense"])
def test_an_address_of_nothing_shows_the_root_and_says_so(browser, small, place):
    opened(browser, small, place)
    assert one(browser, ".node h2").text == "bird"
    assert one(browser, "#status").get_attribute("textContent") == "The address names no place of this page."


def test_several_trees_are_chosen_by_name_and_keep_what_is_open(browser, small):
    opened(browser, small)
    all_of(browser, ".twist")[1].click()
    choice = Select(one(browser, ".trees"))
    choice.select_by_visible_text("FilterTree (3 nodes)")
    assert titles(browser) == ["filter 12 > 0.41", "cat", "bird"]
    assert browser.current_url.endswith("#FilterTree/0")
    choice.select_by_visible_text("bird (7 nodes)")
    assert len(titles(browser)) == 5


def test_trees_of_one_name_have_addresses_of_their_own(browser, folder):
    document = small_document()
    trees = (document.trees[0], dataclasses.replace(document.trees[1], name="bird"))
    page = write(folder / "twins.html", dataclasses.replace(document, trees=trees))
    opened(browser, page, "#bird~1/2")
    assert titles(browser) == ["filter 12 > 0.41", "cat", "bird"]


def test_names_are_text_whatever_they_say(browser, folder):
    document = hostile_document((*FORGERIES, *HOSTILE_NAMES))
    given = dict(enumerate((*FORGERIES, *HOSTILE_NAMES)))
    image = np.zeros((16, 16, 3), np.uint8)
    page = write(folder / "hostile.html", document, train_images={0: image, 1: image}, filter_names=given)
    opened(browser, page)
    assert browser.title == " ".join(one_line(document.title).split())
    assert texts(browser, "h1") == [one_line(document.title)]
    tree = document.trees[0]
    order = [number for number, _ in tree.preorder()]
    for place, number in enumerate(order):
        browser.execute_script("document.querySelectorAll('.row .title')[arguments[0]].click()", place)
        node = tree.nodes[number]
        assert titles(browser) == [one_line(tree.nodes[key].title) for key in order]
        assert texts(browser, ".node h2") == [one_line(node.title)]
        assert texts(browser, ".bars .name") == [one_line(bar.name) for bar in (*node.parts, *node.contributions)]
        assert texts(browser, ".filter-name bdi") == [one_line(given[key]) for key in node.filters]
        assert browser.execute_script("return [window.forged, document.images.length]") == [None, 0]
        assert browser.get_log("browser") == []
    one(browser, "#tab-images").click()
    assert texts(browser, ".tile .no-picture") == [one_line(path.name) for path in tree.paths]
    all_of(browser, ".tile")[0].click()
    soon(lambda: bool(all_of(browser, ".image")))
    assert texts(browser, ".image h2") == [one_line(tree.paths[0].name)]
    one(browser, ".search").send_keys("forged")
    assert browser.execute_script("return window.forged") is None
    assert browser.get_log("browser") == []


def test_a_thousand_nodes_open_within_two_seconds(browser, large):
    opened(browser, large)
    button = next(button for button in all_of(browser, ".tools button") if button.text == "Expand all")
    clicked = "const start = performance.now(); arguments[0].click(); document.body.offsetHeight;"
    milliseconds = browser.execute_script(f"{clicked} return performance.now() - start", button)
    assert len(titles(browser)) == 1000
    assert milliseconds < 2000
    nodes = large_document(1000).trees[0]
    assert titles(browser) == [nodes.nodes[number].title for number, _ in nodes.preorder()]


def test_the_end_of_a_long_chain_is_reached(browser, folder):
    document = deep_document(400)
    opened(browser, write(folder / "deep.html", document), "#bird/800")
    assert one(browser, ".row[aria-selected=true]").get_attribute("aria-level") == "401"
    assert one(browser, ".row[aria-selected=true]").is_displayed()
    crumbs = texts(browser, ".crumbs li")
    assert crumbs[0] == "bird"
    assert crumbs[1] == "393 more"
    assert len(crumbs) == 9
    assert crumbs[-1] == document.trees[0].nodes[800].title


def test_of_very_many_children_the_first_are_listed_and_any_is_found(browser, folder):
    document = wide_document(500)
    opened(browser, write(folder / "wide.html", document))
    assert len(all_of(browser, ".row")) == 202
    rest = one(browser, ".row.rest")
    assert rest.text == "300 more: show 200"
    browser.execute_script("arguments[0].click()", rest)
    assert len(all_of(browser, ".row")) == 402
    opened(browser, folder / "wide.html", "#bird/500")
    assert one(browser, ".row[aria-selected=true] .title").text == "mode 500"


def test_numbers_that_are_none_are_shown_as_a_dash(browser, folder):
    node = ReviewNode("all", 1, contributions=(Bar("beak", 2.0), Bar("leg", math.nan), Bar("head", -math.inf)))
    path = ParsePath(0, "0.png", "bird", "bird", math.nan, (PathStep(ROOT, math.inf),))
    document = dataclasses.replace(small_document(), trees=(ReviewTree("bird", {ROOT: node}, (path,)),))
    page = write(folder / "none.html", document)
    opened(browser, page)
    assert texts(browser, ".bars .value") == ["+2.00", "–", "–"]
    opened(browser, page, "#bird/image/0")
    assert one(browser, ".numbers").text == "– –"
    assert browser.get_log("browser") == []


def test_a_page_without_trees_says_so(browser, folder):
    opened(browser, write(folder / "empty.html", dataclasses.replace(small_document(), trees=())))
    assert one(browser, ".panel").text == "This document has no tree."
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(browser, small, scheme):
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    try:
        opened(browser, small, "#bird/image/1")
        paper = luminance(one(browser, "body").value_of_css_property("background-color"))
        assert (paper > 0.5) == (scheme == "light")
        for selector in ("h1", "dt", ".steps a", ".verdict", ".row .top span", ".bars .value"):
            ink = luminance(one(browser, selector).value_of_css_property("color"))
            contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
            assert contrast >= 4.5, selector  # WCAG 2.2, 1.4.3
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_bars_have_the_colours_of_all_figures(browser, small):
    opened(browser, small)
    drawn = {
        one(browser, f".bars .{kind}").value_of_css_property("background-color") for kind in ("positive", "negative")
    }
    expected = {f"rgba({', '.join(str(int(c[k : k + 2], 16)) for k in (1, 3, 5))}, 1)" for c in COLOURS.values()}
    assert drawn == expected


def test_a_narrow_window_is_not_scrolled_sideways(browser, folder):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for document in (small_document(), hostile_document()):
            opened(browser, write(folder / "narrow.html", document))
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_data_hold_nothing_that_html_reads():
    text = as_json(page_data(hostile_document((*FORGERIES, "half \ud800 of a pair")), {}))
    assert not set("<>&\u2028\u2029") & set(text)
    assert text.isascii()
    assert FORGERIES[0] in json.loads(text)["trees"][0]["nodes"]["0"]["title"] + "".join(json.loads(text)["names"])


def test_a_name_is_written_once():
    data = page_data(large_document(300), {})
    assert len(data["names"]) == len(set(data["names"])) <= 20
    node = large_document(300).trees[0].nodes[7]
    flat = data["trees"][0]["nodes"][7]["contributions"]
    assert [data["names"][name] for name in flat[::2]] == [bar.name for bar in node.contributions]
    assert flat[1::2] == pytest.approx([bar.value for bar in node.contributions], rel=1e-5)


def test_a_page_that_cannot_be_written_leaves_the_last_one(tmp_path):
    page = write(tmp_path / "tree.html", small_document())
    before = page.read_bytes()
    shown = small_document().trees[0].nodes[ROOT].examples[0]
    with pytest.raises(SurrogateError, match=f"Image {shown} must be uint8"):
        write(page, small_document(), train_images={shown: np.zeros((8, 8))})
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]
