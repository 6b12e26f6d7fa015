"""A folder of images with part annotations in CSV files."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpretable.data.annotations import AnnotationTable, read_annotations
from interpretable.data.images import make_sample, open_image, open_masks
from interpretable.data.samples import Sample
from interpretable.data.splits import Split, check_split, choose_classes, rows_of_split
from interpretable.errors import DataError


class PartAnnotatedFolder:
    """Images with landmarks, boxes and masks of parts, from ``annotations.csv`` (form: ``read_annotations``).

    Where the folder holds ``masks/``, samples carry masks from ``masks/<image stem>/<part>.png``. Everything that is
    wrong with the tables, and a missing image, is found here; an image that cannot be decoded, or a landmark outside
    its image (0 <= x < width, 0 <= y < height), when that image is read.

    Args:
        root: the folder that image paths are relative to.
        split: train, validation or test. Where no row is for validation, it is taken from train by whole groups,
            stratified by class and by a fixed seed, so that all runs share it.
        annotations: a CSV file below root, or several, whose rows are concatenated.
        classes: names that select the images and order the labels; by default all labels of all splits, sorted.
        validation: share of the training images, used only where no row is for validation.

    Raises:
        DataError: a sentence with file and line for whatever is not as above.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Split = "train",
        annotations: str | Sequence[str] = ("annotations.csv",),
        classes: Sequence[str] | None = None,
        validation: float = 0.1,
    ) -> None:
        check_split(split)
        self.root = Path(root)
        files = (annotations,) if isinstance(annotations, str) else tuple(annotations)
        if not self.root.is_dir():
            raise DataError(
                f"root was expected to be a folder with {', '.join(files)}, but {root} is none; correct root"
            )
        table = read_annotations(self.root, files)
        names, labels = np.unique(table.labels, return_inverse=True)
        groups = np.unique(table.groups, return_inverse=True)[1]
        source = " and ".join(map(str, table.files))
        available = tuple(map(str, names))
        chosen = choose_classes(available, classes, source)
        _check_training_images(table, labels, chosen)
        rows = rows_of_split(split, table.splits, torch.from_numpy(labels), torch.from_numpy(groups), validation)
        rows = rows[np.isin(labels[rows], chosen)]
        if len(rows) == 0:
            raise DataError(
                f"{source}: no row of the chosen classes is in the split {split}; add some or choose others"
            )
        position = np.full(len(available), -1)
        position[list(chosen)] = np.arange(len(chosen))
        self.classes = tuple(available[i] for i in chosen)
        self.parts = table.parts
        self._table = table
        self._rows = rows
        self._labels = torch.from_numpy(position[labels[rows]])
        self._groups = torch.from_numpy(groups[rows])
        self._file_sizes = _file_sizes(self.root, table, rows)
        self._has_masks = (self.root / "masks").is_dir()
        if self._has_masks:
            _check_stems(table)

    @property
    def labels(self) -> Tensor:
        """(N,) int64, positions in classes."""
        return self._labels

    @property
    def groups(self) -> Tensor:
        """(N,) int64, comparable between splits of the same folder."""
        return self._groups

    def fingerprint(self) -> str:
        """Hex digest of classes, parts, image paths, labels, annotations and of the sizes of image and mask files."""
        digest = hashlib.sha256(repr((self.classes, self.parts, self._table.images[self._rows].tolist())).encode())
        digest.update(self._labels.numpy().tobytes() + self._groups.numpy().tobytes())
        digest.update(self._table.landmarks[self._rows].tobytes() + self._table.boxes[self._rows].tobytes())
        digest.update(self._file_sizes.tobytes())
        if self._has_masks:
            paths = sorted((self.root / "masks").rglob("*.png"))
            digest.update(
                repr([(path.relative_to(self.root).as_posix(), path.stat().st_size) for path in paths]).encode()
            )
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        name = str(self._table.images[row])
        image = open_image(self.root / name, self._table.where(row))
        landmarks = self._table.landmarks[row]
        outside = (landmarks < 0).any(axis=1) | (landmarks >= image.size).any(axis=1)
        if outside.any():
            part = int(np.argmax(outside))
            x, y = landmarks[part]
            self._table.fail(
                row,
                f"the landmark {self.parts[part]} at x={x:g}, y={y:g} is outside {name}, which has "
                f"{image.width}x{image.height} pixels; correct it or leave it empty",
            )
        masks = None
        if self._has_masks:
            folder = self.root / "masks" / PurePosixPath(name).stem
            masks = open_masks(folder, self.parts, (image.height, image.width))
        return make_sample(image, self._labels[index], int(index), landmarks, self._table.boxes[row], masks)


def _file_sizes(root: Path, table: AnnotationTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of the image of each row; a DataError for the first image that is not there."""
    try:
        return np.array([os.stat(root / name).st_size for name in table.images[rows].tolist()], dtype=np.int64)
    except OSError:
        row = next(int(row) for row in rows if not (root / str(table.images[row])).is_file())
        table.fail(row, f"the image {table.images[row]} was expected below {root}, but is not there; add it or its row")


def _check_training_images(table: AnnotationTable, labels: NDArray[np.int64], chosen: Sequence[int]) -> None:
    """Refuse a chosen label that only other splits have; a folder without training images is there to be tested on."""
    trained = np.unique(labels[table.splits == "train"])
    unknown = np.flatnonzero(np.isin(labels, chosen) & ~np.isin(labels, trained))
    if len(trained) and len(unknown):
        row = int(unknown[0])
        table.fail(
            row,
            f"the label {str(table.labels[row])!r} is unknown to the training images; correct it, add training images "
            "or choose other classes",
        )


def _check_stems(table: AnnotationTable) -> None:
    """Refuse two images that would share a folder of masks."""
    images, first = np.unique(table.images, return_index=True)
    stems = np.array([PurePosixPath(image).stem for image in images.tolist()], dtype=np.str_)
    _, position, inverse = np.unique(stems, return_index=True, return_inverse=True)
    shared = np.flatnonzero(position[inverse] != np.arange(len(stems)))
    if len(shared):
        row, before = int(first[shared[0]]), int(first[position[inverse[shared[0]]]])
        table.fail(
            row,
            f"masks of {table.images[row]} and of {table.images[before]} ({table.where(before)}) would share "
            f"masks/{stems[shared[0]]}; rename one of the images",
        )
