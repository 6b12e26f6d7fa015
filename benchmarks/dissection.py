"""Prints what network dissection costs per image, against the loops of the published tools, the floor and memory.

Maps are float16 after ReLU, of two kinds: noise, whose many maps above their threshold have a few pixels each, and
blobs of very different strengths, whose few have many. Labels are drawn in six layers, one a category. Each chunk of
images is drawn from its own seed, outside the time. The loops run on the first images of the chunk that ours runs on,
by turns, and their counts must be equal. The histogram's memory does not depend on the number of images at all; the
kept largest are 0.005 of the activations, up to 65,535 a filter. At 0 images the program itself is shown.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from interpretable.metrics import NetworkDissection, dissection_counts
from interpretable.metrics.quantiles import ActivationQuantile
from interpretable.receptive_field import ReceptiveField
from interpretable.upsampling import interpolation_weights

CELLS, IMAGE = 7, 224
FIELD = ReceptiveField(435, 32, 16.0)
WHOLE_IMAGE = (0, 4)
"""Categories of one label for the whole image, as Broden's scenes and textures."""
CATEGORIES = 6
QUANTILE = 0.005


class Sizes(NamedTuple):
    """What is measured."""

    filters: int
    concepts: int
    label_side: int
    batch: int
    kind: str = "noise"

    @property
    def category(self) -> Tensor:
        """Category of each concept, about as many in each."""
        return torch.arange(self.concepts) * CATEGORIES // self.concepts


def chunk(sizes: Sizes, seed: int) -> tuple[Tensor, Tensor]:
    """Maps (N, C, 7, 7) in float16 and label maps (N, Q, H, W) in int32 of the images of one chunk."""
    torch.manual_seed(seed)
    maps = torch.randn(sizes.batch, sizes.filters, CELLS, CELLS)
    if sizes.kind == "blobs":
        maps = F.avg_pool2d(maps, 3, stride=1, padding=1) * torch.randn(sizes.batch, sizes.filters, 1, 1).mul(2).exp()
    maps = maps.relu_().half()
    layers = []
    for category in range(CATEGORIES):
        members = (sizes.category == category).nonzero().flatten()
        blocks = 1 if category in WHOLE_IMAGE else 4
        drawn = members[torch.randint(0, len(members), (sizes.batch, blocks, blocks))]
        drawn[torch.rand(drawn.shape) < 0.4] = -1
        repeats = sizes.label_side // blocks
        layers.append(drawn.int().repeat_interleave(repeats, 1).repeat_interleave(repeats, 2))
    return maps, torch.stack(layers, 1)


def weights(sizes: Sizes) -> np.ndarray:
    return interpolation_weights(CELLS, sizes.label_side, FIELD, IMAGE).numpy()


def by_label(maps: Tensor, thresholds: Tensor, label_maps: Tensor, sizes: Sizes) -> tuple[np.ndarray, ...]:
    """Image by image, filter by filter and label by label, each map upsampled and each pair of masks compared."""
    along, category, cutoffs = weights(sizes), sizes.category.numpy(), thresholds.numpy()
    intersection = np.zeros((sizes.filters, sizes.concepts), np.int64)
    unit_area = np.zeros((sizes.filters, CATEGORIES), np.int64)
    concept_area = np.zeros(sizes.concepts, np.int64)
    for image, labels in zip(maps.float().numpy(), label_maps.numpy(), strict=True):
        shown = [label for label in np.unique(labels) if label >= 0]
        regions = {label: (labels == label).any(0) for label in shown}
        for label in shown:
            concept_area[label] += regions[label].sum()
        for c in range(sizes.filters):
            mask = along @ image[c] @ along.T > cutoffs[c]
            for q in {category[label] for label in shown}:
                unit_area[c, q] += mask.sum()
            for label in shown:
                intersection[c, label] += (mask & regions[label]).sum()
    return intersection, unit_area, concept_area


def by_filter(maps: Tensor, thresholds: Tensor, label_maps: Tensor, sizes: Sizes) -> tuple[np.ndarray, ...]:
    """Image by image and filter by filter; maps below the threshold skipped, labels counted by one bincount a mask."""
    along, category, cutoffs = weights(sizes), sizes.category.numpy(), thresholds.numpy()
    intersection = np.zeros((sizes.filters, sizes.concepts), np.int64)
    unit_area = np.zeros((sizes.filters, CATEGORIES), np.int64)
    concept_area = np.zeros(sizes.concepts, np.int64)
    for image, labels in zip(maps.float().numpy(), label_maps.numpy(), strict=True):
        areas = np.bincount(labels.ravel() + 1, minlength=sizes.concepts + 1)[1:]
        concept_area += areas
        shown = np.unique(category[areas > 0])
        for c in range(sizes.filters):
            if image[c].max() > cutoffs[c]:
                mask = along @ image[c] @ along.T > cutoffs[c]
                unit_area[c, shown] += mask.sum()
                intersection[c] += np.bincount(labels[:, mask].ravel() + 1, minlength=sizes.concepts + 1)[1:]
    return intersection, unit_area, concept_area


def seconds(run: Callable[[], object]) -> float:
    """Processor time of a call; with one thread, what it takes on a machine that does nothing else."""
    start = time.process_time()
    run()
    return time.process_time() - start


def read_rate() -> float:
    """Bytes per second at which a tensor that no cache holds is summed."""
    big = torch.ones(2**26)
    return big.nbytes / min(seconds(big.sum) for _ in range(5))


