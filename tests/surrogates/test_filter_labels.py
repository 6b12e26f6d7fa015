"""filters.csv: what a reviewer types is read back whatever spreadsheet it went through, and never lost."""

import codecs
import csv
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpretable.errors import SurrogateError
from interpretable.surrogates.filter_labels import (
    FilterLabel,
    merged,
    parts_of,
    read_labels,
    shielded,
    write_labels,
)

LABELS = [
    FilterLabel(0, "head", 0.8125),
    FilterLabel(1, "left ear", 0.5, "ear, left", 'says "ear"\nand no more'),
    FilterLabel(2),
    FilterLabel(3, "", None, "Schnauze", "süß; 100 %"),
]
HEADER = "filter,suggested_part,score,name,note"

# Beginnings and endings that a spreadsheet or a CSV reader may treat as its own, and any text between them.
SPECIAL = st.sampled_from(["", "=", "+", "-", "@", "'", "''", "\t", "\r", "\n", '"', ",", ";", " ", "＝", "\ufeff"])
TEXTS = st.builds("".join, st.tuples(SPECIAL, SPECIAL, st.text(max_size=8), SPECIAL))
SCORES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TABLES = st.dictionaries(st.integers(0, 30), st.tuples(TEXTS, SCORES, TEXTS, TEXTS), max_size=6).map(
    lambda rows: [FilterLabel(number, *cells) for number, cells in rows.items()]
)


def written(text: str | bytes, name: str = "filters.csv") -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(text: str | bytes, num_filters: int = 4) -> str:
    """The one sentence that a file is refused with."""
    path = written(text)
    with pytest.raises(SurrogateError) as refused:
        read_labels(path, num_filters)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.startswith(str(path))
    return sentence


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=TABLES)
def test_whatever_is_written_is_read_back_unchanged(labels, tmp_path):
    write_labels(tmp_path / "filters.csv", labels)
    assert read_labels(tmp_path / "filters.csv", 31) == labels


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=TABLES)
def test_no_cell_of_text_begins_as_a_formula(labels, tmp_path):
    write_labels(tmp_path / "filters.csv", labels)
    with open(tmp_path / "filters.csv", encoding="utf-8-sig", newline="") as file:
        _, *rows = csv.reader(file)
    assert len(rows) == len(labels)
    assert [cell for row in rows for cell in (row[1], row[3], row[4]) if cell[:1] in set("=+-@\t\r\n＝")] == []


def test_the_file_has_the_documented_form():
    write_labels(Path("new/filters.csv"), LABELS[:2])
    assert Path("new/filters.csv").read_bytes() == (
        codecs.BOM_UTF8
        + f'{HEADER}\n0,"head",0.8125,"",""\n1,"left ear",0.5,"ear, left","says ""ear""\nand no more"\n'.encode()
    )
    assert list(Path("new").iterdir()) == [Path("new/filters.csv")]


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("-", "'-"), ("@x", "'@x"), ("'=x", "''=x"), ("'plain'", "'plain'"), ("a=b", "a=b")],
)
def test_a_formula_is_led_by_a_quote_that_reading_takes_off_again(text, cell):
    write_labels(Path("filters.csv"), [FilterLabel(0, text, -0.5, text)])
    assert Path("filters.csv").read_text(encoding="utf-8-sig").splitlines()[1] == f'0,"{cell}",-0.5,"{cell}",""'
    assert read_labels("filters.csv", 1) == [FilterLabel(0, text, -0.5, text)]


def test_a_writer_that_fails_leaves_the_file_that_was_there():
    write_labels(Path("filters.csv"), LABELS)
    before = Path("filters.csv").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_labels(Path("filters.csv"), [FilterLabel(0, "\ud800")])
    assert Path("filters.csv").read_bytes() == before
    assert list(Path().iterdir()) == [Path("filters.csv")]


def spreadsheet(delimiter: str = ",", end: str = "\r\n", decimal: str = ".", order: str = "01234") -> str:
    """The labels as a spreadsheet saves them."""
    columns = [int(place) for place in order]
    rows = [HEADER.split(",")]
    for label in LABELS:
        score = "" if label.score is None else str(label.score).replace(".", decimal)
        rows.append([str(label.filter), label.suggested_part, score, label.name, label.note])
    lines = [delimiter.join('"' + row[column].replace('"', '""') + '"' for column in columns) for row in rows]
    return end.join([*lines, ""])


