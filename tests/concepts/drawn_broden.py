"""A tiny Broden drawn into a folder, in the very form in which the real one is distributed."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = {1: "black-c", 2: "wall", 3: "cat", 4: "head", 5: "eye", 6: "kitchen-s", 300: "striped"}
"""Labels by number; 300 needs the green channel."""

SIDE = 8  # of images; label images have half of it

Labels = list[np.ndarray | int]


def _map(*rows: str) -> np.ndarray:
    return np.array([[int(number) for number in row.split()] for row in rows])


WALL_AND_CAT = _map("2 2 3 3", "2 2 3 3", "2 2 3 3", "2 2 3 3")
WALL_ONLY = _map("2 2 0 0", "2 2 0 0", "2 2 0 0", "2 2 0 0")
HEAD = _map("0 0 4 4", "0 0 4 4", "0 0 0 0", "0 0 0 0")
EYE = _map("0 0 0 0", "0 0 0 5", "0 0 0 0", "0 0 0 0")
STRIPED = _map("300 0 0 0", "300 0 0 0", "300 0 0 0", "300 0 0 0")
BLACK, WALL = np.full((4, 4), 1), np.full((4, 4), 2)

IMAGES: dict[str, tuple[str, dict[str, Labels]]] = {
    # wall is an object and a material here; the eye lies on the head
    "ade20k/a.jpg": (
        "train",
        {"color": [BLACK], "object": [WALL_AND_CAT], "part": [HEAD, EYE], "material": [WALL_ONLY], "scene": [6]},
    ),
    "dtd/b.jpg": ("val", {"color": [BLACK], "texture": [300, 6]}),
    "ade20k/c.jpg": ("train", {}),
    "opensurfaces/d.jpg": ("train", {"material": [WALL], "texture": [STRIPED], "scene": [0]}),
}
CATEGORIES = ("color", "object", "part", "material", "scene", "texture")


def draw_broden(root: Path) -> Path:
    """Four images, one of them without labels, with the tables that count their labels."""
    images = root / "images"
    frequency: dict[tuple[str, int], int] = defaultdict(int)
    coverage: dict[tuple[str, int], float] = defaultdict(float)
    index = []
    for seed, (name, (split, labels)) in enumerate(IMAGES.items()):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
        cells = []
        for category in CATEGORIES:
            entries = []
            for number, label in enumerate(labels.get(category, []), 1):
                values = np.full((4, 4), label) if isinstance(label, int) else label
                for present in np.unique(values[values > 0]).tolist():
                    frequency[category, present] += 1
                    coverage[category, present] += float((values == present).mean())
                if isinstance(label, int):
                    entries.append(str(label))
                else:
                    entries.append(f"{name[:-4]}_{category}_{number}.png")
                    rgb = np.stack([label % 256, label // 256, np.zeros_like(label)], axis=-1)
                    Image.fromarray(rgb.astype(np.uint8)).save(images / entries[-1])
            cells.append(";".join(entries))
        index.append((name, split, SIDE, SIDE, SIDE // 2, SIDE // 2, *cells))
    _write(root / "index.csv", ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES), index)
    rows = []
    for number, name in NAMES.items():
        own = {category: frequency[category, number] for category in CATEGORIES if (category, number) in frequency}
        listed = ";".join(f"{category}({count})" for category, count in own.items())
        rows.append((number, name, listed, sum(own.values()), sum(coverage[c, number] for c in own), ""))
    _write(root / "label.csv", ("number", "name", "category", "frequency", "coverage", "syns"), rows)
    members = {c: sorted(number for category, number in frequency if category == c) for c in CATEGORIES}
    facts = [(c, min(m), max(m), len(m), sum(frequency[c, n] for n in m)) for c, m in members.items()]
    _write(root / "category.csv", ("name", "first", "last", "count", "frequency"), facts)
    for category, numbers in members.items():
        codes = [
            (code, n, NAMES[n], frequency[category, n], coverage[category, n]) for code, n in enumerate(numbers, 1)
        ]
        _write(root / f"c_{category}.csv", ("code", "number", "name", "frequency", "coverage"), codes)
    return root


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
