"""Prints what growing a decision-mode tree costs, against growing it pair by pair, and as images grow.

The first table grows the same tree, with the same objective, in ways that score every pair of nodes in each step, and
asserts that the merges are the same. Two of them find a pair's mean direction by SLSQP, as public ports do, with
gradients by finite differences; they start from the mean gradient, nearer than the ports. One of the ports solves
every pair in each step, another keeps what it has solved for a pair while both nodes are there. The other two have the
direction in closed form: pair by pair in a loop, and for all pairs at once from matrix products.

The second table grows trees of more and more images of a few planted modes. Its floor is the two products of images
and gradients that every score follows from and one exponential for each image and node that it is scored with, at the
speeds that both have in this run. Peak memory is that of a further growth, since counting it takes time.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from itertools import combinations
from math import log
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from interpretable.surrogates.mode_growth import Merge, grow
from interpretable.surrogates.mode_rationale import LinearRationales, filter_scale, linear_rationales
from interpretable.surrogates.mode_tree import build_tree

MODES = 8
PENALTY = 1.0
SPARSITY = 1e-6
TOLERANCE = 1e-6
"""Of SLSQP, in the mean cosine; its own default, which the ports leave."""
GAIN_TOLERANCE = 1e-5
"""Nats that a merge's gain may be off where an optimiser found its direction."""
WIDE = 512
"""Filters of the larger sizes."""

Result = TypeVar("Result")
Direction = Callable[[Float[np.ndarray, "leaf filter"]], Float[np.ndarray, " filter"]]


def drawn(images: int, filters: int) -> LinearRationales:
    """Rationales of images of a few modes: each has its own group of filters, the others fire as it happens."""
    random = np.random.default_rng(0)
    mode, group = random.integers(MODES, size=images), np.arange(filters) * MODES // filters
    strength = random.lognormal(size=(images, MODES))
    strength[np.arange(images), mode] = 3
    sums = random.gamma(2, size=(images, filters)) * strength[:, group]
    own = random.gamma(4, size=filters) * (group == mode[:, None])
    slopes = own * random.normal(1, 0.3, size=own.shape) + 0.1 * random.normal(size=own.shape)
    return linear_rationales(sums, slopes, (sums * slopes).sum(1), filter_scale(sums))


def by_slsqp(gradients: Float[np.ndarray, "leaf filter"]) -> Float[np.ndarray, " filter"]:
    """The unit vector with the largest mean cosine to unit gradients."""
    mean = gradients.mean(0)
    found = minimize(
        lambda direction: -float(direction @ mean),
        mean,
        method="SLSQP",
        constraints={"type": "eq", "fun": lambda direction: float(direction @ direction) - 1},
        tol=TOLERANCE,
    )
    assert found.success, found.message
    direction: np.ndarray = found.x / np.linalg.norm(found.x)
    return direction


def in_closed_form(gradients: Float[np.ndarray, "leaf filter"]) -> Float[np.ndarray, " filter"]:
    """The same."""
    total = gradients.sum(0)
    direction: np.ndarray = total / np.linalg.norm(total)
    return direction


def pair_by_pair(own: LinearRationales, direction: Direction, keep: bool) -> list[Merge]:
    """Grows a tree by the whole objective of each pair in each step; `keep` keeps what a pair of nodes predicts."""
    count, temperature = len(own.scores), 1 / own.scores.mean()
    nodes: dict[int, np.ndarray] = {image: np.array([image]) for image in range(count)}  # lowest image first
    kept: dict[tuple[int, int], np.ndarray] = {}
    predicted = own.scores.copy()
    merges: list[Merge] = []

    def objective(values: Float[np.ndarray, " image"], number: int) -> float:
        exponents = temperature * values
        largest = exponents.max()
        partition = largest + np.log(np.exp(exponents - largest).sum())
        return float(exponents.sum() - count * partition) - PENALTY * number

    while len(nodes) > 1:
        before, best, highest = objective(predicted, len(nodes)), None, 0.0
        for pair in combinations(nodes, 2):
            images = np.concatenate([nodes[node] for node in pair])
            if pair not in kept or not keep:
                heights = own.features[images] @ direction(own.gradients[images])
                kept[pair] = heights + (own.scores[images] - heights).mean()
            changed = predicted.copy()
            changed[images] = kept[pair]
            gain = objective(changed, len(nodes) - 1) - before
            if gain > highest:
                best, highest = pair, gain
        if best is None:
            break
        merges.append(Merge(*best, highest))
        images = np.concatenate([nodes.pop(node) for node in best])
        predicted[images] = kept[best]
        nodes = dict(sorted({**nodes, count - 1 + len(merges): np.sort(images)}.items(), key=lambda node: node[1][0]))
    return merges


