import ast
import difflib
import re
import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from surrogates.drawn_trees import (
    HOSTILE_NAMES,
    deep_document,
    hostile_document,
    large_document,
    small_document,
    wide_document,
)

from interpretable.surrogates.export.review_tree import Bar, ReviewDocument, ReviewNode, ReviewTree, numbers_below
from interpretable.surrogates.export.text import INDENTED, tree_text
from interpretable.words import counted, one_line, quoted, shortened, signed

NODE = re.compile(r"^((?:\|  )*)(?:…\(depth (\d+)\) )?- (.*)$")


def tiny(**changes):
    root = ReviewNode("bird", 3, (1, 2), (("gain", "0.5"),), (Bar("filter 7", 0.42), Bar("filter 1", -0.1)))
    one = ReviewNode("mode 1", 2, parts=(Bar("beak", 1.25), Bar("leg", -0.0)))
    nodes = {0: root, 1: one, 2: ReviewNode("a.jpg", 1)} | changes.pop("nodes", {})
    table = (("level", "error"), ("1", "0.25"), ("leaves", "0.5"))
    document = ReviewDocument("Trees", "ab12", (("layer", "part2"),), (ReviewTree("bird", nodes),), {"Levels": table})
    return replace(document, **changes)


def node_lines(text):
    """Depth and the rest of every line that begins a node."""
    found = [NODE.match(line) for line in text.splitlines()]
    return [(int(line[2] or len(line[1]) // 3), line[3]) for line in found if line]


def changed(before, after):
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_a_known_tree_reads_as_written_here():
    assert tree_text(tiny()) == (
        "Trees\n  digest: ab12\n  layer: part2\n\nTree bird\n"
        "- bird  3 images  gain: 0.5\n"
        "|    filters: filter 7 +0.42  filter 1 -0.1\n"
        "|  - mode 1  2 images\n"
        "|  |    parts: beak +1.25  leg +0\n"
        "|  - a.jpg  1 image\n"
        "\nTable Levels\n  level   error\n  1        0.25\n  leaves    0.5\n"
    )


@pytest.mark.parametrize("make", [small_document, wide_document, deep_document, large_document])
def test_every_node_is_there_once_at_its_depth_in_its_place(make):
    document = make()
    expected = [
        (depth, f"{tree.nodes[number].title}  {counted(tree.nodes[number].images, 'image')}")
        for tree in document.trees
        for number, depth in tree.preorder()
    ]
    found = node_lines(tree_text(document))
    assert [depth for depth, _ in found] == [depth for depth, _ in expected]
    assert all(line.startswith(start) for (_, line), (_, start) in zip(found, expected, strict=True))


def test_the_same_document_gives_the_same_text_and_noise_does_not_show():
    assert tree_text(small_document()) == tree_text(small_document())
    noisy = ReviewNode("mode 1", 2, parts=(Bar("beak", 1.25 + 1e-9), Bar("leg", 0.0)))
    assert tree_text(tiny(nodes={1: noisy})) == tree_text(tiny())


def test_a_change_in_a_node_changes_the_line_that_says_it():
    document = large_document(200)
    tree = document.trees[0]
    number = next(n for n, node in tree.nodes.items() if n and node.children)
    for change in ({"title": "mode renamed"}, {"contributions": (Bar("filter 3", 9.0),)}, {"facts": (("error", "9"),)}):
        nodes = {**tree.nodes, number: replace(tree.nodes[number], **change)}
        other = replace(document, trees=(replace(tree, nodes=nodes),))
        assert len(changed(tree_text(document), tree_text(other))) == 2, change


def test_a_new_last_child_changes_no_line_of_the_others():
    nodes = {0: replace(tiny().trees[0].nodes[0], children=(1, 2, 3)), 3: ReviewNode("b.jpg", 1)}
    assert changed(tree_text(tiny()), tree_text(tiny(nodes=nodes))) == ["+ |  - b.jpg  1 image"]


def test_names_from_the_data_never_add_a_line():
    plain, hostile = tree_text(small_document()), tree_text(hostile_document())
    assert hostile.count("\n") == plain.count("\n") == len(hostile.splitlines())
    assert [depth for depth, _ in node_lines(hostile)] == [depth for depth, _ in node_lines(plain)]
    assert all(line.isprintable() for line in hostile.split("\n"))


@pytest.mark.parametrize("name", ["Tree cat", "Table x", "- bird  9 images", "|  - mode 9", "digest: 00", "\udcff.jpg"])
def test_a_name_never_passes_for_a_line_of_another_kind(name):
    everywhere = ReviewDocument(
        name,
        "ab12",
        ((name, name),),
        (ReviewTree(name, {0: ReviewNode(name, 1, (), ((name, name),), (Bar(name, 1),), (Bar(name, 1),))}),),
        {name: ((name, name), (name, name))},
    )
    lines = tree_text(everywhere).encode().decode().splitlines()
    first_words = [re.split(r"[ :]", line)[0] if line[:1] not in (" ", "|") else line[0] for line in lines[1:]]
    assert first_words == [" ", " ", "", "Tree", "-", "|", "|", "", "Table", " ", " "]
    assert lines[1] == "  digest: ab12"
    assert not lines[2].startswith("  digest: ")
    assert len(node_lines("\n".join(lines[1:]))) == 1


@given(st.text(st.characters(), max_size=12))
@example('"a"')
@example("a  9 images")
@example("\\n")
@example("\ud800")
def test_a_quoted_name_is_printable_and_gives_the_name_back(name):
    shown = quoted(name)
    assert shown.isprintable()
    assert "  " not in shown or shown[0] == '"'
    assert (ast.literal_eval(shown) if shown.startswith('"') else shown) == name


def test_a_deep_chain_stays_readable():
    text = tree_text(deep_document(300))
    assert max(map(len, text.splitlines())) < 160
    indents = [len(NODE.match(line)[1]) for line in text.splitlines() if NODE.match(line)]
    assert max(indents) == 3 * INDENTED
    assert "…(depth 300) - photos/300.jpg  1 image" in text
    assert "…(depth 12)" not in text


def test_limited_depth_says_how_many_nodes_are_below():
    tree = large_document(300).trees[0]
    below = numbers_below(tree)
    lines = node_lines(tree_text(large_document(300), max_depth=2))
    upper = [number for number, depth in tree.preorder() if depth <= 2]
    hidden = sum(below[number] for number, depth in tree.preorder() if depth == 2)
    assert len(lines) == len(upper) == 300 - hidden
    said = [int(found[1]) for _, line in lines if (found := re.search(r"… (\d+) nodes? below$", line))]
    assert sum(said) == hidden > 0
    assert "below" not in tree_text(large_document(300))


def test_the_count_below_is_that_of_a_walk():
    tree = large_document(120).trees[0]

    def walk(number):
        return sum(1 + walk(child) for child in tree.nodes[number].children)

    assert numbers_below(tree) == {number: walk(number) for number in tree.nodes}


def test_table_columns_are_aligned_in_any_script():
    document = tiny(tables={"T": (("name", "n"), ("猫猫", "1"), ("e\u0301t", "22"), ("bird", "333"))})
    assert tree_text(document).endswith("Table T\n  name    n\n  猫猫    1\n  e\u0301t     22\n  bird  333\n")


def test_a_thousand_nodes_take_a_moment():
    document = large_document()
    start = time.perf_counter()
    text = tree_text(document)
    assert time.perf_counter() - start < 2
    assert len(node_lines(text)) == 1000


@pytest.mark.parametrize(
    ("value", "words"), [(0.42, "+0.42"), (-0.0, "+0"), (1234.0, "+1.23e+03"), (-0.12345, "-0.123"), (2e-6, "+2e-06")]
)
def test_contributions_have_a_sign_and_three_digits(value, words):
    assert signed(value) == words


def test_a_shortened_name_keeps_its_beginning_and_its_end():
    assert shortened("photos/0123456789.jpg", 11) == "photo…9.jpg"
    assert shortened("photos/1.jpg", 12) == "photos/1.jpg"
    assert [len(shortened("x" * 50, length)) for length in (1, 2, 3, 49)] == [1, 2, 3, 49]


def test_what_does_not_print_is_spelt_out():
    for name in HOSTILE_NAMES:
        assert one_line(name).isprintable()
    assert one_line("a\x1b[31m\u202eb\u2028\U000e0001 é猫") == "a\\x1b[31m\\u202eb\\u2028\\U000e0001 é猫"
