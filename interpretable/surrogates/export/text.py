"""Trees as text that is the same for the same document and changes by few lines where a node changes."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from interpretable.surrogates.export.review_tree import (
    STRONGEST,
    Bar,
    ReviewDocument,
    ReviewNode,
    ReviewTree,
    numbers_below,
)
from interpretable.words import counted, quoted, signed

INDENTED = 12
"""Levels drawn by indentation; a deeper node says its depth instead."""


def tree_text(document: ReviewDocument, max_depth: int | None = None) -> str:
    """Writes all trees and tables of a document as lines of plain text.

    A node has a line of its title, images and facts, then one of its strongest parts and one of its strongest filters.
    No line depends on the nodes beside it. Names hold whatever the data hold, so those that could pass for something
    else are quoted; lines of different kinds begin differently.

    Args:
        document: What the trees were read into.
        max_depth: Depth of the deepest nodes that are written, the root's being 0; all where omitted.
    """
    lines = [quoted(document.title), f"  digest: {document.digest}", *_pairs("  ", document.about)]
    for tree in document.trees:
        lines += ["", f"Tree {quoted(tree.name)}", *_tree_lines(tree, max_depth)]
    for title, table in document.tables.items():
        lines += ["", f"Table {quoted(title)}", *_table_lines(table)]
    return "\n".join(lines) + "\n"


def _tree_lines(tree: ReviewTree, max_depth: int | None) -> Iterator[str]:
    below = numbers_below(tree)
    for number, depth in tree.preorder():
        if max_depth is None or depth <= max_depth:
            yield from _node_lines(tree.nodes[number], depth, below[number] if depth == max_depth else 0)


def _node_lines(node: ReviewNode, depth: int, hidden: int) -> Iterator[str]:
    indent = "|  " * min(depth, INDENTED)
    mark = f"…(depth {depth}) " if depth > INDENTED else ""
    fields = [quoted(node.title), counted(node.images, "image"), *_pairs("", node.facts)]
    if hidden:
        fields.append(f"… {counted(hidden, 'node')} below")
    yield f"{indent}{mark}- " + "  ".join(fields)
    for kind, bars in (("parts", node.parts), ("filters", node.contributions)):
        if bars:
            yield f"{indent}|    {kind}: {_in_words(bars[:STRONGEST])}"


def _in_words(bars: Sequence[Bar]) -> str:
    return "  ".join(f"{quoted(bar.name)} {signed(bar.value)}" for bar in bars)


def _pairs(indent: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{indent}{quoted(name)}: {quoted(value)}" for name, value in pairs]


def _table_lines(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned: the first to the left, the others to the right."""
    rows = [[quoted(cell) for cell in row] for row in table]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            (" " * (width - _width(cell)) + cell) if place else cell + " " * (width - _width(cell))
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Columns of a terminal: Chinese, Japanese and Korean characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
