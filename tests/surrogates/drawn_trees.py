"""Trees without a network, in the shapes that a reviewer may meet, for the tests of every export."""

from collections.abc import Mapping, Sequence

import numpy as np

from interpretable.surrogates.export.review_tree import (
    ROOT,
    Bar,
    ParsePath,
    PathStep,
    ReviewDocument,
    ReviewNode,
    ReviewTree,
)

PARTS = ("beak", "head", "leg", "no part")
FILTERS = 16

HOSTILE_NAMES = (
    "<script>window.forged = 1</script>",
    '"quoted" \\ back\\slash\\',
    "two\nlines\r\n  mode 9  99 images",
    "red \x1b[31mansi\x1b[0m \x07 \x00 nul",
    "right-to-left \u202egnp.tac\u202c mark",
    "line\u2028separator\u2029 next\x85line",
    "$\\frac{1}{0}$ costs $5",
    "{record|<port> field}",
    "caf\u00e9 \u732b \U0001f426 \u03b1\u2218g",
    "</style><img src=x onerror=window.forged=1>&amp;&lt;",
    "{{ 7 * 7 }}{% raw %}",
    "tab\tand   spaces ",
    "",
    "photos/" + "very_long_name_" * 20 + ".jpg",
    "zero\u200bwidth \u2066isolate\u2069 \ufeffmark",
    "comment --> /* */ ]]> // #",
)
"""What a class, a part, a reviewer or a file may be called."""


def small_document() -> ReviewDocument:
    """A class with seven nodes on three levels, a filter tree of three nodes, tables and two test images."""
    return _document((_tree("bird", ((1, 2), (3, 4), (5, 6), (), (), (), ()), 0), _filter_tree()))


def wide_document(children: int = 12) -> ReviewDocument:
    """A root with many modes of two images each."""
    modes = tuple(range(1, children + 1))
    leaves = tuple((children + 2 * i - 1, children + 2 * i) for i in modes)
    return _document((_tree("bird", (modes, *leaves, *[()] * (2 * children)), 1),))


def deep_document(depth: int = 200) -> ReviewDocument:
    """A chain from which a leaf parts at every level; its deepest leaves are ``depth`` below the root."""
    chain = [child for level in range(depth) for child in ((2 * level + 1, 2 * level + 2), ())]
    return _document((_tree("bird", (*chain, ()), 2),))


def large_document(nodes: int = 1000) -> ReviewDocument:
    """A random tree of so many nodes."""
    random = np.random.default_rng(3)
    children: list[tuple[int, ...]] = [()]
    open_leaves = [ROOT]
    while len(children) < nodes:
        parent = open_leaves.pop(int(random.integers(len(open_leaves))))
        added = tuple(range(len(children), min(nodes, len(children) + int(random.integers(2, 5)))))
        children[parent] = added
        children += [()] * len(added)
        open_leaves += added
    return _document((_tree("bird", tuple(children), 3),))


def hostile_document(names: Sequence[str] = HOSTILE_NAMES) -> ReviewDocument:
    """The small tree with every name replaced by one that tries to be something else."""
    small = small_document()
    name = iter(names * 1000)
    trees = []
    for tree in small.trees:
        nodes = {
            number: ReviewNode(
                next(name),
                node.images,
                node.children,
                tuple((next(name), next(name)) for _ in node.facts),
                tuple(Bar(next(name), bar.value) for bar in node.contributions),
                tuple(Bar(next(name), bar.value) for bar in node.parts),
                node.filters,
                node.examples,
            )
            for number, node in tree.nodes.items()
        }
        paths = tuple(
            ParsePath(
                path.image,
                next(name),
                next(name),
                next(name),
                path.score,
                tuple(
                    PathStep(step.node, step.score, tuple(Bar(next(name), bar.value) for bar in step.contributions))
                    for step in path.steps
                ),
            )
            for path in tree.paths
        )
        trees.append(ReviewTree(next(name), nodes, paths))
    tables: Mapping[str, tuple[tuple[str, ...], ...]] = {
        next(name) + title: tuple(tuple(next(name) for _ in row) for row in table)
        for title, table in small.tables.items()
    }
    about = tuple((next(name), next(name)) for _ in small.about)
    return ReviewDocument(next(name), small.digest, about, tuple(trees), tables)


