"""Prints what learning an explanatory graph costs, against node by node, and how far it is from what arithmetic takes.

The first table does one iteration of a small layer, and the choice of its nodes' parents, as one would first write it
(`explanatory_graph_loop.py`) and as the package does, in float64, and asserts that both find the same. The second fits
two layers of the size of VGG-16's top ones. Its floor is the arithmetic of every cell that a node's window covers, at
the speed of a matrix product in this run, and the exponentials of the parent choice, at the speed of `torch.exp`. The
third does one iteration of a layer with twice the images, filters and nodes.
"""

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from explanatory_graph_loop import Above, learning_iteration, parents_of_node
from rich.console import Console
from rich.table import Table
from torch import Tensor

from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, nodes_per_filter
from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.part_patterns import BLUR, WINDOW, Guidance, Patterns, blur, moved
from interpretable.surrogates.pattern_parents import CANDIDATES, choose_parents, guidance
from interpretable.surrogates.pattern_windows import infer, moments, windows

SIDE = 14
"""Cells of the maps along each axis."""
STRIDE = 16
PARENTS = 15
SAME = 1e-6
"""Relative difference up to which both ways find the same."""
PER_CELL = 24
"""Operations on a cell of a window: 3 for G and F · G, 1 for Σ G, 1 for r · F, 16 for sums, 3 for the maximum."""
PER_PAIR = 9
"""Operations on a triple of node, candidate and image beside the exponential: 8 for the distance, 1 to add."""

Result = TypeVar("Result")


