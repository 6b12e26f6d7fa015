"""Prints how fast Creatures are drawn on one core, against reading pixels that were drawn before.

The peer is the least that any data set on disk does: decoding a PNG of the same size with Pillow.
"""

import io
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from interpretable.data import Creatures

IMAGES = 200
BURSTS = 5


def images_per_second(read: Callable[[int], object]) -> float:
    """Median over bursts, which alternate between images so that none is drawn twice."""
    rates = []
    for burst in range(BURSTS):
        start = time.process_time()
        for index in range(burst * IMAGES, (burst + 1) * IMAGES):
            read(index)
        rates.append(IMAGES / (time.process_time() - start))
    return statistics.median(rates)


def encoded(creatures: Creatures, index: int) -> bytes:
    buffer = io.BytesIO()
    pixels = creatures[index]["image"].permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def main() -> None:
    torch.set_num_threads(1)
    table = Table("pixels", "drawn with parts, images/s", "PNG decoded, images/s", "ratio")
    for side in (32, 64, 128):
        creatures = Creatures(size=IMAGES * BURSTS, image_size=side)
        files = [encoded(creatures, index) for index in range(IMAGES)]
        drawn = images_per_second(lambda index, data=creatures: data[index])
        decoded = images_per_second(
            lambda index, files=files: Image.open(io.BytesIO(files[index % IMAGES])).convert("RGB").load()
        )
        table.add_row(f"{side}", f"{drawn:.0f}", f"{decoded:.0f}", f"{drawn / decoded:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