def all_pairs(own: LinearRationales) -> list[Merge]:
    """Grows a tree by scoring all pairs anew in each step, in O(N·k·D) for N images, k nodes and D filters."""
    count, temperature = len(own.scores), 1 / own.scores.mean()
    number, node = np.arange(count), np.arange(count)  # (node,) in the tree, (image,) place of its node
    merges: list[Merge] = []
    while len(number) > 1:
        belongs = (np.arange(len(number))[:, None] == node).astype(float)
        gradients, features, scores, sizes = (
            belongs @ values for values in (own.gradients, own.features, own.scores, np.ones(count))
        )
        products, inner = gradients @ own.features.T, gradients @ features.T  # (node, image), (node, node)
        gram = gradients @ gradients.T
        lengths = np.sqrt(np.diagonal(gram)[:, None] + 2 * gram + np.diagonal(gram))
        inner = np.diagonal(inner)[:, None] + inner + inner.T + np.diagonal(inner)
        intercepts = (scores[:, None] + scores - inner / lengths) / (sizes[:, None] + sizes)
        # What each image is predicted by the merge of its node with each other one, and, on its own, by its node.
        merged = (products + products[node, np.arange(count)]) / lengths[:, node] + intercepts[:, node]
        weights = np.exp(temperature * merged)
        weight = weights[node, np.arange(count)]
        change = (weights - weight) @ belongs.T
        change += change.T
        np.fill_diagonal(change, np.inf)
        first, second = np.unravel_index(change.argmin(), change.shape)
        gain = PENALTY - count * np.log1p(change[first, second] / weight.sum())
        if not gain > 0:
            break
        merges.append(Merge(int(number[first]), int(number[second]), float(gain)))
        node[node == second] = first
        node[node > second] -= 1
        number[first] = count - 1 + len(merges)
        number = np.delete(number, second)
    return merges


def incrementally(own: LinearRationales) -> list[Merge]:
    """Grows a tree as the package does."""
    return grow(own.features, own.gradients, own.scores, penalty=PENALTY)


WAYS: dict[str, Callable[[LinearRationales], list[Merge]]] = {
    "SLSQP, each pair in each step": lambda own: pair_by_pair(own, by_slsqp, keep=False),
    "SLSQP, each pair of nodes once": lambda own: pair_by_pair(own, by_slsqp, keep=True),
    "closed form, each pair in each step": lambda own: pair_by_pair(own, in_closed_form, keep=False),
    "closed form, all pairs at once in each step": all_pairs,
}


