"""Images that a tiny network learns in seconds: squares of three colours, each with a stalk."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data.drawn import write_csv
from PIL import Image

SIDE = 64
COLOURS = {"apple": (220, 40, 30), "bud & <i>leaf": (40, 180, 60), "plum": (70, 50, 210)}
CLASSES = tuple(COLOURS)
PARTS = ("flesh", "stalk")
IMAGES = {"train": 12, "validation": 2, "test": 6}
"""Of each class."""


class Fruit(NamedTuple):
    pixels: Image.Image
    label: str
    split: str
    x: int
    y: int
    """Corner of the square, whose side is 16; the stalk above it is half as wide, dark or light in turn."""


def draw_fruit(root: Path) -> Path:
    """A part-annotated folder, in the order of the classes."""
    rows = []
    (root / "images").mkdir(parents=True)
    for number, fruit in enumerate(_fruits()):
        name = f"images/{number:03}.png"
        fruit.pixels.save(root / name)
        flesh, stalk = (fruit.x + 8, fruit.y + 8, 16, 16), (fruit.x + 8, fruit.y - 4, 8, 8)
        rows.append((name, fruit.label, fruit.split, name, *flesh, *stalk))
    columns = [f"{part}_{column}" for part in PARTS for column in ("x", "y", "w", "h")]
    write_csv(root / "annotations.csv", ("image", "label", "split", "group", *columns), rows)
    return root


def draw_fruit_without_parts(root: Path) -> Path:
    """The same images in a folder for each split and class."""
    for number, fruit in enumerate(_fruits()):
        folder = root / {"validation": "val"}.get(fruit.split, fruit.split) / fruit.label
        folder.mkdir(parents=True, exist_ok=True)
        fruit.pixels.save(folder / f"{number:03}.png")
    return root


def _fruits() -> Iterator[Fruit]:
    random = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        for number, split in enumerate(split for split, images in IMAGES.items() for _ in range(images)):
            pixels = random.integers(90, 140, (SIDE, SIDE, 3)).astype(np.uint8)
            x, y = (int(place) for place in random.integers(10, 40, 2))
            pixels[y : y + 16, x : x + 16] = colour
            pixels[y - 8 : y, x + 4 : x + 12] = (230, 220, 60) if number % 2 else (20, 20, 20)
            yield Fruit(Image.fromarray(pixels), label, split, x, y)
