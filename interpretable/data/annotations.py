"""The rows of part-annotated CSV files as arrays; whatever is wrong with them is said with file and line."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from interpretable.errors import DataError

REQUIRED = ("image", "label", "split", "group")
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}

Strings = NDArray[np.str_]


@dataclass(frozen=True)
class AnnotationTable:
    """N rows and P parts; row n is what line ``lines[n]`` of ``files[file_of_row[n]]`` says."""

    images: Strings
    """(N,) paths relative to the root."""
    labels: Strings
    """(N,) class names."""
    splits: Strings
    """(N,) train, validation or test."""
    groups: Strings
    """(N,) names of the groups that are never split."""
    parts: tuple[str, ...]
    landmarks: NDArray[np.float32]
    """(N, P, 2) x and y in pixels, NaN where not annotated."""
    boxes: NDArray[np.float32]
    """(N, P, 4) cxcywh in pixels, NaN where not annotated."""
    files: tuple[Path, ...]
    file_of_row: NDArray[np.int64]
    lines: NDArray[np.int64]

    def where(self, row: int) -> str:
        """The file and line of a row, as ``path:line``."""
        return f"{self.files[self.file_of_row[row]]}:{self.lines[row]}"

    def fail(self, row: int, sentence: str) -> NoReturn:
        """Raise a DataError that names the row's file and line."""
        raise DataError(f"{self.where(row)}: {sentence}")


def read_annotations(root: Path, names: Sequence[str]) -> AnnotationTable:
    """Read CSV files under a root, rows one file after the other, parts in the order they first appear.

    Columns ``image, label, split, group`` and per part ``<part>_x, <part>_y`` (landmark) and where known ``<part>_w,
    <part>_h`` (size of the box around it), in pixels, empty = not annotated; other columns are ignored.

    Raises:
        DataError: for anything the columns above do not allow, with file and line.
    """
    tables = [_read_file(root / name) for name in names]
    parts = tuple(dict.fromkeys(part for table in tables for part in table.parts))
    table = AnnotationTable(
        images=np.concatenate([table.images for table in tables]),
        labels=np.concatenate([table.labels for table in tables]),
        splits=np.concatenate([table.splits for table in tables]),
        groups=np.concatenate([table.groups for table in tables]),
        parts=parts,
        landmarks=np.concatenate([_columns_of(parts, table.parts, table.landmarks) for table in tables]),
        boxes=np.concatenate([_columns_of(parts, table.parts, table.boxes) for table in tables]),
        files=tuple(table.files[0] for table in tables),
        file_of_row=np.repeat(np.arange(len(tables)), [len(table.lines) for table in tables]),
        lines=np.concatenate([table.lines for table in tables]),
    )
    _check_groups(table)
    return table