def seconds(run: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time of a call, which is what it takes alone, with one thread; and what the call returns."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def assert_same(ours: list[Merge], theirs: list[Merge], name: str) -> None:
    """The same nodes are merged in the same order, for the same gains."""
    assert [merge[:2] for merge in ours] == [merge[:2] for merge in theirs], name
    gains = ([merge.gain for merge in merges] for merges in (ours, theirs))
    assert np.allclose(*gains, rtol=0, atol=GAIN_TOLERANCE), name


def measure_peers(console: Console, sizes: list[tuple[int, int, list[str]]], turns: int) -> None:
    """Grows trees of so many images and filters in the ways that are named, each beside the package's."""
    table = Table(
        "images × filters", "way", "s", "÷ this package", title="the same tree, grown in other ways"
    )  # fmt: skip
    for images, filters, names in sizes:
        own = drawn(images, filters)
        incrementally(own)  # warms up
        taken: list[float] = []
        for name in names:
            theirs, merges = seconds(lambda name=name, own=own: WAYS[name](own))
            runs = [seconds(lambda own=own: incrementally(own)) for _ in range(turns)]
            assert_same(runs[0][1], merges, name)
            beside = statistics.median(run[0] for run in runs)
            taken.append(beside)
            table.add_row(f"{images} × {filters}", name, f"{theirs:.3g}", f"{theirs / beside:,.1f}")
        mine = statistics.median(taken)
        table.add_row("", f"this package ({len(merges)} merges)", f"{mine:.3g}", "1", end_section=True)
    console.print(table)
    console.print(f"The merges are the same, in the same order, for gains within {GAIN_TOLERANCE:g} nats.")


def exponentials(images: int, merges: list[Merge]) -> int:
    """Images times the nodes that they are scored with: all pairs of leaves, then each new node with every other."""
    sizes = [1] * images
    count = images * (images - 1)
    for place, merge in enumerate(merges):
        sizes.append(sizes[merge.first] + sizes[merge.second])
        others = images - place - 2
        count += sizes[-1] * others + images - sizes[-1]
    return count


def exponential_rate() -> float:
    """Exponentials per second of numbers that the cache holds."""
    values = np.linspace(-5, 0, 2**14)
    result = np.empty_like(values)
    times = [seconds(lambda: [np.exp(values, out=result) for _ in range(100)])[0] for _ in range(5)]
    return 100 * len(values) / min(times)


def products(own: LinearRationales) -> tuple[np.ndarray, np.ndarray]:
    """Of all gradients with all images and with one another."""
    return own.gradients @ own.features.T, own.gradients @ own.gradients.T


def peak_bytes(run: Callable[[], object]) -> int:
    """The most memory that a call holds at a time."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure_growth(console: Console, numbers: list[int], filters: int) -> None:
    """Grows and builds trees of so many images each."""
    table = Table(
        "images", "merges", "grow, s", "exponent", "floor, s", "÷ floor", "peak MB", "N × N arrays", "build, s",
        "with lasso, s", title=f"growth with the number of images, {filters} filters",
        caption="exponent: the power of the images that the time of growth follows from the row before. build: the "
        "rationale of every node, of all filters, and of those that the lasso of each merge selects.",
    )  # fmt: skip
    rate = exponential_rate()
    before: tuple[int, float] | None = None
    for images in numbers:
        own = drawn(images, filters)
        grown, merges = seconds(lambda own=own: incrementally(own))
        multiplied = min(seconds(lambda own=own: products(own))[0] for _ in range(3))
        floor = multiplied + exponentials(images, merges) / rate
        peak = peak_bytes(lambda own=own: incrementally(own))
        dense, sparse = (
            seconds(lambda own=own, merges=merges, way=way: build_tree(own, merges, way, SPARSITY))[0]
            for way in ("all", "sparse")
        )
        table.add_row(
            f"{images:,}",
            f"{len(merges):,}",
            f"{grown:.3g}",
            f"{log(grown / before[1]) / log(images / before[0]):.2f}" if before else "",
            f"{floor:.3g}",
            f"{grown / floor:.1f}",
            f"{peak / 1e6:.3g}",
            f"{peak / (8 * images**2):.1f}",
            f"{dense:.3g}",
            f"{sparse:.3g}",
        )
        before = images, grown
    console.print(table)
    console.print(f"{rate / 1e6:.0f} million exponentials per second.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="images of the trees that SLSQP grows")
    parser.add_argument("--filters", type=int, default=32, help="their filters")
    parser.add_argument("--looped", type=int, default=200, help="images of the tree grown pair by pair in closed form")
    parser.add_argument("--at-once", type=int, default=1000, help="images of the tree grown from matrix products")
    parser.add_argument("--growth", type=int, nargs="+", default=[100, 250, 500, 1000, 2000, 4000])
    parser.add_argument("--turns", type=int, default=5, help="growths by this package beside each other one")
    options = parser.parse_args()
    console = Console(width=120)
    console.print(f"CPU, one thread, numpy {np.__version__}")
    names = list(WAYS)
    sizes = [
        (options.images, options.filters, names),
        (options.looped, WIDE, names[2:]),
        (options.at_once, WIDE, names[3:]),
    ]
    with threadpool_limits(1):
        measure_peers(console, sizes, options.turns)
        measure_growth(console, options.growth, WIDE)


if __name__ == "__main__":
    main()
