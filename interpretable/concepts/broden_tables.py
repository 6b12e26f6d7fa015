"""The tables of a Broden folder: its labels, their categories and its images.

The form is that of the README which the folder comes with: ``label.csv`` lists all labels, ``category.csv`` the
categories and a ``c_<category>.csv`` the labels of each; ``index.csv`` lists the images with, in the column of a
category, the names of label images or the numbers of labels that the whole image has, separated by semicolons.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from interpretable.errors import DataError

LARGEST_NUMBER = 256 * 256 - 1  # of a label: two bytes of a pixel hold it


class BrodenImage(NamedTuple):
    """A row of ``index.csv``."""

    line: int
    name: str
    """Path below ``images``."""
    split: str
    size: tuple[int, int]
    """(sh, sw) of its label images."""
    labels: tuple[str | int, ...]
    """Of all categories: a label image below ``images``, or the number of a label that the whole image shows."""

    def files(self) -> list[str]:
        """The image and its label images, as paths below ``images``."""
        return [self.name, *(label for label in self.labels if isinstance(label, str))]


@dataclass(frozen=True)
class BrodenTables:
    """What the tables of a Broden folder say: L labels in Q categories, and its images."""

    root: Path
    numbers: tuple[int, ...]
    """(L,) as in the label images, increasing, at least 1."""
    names: tuple[str, ...]
    """(L,)."""
    categories: tuple[str, ...]
    """(Q,) in the order of ``category.csv``."""
    label_category: tuple[int, ...]
    """(L,) in 0..Q-1: of the categories that a label is in, the one in which it covers most (of equals the last)."""
    images: tuple[BrodenImage, ...]


class Row(NamedTuple):
    """A row of a table, which knows where it stands."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def fail(self, sentence: str) -> NoReturn:
        """Raise a DataError that names the row's file and line."""
        raise DataError(f"{self.path}:{self.line}: {sentence}")

    def whole(self, column: str) -> int:
        """The whole number in a column."""
        if not self.cells[column].isdecimal():
            self.fail(f"{column} was expected to be a whole number, found {self.cells[column]!r}; restore the file")
        return int(self.cells[column])

    def real(self, column: str) -> float:
        """The number in a column."""
        try:
            return float(self.cells[column])
        except ValueError:
            self.fail(f"{column} was expected to be a number, found {self.cells[column]!r}; restore the file")


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows, one at least, of a table that must have these columns; a DataError where it is not so."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}:1: the columns {', '.join(columns)} were expected, but {missing[0]} is missing; restore "
                    "the distributed file"
                )
            rows = [Row(path, reader.line_num, cells) for cells in reader]
    except OSError as error:
        raise DataError(
            f"{path} was expected to be a table of Broden, but cannot be read ({error.strerror}); unpack Broden again "
            "or correct root"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} was expected to be a CSV file in UTF-8, but {error}; restore it") from error
    if not rows:
        raise DataError(f"{path} was expected to have rows, but holds only a header; restore the distributed file")
    return rows


def read_broden(root: str | os.PathLike[str]) -> BrodenTables:
    """Reads the tables of a Broden folder, as far as they are needed to find and name the labels of its images.

    Raises:
        DataError: A table is missing or not of the form above; the sentence has its file and line.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(
            f"root was expected to be a folder as broden1_224.zip unpacks to, with index.csv and images, but {root} is "
            "none; download and unpack Broden or correct root"
        )
    categories = tuple(row.cells["name"] for row in read_rows(folder / "category.csv", ("name",)))
    labels = {row.whole("number"): row for row in read_rows(folder / "label.csv", ("number", "name"))}
    for number, row in labels.items():
        if not 1 <= number <= LARGEST_NUMBER:
            row.fail(f"number was expected to be 1 to {LARGEST_NUMBER}, found {number}; restore the file")
    covers: dict[int, tuple[float, int]] = {}  # of each label the largest coverage, and its category
    for category, name in enumerate(categories):
        for row in read_rows(folder / f"c_{name}.csv", ("number", "coverage")):
            number, found = row.whole("number"), (row.real("coverage"), category)
            covers[number] = max(covers.get(number, found), found)
    numbers = tuple(sorted(labels))
    lost = next((number for number in numbers if number not in covers), None)
    if lost is not None:
        labels[lost].fail(f"label {lost} was expected in one of the files c_*.csv, but is in none; restore them")
    return BrodenTables(
        root=folder,
        numbers=numbers,
        names=tuple(labels[number].cells["name"] for number in numbers),
        categories=categories,
        label_category=tuple(covers[number][1] for number in numbers),
        images=tuple(_images(folder / "index.csv", categories, labels)),
    )


def _images(path: Path, categories: Sequence[str], labels: Mapping[int, Row]) -> list[BrodenImage]:
    images = []
    for row in read_rows(path, ("image", "split", "sh", "sw", *categories)):
        entries = [entry for category in categories for entry in row.cells[category].split(";")]
        # A label that is too rare to have a number is 0.
        shown = tuple(int(entry) if entry.isdecimal() else entry for entry in entries if entry not in ("", "0"))
        unknown = next((label for label in shown if isinstance(label, int) and label not in labels), None)
        if unknown is not None:
            row.fail(f"label {unknown} was expected to be in label.csv, but is not; restore both files")
        size = row.whole("sh"), row.whole("sw")
        images.append(BrodenImage(row.line, row.cells["image"], row.cells["split"], size, shown))
    return images