def _columns_of(parts: Sequence[str], own: Sequence[str], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (N, len(own), D) spread to the columns of all parts, NaN for the parts that this file lacks."""
    spread = np.full((len(values), len(parts), values.shape[-1]), np.nan, dtype=np.float32)
    spread[:, [parts.index(part) for part in own]] = values
    return spread


def _read_file(path: Path) -> AnnotationTable:
    header, lines, rows = _read_rows(path)
    parts = _parts_of(path, header)
    cells = {name: np.char.strip(np.array([row[i] for row in rows], dtype=np.str_)) for i, name in enumerate(header)}
    for name in REQUIRED:
        _refuse(path, lines, cells[name] == "", f"the column {name} is empty; fill it in every row")
    _check_paths(path, lines, cells["image"])
    known = np.isin(cells["split"], list(SPLIT_NAMES))
    _refuse(
        path, lines, ~known, "split was expected to be one of train, validation, val, test; found {}", cells["split"]
    )
    numbers = [_part_numbers(path, lines, cells, part) for part in parts]
    boxes = (np.stack(numbers, 1) if numbers else np.empty((len(lines), 0, 4))).astype(np.float32)
    landmarks = boxes[..., :2].copy()
    boxes[np.isnan(boxes).any(axis=-1)] = np.nan
    splits = np.where(cells["split"] == "val", "validation", cells["split"])
    return AnnotationTable(
        images=cells["image"],
        labels=cells["label"],
        splits=splits,
        groups=cells["group"],
        parts=parts,
        landmarks=landmarks,
        boxes=boxes,
        files=(path,),
        file_of_row=np.zeros(len(lines), dtype=np.int64),
        lines=lines,
    )


def _read_rows(path: Path) -> tuple[list[str], NDArray[np.int64], list[list[str]]]:
    """The header, and the line number and cells of every row that is not blank."""
    if not path.is_file():
        raise DataError(f"{path} was expected to be the annotation file, but there is none; check root and annotations")
    try:
        # utf-8-sig: spreadsheets write a byte order mark, which would otherwise become part of the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            numbered = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} was expected to be a CSV file in UTF-8, but {error}; save it as one") from error
    ragged = next(((line, row) for line, row in numbered if len(row) != len(header)), None)
    if ragged is not None:
        line, row = ragged
        raise DataError(f"{path}:{line}: the header has {len(header)} columns, this row has {len(row)}; quote commas")
    return header, np.array([line for line, _ in numbered], dtype=np.int64), [row for _, row in numbered]


def _parts_of(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """Parts in the order of their columns; a DataError where a column is missing or there twice."""
    parts = tuple(dict.fromkeys(name[:-2] for name in header if name.endswith(("_x", "_y"))))
    sized = [part for part in parts if f"{part}_w" in header or f"{part}_h" in header]
    required = (
        *REQUIRED,
        *(f"{part}_{axis}" for part in parts for axis in "xy"),
        *(f"{part}_{axis}" for part in sized for axis in "wh"),
    )
    missing = [name for name in required if name not in header]
    if missing:
        raise DataError(
            f"{path}:1: the columns {', '.join(required)} were expected, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; found {', '.join(header) or 'an empty file'}"
        )
    twice = sorted({name for name in required if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:1: the column {twice[0]} is there twice; keep one of them")
    return parts


def _part_numbers(path: Path, lines: NDArray[np.int64], cells: dict[str, Strings], part: str) -> NDArray[np.float64]:
    """(N, 4) x, y, w, h of a part, NaN where empty; w and h NaN where the file has no such columns."""
    absent = np.full(len(lines), "", dtype=np.str_)
    names = [f"{part}_{axis}" for axis in "xywh"]
    numbers = np.stack([_numbers(path, lines, name, cells.get(name, absent)) for name in names], axis=-1)
    empty = np.isnan(numbers)
    x, y, w, h = names
    _refuse(path, lines, empty[:, 0] != empty[:, 1], f"only one of {x} and {y} is filled; fill both or neither")
    _refuse(path, lines, empty[:, 2] != empty[:, 3], f"only one of {w} and {h} is filled; fill both or neither")
    _refuse(path, lines, empty[:, 0] & ~empty[:, 2], f"{w} and {h} need {x} and {y}, the centre of the box; fill them")
    small = (numbers[:, 2] <= 0) | (numbers[:, 3] <= 0)
    _refuse(path, lines, small, f"{w} and {h} were expected to be positive, or both empty")
    return numbers


def _numbers(path: Path, lines: NDArray[np.int64], name: str, cells: Strings) -> NDArray[np.float64]:
    filled = cells != ""
    values = np.full(len(cells), np.nan)
    try:
        values[filled] = cells[filled].astype(np.float64)
        wrong = filled & ~np.isfinite(values)
    except ValueError:
        wrong = filled & np.array([not _is_number(cell) for cell in cells])
    _refuse(path, lines, wrong, f"{name} was expected to be a number of pixels or empty; found {{}}", cells)
    return values


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _check_paths(path: Path, lines: NDArray[np.int64], images: Strings) -> None:
    """Refuse image paths that are absolute or lead out of the root."""
    leaves = np.array([_leaves_root(image) for image in images], dtype=bool)
    _refuse(path, lines, leaves, "image was expected to be a path below the root; found {}", images)


def _leaves_root(image: str) -> bool:
    absolute = PurePosixPath(image).is_absolute() or PureWindowsPath(image).is_absolute()
    return absolute or (".." in image and normpath(image).split("/")[0] == "..")


def _refuse(
    path: Path, lines: NDArray[np.int64], wrong: NDArray[Any], sentence: str, cells: Strings | None = None
) -> None:
    """Raise a DataError for the first wrong row; ``{}`` in the sentence stands for its cell."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{path}:{lines[row]}: {sentence if cells is None else sentence.format(repr(str(cells[row])))}")


def _check_groups(table: AnnotationTable) -> None:
    """Refuse a group whose rows are in more than one split."""
    _, first, group = np.unique(table.groups, return_index=True, return_inverse=True)
    other = np.flatnonzero(table.splits != table.splits[first[group]])
    if len(other):
        row, before = int(other[0]), int(first[group[other[0]]])
        table.fail(
            row,
            f"group {str(table.groups[row])!r} is in {table.splits[row]} here and in {table.splits[before]} at "
            f"{table.where(before)}; a group belongs to one split",
        )
