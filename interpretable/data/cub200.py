"""CUB-200-2011 (Wah et al., Caltech-UCSD Birds-200-2011, CNS-TR-2011-001) as it is distributed."""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpretable.data.images import make_sample, open_image
from interpretable.data.samples import Sample
from interpretable.data.splits import Split, check_split, choose_classes, rows_of_split
from interpretable.errors import DataError


class CUB200:
    """Birds of 200 species with up to 15 visible parts, each a landmark without a box.

    Reads images.txt, classes.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, parts/parts.txt,
    parts/part_locs.txt and images/. The distribution has no validation split: it is taken from train, stratified by
    class and by a fixed seed, so that all runs share it. A part outside its image, or outside the crop, is not visible.

    Args:
        root: the folder CUB_200_2011, or the one that holds it.
        split: train, validation or test.
        classes: names as in classes.txt (``001.Black_footed_Albatross``) that select the images and order the labels.
        crop: whether an image is cut to its bird's bounding box, as in the papers on part filters.
        validation: share of the training images.

    Raises:
        DataError: a sentence for a missing folder or file and, with its line, for a row that is not as distributed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Split = "train",
        classes: Sequence[str] | None = None,
        crop: bool = True,
        validation: float = 0.1,
    ) -> None:
        check_split(split)
        self.root = _distribution(Path(root))
        names, files = _read_names(self.root / "classes.txt"), _read_names(self.root / "images.txt")
        position_of_class = {number: position for position, number in enumerate(names)}
        labels = _column(self.root / "image_class_labels.txt", files)
        unknown = np.flatnonzero(~np.isin(labels, list(names)))
        if len(unknown):
            raise DataError(
                f"{self.root / 'image_class_labels.txt'}:{unknown[0] + 1}: the class {labels[unknown[0]]:g} is not in "
                "classes.txt; unpack the distribution again"
            )
        positions = np.array([position_of_class[int(label)] for label in labels], dtype=np.int64)
        splits = np.where(_column(self.root / "train_test_split.txt", files) == 1, "train", "test")
        parts = _read_names(self.root / "parts" / "parts.txt")
        chosen = choose_classes(tuple(names.values()), classes, str(self.root / "classes.txt"))
        rows = rows_of_split(split, splits, torch.from_numpy(positions), torch.arange(len(files)), validation)
        rows = rows[np.isin(positions[rows], chosen)]
        if len(rows) == 0:
            raise DataError(f"{self.root}: no image of the chosen classes is in the split {split}; choose others")
        new_label = np.full(len(names), -1)
        new_label[list(chosen)] = np.arange(len(chosen))
        self.classes = tuple(tuple(names.values())[i] for i in chosen)
        self.parts = tuple(parts.values())
        self.crop = crop
        self._rows = rows
        self._files = [list(files.values())[row] for row in rows]
        self._labels = torch.from_numpy(new_label[positions[rows]])
        self._landmarks = _landmarks(self.root / "parts" / "part_locs.txt", len(files), len(parts))[rows]
        self._objects = _columns(self.root / "bounding_boxes.txt", len(files), 5)[rows, 1:]

    @property
    def labels(self) -> Tensor:
        """(N,) int64, positions in classes."""
        return self._labels

    @property
    def groups(self) -> Tensor:
        """(N,) int64; every image is a group of its own."""
        return torch.from_numpy(self._rows)

    def fingerprint(self) -> str:
        """Hex digest of classes, parts, image paths, labels, annotations, the crop and the sizes of the image files."""
        digest = hashlib.sha256(repr((self.classes, self.parts, self._files, self.crop)).encode())
        digest.update(self._labels.numpy().tobytes() + self._landmarks.tobytes() + self._objects.tobytes())
        digest.update(repr([path.stat().st_size for path in self._paths() if path.is_file()]).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        image = open_image(
            self.root / "images" / self._files[index], f"{self.root / 'images.txt'}:{self._rows[index] + 1}"
        )
        landmarks = self._landmarks[index]
        if self.crop:
            left, top, right, bottom = _pixels(self._objects[index], image.size)
            image = image.crop((left, top, right, bottom))
            landmarks = landmarks - np.array([left, top], dtype=np.float32)
        outside = (landmarks < 0).any(axis=1) | (landmarks >= image.size).any(axis=1)
        landmarks = np.where(outside[:, None], np.float32(np.nan), landmarks)
        boxes = np.full((len(self.parts), 4), np.nan, dtype=np.float32)
        return make_sample(image, self._labels[index], int(index), landmarks, boxes)

    def _paths(self) -> list[Path]:
        return [self.root / "images" / file for file in self._files]


def _distribution(root: Path) -> Path:
    """The folder CUB_200_2011: the root, or the one of that name in it."""
    found = next((folder for folder in (root, root / "CUB_200_2011") if (folder / "images.txt").is_file()), None)
    if found is None:
        raise DataError(
            f"root was expected to be the unpacked folder CUB_200_2011 or the one that holds it, but {root} has no "
            "images.txt; download CUB-200-2011 and set root"
        )
    return found


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path} was expected to be there, but is not; unpack the distribution of CUB-200-2011 again")
    return path.read_text(encoding="utf-8").splitlines()


def _read_names(path: Path) -> dict[int, str]:
    """Number to name, of lines that hold a number, a space and a name (which may hold spaces)."""
    pairs = [line.partition(" ") for line in _read_lines(path)]
    wrong = next((n for n, (number, _, name) in enumerate(pairs) if not (number.isdigit() and name.strip())), None)
    if wrong is not None:
        raise DataError(
            f"{path}:{wrong + 1}: a number and a name were expected, found {' '.join(pairs[wrong]).strip()!r}"
        )
    return {int(number): name.strip() for number, _, name in pairs}


def _columns(path: Path, rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, columns) numbers of a text file; a DataError with the line where there are others."""
    lines = _read_lines(path)
    try:
        table = np.array(" ".join(lines).split(), dtype=np.float64).reshape(len(lines), columns)
    except ValueError as error:
        wrong = next((n for n, line in enumerate(lines) if not _has_numbers(line, columns)), 0)
        raise DataError(f"{path}:{wrong + 1}: {columns} numbers were expected, found {lines[wrong]!r}") from error
    if len(table) != rows:
        raise DataError(f"{path} was expected to have {rows} lines, found {len(table)}; unpack the distribution again")
    return table


