"""Names and numbers as every export writes them: a name from the data never breaks its line."""

import re

from interpretable.surrogates.export.review_tree import Bar, ReviewNode, ReviewTree

STRONGEST = 3
"""Contributions that stand beside a node."""

_AMBIGUOUS = re.compile(r'^$|^ | $|  |: |["\\]')


def one_line(name: str) -> str:
    r"""A name with what does not print (line ends, terminal codes, direction marks) as ``\n``, ``\x1b``, ``\u202e``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def quoted(name: str) -> str:
    """A name as it is where that is clear, otherwise in quotes with escapes, so that it never passes for two fields."""
    if name.isprintable() and not _AMBIGUOUS.search(name):
        return name
    return '"' + one_line(name.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def shortened(name: str, length: int) -> str:
    """At most so many characters of a name: its beginning and its end, which a file's name is known by."""
    if len(name) <= length:
        return name
    kept = length - 1
    return name[: kept - kept // 2] + "…" + name[len(name) - kept // 2 :]


def signed(value: float) -> str:
    """A contribution to three significant digits."""
    return f"{value + 0.0:+.3g}"  # + 0.0: no negative zero


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def strongest(node: ReviewNode) -> tuple[Bar, ...]:
    """The contributions that stand for a node: of its parts where they are known, otherwise of its filters."""
    return (node.parts or node.contributions)[:STRONGEST]


def numbers_below(tree: ReviewTree) -> dict[int, int]:
    """How many nodes are below each node."""
    below: dict[int, int] = {}
    for number, _ in reversed(tree.preorder()):
        below[number] = sum(1 + below[child] for child in tree.nodes[number].children)
    return below