def measure_time(console: Console, sizes: Sizes, few: int, turns: int) -> None:
    maps, label_maps = chunk(sizes, 0)
    count = 64 * sizes.batch * CELLS**2
    kept, counted = (ActivationQuantile(sizes.filters, QUANTILE, each) for each in (count, None))
    for seed in range(4):  # the first chunks fill the kept ones
        for metric in (kept, counted):
            metric.update(chunk(sizes, seed)[0])
    thresholds = kept.compute()
    assert torch.equal(thresholds, counted.compute())
    geometry = (sizes.category, CATEGORIES, FIELD, (IMAGE, IMAGE))

    def ours(images: int) -> tuple[Tensor, ...]:
        return dissection_counts(maps[:images], thresholds, label_maps[:images], *geometry)

    expected = ours(few)
    for loop in (by_label, by_filter):
        for mine, theirs in zip(expected, loop(maps[:few], thresholds, label_maps[:few], sizes), strict=True):
            assert np.array_equal(mine.numpy(), theirs), loop.__name__
    first = (maps[:few], thresholds, label_maps[:few], sizes)
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "loop over filters, labels": (lambda: by_label(*first), few),
        "loop over filters, bincount": (lambda: by_filter(*first), few),
        "quantile, kept largest": (lambda: kept.update(maps), sizes.batch),
        "quantile, histogram": (lambda: counted.update(maps), sizes.batch),
        "tally": (lambda: ours(sizes.batch), sizes.batch),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, (run, images) in runs.items():
            times[name].append(seconds(run) / images)
    for way in ("kept largest", "histogram"):
        passes = zip(times[f"quantile, {way}"], times["tally"], strict=True)
        times[f"both passes, {way}"] = [sum(pair) for pair in passes]
    floor = maps[0].nbytes / read_rate()
    table = Table(
        "per image",
        "ms",
        "label loop",
        "bincount loop",
        "floors",
        title=f"{sizes.kind}, {sizes.filters} filters of {CELLS}×{CELLS}, {sizes.concepts} concepts at "
        f"{sizes.label_side}×{sizes.label_side}, {sizes.batch} images a chunk",
        caption="The loops as multiples of each row, and each row as a multiple of reading the maps once.",
    )
    slow, fast = list(runs)[:2]
    for name, taken in times.items():
        peers = (
            statistics.median(theirs / mine for theirs, mine in zip(times[peer], taken, strict=True))
            for peer in (slow, fast)
        )
        median = statistics.median(taken)
        table.add_row(name, f"{1e3 * median:.3f}", *(f"{peer:.1f}" for peer in peers), f"{median / floor:.0f}")
    table.add_row("reading the maps once", f"{1e3 * floor:.4f}")
    console.print(table)
    console.print(f"The counts of all three are the same on {few} images.")


def stream(sizes: Sizes, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    for seed in range(images // sizes.batch):
        yield chunk(sizes, seed)


def dissect(sizes: Sizes, images: int, exact: bool) -> None:
    """Both passes over so many images, then the most memory that this process has held, in MB, on standard output."""
    quantile = ActivationQuantile(sizes.filters, QUANTILE, images * CELLS**2 if exact else None)
    for maps, _ in stream(sizes, images):
        quantile.update(maps)
    metric = NetworkDissection(quantile.compute(), sizes.category, CATEGORIES, FIELD)
    for maps, label_maps in stream(sizes, images):
        metric.update(maps, label_maps, (IMAGE, IMAGE))
    metric.compute()
    # Not ru_maxrss, which a child takes over from the process that started it.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1e3)


def measure_memory(console: Console, sizes: Sizes, numbers: list[int]) -> None:
    # glibc else keeps freed megabytes in pieces, and the peak creeps up by what nobody holds.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    table = Table("images", "histogram, peak MB", "kept largest, peak MB", "maps' MB", title="memory of both passes")
    for images in numbers:
        peaks = []
        for way in ("histogram", "kept"):
            command = [sys.executable, __file__, *sys.argv[1:], "--only", way, "--images", str(images)]
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            peaks.append(f"{float(output):.0f}")
        table.add_row(f"{images}", *peaks, f"{2 * images * sizes.filters * CELLS**2 / 1e6:.0f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=512)
    parser.add_argument("--concepts", type=int, default=1000)
    parser.add_argument("--label-side", type=int, default=56, help="pixels of a label map's side, a multiple of 4")
    parser.add_argument("--batch", type=int, default=128, help="images of a chunk")
    parser.add_argument("--few", type=int, default=2, help="images that the loops run on")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--images", type=int, nargs="*", default=[0, 1024, 4096, 16384], help="to show the memory at")
    parser.add_argument("--only", choices=["histogram", "kept"], help="print the peak memory of one run and stop")
    options = parser.parse_args()
    sizes = Sizes(options.filters, options.concepts, options.label_side, options.batch)
    torch.set_num_threads(1)
    if options.only:
        dissect(sizes, options.images[0], options.only == "kept")
        return
    console = Console()
    console.print(f"CPU, one thread, torch {torch.__version__}")
    for kind in ("noise", "blobs"):
        measure_time(console, sizes._replace(kind=kind), options.few, options.turns)
    if options.images:
        measure_memory(console, sizes, options.images)


if __name__ == "__main__":
    main()
