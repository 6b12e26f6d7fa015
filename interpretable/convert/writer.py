"""A part-annotated folder written one image after the other, and there only once it is whole."""

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from interpretable.convert.names import checked_name
from interpretable.data.annotations import REQUIRED
from interpretable.data.splits import Split
from interpretable.errors import DataError

JPEG_QUALITY = 95
"""Of images that are cropped; those that are not are copied as they are."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One row of annotations.csv with its picture; a part that is not in ``landmarks`` is not annotated."""

    stem: str
    """File name without its ending, unique in the folder where there are masks."""
    image: PIL.Image.Image | Path
    """A picture to be written as JPEG, or a file to be copied."""
    size: tuple[int, int]
    """Width and height of the picture in pixels."""
    label: str
    split: Split
    group: str
    landmarks: Mapping[str, tuple[float, float]]
    """x, y in pixels of the picture."""
    box_sizes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Width and height of the box around the landmark."""
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """(H, W) of the picture."""


Step = TypeVar("Step")
"""A unit of a source that is read at once."""


class Conversion(Generic[Step]):
    """Writes a part-annotated folder while it is iterated over; ``len`` is the number of steps.

    Each step reads one unit of the source (a photograph, say) and may write any number of images; the iterator yields
    how many have been written so far. The folder is built beside the target under a temporary name and renamed after
    the last step; an error, an interrupt or an iteration given up leaves nothing behind. A landmark outside its picture
    is written as not annotated, its box with it.

    Args:
        source: what is converted, for messages.
        target: the folder to write, new or empty.
        parts: names of the parts in the order of their columns.
        steps: the units of the source.
        read: the annotated images of a unit.
        boxes: whether there are columns for the sizes of boxes.

    Raises:
        DataError: if the target holds anything, a name cannot be a file name, two images have one name, or no image
            was found.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        parts: Sequence[str],
        steps: Sequence[Step],
        read: Callable[[Step], Iterable[AnnotatedImage]],
        boxes: bool,
    ) -> None:
        self._source = source
        self._target = target.resolve()  # a link stays, and what it points at is filled
        _refuse_filled(self._target)
        self._parts = tuple(checked_name(part, "part", source) for part in parts)
        self._steps = steps
        self._read = read
        self._axes = "xywh" if boxes else "xy"

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[int]:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self._target.name}.", dir=self._target.parent) as temporary:
            folder = Path(temporary) / "folder"
            folder.mkdir()
            yield from self._write(folder)
            _refuse_filled(self._target)
            if self._target.is_dir():
                self._target.rmdir()  # a folder is not renamed onto another one on every system
            os.replace(folder, self._target)

    def _write(self, folder: Path) -> Iterator[int]:
        written: set[str] = set()
        with (folder / "annotations.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([*REQUIRED, *(f"{part}_{axis}" for part in self._parts for axis in self._axes)])
            for step in self._steps:
                for annotated in self._read(step):
                    name = self._name(annotated)
                    if name in written:
                        raise DataError(f"{self._source}: images of different names were expected, found two {name}")
                    written.add(name)
                    _write_picture(folder / name, annotated)
                    table.writerow([name, annotated.label, annotated.split, annotated.group, *self._cells(annotated)])
                yield len(written)
        if not written:
            raise DataError(
                f"{self._source} was expected to hold annotated objects that are large enough to be used, but holds "
                "none; choose another source"
            )

    def _name(self, annotated: AnnotatedImage) -> str:
        label, stem = (
            checked_name(name, what, self._source)
            for name, what in ((annotated.label, "class"), (annotated.stem, "file"))
        )
        ending = annotated.image.suffix if isinstance(annotated.image, Path) else ".jpg"
        return str(PurePosixPath("images", label, stem + ending))

    def _cells(self, annotated: AnnotatedImage) -> list[str]:
        """Numbers of each part as the shortest text that reads back as the same float32; empty where there are none."""
        cells: list[str] = []
        for part in self._parts:
            landmark = np.asarray(annotated.landmarks.get(part, (np.nan, np.nan)), dtype=np.float32)
            if not ((landmark >= 0) & (landmark < annotated.size)).all():
                cells += [""] * len(self._axes)
                continue
            sides = np.asarray(annotated.box_sizes.get(part, (np.nan, np.nan)), dtype=np.float32)
            numbers = [*landmark, *sides][: len(self._axes)]
            cells += ["" if np.isnan(number) else str(number) for number in numbers]
        return cells


def _write_picture(path: Path, annotated: AnnotatedImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(annotated.image, Path):
        shutil.copyfile(annotated.image, path)
    else:
        # Colours at full resolution: at half of it a small part would take on those of its surroundings.
        annotated.image.save(path, quality=JPEG_QUALITY, subsampling=0)
    for part, mask in annotated.masks.items():
        folder = path.parents[2] / "masks" / annotated.stem
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{part}.png")


def _refuse_filled(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        found = f"holds {min(path.name for path in target.iterdir())!r}" if target.is_dir() else "is a file"
        raise DataError(
            f"{target} was expected to be a new or an empty folder, but it {found}; choose another target or remove it"
        )
