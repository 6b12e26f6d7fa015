import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest
from surrogates.drawn_trees import (
    HOSTILE_NAMES,
    deep_document,
    hostile_document,
    large_document,
    small_document,
    wide_document,
)

from interpretable.surrogates.export.dot import tree_dot
from interpretable.surrogates.export.review_tree import Bar, ReviewNode, ReviewTree
from interpretable.words import one_line, shortened, signed

STRING = r'"(?:[^"\\\n]|\\.)*"'
ATTRIBUTES = rf"\[\w+=(?:[\w.]+|{STRING})(?:, \w+=(?:[\w.]+|{STRING}))*\]"
STATEMENT = re.compile(
    rf"  (?:(?P<kind>graph|node|edge) {ATTRIBUTES}"
    rf"|label=(?P<title>{STRING})"
    r"|n(?P<parent>\d+) -> n(?P<child>\d+)"
    rf"|n(?P<number>\d+) \[label=(?P<label>{STRING})\]);\n"
)


def read(text):
    """Labels by node, edges, and the title; every character must belong to a statement."""
    assert text.startswith("digraph tree {\n")
    place, labels, edges, title = len("digraph tree {\n"), {}, [], None
    while statement := STATEMENT.match(text, place):
        place = statement.end()
        if statement["number"]:
            assert int(statement["number"]) not in labels
            labels[int(statement["number"])] = lines_of(statement["label"])
        elif statement["child"]:
            edges.append((int(statement["parent"]), int(statement["child"])))
        elif statement["title"]:
            title = lines_of(statement["title"])
    assert text[place:] == "}\n"
    return labels, edges, title


def lines_of(string):
    """What Graphviz shows: the lines of an escString whose entities are resolved."""
    lines, line = [], ""
    for token in re.findall(r"\\.|&\w*;?|.", string[1:-1]):
        if token == "\\l":
            lines, line = [*lines, line], ""
        else:
            line += {'\\"': '"', "\\\\": "\\", "&amp;": "&"}[token] if token[0] in "\\&" else token
    assert line == ""
    return lines


@pytest.mark.parametrize("make", [small_document, wide_document, deep_document, large_document, hostile_document])
def test_every_node_is_there_once_with_its_edges(make):
    for tree in make().trees:
        labels, edges, title = read(tree_dot(tree))
        assert labels.keys() == tree.nodes.keys()
        assert sorted(edges) == sorted((n, child) for n, node in tree.nodes.items() for child in node.children)
        assert title == [shortened(one_line(tree.name), 60)]


def test_a_label_says_title_images_facts_and_three_contributions():
    bars = tuple(Bar(f"filter {d}", 1 / (d + 1)) for d in range(5))
    node = ReviewNode("mode 1", 2, (), (("gain", "0.5"),), bars)
    labels, _, _ = read(tree_dot(ReviewTree("bird", {0: node})))
    assert labels == {0: ["mode 1", "2 images", "gain: 0.5", "filter 0 +1", "filter 1 +0.5", "filter 2 +0.333"]}
    with_parts = ReviewNode("mode 1", 1, (), (), bars, (Bar("beak", -2.0),))
    assert read(tree_dot(ReviewTree("bird", {0: with_parts})))[0] == {0: ["mode 1", "1 image", "beak -2"]}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "\\", '\\"', "\\N \\G \\l", "&#60;", "<b>html</b>", "\udcff", "];}"])
def test_any_name_reads_back_as_it_is(name):
    node = ReviewNode(name, 1, (), ((name, name),), (Bar(name, 0.5),))
    text = tree_dot(ReviewTree(name, {0: node})).encode().decode()  # it is UTF-8 whatever the name holds
    labels, edges, title = read(text)
    shown = [one_line(line) for line in (name, "1 image", f"{name}: {name}", f"{name} {signed(0.5)}")]
    assert labels == {0: [shortened(line, 60) for line in shown]}
    assert (edges, title) == ([], [shortened(one_line(name), 60)])


def test_the_same_tree_gives_the_same_text():
    assert tree_dot(large_document(100).trees[0]) == tree_dot(large_document(100).trees[0])


def test_a_thousand_nodes_take_a_moment():
    tree = large_document().trees[0]
    start = time.perf_counter()
    tree_dot(tree)
    assert time.perf_counter() - start < 2


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz' dot is not installed")
@pytest.mark.parametrize("make", [small_document, hostile_document])
def test_graphviz_shows_the_names_as_they_are(make):
    for tree in make().trees:
        drawn = subprocess.run(["dot", "-Tsvg"], input=tree_dot(tree).encode(), capture_output=True, check=True)
        assert drawn.stderr == b""
        texts = [element.text or "" for element in ET.fromstring(drawn.stdout).iter("{http://www.w3.org/2000/svg}text")]
        shown = {text.replace("\xa0", " ").strip() for text in texts}
        expected = {shortened(one_line(node.title), 60).strip() for node in tree.nodes.values()} - {""}
        assert expected <= shown