@pytest.mark.parametrize(
    "content",
    [
        spreadsheet().encode(),
        spreadsheet(end="\n").encode("utf-8-sig"),
        spreadsheet(delimiter=";", decimal=",").encode(),
        spreadsheet(delimiter="\t", decimal=",").encode("utf-16"),
        spreadsheet(order="43210").encode(),
        spreadsheet(end="\r").encode(),
        spreadsheet().replace('"filter"', '" Filter "').replace('"name"', '"NAME"').encode(),
        ("\r\n" + spreadsheet() + ",,,,,,\r\n\r\n,,\r\n").encode(),
        spreadsheet(end=",,\r\n").encode(),
        spreadsheet().replace('"3"', '"03"').replace('"1"', '" 1 "').replace("0.5", "5,0E-1").encode(),
    ],
    ids=["excel", "mark", "semicolons", "unicode-text", "reordered", "mac", "case", "empty-rows", "columns", "numbers"],
)
def test_what_spreadsheets_do_to_the_file_changes_nothing(content):
    assert read_labels(written(content), 4) == LABELS


def test_rows_may_be_left_out_reordered_or_end_early():
    path = written(f"{HEADER}\n3\n1,ear\n")
    assert read_labels(path, 4) == [FilterLabel(3), FilterLabel(1, "ear")]
    assert read_labels(written(f"{HEADER}\n"), 4) == []


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("4,,,,", r":2: there is no filter 4, the layer has the filters 0 to 3; correct the number or delete the row"),
        ("-1,,,,", r":2: there is no filter -1, the layer has"),
        ("999999999,,,,", r":2: there is no filter 999999999, the layer has"),
        ("1.5,,,,", r":2: the filter must be a whole number in digits alone, not '1\.5'; correct it"),
        ("2.0,,,,", r":2: the filter must be a whole number in digits alone, not '2\.0'"),
        ("2.000,,,,", r":2: the filter must be a whole number in digits alone, not '2\.000'"),
        ('"2,000",,,,', r":2: the filter must be a whole number in digits alone, not '2,000'"),
        ('"2,",,,,', r":2: the filter must be a whole number in digits alone, not '2,'"),
        ("2 000,,,,", r":2: the filter must be a whole number in digits alone, not '2 000'"),
        ("2'000,,,,", r""":2: the filter must be a whole number in digits alone, not "2'000\""""),
        ("one,,,,", r":2: the filter must be a whole number in digits alone, not 'one'"),
        (",head,,,", r":2: the filter must be a whole number in digits alone, not ''"),
        ("1_2,,,,", r":2: the filter must be a whole number in digits alone, not '1_2'"),
        ("2e0,,,,", r":2: the filter must be a whole number in digits alone, not '2e0'"),
        (f"{'1' * 5000},,,,", r":2: the filter must be a whole number in digits alone, not '1{5000}'"),
        ("0,head,1e400,,", r":2: the score must be a number, not '1e400'"),
        ("0,head,high,,", r":2: the score must be a number, not 'high'"),
        ("0,head,nan,,", r":2: the score must be a number, not 'nan'"),
        ("0,head,1.000.5,,", r":2: the score must be a number, not '1\.000\.5'"),
        ('0,,,,"a\nb"\n\n1,,x,,', r":5: the score must be a number, not 'x'"),
        ('0,,,"a\nb",\n1,,,,\n0,,,,', r":5: filter 0 has a row already, line 2; delete one"),
        ("0,,,,a note, with a comma", r":2: 'with a comma' stands in a column without a name; put it into the column"),
        ('0,,,,"never closed\n1,,,,\n', r":2: the row was expected to be CSV, but unexpected end of data; close its"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(row, sentence):
    assert re.search(rf"filters\.csv{sentence}", refusal(f"{HEADER}\n{row}\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "filter,score,name,note\n",
            ":1: the columns filter, suggested_part, score, name, note are expected, but sugg",
        ),
        (
            "filter;suggested_part;score;name\n0;;;\n",
            ":1: the columns .* are expected, but note is missing; put it back",
        ),
        (f"\n{HEADER},checked by\n", r":2: the columns .* are expected, but there is 'checked by' too; move what it"),
        (f"{HEADER},Name\n", ":1: the columns .* are expected, but name comes twice; delete or rename one of them"),
        ("0,head,0.5,,\n", ":1: the columns .* are expected, but filter is missing"),
        ("", " is empty; delete it and write it again"),
        ("\n,,\n", " is empty; delete it and write it again"),
        (
            f"{HEADER}\n0,,,,\n1,,,Schnäuzchen,\n".encode("cp1252"),
            ":3: the file was expected to be in UTF-8, but invalid",
        ),
    ],
)
def test_a_file_of_another_form_is_told_in_a_sentence(text, sentence):
    assert re.search(rf"filters\.csv{sentence}", refusal(text))


