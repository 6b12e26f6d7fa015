"""Prints what MMD-critic costs beside other ways to choose prototypes, as the data grow, and what approximations lose.

The first table chooses prototypes of the USPS digits (usps.npz in the folder INTERPRETABLE_DATA) in each way on the
same arrays; the ways take turns, those of less than two seconds with the least of three calls. MMD² to all rows, of
equal weights, and the error of the nearest prototype on the test digits are measured the same way for all, in float64.
A package that is not there, or stops, has a row that says so. The kernel matrix alone is the whole of it, in float32:
one product, and the rest in place.

The second table lets fewer rows stand for all in the column means, and draws prototypes at random. The third fits drawn
clusters, each size in a process of its own. Its floor is the matrix products of the column means' tiles alone, at the
speed that tiles of that size have in that process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from mmd_critic_peers import Chosen, dense_kernel, in_memory, literal, mmd_critic_package, protodash
from rich.console import Console
from rich.table import Table
from scipy.spatial.distance import cdist
from torch import Tensor

from interpretable.exemplars.column_means import TILE
from interpretable.exemplars.mmd_critic import MMDCritic

GAMMA = 0.026
CRITICISMS = 40
CLUSTERS = 50
OURS, ALONE, PROTODASH = "this package", "kernel matrix alone", "AIX360's ProtoDash"
APPROXIMATIONS = (50, 410)
SAMPLES = (512, 2048)
RANDOM_PICKS = 20
PAUSE, SHORT = 0.5, 2.0
"""Seconds between two ways, and below which a call is repeated."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Digits(NamedTuple):
    """Digits, pixels from -1 to 1, and their numbers."""

    x: Float[np.ndarray, "image pixel"]
    y: Int[np.ndarray, " image"]
    test_x: Float[np.ndarray, "test pixel"]
    test_y: Int[np.ndarray, " test"]


class Size(NamedTuple):
    """Of drawn data, and what is chosen of them."""

    rows: int
    columns: int
    prototypes: int
    samples: int | None = None


SCALES = {rows: Size(rows, 512, 100) for rows in (5_000, 10_000, 20_000)}
LARGE = [Size(50_000, 512, 100), Size(1_000_000, 64, 50, 20_000)]


def digits() -> Digits:
    with np.load(Path(os.environ["INTERPRETABLE_DATA"]) / "usps.npz") as stored:
        train, test = (
            stored[name].reshape(len(stored[name]), -1).astype(np.float32) / np.float32(127.5) - 1
            for name in ("x_train", "x_test")
        )
        return Digits(train, stored["y_train"].astype(np.int64), test, stored["y_test"].astype(np.int64))


def kernel(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "first second"]:
    """All of it at once, in float64."""
    first, second = (rows.astype(np.float64) for rows in (first, second))
    values = first @ second.T
    values *= 2
    values -= (first * first).sum(1)[:, None]
    values -= (second * second).sum(1)
    values *= GAMMA
    return np.exp(values, out=values)


