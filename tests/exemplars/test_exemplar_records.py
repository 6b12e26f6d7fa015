import re
from pathlib import Path
from typing import Any

import pytest
from edited_documents import Change, at, edit, pop, put
from pydantic import ValidationError

from interpretable.documents import read_document, write_document
from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_records import (
    FILE_NAME,
    CriticismRecord,
    ErrorsRecord,
    ExemplarAbout,
    ExemplarsRecord,
    PrototypeRecord,
    SelectionRecord,
)

ABOUT = ExemplarAbout(
    checkpoint="12ab",
    data="34cd",
    split="test",
    features="filter peaks of part_layer",
    layer="part_layer",
    classes=("ant", "bée 🐝"),
    versions={"torch": "2.10"},
)

ERRORS = ErrorsRecord(
    prototypes=(0.5, 0.25, 0.125), random_mean=(0.6, 0.4, 0.3), random_deviation=(0.1, 0.05, 0.0), all_rows=0.1
)


def selection(name: str = "ant", **changes: Any) -> SelectionRecord:
    fields: dict[str, Any] = {
        "name": name,
        "images": 40,
        "gamma": 0.026,
        "kernel_mean": 0.3,
        "off_diagonal_ratio": 11.7,
        "regularizer_weight": 0.0035,
        "mmd2": (0.2, 0.05, -1e-9),
        "random_mmd2_mean": (0.4, 0.2, 0.1),
        "random_mmd2_deviation": (0.1, 0.05, 0.0),
        "prototypes": tuple(
            PrototypeRecord(index=i, label="ant", group=-i, witness=0.001 * (-1) ** i, weight=1 / 3) for i in (7, 3, 12)
        ),
        "criticisms": tuple(
            CriticismRecord(index=i, label="ant", group=5, witness=-0.2, log_residual=-0.5) for i in (3, 30)
        ),
    }
    return SelectionRecord(**{**fields, **changes})


