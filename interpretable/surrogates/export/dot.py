"""Trees in Graphviz' language; that program is not needed to write it."""

from interpretable.surrogates.export.review_tree import ReviewNode, ReviewTree, strongest
from interpretable.words import counted, one_line, shortened, signed

_LENGTH = 60
"""Characters of a line at most, for the boxes to stay readable."""

_HEAD = (
    "digraph tree {",
    '  graph [rankdir=LR, ranksep=0.6, nodesep=0.15, fontname="Helvetica", labelloc=t];',
    '  node [shape=box, style=rounded, color="#4477aa", fontname="Helvetica", fontsize=10];',
    '  edge [arrowhead=none, color="#999999"];',
)


def tree_dot(tree: ReviewTree) -> str:
    """Writes a tree as a directed graph: a line per node, named by its number, and one per edge to its children.

    A label has the node's title, its images, its facts and its strongest contributions.
    """
    lines = [*_HEAD, f"  label={_string([tree.name])};"]
    for number, _ in tree.preorder():
        lines.append(f"  n{number} [label={_string(_label(tree.nodes[number]))}];")
        lines += [f"  n{number} -> n{child};" for child in tree.nodes[number].children]
    return "\n".join([*lines, "}"]) + "\n"


def _label(node: ReviewNode) -> list[str]:
    facts = [f"{name}: {value}" for name, value in node.facts]
    bars = [f"{bar.name} {signed(bar.value)}" for bar in strongest(node)]
    return [node.title, counted(node.images, "image"), *facts, *bars]


def _string(lines: list[str]) -> str:
    """A quoted string of lines aligned to the left; in it, quotes, backslashes and entities would have a meaning."""
    short = (shortened(one_line(line), _LENGTH) for line in lines)
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in short)
    return '"' + "".join(f"{line}\\l" for line in escaped) + '"'
