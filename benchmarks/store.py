"""Prints what writing a store of activations costs beside the plain forward pass over the same images.

The rows take turns within one run, so that a busy machine slows all of them. Images are random and in memory, so that
nothing but the network and the store is measured: with real decoding the shares are smaller. "floor" is the time that
the bytes of a row take at the speed at which this machine writes a large file.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from interpretable.activations import record_activations
from interpretable.models import InterpretableCNN

CLASSES = 10
RATIONALE_SHARE = 4
"""Rationales, which run the head again for each class, are timed on one image of so many."""


class RandomImages(Dataset[tuple[Tensor, int]]):
    """Images made once and held in memory."""

    classes = tuple(map(str, range(CLASSES)))

    def __init__(self, count: int, side: int) -> None:
        self.images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], index % CLASSES

    def fingerprint(self) -> str:
        """The same at every start."""
        return f"{len(self)} random images"


def in_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Wall times of each call, all of them once before it is the first one's turn again."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first turn warms up
                times[name].append(time.perf_counter() - start)
    return times


def write_speed(folder: Path) -> float:
    """Bytes a second of a large sequential write."""
    content = bytes(64 * 2**20)
    start = time.perf_counter()
    (folder / "content").write_bytes(content)
    return len(content) / (time.perf_counter() - start)


def measure(console: Console, backbone: str, side: int, images: int, batch: int, repeats: int) -> None:
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = InterpretableCNN(backbone, CLASSES).eval().to(device, memory_format=torch.channels_last)
    loader = DataLoader(RandomImages(images, side), batch_size=batch)
    sizes: dict[str, int] = {}

    @torch.inference_mode()
    def forward() -> None:
        for pictures, _ in loader:
            net(pictures.to(device)).cpu()

    fewer = DataLoader(RandomImages(images // RATIONALE_SHARE, side), batch_size=batch)

    def written(name: str, **options: object) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                record_activations(net, fewer if "rationales" in options else loader, folder, **options)
                sizes[name] = sum(path.stat().st_size for path in Path(folder).iterdir())

        return run

    runs = {
        "forward pass": forward,
        "peaks and positions": written("peaks and positions"),
        "with full maps": written("with full maps", maps=True),
        "with rationales of each label": written("with rationales of each label", rationales="label"),
        "with rationales of all classes": written("with rationales of all classes", rationales=tuple(range(CLASSES))),
    }
    times = in_turns(runs, repeats)
    with tempfile.TemporaryDirectory() as folder:
        speed = write_speed(Path(folder))
    table = Table(
        "", "images/s", "time / forward", "kB/image", "floor / forward",
        title=f"{backbone}, {side} px, {images} images in batches of {batch}, {net.num_channels} filters × 2 layers",
    )  # fmt: skip
    plain = [seconds / images for seconds in times["forward pass"]]
    for name, wall in times.items():
        count = images // RATIONALE_SHARE if "rationales" in name else images
        mine = [seconds / count for seconds in wall]
        share = statistics.median(a / b for a, b in zip(mine, plain, strict=True))
        size = sizes.get(name, 0) / count
        table.add_row(
            name,
            f"{1 / statistics.median(mine):.0f}",
            f"{share:.3f}",
            f"{size / 1e3:.1f}" if size else "",
            f"{1 + size / speed / statistics.median(plain):.3f}" if size else "",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="turns after the one that warms up")
    parser.add_argument(
        "--images", type=int, default=1024, help="images of the larger network; the small one has 4 times"
    )
    arguments = parser.parse_args()
    console = Console(width=120)
    measure(console, "resnet18", 128, arguments.images, 32, arguments.repeats)
    measure(console, "small", 64, 4 * arguments.images, 64, arguments.repeats)


if __name__ == "__main__":
    main()