def document() -> ExemplarsRecord:
    return ExemplarsRecord(
        about=ABOUT,
        parameters={"n_prototypes": 3, "gamma": "median", "local": True, "colmean_samples": None, "weight": 1.0},
        selections=(selection(), selection("bée 🐝", criticisms=())),
        errors=ERRORS,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_document(tmp_path / FILE_NAME, document())
    return tmp_path / FILE_NAME


def test_what_is_written_is_read_back_equal(path: Path) -> None:
    assert path.name == "prototypes.json"
    found = read_document(path, ExemplarsRecord)
    assert found == document().model_copy(update={"digests": found.digests})
    assert set(found.digests) == {"schema_version", "about", "parameters", "selections[0]", "selections[1]", "errors"}
    assert found.selections[0].prototypes[2].weight == 1 / 3


def test_the_same_choice_makes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_document(tmp_path / "b.json", read_document(path, ExemplarsRecord))
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()


def test_an_image_that_was_chosen_stands_on_a_line_by_itself(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert sum('"weight": 0.3' in line for line in lines) == 6
    assert sum('"log_residual"' in line for line in lines) == 2
    assert all(line.count('"index"') <= 1 for line in lines)


def test_one_prototype_of_one_image_is_enough(tmp_path: Path) -> None:
    one = selection(
        images=1,
        mmd2=(0.0,),
        random_mmd2_mean=(0.0,),
        random_mmd2_deviation=(0.0,),
        prototypes=selection().prototypes[:1],
        criticisms=(),
        regularizer_weight=0.0,
        off_diagonal_ratio=0.0,
    )
    record = ExemplarsRecord(about=ExemplarAbout(features="pixels"), parameters={}, selections=(one,))
    write_document(tmp_path / "p", record)
    found = read_document(tmp_path / "p", ExemplarsRecord)
    assert (found.selections, found.errors) == ((one,), None)


def test_an_image_may_be_a_prototype_and_a_criticism_of_different_rows() -> None:
    shared = selection()
    assert {exemplar.index for exemplar in shared.prototypes} & {exemplar.index for exemplar in shared.criticisms}


def test_a_class_may_have_the_name_of_a_filter_but_no_filter_is_there_twice() -> None:
    fields: dict[str, Any] = {"about": ABOUT, "parameters": {}}
    of_filters = tuple(selection(f"filter {number}", filter=number, layer="part_layer") for number in (3, 4))
    found = ExemplarsRecord(selections=(selection("filter 3"), *of_filters), **fields)
    assert [(one.name, one.filter) for one in found.selections] == [
        ("filter 3", None),
        ("filter 3", 3),
        ("filter 4", 4),
    ]
    with pytest.raises(ValidationError, match=r"selections\[2\]\.name is filter 3 once more"):
        ExemplarsRecord(selections=(*of_filters, of_filters[0]), **fields)


def test_a_missing_file_is_told_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(
        ExemplarError, match=r"prototypes\.json is missing; write it with `interpretable prototypes RUN"
    ):
        read_document(tmp_path / FILE_NAME, ExemplarsRecord)


def test_a_file_that_breaks_off_is_refused_with_the_field_it_breaks_off_in(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    names = set(re.findall(r'"(\w+)":', content))
    for end in {*range(0, len(content) - 2, 61), *range(len(content) - 40, len(content) - 1)}:
        path.write_text(content[:end], encoding="utf-8")
        with pytest.raises(
            ExemplarError, match=r"build the prototypes again with `interpretable prototypes RUN`\.$"
        ) as e:
            read_document(path, ExemplarsRecord)
        found = re.search(r"in the field (\w+) ", str(e.value))
        assert found is not None, f"cut after {end} letters: {e.value}"
        assert found[1] in names
    path.write_text(content[: content.index('"witness": ') + 12], encoding="utf-8")
    with pytest.raises(ExemplarError, match="breaks off or is damaged in the field witness "):
        read_document(path, ExemplarsRecord)


FIRST = ("selections", 0)

EDITS: dict[str, tuple[Change, str]] = {
    "a witness": (put(*FIRST, "prototypes", 1, "witness", 0.5), r"selections\[0\]"),
    "an index": (put(*FIRST, "criticisms", 1, "index", 31), r"selections\[0\]"),
    "a label": (put("selections", 1, "prototypes", 0, "label", "wasp"), r"selections\[1\]"),
    "the last digit of an MMD²": (put(*FIRST, "mmd2", 0, 0.2 * (1 + 1e-15)), r"selections\[0\]"),
    "the order of prototypes": (lambda c: at(c, *FIRST, "prototypes").reverse(), r"selections\[0\]"),
    "an error": (put("errors", "all_rows", 0.0), "errors"),
    "no errors": (put("errors", None), "errors"),
    "no criticisms": (put(*FIRST, "criticisms", []), r"selections\[0\]"),
    "a selection less": (pop("selections", 1), r"selections\[1\]"),
    "the order of selections": (lambda c: c["selections"].reverse(), r"selections\[0\]"),
    "a parameter": (put("parameters", "gamma", "1/d"), "parameters"),
    "the checkpoint": (put("about", "checkpoint", "34cd"), "about"),
    "a digest": (put("digests", "about", "0" * 64), "about"),
    "a missing digest": (pop("digests", "parameters"), "parameters"),
    "no digests": (pop("digests"), "schema_version"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_by_hand_is_refused_with_the_name_of_its_field(path: Path, name: str) -> None:
    change, field = EDITS[name]
    edit(path, change)
    with pytest.raises(
        ExemplarError, match=f"the field {field} was changed since it was written; build the prototypes"
    ):
        read_document(path, ExemplarsRecord)


ROW = r"selections\[0\]\."

BREAKS: dict[str, tuple[Change, str]] = {
    "no version": (pop("schema_version"), "schema_version"),
    "another version": (put("schema_version", 2), "schema_version"),
    "a field too many": (put(*FIRST, "colour", 1), ROW + "colour"),
    "no features": (pop("about", "features"), r"about\.features"),
    "no parameters": (pop("parameters"), "parameters"),
    "a parameter that is a list": (put("parameters", "gamma", [1]), r"parameters\.gamma"),
    "no selections": (put("selections", []), "selections"),
    "two selections of one name": (
        put("selections", 1, "name", "ant"),
        r"selections\[1\]\.name is ant once more;",
    ),
    "a filter below 0": (put("selections", 1, "filter", -1), r"selections\[1\]\.filter"),
    "no gamma": (pop(*FIRST, "gamma"), ROW + "gamma"),
    "a gamma of 0": (put(*FIRST, "gamma", 0.0), ROW + "gamma"),
    "a gamma of NaN": (put(*FIRST, "gamma", float("nan")), ROW + "gamma"),
    "an infinite kernel mean": (put(*FIRST, "kernel_mean", float("inf")), ROW + "kernel_mean"),
    "a kernel mean below 0": (put(*FIRST, "kernel_mean", -0.1), ROW + "kernel_mean"),
    "a ratio of NaN": (put(*FIRST, "off_diagonal_ratio", float("nan")), ROW + "off_diagonal_ratio"),
    "a weight of criticisms below 0": (put(*FIRST, "regularizer_weight", -1.0), ROW + "regularizer_weight"),
    "an infinite MMD²": (put(*FIRST, "mmd2", 1, float("inf")), ROW + r"mmd2\[1\]"),
    "an MMD² of NaN": (put(*FIRST, "random_mmd2_mean", 2, float("nan")), ROW + r"random_mmd2_mean\[2\]"),
    "a deviation below 0": (put(*FIRST, "random_mmd2_deviation", 2, -1e-9), ROW + r"random_mmd2_deviation\[2\]"),
    "no prototypes": (put(*FIRST, "prototypes", []), ROW + "prototypes"),
    **{
        f"{name} too few": (pop(*FIRST, name, 0), f"{ROW}{name} has 2 entries, prototypes 3;")
        for name in ("mmd2", "random_mmd2_mean", "random_mmd2_deviation")
    },
    **{
        f"errors of {name} too few": (pop("errors", name, 0), rf"errors\.{name} has 2 entries, prototypes 3;")
        for name in ("random_mean", "random_deviation")
    },
    "errors of prototypes too few": (
        pop("errors", "prototypes", 0),
        r"errors\.random_mean has 3 entries, prototypes 2;",
    ),
    "a prototype too few": (pop(*FIRST, "prototypes", 0), ROW + "mmd2 has 3 entries, prototypes 2;"),
    "a prototype twice": (
        put(*FIRST, "prototypes", 2, "index", 7),
        ROW + r"prototypes\[2\]\.index is 7 once more;",
    ),
    "a criticism twice": (
        put(*FIRST, "criticisms", 1, "index", 3),
        ROW + r"criticisms\[1\]\.index is 3 once more;",
    ),
    "fewer images than chosen": (put(*FIRST, "images", 4), ROW + "images is 4 with 5 of them chosen;"),
    "no images": (put(*FIRST, "images", 0), ROW + "images"),
    "an index below 0": (put(*FIRST, "criticisms", 0, "index", -1), ROW + r"criticisms\[0\]\.index"),
    "an index with a fraction": (put(*FIRST, "prototypes", 0, "index", 1.5), ROW + r"prototypes\[0\]\.index"),
    "a label as a number": (put(*FIRST, "prototypes", 0, "label", 3), ROW + r"prototypes\[0\]\.label"),
    "a weight below 0": (put(*FIRST, "prototypes", 0, "weight", -0.1), ROW + r"prototypes\[0\]\.weight"),
    "a weight of a criticism": (put(*FIRST, "criticisms", 0, "weight", 0.1), ROW + r"criticisms\[0\]\.weight"),
    "no residual": (pop(*FIRST, "criticisms", 0, "log_residual"), ROW + r"criticisms\[0\]\.log_residual"),
    "an infinite residual": (
        put(*FIRST, "criticisms", 1, "log_residual", float("-inf")),
        ROW + r"criticisms\[1\]\.log_residual",
    ),
    "a witness of NaN": (put(*FIRST, "prototypes", 0, "witness", float("nan")), ROW + r"prototypes\[0\]\.witness"),
    "an error above 1": (put("errors", "all_rows", 1.5), r"errors\.all_rows"),
    "an error below 0": (put("errors", "prototypes", 0, -0.1), r"errors\.prototypes\[0\]"),
}


@pytest.mark.parametrize("again", [False, True], ids=["old digests", "new digests"])
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_form_is_refused_in_one_sentence_with_its_field_whatever_the_digests(
    path: Path, name: str, again: bool
) -> None:
    change, field = BREAKS[name]
    edit(path, change, again)
    with pytest.raises(ExemplarError, match=f"the field {field}") as caught:
        read_document(path, ExemplarsRecord)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith("; build the prototypes again with `interpretable prototypes RUN`.")


def test_a_record_that_cannot_be_read_back_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="mmd2 has 1 entries, prototypes 3"):
        selection(mmd2=(0.1,))