def _has_numbers(line: str, count: int) -> bool:
    try:
        return len([float(word) for word in line.split()]) == count
    except ValueError:
        return False


def _column(path: Path, files: dict[int, str]) -> NDArray[np.float64]:
    """The second number of each line, of which the first is the image's number, in the order of images.txt."""
    table = _columns(path, len(files), 2)
    other = np.flatnonzero(table[:, 0] != list(files))
    if len(other):
        row = int(other[0])
        raise DataError(
            f"{path}:{row + 1}: image {list(files)[row]} was expected as in images.txt, found {table[row, 0]:g}"
        )
    return table[:, 1]


def _landmarks(path: Path, images: int, parts: int) -> NDArray[np.float32]:
    """(N, P, 2) pixels, NaN where the part is not visible; lines are ordered by image, then by part."""
    table = _columns(path, images * parts, 5).reshape(images, parts, 5)
    return np.where(table[..., 4:] == 1, table[..., 2:4], np.nan).astype(np.float32)


def _pixels(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the whole pixels that a box (x, y, width, height) touches within an image."""
    x, y, width, height = box
    left, top = min(max(math.floor(x), 0), size[0] - 1), min(max(math.floor(y), 0), size[1] - 1)
    return (
        left,
        top,
        max(min(math.ceil(x + width), size[0]), left + 1),
        max(min(math.ceil(y + height), size[1]), top + 1),
    )
