"""``filters.csv``: the part that each filter stands for, as measured and as a reviewer calls it in a spreadsheet."""

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
    """The reviewer's own name for the part; empty where the suggestion stands."""
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
        rows.writerow((number, _shielded(part), "" if score is None else score, _shielded(name), _shielded(note)))
    write_atomically(path, text.getvalue())


def read_labels(path: str | Path, num_filters: int) -> list[FilterLabel]:
    """Labels in the order of their rows; filters may be left out.

    Reads what spreadsheets make of the file: another delimiter, order of columns, line ending or decimal sign, a mark
    before the text, empty rows and columns.

    Raises:
        SurrogateError: There is no such file, a column is missing or unknown, a number is none, or a filter does not
            exist or comes twice.
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
        score = _number(path, line, "score", texts["score"]) if texts["score"].strip() else None
        number = _number(path, line, "filter", texts["filter"])
        if not (number.is_integer() and 0 <= number < num_filters):
            raise SurrogateError(
                f"{path}:{line}: there is no filter {texts['filter'].strip()}, the layer has the filters 0 to "
                f"{num_filters - 1}; correct the number or delete the row."
            )
        label = FilterLabel(
            int(number), _bare(texts["suggested_part"]), score, _bare(texts["name"]), _bare(texts["note"])
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


def part_names(labels: Iterable[FilterLabel]) -> dict[int, str]:
    """What each filter goes by, ascending: the reviewer's name, else the suggested part, else ``filter 12``."""
    return {label.filter: _part(label) or f"filter {label.filter}" for label in sorted(labels, key=_number_of)}


def parts_of(labels: Iterable[FilterLabel]) -> dict[str, list[int]]:
    """Filters of each named part, ascending, in the order of the parts' first filters; others are left out."""
    parts: dict[str, list[int]] = {}
    for label in sorted(labels, key=_number_of):
        if part := _part(label):
            parts.setdefault(part, []).append(label.filter)
    return parts


def _number_of(label: FilterLabel) -> int:
    return label.filter


def _part(label: FilterLabel) -> str:
    return label.name.strip() or label.suggested_part.strip()


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


def _number(path: Path, line: int, column: str, text: str) -> float:
    value = float(text.strip().replace(",", ".")) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        raise SurrogateError(f"{path}:{line}: the {column} must be a number, not {text.strip()!r}; correct it.")
    return value


def _shielded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