class Judge:
    """Measures sets of rows, each in the same way."""

    def __init__(self, data: Digits) -> None:
        self.data = data
        self.kernel_mean = kernel(data.x, data.x).mean()

    def mmd2(self, rows: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Between all digits and these, each of which counts as much unless there are weights."""
        weights = np.full(len(rows), 1 / len(rows)) if weights is None else weights
        means = kernel(self.data.x, rows).mean(0)
        return float(self.kernel_mean - 2 * weights @ means + weights @ kernel(rows, rows) @ weights)

    def error(self, chosen: Chosen) -> float:
        """Share of test digits whose nearest row, the first of equals, is another digit."""
        nearest = cdist(self.data.test_x, chosen.rows, "sqeuclidean").argmin(1)
        return float((chosen.labels[nearest] != self.data.test_y).mean())


def seconds(run: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def settled_seconds(run: Callable[[], Result]) -> tuple[float, Result]:
    """The least of three calls where they are short: threads of the way before spin for a while."""
    time.sleep(PAUSE)
    taken, result = seconds(run)
    if taken < SHORT:
        taken = min(taken, *(seconds(run)[0] for _ in range(2)))
    return taken, result


def ours(data: Digits, prototypes: int, criticisms: int = 0, **options: str | int | None) -> Chosen:
    critic = MMDCritic(prototypes, criticisms, gamma=GAMMA, **options).fit(data.x)
    numbers = critic.prototype_indices_
    return Chosen(data.x[numbers], data.y[numbers], critic.prototype_weights_ if "weights" in options else None)


def measure_peers(console: Console, data: Digits, judge: Judge, m: int, turns: int) -> None:
    """All ways by turns, ProtoDash in the first of them only."""
    given = (data.x, data.y, GAMMA)
    ways: dict[str, Callable[[int], Chosen | Tensor]] = {
        OURS: lambda m: ours(data, m),
        f" and {CRITICISMS} criticisms": lambda m: ours(data, m, CRITICISMS),
        " and weights": lambda m: ours(data, m, weights="nnls"),
        ALONE: lambda _: dense_kernel(torch.from_numpy(data.x), GAMMA),
        "sums kept, dense": lambda m: in_memory(*given, m),
        "J_b as written, dense": lambda m: literal(*given, m),
        "PyPI's mmd-critic": lambda m: mmd_critic_package(*given, m),
        PROTODASH: lambda m: protodash(*given, m),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Chosen] = {}
    absent: dict[str, str] = {}
    for turn in range(turns + 1):  # the first warms up
        for name, way in ways.items():
            if name in absent or (name == PROTODASH and turn != 1):
                continue
            try:
                taken, chosen = settled_seconds(lambda way=way, turn=turn: way(m if turn else 2))
            except ImportError as missing:
                absent[name] = f"not installed: {missing}"
            except (TypeError, ValueError) as stopped:
                absent[name] = f"stops: {stopped}"
            else:
                if turn:
                    times[name].append(taken)
                if turn and isinstance(chosen, Chosen):
                    results[name] = chosen
    table = Table(
        "way", "s", "÷ this package", "÷ matrix alone", "MMD²", "weighted", "1-NN error, %", "rows",
        title=f"{m} prototypes of USPS, {data.x.shape[0]} × {data.x.shape[1]}, γ = {GAMMA}, median of {turns} turns",
        caption=f"{PROTODASH} has one turn. Weighted: MMD² with the weights that the way gives its prototypes.",
    )  # fmt: skip
    for name in ways:
        if name in absent:
            continue
        columns = [f"{statistics.median(times[name]):.3g}"]
        for other in (OURS, ALONE):
            pairs = zip(times[name], times[other], strict=False)
            columns.append(f"{statistics.median(mine / theirs for mine, theirs in pairs):.3g}")
        if name in results:
            chosen = results[name]
            weighted = "" if chosen.weights is None else f"{judge.mmd2(chosen.rows, chosen.weights):.6f}"
            columns += [f"{judge.mmd2(chosen.rows):.6f}", weighted, f"{100 * judge.error(chosen):.2f}"]
            columns.append("the same" if np.array_equal(results[OURS].rows, chosen.rows) else "others")
        table.add_row(name, *columns, end_section=name == ALONE)
    console.print(table)
    for name, why in absent.items():
        console.print(f"{name} {why}")


def measure_approximations(console: Console, data: Digits, judge: Judge) -> None:
    """MMD² of what is chosen by column means over fewer rows, and of rows drawn at random."""
    most = max(APPROXIMATIONS)
    ways = {"exact": None} | {f"column means of {samples} rows": samples for samples in SAMPLES}
    sets = {name: [ours(data, most, colmean_samples=samples).rows] for name, samples in ways.items()}
    random = np.random.default_rng(0)
    sets[f"random, mean of {RANDOM_PICKS}"] = [
        data.x[random.permutation(len(data.x))[:most]] for _ in range(RANDOM_PICKS)
    ]
    headings = [heading for m in APPROXIMATIONS for heading in (f"MMD², {m} prototypes", "÷ exact")]
    table = Table("USPS", *headings, title="approximations")
    exact: dict[int, float] = {}
    for name, drawn in sets.items():
        columns = []
        for m in APPROXIMATIONS:
            mmd2 = statistics.mean(judge.mmd2(rows[:m]) for rows in drawn)
            columns += [f"{mmd2:.6f}", f"{mmd2 / exact.setdefault(m, mmd2):.2f}"]
        table.add_row(name, *columns)
    console.print(table)


def drawn_clusters(rows: int, columns: int) -> Float[np.ndarray, "row column"]:
    """Rows around a few centres, as far from them as the centres from one another."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(CLUSTERS, columns, generator=random)
    x = torch.empty(rows, columns)
    for some in x.split(2**14):
        some.normal_(generator=random)
        some += centres[torch.randint(CLUSTERS, (len(some),), generator=random)]
    return x.numpy()


def product_rate(columns: int) -> float:
    """Multiplications and additions per second of the products of tiles, one after the other."""
    side = TILE["cpu"]
    rows, out = torch.randn(8 * side, columns), torch.empty(side, side)
    tiles = rows.split(side)

    def all_pairs() -> None:
        for first in tiles:
            for second in tiles:
                torch.mm(first, second.T, out=out)

    return 2 * len(rows) ** 2 * columns / statistics.median(seconds(all_pairs)[0] for _ in range(7))


def grow(size: Size) -> None:
    """Fits data of one size, and prints what it took and the most memory that this process has held, as JSON."""
    x = drawn_clusters(size.rows, size.columns)
    stages: dict[str, float] = {}

    def track(items: Iterable[Item], what: str) -> Iterator[Item]:
        start = time.perf_counter()
        yield from items
        stages[what] = stages.get(what, 0) + time.perf_counter() - start

    critic = MMDCritic(size.prototypes, 0, colmean_samples=size.samples)
    before = resident("VmHWM")
    taken, _ = seconds(lambda: critic.fit(x, track=track))
    peak = resident("VmHWM")
    half = size.rows * (size.rows + TILE["cpu"]) / 2
    operations = 2 * size.columns * (half if size.samples is None else size.rows * size.samples)
    print(
        json.dumps(
            {"s": taken, "stages": stages, "before": before, "peak": peak, "operations": operations}
            | {"floor": operations / product_rate(size.columns)}
        )
    )


def resident(what: str) -> float:
    """MiB. Not ru_maxrss, which a child takes over from the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 2**10


def measure_growth(console: Console, sizes: list[Size]) -> None:
    table = Table(
        "rows × columns", "means over", "picks", "s", "of it means", "of it picks", "GFLOP", "floor, s", "share",
        "peak MiB", "before", title="growth with the data, γ by the median distance",
        caption="share: of the floor. before: MiB that imports and data have taken when the fit begins.",
    )  # fmt: skip
    for size in sizes:
        numbers = (size.rows, size.columns, size.prototypes, size.samples or 0)
        command = [sys.executable, __file__, "--only", *map(str, numbers)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        table.add_row(
            f"{size.rows:,} × {size.columns}",
            f"{size.samples or size.rows:,}",
            f"{size.prototypes}",
            f"{found['s']:.3g}",
            f"{found['stages']['column means']:.3g}",
            f"{found['stages']['prototypes']:.3g}",
            f"{found['operations'] / 1e9:,.0f}",
            f"{found['floor']:.3g}",
            f"{found['floor'] / found['s']:.2f}",
            f"{found['peak']:,.0f}",
            f"{found['before']:,.0f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototypes", type=int, default=410)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--scale", type=int, nargs="*", choices=SCALES, default=[*SCALES], help="rows of drawn data")
    parser.add_argument("--large", action="store_true", help="50,000 × 512 and 1,000,000 × 64 too")
    parser.add_argument("--only", type=int, nargs=4, help="fit one size, print what it took as JSON and stop")
    options = parser.parse_args()
    if options.only:
        rows, columns, prototypes, samples = options.only
        grow(Size(rows, columns, prototypes, samples or None))
        return
    console = Console(width=120)
    console.print(f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, numpy {np.__version__}")
    data = digits()
    judge = Judge(data)
    measure_peers(console, data, judge, options.prototypes, options.turns)
    measure_approximations(console, data, judge)
    measure_growth(console, [SCALES[rows] for rows in options.scale] + LARGE * options.large)


if __name__ == "__main__":
    main()
