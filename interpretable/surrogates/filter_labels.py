"""``filters.csv``: the part that each filter stands for, as measured and as a reviewer calls it in a spreadsheet.

A reviewer's name goes before the suggested part; the name ``-`` says that the filter stands for none.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from interpretable.errors import SurrogateError
from interpretable.files import write_atomically

FILE_NAME = "filters.csv"
COLUMNS = ("filter", "suggested_part", "score", "name", "note")
"""What each says is told at :class:`FilterLabel`; ``name`` and ``note`` are the reviewer's, and a name may be ``-``."""

NO_PART = "-"
"""The name of a filter that is no part, whatever was suggested."""

_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""What a spreadsheet may take for a formula, in the wide letters of East Asian ones too, with any quotes before it."""


class FilterLabel(NamedTuple):
    """What one filter is called."""

    filter: int
    suggested_part: str = ""
    """The part that its peaks hit most often; empty where none was measured."""
    score: float | None = None
    """How well the suggestion holds, finite: the filter's part purity."""
    name: str = ""
    """The reviewer's own name for the part; empty where the suggestion stands, ``-`` where the filter is no part."""
    note: str = ""
    """The reviewer's."""


def write_labels(path: Path, labels: Iterable[FilterLabel]) -> None:
    """Writes labels as CSV, atomically; texts that a spreadsheet would run as formulas are led by a quote."""
    text = io.StringIO(newline="")
    # Spreadsheets take UTF-8 without this mark for their own code page, and save the names garbled.
    text.write("\ufeff" + ",".join(COLUMNS) + "\n")
    # Every text in quotes: a lone carriage return would not be, and would end the row.
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    for number, part, score, name, note in labels:
        rows.writerow((number, shielded(part), "" if score is None else score, shielded(name), shielded(note)))
    write_atomically(path, text.getvalue())


def shielded(text: str) -> str:
    """A text led by a quote where a spreadsheet would run it as a formula, else as it is."""
    return f"'{text}" if _FORMULA.match(text) else text


def read_labels(path: str | Path, num_filters: int) -> list[FilterLabel]:
    """Labels in the order of their rows; filters may be left out.

    Reads what spreadsheets make of the file: another delimiter, order of columns, line ending or decimal sign of
    scores, a mark before the text, empty rows and columns.

    Raises:
        SurrogateError: There is no such file, a column is missing or unknown, a score is no number, or a filter is no
            whole number in digits alone, does not exist or comes twice.
    """
    path = Path(path)
    header, *rows = _rows(path)
    columns = _columns(path, header)
    labels: list[FilterLabel] = []
    lines: dict[int, int] = {}
    for line, cells in rows:
        if beyond := [cell for place, cell in enumerate(cells) if cell.strip() and place not in columns]:
            raise SurrogateError(
                f"{path}:{line}: {beyond[0].strip()!r} stands in a column without a name; put it into the column note, "
                "in quotes if it contains the delimiter."
            )
        texts = dict.fromkeys(COLUMNS, "") | {
            name: cells[place] for place, name in columns.items() if place < len(cells)
        }
        label = FilterLabel(
            _filter(path, line, texts["filter"].strip(), num_filters),
            _bare(texts["suggested_part"]),
            _score(path, line, texts["score"].strip()),
            _bare(texts["name"]),
            _bare(texts["note"]),
        )
        if label.filter in lines:
            raise SurrogateError(
                f"{path}:{line}: filter {label.filter} has a row already, line {lines[label.filter]}; delete one."
            )
        lines[label.filter] = line
        labels.append(label)
    return labels


def merged(suggested: Iterable[FilterLabel], existing: Iterable[FilterLabel]) -> list[FilterLabel]:
    """New suggestions and scores with the names and notes that a reviewer has typed, all of which are kept."""
    typed = {label.filter: label for label in existing if label.name or label.note}
    renewed = [
        label._replace(name=found.name, note=found.note) if (found := typed.pop(label.filter, None)) else label
        for label in suggested
    ]
    return renewed + list(typed.values())


def parts_of(labels: Iterable[FilterLabel]) -> dict[str, list[int]]:
    """Filters of each part, ascending, in the order of the parts' first filters; those of no part are left out.

    A part is what the reviewer calls it, else the suggested one.
    """
    parts: dict[str, list[int]] = {}
    for label in sorted(labels, key=lambda label: label.filter):
        name = label.name.strip()
        if name != NO_PART and (part := name or label.suggested_part.strip()):
            parts.setdefault(part, []).append(label.filter)
    return parts


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty, the header first."""
    if not path.is_file():
        raise SurrogateError(f"{path} is missing; write it with `interpretable tree-labels RUN`.")
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SurrogateError(
            f"{path}:{line}: the row was expected to be CSV, but {error}; close its quotes, or save the file again "
            "from a spreadsheet."
        ) from error
    if not rows:
        raise SurrogateError(f"{path} is empty; delete it and write it again with `interpretable tree-labels RUN`.")
    return rows


def _text(path: Path) -> str:
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SurrogateError(
            f"{path}:{line}: the file was expected to be in UTF-8, but {error.reason} is there; save it from the "
            "spreadsheet as CSV in UTF-8."
        ) from error


def _delimiter(text: str) -> str:
    """The one that finds most of the known columns in the first row that has any."""

    def found(delimiter: str) -> int:
        rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter)
        return len({_key(cell) for cell in next(rows, [])} & set(COLUMNS))

    return max(",;\t", key=found)


def _columns(path: Path, header: tuple[int, Sequence[str]]) -> dict[int, str]:
    """Place and name of each column that has a name."""
    line, cells = header
    names = {place: _key(cell) for place, cell in enumerate(cells) if cell.strip()}
    given = list(names.values())
    expected = f"the columns {', '.join(COLUMNS)} are expected"
    if missing := [name for name in COLUMNS if name not in given]:
        raise SurrogateError(f"{path}:{line}: {expected}, but {missing[0]} is missing; put it back.")
    for name in given:
        if name not in COLUMNS:
            raise SurrogateError(f"{path}:{line}: {expected}, but there is {name!r} too; move what it says to note.")
        if given.count(name) > 1:
            raise SurrogateError(f"{path}:{line}: {expected}, but {name} comes twice; delete or rename one of them.")
    return names


def _key(cell: str) -> str:
    return cell.strip().lower()


def _filter(path: Path, line: int, text: str, num_filters: int) -> int:
    # No signs within the number: 2,000 is 2 in one country and two thousand in another.
    if not _INTEGER.fullmatch(text):
        raise SurrogateError(
            f"{path}:{line}: the filter must be a whole number in digits alone, not {text!r}; correct it."
        )
    number = int(text)
    if not 0 <= number < num_filters:
        raise SurrogateError(
            f"{path}:{line}: there is no filter {text}, the layer has the filters 0 to {num_filters - 1}; correct the "
            "number or delete the row."
        )
    return number


def _score(path: Path, line: int, text: str) -> float | None:
    if not text:
        return None
    value = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise SurrogateError(f"{path}:{line}: the score must be a number, not {text!r}; correct it.")
    return value


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
