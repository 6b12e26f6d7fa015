"""review.json: a decision holds for the tree that was looked at, and for no other."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from interpretable.documents import digest_of, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates.approval import add_review, read_reviews, standing_review
from interpretable.surrogates.records import About, DocumentRecord

NOON = datetime(2026, 5, 17, 12, 0, 30, 999, tzinfo=UTC)
WEIGHTS = "a1" * 32


def build(folder: Path, checkpoint: str = WEIGHTS, layer: str = "net.part_filters.0") -> str:
    """A tree with its exports; gives its digest."""
    write_document(folder / "tree.json", DocumentRecord(about=About(checkpoint=checkpoint, layer=layer)))
    digest = digest_of(folder / "tree.json")
    (folder / "tree.html").write_text(f"<code>{digest}</code>")
    (folder / "tree.txt").write_text(f"tree.json {digest}\n")
    return digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    build(tmp_path / "tree")
    return tmp_path / "tree"


def refusal(folder: Path, **arguments: Any) -> str:
    """The one sentence that a review is refused with; the file stays as it was."""
    path = folder / "review.json"
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(SurrogateError) as refused:
        add_review(folder, **{"decision": "approved", "by": "Ann", **arguments})
    assert (path.read_bytes() if path.exists() else None) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_review_says_who_decided_what_when_and_of_which_tree_and_weights(tree):
    east = timezone(timedelta(hours=5))
    review = add_review(tree, "approved", " Ann\n  Bee ", "heads\nand ears", WEIGHTS, NOON.astimezone(east))
    assert review.model_dump(mode="json") == {
        "decision": "approved",
        "by": "Ann Bee",
        "note": "heads\nand ears",
        "time": "2026-05-17T12:00:30Z",
        "tree": digest_of(tree / "tree.json"),
        "checkpoint": WEIGHTS,
    }
    assert standing_review(tree) == standing_review(tree, WEIGHTS) == review
    content = json.loads((tree / "review.json").read_text())
    assert content["schema_version"] == 1
    assert content["reviews"] == [review.model_dump(mode="json")]
    assert sorted(path.name for path in tree.iterdir()) == ["review.json", "tree.html", "tree.json", "tree.txt"]


def test_the_time_is_the_present_one_where_none_is_given(tree):
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= add_review(tree, "approved", "Ann").time <= datetime.now(UTC)


def test_every_review_is_kept_and_the_newest_stands(tree):
    reviews = [
        add_review(tree, "approved", "Ann", now=NOON),
        add_review(tree, "rejected", "Bo", "eyes?", now=NOON + timedelta(days=1)),
    ]
    assert standing_review(tree) == reviews[1]
    build(tree, layer="net.part_filters.1")
    reviews.append(add_review(tree, "approved", "Ann", now=NOON + timedelta(days=2)))
    assert read_reviews(tree) == tuple(reviews)
    assert standing_review(tree) == reviews[2]
    assert reviews[2].tree != reviews[1].tree


def test_a_review_ends_with_any_change_of_the_tree(tree):
    add_review(tree, "approved", "Ann", now=NOON)
    path = tree / "tree.json"
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    sentence = (
        r"tree\.json has changed since Ann approved it on 2026-05-17 at 12:00 UTC; look at it and review it again"
    )
    with pytest.raises(SurrogateError, match=sentence):
        standing_review(tree)
    path.write_bytes(content)
    assert standing_review(tree).by == "Ann"
    path.unlink()
    with pytest.raises(
        SurrogateError, match=r"tree\.json is missing; restore it, or build it with `interpretable tree"
    ):
        standing_review(tree)


def test_an_older_review_does_not_stand_again_when_its_tree_comes_back(tree):
    add_review(tree, "approved", "Ann", now=NOON)
    build(tree, layer="other")
    add_review(tree, "rejected", "Bo", now=NOON)
    build(tree)
    with pytest.raises(SurrogateError, match=r"has changed since Bo rejected it on"):
        standing_review(tree)


def test_a_tree_that_nobody_reviewed_has_no_standing_review(tree):
    assert read_reviews(tree) == ()
    with pytest.raises(
        SurrogateError, match=r"tree\.json was not reviewed yet; do so with `interpretable review RUN --"
    ):
        standing_review(tree)


def test_a_folder_without_a_whole_tree_is_not_reviewed(tree):
    path = tree / "tree.json"
    text = path.read_text()
    path.write_text(text.replace("net.part_filters.0", "net.part_filters.1"))
    assert "the field about was changed since it was written" in refusal(tree)
    path.write_text(text[: len(text) // 2])
    assert "is no whole JSON file" in refusal(tree)
    path.unlink()
    assert "tree.json is missing; write it with `interpretable tree RUN`" in refusal(tree)


@pytest.mark.parametrize("name", ["tree.html", "tree.txt"])
def test_exports_of_another_tree_are_not_approved(tree, name):
    other = build(tree.parent / "other", layer="other")
    (tree / name).write_text(f"<code>{other}</code>")
    assert re.search(
        rf"{name} shows another tree than tree\.json, so what was looked at is not what would be rejected; build",
        refusal(tree, decision="rejected"),
    )


@pytest.mark.parametrize("name", ["tree.html", "tree.txt"])
@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_a_tree_that_nobody_can_have_looked_at_is_not_reviewed(tree, name, decision):
    (tree / name).unlink()
    sentence = f"{tree / name} is missing; build it again with `interpretable tree RUN`."
    assert refusal(tree, decision=decision) == sentence
    (tree / name).mkdir()
    assert refusal(tree, decision=decision) == sentence


@pytest.mark.parametrize("name", ["", " ", "\n\t"])
def test_somebody_must_have_reviewed(tree, name):
    assert refusal(tree, by=name) == "A review needs the name of the person who made it; give it with --by NAME."


def test_a_tree_of_other_weights_neither_gets_a_review_nor_keeps_one(tree):
    sentence = (
        "tree.json explains other weights than the run's present ones; build it again with `interpretable tree RUN`"
    )
    assert sentence in refusal(tree, checkpoint="b2" * 32)
    add_review(tree, "approved", "Ann", checkpoint=WEIGHTS)
    with pytest.raises(SurrogateError, match=re.escape(sentence)):
        standing_review(tree, "b2" * 32)


def change(value: Any, *place: str | int) -> Any:
    """An edit of the file's content: another value at a place, or none."""

    def edit(content: Any) -> None:
        *way, last = place
        for step in way:
            content = content[step]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (change("rejected", "reviews", 0, "decision"), r"the field reviews\[0\] was changed since it was written"),
        (change("Eve", "reviews", 1, "by"), r"the field reviews\[1\] was changed since it was written"),
        (change("2026-05-18T12:00:30Z", "reviews", 1, "time"), r"the field reviews\[1\] was changed"),
        (change("0" * 64, "reviews", 1, "tree"), r"the field reviews\[1\] was changed"),
        (change("0" * 64, "digests", 1), r"the field reviews\[1\] was changed"),
        (change(None, "reviews", 1), r"the field reviews has lost or gained an entry"),
        (
            lambda content: [content[name].pop(0) for name in ("reviews", "digests")],
            r"the field reviews\[0\] was changed",
        ),
        (lambda content: content["reviews"].reverse(), r"the field reviews\[0\] was changed"),
        (change("maybe", "reviews", 1, "decision"), r"the field reviews\[1\]\.decision is not as it was written"),
        (change("", "reviews", 0, "by"), r"the field reviews\[0\]\.by is not as it was written"),
        (change(None, "reviews", 0, "note"), r"the field reviews\[0\]\.note is not as it was written \(Field required"),
        (change("noon", "reviews", 0, "time"), r"the field reviews\[0\]\.time is not as it was written"),
        (change("2026-05-17T12:00:30", "reviews", 0, "time"), r"the field reviews\[0\]\.time is not as it was written"),
        (change("12ab", "reviews", 0, "tree"), r"the field reviews\[0\]\.tree is not as it was written"),
        (change("yes", "reviews", 0, "valid"), r"the field reviews\[0\]\.valid is not as it was written"),
        (change(2, "schema_version"), r"the field schema_version is not as it was written"),
        (change([], "reviews"), r"the field reviews is not as it was written"),
    ],
    ids=[
        "decision",
        "by",
        "time",
        "tree",
        "digest",
        "shorter",
        "first-out",
        "order",
        "word",
        "nobody",
        "no-note",
        "no-time",
        "no-zone",
        "short-digest",
        "further-field",
        "schema",
        "none",
    ],
)
def test_an_edited_file_is_refused_with_the_fields_name_and_nothing_is_added_to_it(tree, edit, sentence):
    add_review(tree, "approved", "Ann", now=NOON)
    add_review(tree, "rejected", "Bo", now=NOON)
    path = tree / "review.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SurrogateError, match=rf"review\.json: {sentence}.*; restore it, or move it away"):
        read_reviews(tree)
    assert re.search(sentence, refusal(tree))
    with pytest.raises(SurrogateError, match=sentence):
        standing_review(tree)


@pytest.mark.parametrize("content", [b"", b"{", b'{"reviews": "\xff"}', b"[]"])
def test_what_is_no_file_of_reviews_is_refused(tree, content):
    (tree / "review.json").write_bytes(content)
    with pytest.raises(SurrogateError, match=r"review\.json: it is no whole JSON file \("):
        read_reviews(tree)


def test_a_truncated_file_is_refused_wherever_it_breaks_off(tree):
    add_review(tree, "approved", "Änn", now=NOON)
    path = tree / "review.json"
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SurrogateError, match=r"review\.json"):
            read_reviews(tree)
