"""`interpretable tree-labels` and `interpretable review`, called on a tiny run."""

import io
import json
import math
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from test_commands import CREATURES, fit

from interpretable import load_run
from interpretable.activations import weights_digest
from interpretable.commands import evaluate, pictures
from interpretable.commands.review import review_tree
from interpretable.commands.tree_labels import labels_of, write_filter_labels
from interpretable.errors import ConfigurationError, RunError, SurrogateError
from interpretable.evaluation import Evaluation
from interpretable.surrogates.approval import read_reviews
from interpretable.surrogates.document import digest_of, write_document
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
    about = {"model": model, "layer": layer, "parts": parts}
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
    (run / "tree" / "tree.html").write_text(digest_of(run / "tree" / "tree.json"))
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
