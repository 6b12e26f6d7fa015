"""Tiny data sets drawn into a folder, each in the very form in which the real one is distributed."""

import csv
import gzip
import hashlib
import json
import pickle
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from PIL import Image


def picture(height: int, width: int, seed: int) -> Image.Image:
    """A noise image, different for every seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def blob(height: int, width: int, x: float, y: float, sigma: float = 2.5) -> np.ndarray:
    """(H, W, 3) uint8, black but for a Gaussian spot at (x, y), where pixel i covers [i, i + 1)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    spot = 255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return np.repeat(spot[..., None], 3, axis=-1).round().astype(np.uint8)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


HEADER = ("image", "label", "split", "group", "head_x", "head_y", "head_w", "head_h", "left ear_x", "left ear_y")


def draw_part_folder(
    root: Path, classes: Sequence[str] = ("cat", "dog"), train: int = 8, validation: int = 0, test: int = 3
) -> Path:
    """Images of 24 x 32 (height x width), two in a group, whose head is at (4 + number, 6), left ear in even images."""
    rows = []
    for label in classes:
        for number in range(train + validation + test):
            split = "train" if number < train else "validation" if number < train + validation else "test"
            name = f"images/{label}/{label}{number:03}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            picture(24, 32, len(rows)).save(root / name)
            ear = (10, 12.5) if number % 2 == 0 else ("", "")
            rows.append((name, label, split, f"{label}-{split}-{number // 2}", 4 + number, 6, 5, 4, *ear))
    write_csv(root / "annotations.csv", HEADER, rows)
    return root


def draw_cub(root: Path) -> Path:
    """Three classes of four images of 40 x 50, two of them for training, with 15 parts, the second not visible."""
    folder = root / "CUB_200_2011"
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
    names = [
        *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape"),
        *("right eye", "right leg", "right wing", "tail", "throat"),
    ]
    (folder / "parts").mkdir(parents=True)
    images = [(c, f"{name}/{name[4:]}_{n:04}_{c * 4 + n}.jpg") for c, name in enumerate(classes) for n in range(4)]
    for number, (_, file) in enumerate(images):
        (folder / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        picture(40, 50, number).save(folder / "images" / file)

    def write(name: str, lines: Iterable[str]) -> None:
        (folder / name).write_text("".join(f"{line}\n" for line in lines))

    write("images.txt", (f"{i} {file}" for i, (_, file) in enumerate(images, 1)))
    write("classes.txt", (f"{i} {name}" for i, name in enumerate(classes, 1)))
    write("image_class_labels.txt", (f"{i} {c + 1}" for i, (c, _) in enumerate(images, 1)))
    write("train_test_split.txt", (f"{i} {int((i - 1) % 4 < 2)}" for i in range(1, len(images) + 1)))
    write("bounding_boxes.txt", (f"{i} 10.0 5.0 30.0 20.0" for i in range(1, len(images) + 1)))
    write("parts/parts.txt", (f"{i} {name}" for i, name in enumerate(names, 1)))
    write(
        "parts/part_locs.txt",
        (
            f"{i} {part} 0.0 0.0 0" if part == 2 else f"{i} {part} {10.0 + 2 * part} {4.0 + part + i / 10} 1"
            for i in range(1, len(images) + 1)
            for part in range(1, 16)
        ),
    )
    return folder


def draw_cifar10(root: Path, monkeypatch: Any) -> list[int]:
    """Six batches of ten images, the last for testing; torchvision is given their checksums for its own."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    rng = np.random.default_rng(0)

    def write(name: str, content: dict[str, Any]) -> str:
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    def batch(first: int) -> dict[str, Any]:
        labels = [(first + i) % 10 for i in range(10)]
        return {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": labels}

    cls = torchvision.datasets.CIFAR10
    train = [[f"data_batch_{n}", write(f"data_batch_{n}", batch(n))] for n in range(1, 6)]
    monkeypatch.setattr(cls, "train_list", train)
    monkeypatch.setattr(cls, "test_list", [["test_batch", write("test_batch", batch(3))]])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": write("batches.meta", {"label_names": names})})
    return [(n + i) % 10 for n in range(1, 6) for i in range(10)]


def draw_fashion_mnist(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """40 training and 20 test images as gzipped idx files beside their unpacked form; the training arrays."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for stem, count in (("train", 40), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        arrays[stem] = images, labels
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            raw = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            (folder / name).write_bytes(raw)
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
    return arrays["train"]


def draw_food101(
    root: Path, dishes: Sequence[str] = ("apple_pie", "ramen", "waffles"), train: int = 6, test: int = 2
) -> None:
    """A folder per dish, with the lists of images that Food-101 has in meta/."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for c, dish in enumerate(dishes):
        (folder / "images" / dish).mkdir(parents=True)
        for n in range(train + test):
            picture(20, 30, 100 * c + n).save(folder / "images" / dish / f"{n}.jpg")
            lists["train" if n < train else "test"].setdefault(dish, []).append(f"{dish}/{n}")
    for split, names in lists.items():
        (folder / "meta" / f"{split}.json").write_text(json.dumps(names))


def draw_image_folder(root: Path, counts: dict[str, dict[str, int]]) -> Path:
    """A folder per split, per class, with so many images."""
    for split, classes in counts.items():
        for label, count in classes.items():
            (root / split / label).mkdir(parents=True)
            for n in range(count):
                picture(16, 20, n).save(root / split / label / f"{n}.png")
    return root
