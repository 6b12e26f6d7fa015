"""Whether a Broden folder is complete: its tables, the files they name, and on request every byte."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from interpretable.concepts.broden_tables import BrodenTables, Row, read_broden, read_rows
from interpretable.errors import DataError

PUBLISHED_IMAGES, PUBLISHED_LABELS = 63_305, 1_197
"""Rows of ``index.csv`` and of ``label.csv`` in each of the three published folders (Bau et al. 2017, table 1)."""

_PUBLISHED = re.compile(r"broden1_(224|227|384)")
_MEMBERSHIP = re.compile(r"(.+)\((\d+)\)")
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


class BrodenFacts(NamedTuple):
    """What was found, all of it as it should be."""

    images: int
    labels: int
    files: int
    """Images and label images that are there."""
    checksums: int
    """Files whose sha256 is that of the manifest."""


def verify_broden(root: str | os.PathLike[str], manifest: str | os.PathLike[str] | None = None) -> BrodenFacts:
    """Checks a Broden folder.

    ``label.csv``, ``category.csv`` and ``c_*.csv`` must count the same labels in the same images, and every file that
    ``index.csv`` names must be there; a folder with the name of a published one must have its numbers of images and
    labels.

    Args:
        root: The folder.
        manifest: A file as ``sha256sum`` writes it, paths relative to root; every file that it lists is read.

    Raises:
        DataError: The first thing that is not so.
    """
    tables = read_broden(root)
    if _PUBLISHED.fullmatch(tables.root.resolve().name):
        _check_published(tables)
    _check_counts(tables)
    files = [(image.line, name) for image in tables.images for name in image.files()]
    for line, name in files:
        if not (tables.root / "images" / name).is_file():
            raise DataError(
                f"{tables.root / 'index.csv'}:{line}: {name} was expected below {tables.root / 'images'}, but is not "
                "there; unpack Broden again"
            )
    checksums = 0 if manifest is None else _check_manifest(tables.root, Path(manifest))
    return BrodenFacts(len(tables.images), len(tables.numbers), len(files), checksums)


def _check_published(tables: BrodenTables) -> None:
    for table, found, published in (
        ("index.csv", len(tables.images), PUBLISHED_IMAGES),
        ("label.csv", len(tables.numbers), PUBLISHED_LABELS),
    ):
        if found != published:
            raise DataError(
                f"{tables.root / table} was expected to have the {published} rows of the published Broden, found "
                f"{found}; unpack it again, or give a set of your own another folder name"
            )


def _check_counts(tables: BrodenTables) -> None:
    """Refuse tables that count other labels, or in other images, than ``label.csv``."""
    members: dict[str, dict[int, int]] = {category: {} for category in tables.categories}
    for row in read_rows(tables.root / "label.csv", ("number", "name", "category", "frequency")):
        _add_memberships(row, members)
    for row in read_rows(tables.root / "category.csv", ("name", "first", "last", "count", "frequency")):
        category = row.cells["name"]
        images = members[category]
        counted = {
            row.whole("number"): row.whole("frequency")
            for row in read_rows(tables.root / f"c_{category}.csv", ("number", "frequency"))
        }
        differing = sorted(number for number, _ in counted.items() ^ images.items())
        if differing:
            raise DataError(
                f"{tables.root / f'c_{category}.csv'} and label.csv were expected to have the same labels in the same "
                f"numbers of images, but differ in label {differing[0]}; restore both files"
            )
        facts = {"first": min(images), "last": max(images), "count": len(images), "frequency": sum(images.values())}
        for column, found in facts.items():
            if row.whole(column) != found:
                row.fail(
                    f"{column} of {category} is {row.cells[column]}, but by label.csv it is {found}; restore both files"
                )


def _add_memberships(row: Row, members: Mapping[str, dict[int, int]]) -> None:
    """Adds the categories of a row of ``label.csv``, as ``name(images);name(images)``, to the labels of each."""
    total = 0
    for entry in row.cells["category"].split(";"):
        match = _MEMBERSHIP.fullmatch(entry)
        if match is None or match[1] not in members:
            row.fail(
                f"category was expected to name those of category.csv as name(images), found {entry!r}; restore both "
                "files"
            )
        members[match[1]][row.whole("number")] = int(match[2])
        total += int(match[2])
    if total != row.whole("frequency"):
        row.fail(f"frequency is {row.cells['frequency']}, but by its categories it is {total}; restore the file")


def _check_manifest(root: Path, manifest: Path) -> int:
    """Number of files that the manifest lists, once all of them are as it says."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{manifest} was expected to be a list of checksums as sha256sum writes it, but cannot be read ({error}); "
            "correct its path"
        ) from error
    for number, line in enumerate(lines, 1):
        entry = _CHECKSUM.fullmatch(line)
        if entry is None:
            raise DataError(f"{manifest}:{number}: a sha256 checksum, two spaces and a path were expected; correct it")
        if _sha256(root / entry[2], f"{manifest}:{number}") != entry[1].lower():
            raise DataError(f"{manifest}:{number}: {root / entry[2]} has another checksum; unpack Broden again")
    return len(lines)


def _sha256(path: Path, source: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{source}: {path} cannot be read ({error.strerror}); unpack Broden again") from error
