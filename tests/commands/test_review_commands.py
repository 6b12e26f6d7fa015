"""`interpretable tree-labels` and `interpretable review`, called on a tiny run; tables for a spreadsheet."""

import csv
import io
import json
import math
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from test_commands import CREATURES, command, fails, fit

from interpretable import load_run
from interpretable.activations import weights_digest
from interpretable.commands import evaluate, pictures
from interpretable.commands.review import review_tree
from interpretable.commands.stores import predict_split
from interpretable.commands.tree_labels import labels_of, write_filter_labels
from interpretable.commands.tree_tables import write_csv
from interpretable.documents import digest_of, write_document
from interpretable.errors import ConfigurationError, RunError, SurrogateError
from interpretable.evaluation import Evaluation
from interpretable.surrogates.approval import read_reviews
from interpretable.surrogates.filter_labels import FilterLabel, read_labels, write_labels
from interpretable.surrogates.records import About, DocumentRecord

FILTERS = 96
"""Of the top part layer."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("trained"), *CREATURES)


@pytest.fixture(scope="module")
def digest(trained: Path) -> str:
    return weights_digest(load_run(trained).model)


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    return Path(shutil.copytree(trained, tmp_path / "run"))


def write_metrics(
    run: Path, model: str, parts: list[str], layer: str = "net.part_filters.1", **columns: object
) -> None:
    """An evaluation of which only the columns of parts matter."""
    filters = {"category": [0.0] * FILTERS, **columns}
    opened = load_run(run)
    data = {split: predict_split(opened, split).predict_dataset.fingerprint() for split in ("train", "test")}
    about = {"model": model, "data": data, "layer": layer, "parts": parts}
    Evaluation(filters=filters, about=about).write(run / "metrics.json")


@pytest.fixture
def measured(run: Path, digest: str) -> Path:
    """The run with an evaluation: every third filter on the head, every third on the eye, the others on nothing."""
    part = [float(number % 3 - 1) for number in range(FILTERS)]
    purity = [0.123456 + number / 200 for number in range(FILTERS)]
    write_metrics(run, digest, ["head", "eye"], part=part, part_purity=purity)
    return run


def printed(run: Path) -> str:
    with redirect_stdout(io.StringIO()) as text:
        write_filter_labels(run)
    return text.getvalue()


def test_the_table_has_a_row_for_each_filter_with_its_part_and_purity(measured):
    text = printed(measured)
    path = measured / "tree" / "filters.csv"
    labels = read_labels(path, FILTERS)
    assert [label.filter for label in labels] == list(range(FILTERS))
    assert labels[:4] == [
        FilterLabel(0),
        FilterLabel(1, "head", 0.1285),
        FilterLabel(2, "eye", 0.1335),
        FilterLabel(3),
    ]
    assert f"{path}: 96 filters, 64 with a suggested part" in text
    assert (
        f"Next: fill in the column name where the suggestion is wrong, then `interpretable tree {measured} --lab"
        in text
    )


def test_writing_again_keeps_what_a_reviewer_has_typed_and_renews_the_rest(measured, digest):
    write_labels(measured / "tree" / "filters.csv", [FilterLabel(1, "head", 0.9, "snout", "often the mouth")])
    printed(measured)
    labels = read_labels(measured / "tree" / "filters.csv", FILTERS)
    assert labels[1] == FilterLabel(1, "head", 0.1285, "snout", "often the mouth")
    assert labels[2] == FilterLabel(2, "eye", 0.1335)
    write_metrics(measured, digest, ["ear"], part=[0.0] * FILTERS, part_purity=[1.0] * FILTERS)
    printed(measured)
    assert read_labels(measured / "tree" / "filters.csv", FILTERS)[1] == FilterLabel(
        1, "ear", 1.0, "snout", "often the mouth"
    )


def test_a_table_that_cannot_be_read_is_left_as_it_is(measured):
    path = measured / "tree" / "filters.csv"
    path.parent.mkdir()
    path.write_text("filter,name\n0,snout\n")
    with pytest.raises(SurrogateError, match=r"filters\.csv:1: .* suggested_part is missing"):
        write_filter_labels(measured)
    assert path.read_text() == "filter,name\n0,snout\n"


def test_a_run_without_annotated_parts_gets_empty_suggestions(run, digest):
    write_metrics(run, digest, [])
    assert "96 filters, 0 with a suggested part" in printed(run)
    assert read_labels(run / "tree" / "filters.csv", FILTERS) == [FilterLabel(number) for number in range(FILTERS)]


def test_a_part_without_purity_and_a_filter_without_part_are_told_apart():
    columns = {"part": [1.0, -1.0, math.nan, 0.0], "part_purity": [math.nan, 0.0, math.nan, 2 / 3]}
    found = Evaluation(filters=columns, about={"parts": ["head", "eye"]})
    assert labels_of(found) == [
        FilterLabel(0, "eye"),
        FilterLabel(1),
        FilterLabel(2),
        FilterLabel(3, "head", 0.6667),
    ]


def test_an_evaluation_of_another_layer_is_not_taken_for_the_top_one(run, digest):
    write_metrics(run, digest, [], layer="net.part_filters.0")
    before = (run / "metrics.json").read_bytes()
    with pytest.raises(
        RunError, match=r"is of the layer net.part_filters.0, but the tree is of net.part_filters.1; eva"
    ):
        write_filter_labels(run)
    assert (run / "metrics.json").read_bytes() == before
    assert not (run / "tree").exists()


@pytest.mark.parametrize("state", ["missing", "damaged", "stale"])
def test_a_run_that_is_not_evaluated_with_its_present_weights_is_evaluated_first(state, measured, digest, monkeypatch):
    path = measured / "metrics.json"
    content = path.read_text()
    changed = {"missing": None, "damaged": content[:100], "stale": content.replace(digest, "of other weights")}[state]
    path.unlink()
    if changed is not None:
        path.write_text(changed)
    if state == "missing":  # once for real
        monkeypatch.setattr(pictures, "SHOWN_IMAGES", 2)
    else:
        fresh = Evaluation(filters={"silent": [0.0] * FILTERS}, about={"layer": "net.part_filters.1", "parts": []})
        monkeypatch.setattr(evaluate, "evaluate_run", lambda run: fresh)
    printed(measured)
    labels = read_labels(measured / "tree" / "filters.csv", FILTERS)
    if state != "missing":
        assert labels == [FilterLabel(number) for number in range(FILTERS)]
        return
    found = Evaluation.read(path)
    assert found.about["model"] == digest
    for label, part, purity in zip(labels, found.filters["part"], found.filters["part_purity"], strict=True):
        assert label.suggested_part == ("" if part < 0 else found.about["parts"][int(part)])
        assert label.score == (None if part < 0 else pytest.approx(purity, abs=6e-5))
    assert any(label.suggested_part for label in labels)


@pytest.fixture
def built(run: Path, digest: str) -> Path:
    """The run with a tree of its weights."""
    write_document(run / "tree" / "tree.json", DocumentRecord(about=About(checkpoint=digest)))
    for name in ("tree.html", "tree.txt"):
        (run / "tree" / name).write_text(digest_of(run / "tree" / "tree.json"))
    return run


def test_a_decision_is_recorded_and_shown_until_the_tree_changes(built, digest, capsys):
    review_tree(built, True, False, "Ann [bold]B.", "heads, [red]ears")
    first = capsys.readouterr().out
    assert str(built / "tree" / "review.json") in first
    review_tree(built, False, False, None, "")
    shown = capsys.readouterr().out
    for text in ("approved", "Ann [bold]B.", "heads, [red]ears", digest, digest_of(built / "tree" / "tree.json")):
        assert text in shown
        assert text in first
    review_tree(built, False, True, "Bo", "")
    assert [(review.decision, review.by, review.checkpoint) for review in read_reviews(built / "tree")] == [
        ("approved", "Ann [bold]B.", digest),
        ("rejected", "Bo", digest),
    ]
    write_document(built / "tree" / "tree.json", DocumentRecord(about=About(checkpoint=digest, layer="other")))
    with pytest.raises(SurrogateError, match=r"tree\.json has changed since Bo rejected it on 20"):
        review_tree(built, False, False, None, "")
    with pytest.raises(SurrogateError, match=r"tree\.html shows another tree than tree\.json"):
        review_tree(built, True, False, "Ann", "")
    assert len(read_reviews(built / "tree")) == 2


def test_showing_a_rejection_is_an_error_but_recording_one_is_none(built, capsys):
    review_tree(built, True, False, "Ann", "")
    review_tree(built, False, True, "Bo", "eyes?\nand \x1b[31mears")
    shown = capsys.readouterr().out
    assert "rejected" in shown
    assert "eyes?" in shown
    when = f"{read_reviews(built / 'tree')[-1].time:%Y-%m-%d at %H:%M} UTC"
    for _ in range(2):
        with pytest.raises(SurrogateError) as refused:
            review_tree(built, False, False, None, "")
        assert str(refused.value) == (
            f"{load_run(built).folder / 'tree' / 'tree.json'} was rejected by Bo on {when} with the note "
            r"'eyes?\nand \x1b[31mears'; build another one with `interpretable tree RUN` and review it."
        )
    assert capsys.readouterr().out == ""
    review_tree(built, False, True, "Bo", " ")
    with pytest.raises(SurrogateError, match=r"was rejected by Bo on 20.* UTC without a note; build another one"):
        review_tree(built, False, False, None, "")
    review_tree(built, True, False, "Ann", "after all")
    capsys.readouterr()
    review_tree(built, False, False, None, "")
    assert "after all" in capsys.readouterr().out


def test_the_exit_status_gates_a_release(built, capsys):
    assert command("review", built, "--reject", "--by", "Bo", "--note", "eyes?") == 0
    assert "rejected" in capsys.readouterr().out
    line = fails(capsys, "review", built)
    assert re.search(r"tree\.json was rejected by Bo on 20.* UTC with the note 'eyes\?'; build another one", line)
    assert command("review", built, "--approve", "--by", "Ann") == 0
    assert command("review", built) == 0


@pytest.mark.parametrize("name", ["tree.html", "tree.txt"])
def test_a_tree_without_what_is_looked_at_is_not_reviewed(built, name):
    (built / "tree" / name).unlink()
    with pytest.raises(SurrogateError, match=rf"{name} is missing; build it again with `interpretable tree RUN`"):
        review_tree(built, False, True, "Bo", "")
    assert read_reviews(built / "tree") == ()


def test_a_run_without_a_tree_or_without_a_review_ends_with_an_error(run, digest):
    with pytest.raises(SurrogateError, match=r"tree\.json is missing; write it with `interpretable tree RUN`"):
        review_tree(run, True, False, "Ann", "")
    with pytest.raises(SurrogateError, match=r"tree\.json is missing; restore it, or build it"):
        review_tree(run, False, False, None, "")
    write_document(run / "tree" / "tree.json", DocumentRecord(about=About(checkpoint=digest)))
    with pytest.raises(SurrogateError, match=r"tree\.json was not reviewed yet; do so with"):
        review_tree(run, False, False, None, "")
    assert not (run / "tree" / "review.json").exists()


def test_a_run_that_was_trained_on_needs_a_new_tree_and_a_new_review(built):
    review_tree(built, True, False, "Ann", "")
    path = built / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name] + 1
    torch.save(checkpoint, path)
    before = json.loads((built / "tree" / "review.json").read_text())
    for approve in (True, False):
        with pytest.raises(SurrogateError, match="explains other weights than the run's present ones; build it again"):
            review_tree(built, approve, False, "Ann" if approve else None, "")
    assert json.loads((built / "tree" / "review.json").read_text()) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((True, True, "Ann", ""), "A tree is either approved or rejected; give one of --approve and --reject"),
        (
            (False, False, "Ann", ""),
            "--by and --note are of a decision, and there is none; give --approve or --reject too",
        ),
        ((False, False, None, "good"), "--by and --note are of a decision, and there is none"),
        ((True, False, None, "good"), "A review needs the name of the person who made it; give it with --by NAME"),
    ],
)
def test_words_that_make_no_decision_are_refused_before_anything_is_opened(words, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        review_tree(Path("no run"), *words)


def test_an_empty_name_is_refused(built):
    with pytest.raises(SurrogateError, match="A review needs the name of the person"):
        review_tree(built, True, False, " ", "")


def test_a_table_keeps_its_numbers_and_quotes_and_shields_its_texts(tmp_path):
    rows = (
        ("class", "level", 'part_error/the \r"ear"', "part_error/=x"),
        ("=HYPERLINK(1)", "1", "-0.25", "1e-05"),
        ("-2+3", "leaves", "nan", "-inf"),
        ("@\rSUM", "–", "", "+7"),
        ("-\n1", "-1\n", "1,5", "1_0"),
    )
    write_csv(tmp_path / "levels.csv", rows)
    with open(tmp_path / "levels.csv", encoding="utf-8", newline="") as file:
        text = file.read()
    assert text == (
        '"class","level","part_error/the \r""ear""","part_error/=x"\n'
        '"\'=HYPERLINK(1)",1,-0.25,1e-05\n'
        '"\'-2+3","leaves",nan,-inf\n'
        '"\'@\rSUM","–",,+7\n'
        '"\'-\n1","\'-1\n","1,5","1_0"\n'
    )
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [[cell.removeprefix("'") for cell in row] for row in read] == [list(row) for row in rows]
