"""What the review page is told of a document: plain values for JSON, with every name written once."""

from collections.abc import Mapping, Sequence
from typing import Any

from interpretable.surrogates.export.html_file import finite, header_data, lines
from interpretable.surrogates.export.review_tree import Bar, ParsePath, ReviewDocument, ReviewNode, ReviewTree
from interpretable.words import one_line


class Names:
    """Names by number: thousands of bars repeat a few hundred names."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Number of a name, the same for the same name."""
        return self._numbers.setdefault(name, len(self._numbers))

    def bars(self, bars: Sequence[Bar]) -> list[float | None]:
        """Number and value of each bar in turn."""
        return [part for bar in bars for part in (self.number(one_line(bar.name)), finite(bar.value))]

    def listed(self) -> list[str]:
        """All names in the order of their numbers."""
        return list(self._numbers)


def page_data(document: ReviewDocument, filter_names: Mapping[int, str]) -> dict[str, Any]:
    """All of a document as lists, dictionaries, strings and finite numbers.

    Bars are flat lists of name number and value in turn, numbers pointing into ``names``; a step of a path is a list of
    node, score and bars. What does not print in a name is written out, so that no name looks like another.

    Args:
        document: What is shown.
        filter_names: Of the filters of its nodes, by number; one without a name is called by its number.
    """
    names = Names()
    trees = [_tree(tree, names) for tree in document.trees]
    filters = sorted({number for tree in document.trees for node in tree.nodes.values() for number in node.filters})
    return {
        **header_data(document.title, document.digest, document.about, document.tables),
        "trees": trees,
        "filters": {number: one_line(filter_names.get(number, f"filter {number}")) for number in filters},
        "names": names.listed(),
    }


def _tree(tree: ReviewTree, names: Names) -> dict[str, Any]:
    return {
        "name": one_line(tree.name),
        "nodes": {number: _node(node, names) for number, node in tree.nodes.items()},
        "paths": [_path(path, names) for path in tree.paths],
    }


def _node(node: ReviewNode, names: Names) -> dict[str, Any]:
    return {
        "title": one_line(node.title),
        "images": node.images,
        "children": node.children,
        "facts": lines(node.facts),
        "contributions": names.bars(node.contributions),
        "parts": names.bars(node.parts),
        "filters": node.filters,
        "examples": node.examples,
    }


def _path(path: ParsePath, names: Names) -> dict[str, Any]:
    return {
        "image": path.image,
        "name": one_line(path.name),
        "label": one_line(path.label),
        "decision": one_line(path.decision),
        "score": finite(path.score),
        "steps": [[step.node, finite(step.score), names.bars(step.contributions)] for step in path.steps],
    }