def test_a_missing_file_is_told():
    with pytest.raises(
        SurrogateError, match=r"^nowhere\.csv is missing; write it with `interpretable tree-labels RUN`"
    ):
        read_labels("nowhere.csv", 4)


@given(suggested=TABLES, existing=TABLES)
def test_nothing_that_a_person_wrote_is_lost_by_writing_again(suggested, existing):
    found = {label.filter: label for label in merged(suggested, existing)}
    assert all(
        (found[label.filter].name, found[label.filter].note) == (label.name, label.note)
        for label in existing
        if label.name or label.note
    )
    assert all(found[label.filter][:3] == label[:3] for label in suggested)
    assert merged(suggested, merged(suggested, existing)) == merged(suggested, existing)


def test_suggestions_are_renewed_and_filters_that_were_left_out_keep_theirs():
    existing = [FilterLabel(1, "old", 0.1, "ear", "why"), FilterLabel(2, "old", 0.1)]
    suggested = [FilterLabel(0, "head", 0.9), FilterLabel(1, "new", 0.7), FilterLabel(2)]
    assert merged(suggested, existing) == [
        FilterLabel(0, "head", 0.9),
        FilterLabel(1, "new", 0.7, "ear", "why"),
        FilterLabel(2),
    ]


def test_filters_are_of_the_part_the_reviewer_names_else_of_the_suggested_one():
    labels = [
        FilterLabel(3, "head", 0.5, " snout "),
        FilterLabel(12),
        FilterLabel(1, "head", 0.9, "  "),
        FilterLabel(0, "ear"),
        FilterLabel(2, "", None, "head"),
    ]
    assert list(parts_of(labels).items()) == [("ear", [0]), ("head", [1, 2]), ("snout", [3])]
    assert parts_of([]) == {}


@pytest.mark.parametrize("name", ["-", " - ", "'-"])
def test_a_dash_says_that_a_filter_is_no_part_and_stays_when_suggestions_are_renewed(name):
    existing = read_labels(written(f"{HEADER}\n0,head,0.5,,\n1,head,0.9,{name},background\n2,,,-,\n"), 4)
    assert parts_of(existing) == {"head": [0]}
    suggested = [FilterLabel(0, "head", 0.5), FilterLabel(1, "ear", 0.7), FilterLabel(2, "ear", 0.7), FilterLabel(3)]
    renewed = merged(suggested, existing)
    write_labels(Path("filters.csv"), renewed)
    assert parts_of(read_labels("filters.csv", 4)) == parts_of(renewed) == {"head": [0]}


@pytest.mark.parametrize("name", ["--", "-x", "–"])
def test_only_a_single_dash_says_so(name):
    assert parts_of([FilterLabel(0, "head", 0.5, name)]) == {name: [0]}


def test_labels_of_one_filter_keep_their_order():
    assert parts_of([FilterLabel(0, "head", None), FilterLabel(0, "ear", 0.5)]) == {"head": [0], "ear": [0]}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n", "＝1", "'=1", "''@"])
def test_what_a_spreadsheet_would_run_is_shielded_by_one_quote(text):
    assert shielded(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=b", "'a'", "1-1", " =1", "head"])
def test_other_texts_are_left_as_they_are(text):
    assert shielded(text) == text