def seconds(run: Callable[[], Result], turns: int = 1) -> tuple[float, Result]:
    """The least time of some calls on the clock, and what the last returns."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


def drawn_maps(images: int, filters: int, seed: int) -> Tensor:
    """Maps of sparse bumps, as trained filters give: three of them in each map, at places that differ a little."""
    random = torch.Generator().manual_seed(seed)
    base = torch.rand(filters, 3, 2, generator=random) * (SIDE - 1)
    places = base + torch.randn(images, 1, 3, 2, generator=random)
    cells = torch.arange(SIDE, dtype=torch.float32)
    along = torch.exp(-((cells - places[..., None]).square()) / 1.5)  # (image, filter, bump, axis, cell)
    return torch.einsum("icbh,icbw->ichw", along[..., 0, :], along[..., 1, :])


def measure_loop(console: Console, images: int, filters: int, turns: int) -> None:
    """One iteration of a small layer in both ways."""
    random = torch.Generator().manual_seed(1)
    nodes, upper = nodes_per_filter(SIDE, SIDE), 200
    blurred = blur(drawn_maps(images, filters, 0).double(), BLUR * SIDE)
    places = torch.rand(filters, nodes, 2, generator=random).double() * (SIDE - 1)
    patterns = Patterns(places, torch.full_like(places[..., 0], WINDOW * SIDE))
    displaced = torch.randn(images, upper, 2, generator=random).double()
    spreads = 1 + torch.rand(upper, generator=random).double()
    parents = torch.rand(filters * nodes, upper, generator=random).argsort(1)[:, :PARENTS].view(filters, nodes, PARENTS)

    def at_once() -> tuple[Patterns, Tensor, Tensor, float]:
        guided: Guidance = guidance(displaced, spreads, parents)
        seen = windows(blurred, patterns, guided)
        found, inferred = moments(blurred, seen), infer(seen, patterns, guided, SIDE, SIDE)
        after = moved(patterns, found, 1, SIDE**2)
        return after, inferred.cells, inferred.scores, float(found.objective)

    above = Above(displaced.numpy(), spreads.numpy())
    looped = partial(learning_iteration, blurred.numpy(), places.numpy(), patterns.spreads.numpy(), parents.numpy())
    slow, literal = seconds(lambda: looped(above, 1))
    fast, (after, cells, scores, objective) = seconds(at_once, turns)
    pairs = [
        (after.places.numpy(), literal.places),
        (after.spreads.numpy(), literal.spreads),
        (scores.numpy(), literal.scores),
        (np.array(objective), np.array(literal.objective)),
    ]
    off = max(float(np.abs(ours - theirs).max() / np.abs(theirs).max()) for ours, theirs in pairs)
    assert off < SAME
    assert (cells.numpy() == literal.cells).all()
    table = Table("one iteration", "node by node, s", "package, s", "ratio", "largest difference")
    what = f"{images} images, {filters} filters × {nodes} nodes"
    table.add_row(what, f"{slow:.3g}", f"{fast:.3g}", f"{slow / fast:.0f}", f"{off:.1e}")

    at = STRIDE * torch.stack([cells // SIDE, cells % SIDE], -1).double().flatten(1, 2)
    others = 224 * torch.rand(images, CANDIDATES, 2, generator=random).double()
    strength = scores.flatten(1)

    def one_by_one() -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            parents_of_node(strength[:, node].numpy(), at[:, node].numpy(), others.numpy(), PARENTS)
            for node in range(strength.shape[1])
        ]

    slow, chosen = seconds(one_by_one)
    fast, (numbers, strengths) = seconds(lambda: choose_parents(strength, at, others, PARENTS), turns)
    theirs = np.stack([found for _, found in chosen])
    off = float(np.abs(strengths.numpy() - theirs).max())
    assert off < SAME
    active = strength.sum(0).numpy() > 0
    assert (numbers.numpy() == np.stack([found for found, _ in chosen]))[active].all()
    table.add_row(f"its parents among {CANDIDATES}", f"{slow:.3g}", f"{fast:.3g}", f"{slow / fast:.0f}", f"{off:.1e}")
    console.print(table)


def speeds() -> tuple[float, float]:
    """Operations of a matrix product and exponentials, each per second."""
    square = torch.rand(1536, 1536)
    product, _ = seconds(lambda: square @ square, 5)
    values, out = torch.rand(2**16) - 5, torch.empty(2**16)
    exponentials, _ = seconds(lambda: [torch.exp(values, out=out) for _ in range(200)], 5)
    return 2 * 1536**3 / product, 200 * 2**16 / exponentials


def layers(images: int, filters: int) -> list[LayerMaps]:
    """Two layers of the same size."""
    return [
        LayerMaps(name, drawn_maps(images, filters, seed), ReceptiveField(196, STRIDE, STRIDE / 2), filters)
        for seed, name in enumerate(("conv5_2", "conv5_3"))
    ]


def measure_fit(console: Console, images: int, filters: int, iterations: int) -> None:
    """Fits two layers, with the share of the floor."""
    given, clock = layers(images, filters), []

    def track(items, what):
        clock.append((what, time.perf_counter()))
        yield from items
        clock.append((what, time.perf_counter()))

    whole, graph = seconds(
        lambda: ExplanatoryGraph(iterations=iterations, parents=PARENTS).fit(given, (224, 224), track=track)
    )
    nodes = graph.layers_[0].num_nodes
    operations, exponentials = speeds()
    side = int(2 * WINDOW * SIDE + 1) + 1
    cells = images * nodes * side**2 * iterations
    triples = images * nodes * CANDIDATES * iterations
    table = Table(
        "layer", "s", "floor, s", "÷ floor", title=f"{iterations} iterations of {images} images, {nodes} nodes"
    )
    for (what, start), (_, stop) in zip(clock[::2], clock[1::2], strict=True):
        floor = cells * PER_CELL / operations
        if what.endswith(given[0].name):
            floor += triples * (PER_PAIR / operations + 1 / exponentials)
        table.add_row(what, f"{stop - start:.1f}", f"{floor:.1f}", f"{(stop - start) / floor:.1f}")
    table.add_row("both, with the first and last pass", f"{whole:.1f}")
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        f"{operations / 1e9:.0f} Gflop/s, {exponentials / 1e9:.2f} G exponentials/s; peak {peak:,.0f} MiB, of which "
        f"{2 * given[0].maps.nbytes / 2**20:,.0f} the maps."
    )


def measure_growth(console: Console, images: int, filters: int) -> None:
    """One iteration of a single layer, and of larger ones."""
    table = Table("layer", "s", "÷ first", title="one iteration of the top layer")
    first = None
    for what, factors in {
        "as it is": (1, 1, 1),
        "2 × images": (2, 1, 1),
        "2 × filters": (1, 2, 1),
        "2 × nodes": (1, 1, 2),
    }.items():
        given = layers(factors[0] * images, factors[1] * filters)[1:]
        density = 0.1 * factors[2]
        fit = partial(ExplanatoryGraph(density, iterations=1).fit, given, (224, 224))
        taken, _ = seconds(fit, 3)
        first = first or taken
        table.add_row(what, f"{taken:.2f}", f"{taken / first:.2f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--filters", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--small", type=int, nargs=2, default=[50, 8], help="images and filters of the first table")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    console = Console(width=120)
    console.print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}")
    measure_loop(console, *options.small, options.turns)
    measure_fit(console, options.images, options.filters, options.iterations)
    measure_growth(console, max(1, options.images // 4), max(1, options.filters // 4))


if __name__ == "__main__":
    main()