def _document(trees: tuple[ReviewTree, ...]) -> ReviewDocument:
    return ReviewDocument(
        title="Trees of animals_resnet18_interpretable",
        digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        about=(
            ("network", "resnet18, best of 30 epochs"),
            ("checkpoint", "sha256 5e884898da28047151d0e56f8dc62927"),
            ("data", "Creatures, 2 classes"),
            ("layer", "part2.mask"),
        ),
        trees=trees,
        tables={
            "bird per level": (
                ("level", "nodes", "prediction error", "fitness", "accuracy"),
                ("1", "1", "0.182", "0.421", "0.871"),
                ("2", "2", "0.094", "0.655", "0.902"),
                ("leaves", "4", "0.0121", "1", "0.96"),
            ),
            "Fidelity": (("surrogate", "depth", "fidelity", "accuracy"), ("FilterTree", "8", "0.93", "0.88")),
        },
    )


def _tree(name: str, children: tuple[tuple[int, ...], ...], seed: int) -> ReviewTree:
    """A decision-mode tree of this shape: one image for each leaf."""
    random = np.random.default_rng(seed)
    images, mean = np.zeros(len(children), int), np.zeros((len(children), FILTERS))
    for number in reversed(range(len(children))):  # children have higher numbers
        below = list(children[number])
        images[number] = images[below].sum() if below else 1
        mean[number] = (images[below] @ mean[below]) / images[number] if below else random.normal(0, 0.4, FILTERS)
    firsts = np.cumsum([not below for below in children]) - 1  # the image of each leaf
    nodes = {}
    for number, below in enumerate(children):
        leaf = not below
        title = name if number == ROOT else f"photos/{firsts[number]:03}.jpg" if leaf else f"mode {number}"
        order = np.argsort(-np.abs(mean[number]), kind="stable")
        nodes[number] = ReviewNode(
            title=title,
            images=int(images[number]),
            children=below,
            facts=() if leaf else (("\u0394 log E", f"{0.5 + number / 7:.3g}"), ("error", f"{1 / (1 + number):.3g}")),
            contributions=_bars(mean[number], order[:8]),
            parts=_part_bars(mean[number]),
            filters=tuple(order[:4].tolist()),
            examples=tuple(random.integers(0, images[ROOT], min(4, images[number])).tolist()),
        )
    paths = tuple(_path(image, name, children, mean, random) for image in range(2))
    return ReviewTree(name, nodes, paths)


def _path(
    image: int, name: str, children: tuple[tuple[int, ...], ...], mean: np.ndarray, random: np.random.Generator
) -> ParsePath:
    steps, number = [], ROOT
    while True:
        here = mean[number] + random.normal(0, 0.05, FILTERS)
        order = np.argsort(-np.abs(here), kind="stable")
        steps.append(PathStep(number, float(here.sum()), _bars(here, order[:5])))
        if not children[number]:
            break
        number = children[number][image % len(children[number])]
    decision = name if image == 0 else "cat"
    return ParsePath(image, f"test/{image:03}.jpg", name, decision, float(random.normal(2, 1)), tuple(steps))


def _bars(values: np.ndarray, order: np.ndarray) -> tuple[Bar, ...]:
    return tuple(Bar(f"filter {d} ({PARTS[d % len(PARTS)]})", float(values[d])) for d in order)


def _part_bars(values: np.ndarray) -> tuple[Bar, ...]:
    sums = [Bar(part, float(values[p :: len(PARTS)].sum())) for p, part in enumerate(PARTS)]
    return tuple(sorted(sums, key=lambda bar: -abs(bar.value)))


def _filter_tree() -> ReviewTree:
    nodes = {
        0: ReviewNode("filter 12 > 0.41", 40, (1, 2), (("decision", "bird"), ("impurity", "0.48")), filters=(12,)),
        1: ReviewNode("cat", 18, (), (("decision", "cat"), ("agreement", "0.944")), examples=(3, 4)),
        2: ReviewNode("bird", 22, (), (("decision", "bird"), ("agreement", "1")), examples=(0, 1, 2)),
    }
    path = ParsePath(0, "test/000.jpg", "bird", "bird", 0.98, (PathStep(0, 0.55), PathStep(2, 1.0)))
    return ReviewTree("FilterTree", nodes, (path,))
