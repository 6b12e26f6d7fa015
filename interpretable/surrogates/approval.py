"""``review.json``: who approved or rejected a tree, bound to the bytes of ``tree.json`` and to the network's weights.

The digests show that a file was changed; they do not prove who wrote it.
"""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError

from interpretable.documents import Record, digest_of, read_document
from interpretable.errors import SurrogateError
from interpretable.files import write_atomically
from interpretable.surrogates.records import FILE_NAME as TREE
from interpretable.surrogates.records import DocumentRecord

FILE_NAME = "review.json"
EXPORTS = ("tree.html", "tree.txt")
"""What a person reads of a tree, without which nobody can have looked at it; each says of which ``tree.json`` it is."""

Decision = Literal["approved", "rejected"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Review(Record):
    """A person's decision on a tree."""

    decision: Decision
    by: Annotated[str, Field(pattern=r"\S")]
    """Who decided."""
    note: str
    time: AwareDatetime
    """In UTC, to the second."""
    tree: Digest
    """SHA-256 of ``tree.json``."""
    checkpoint: str
    """Digest of the weights of the network that the tree explains."""


class ReviewsRecord(Record):
    """The whole file: every review that was ever made, the newest last."""

    schema_version: Literal[1] = 1
    reviews: Annotated[tuple[Review, ...], Field(min_length=1)]
    digests: tuple[Digest, ...]
    """Of each review, SHA-256 of it and of the digest before: what shows that none was edited or taken out."""


def add_review(
    folder: Path,
    decision: Decision,
    by: str,
    note: str = "",
    checkpoint: str | None = None,
    now: datetime | None = None,
) -> Review:
    """Adds a review of the present tree to ``review.json``, which keeps those before it.

    Args:
        folder: Where ``tree.json`` is.
        decision: What was decided.
        by: Who did.
        note: Why.
        checkpoint: Digest of the run's present weights, which the tree must explain; any where omitted.
        now: When; the present time where omitted.

    Raises:
        SurrogateError: There is no whole tree, one of its exports is missing or shows another tree, it is of other
            weights, nobody is named, or the reviews before were damaged; nothing is written.
    """
    if not by.strip():
        raise SurrogateError("A review needs the name of the person who made it; give it with --by NAME.")
    explained = read_document(folder / TREE, DocumentRecord).about.checkpoint
    digest = digest_of(folder / TREE)
    for export in (folder / name for name in EXPORTS):
        if not export.is_file():
            raise SurrogateError(f"{export} is missing; build it again with `interpretable tree RUN`.")
        if digest.encode() not in export.read_bytes():
            raise SurrogateError(
                f"{export} shows another tree than {TREE}, so what was looked at is not what would be {decision}; "
                "build it again with `interpretable tree RUN`."
            )
    _refuse_other_weights(folder, explained, checkpoint)
    review = Review(
        decision=decision,
        by=" ".join(by.split()),  # sentences name them
        note=note,
        time=(now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0),
        tree=digest,
        checkpoint=explained,
    )
    reviews = (*read_reviews(folder), review)
    record = ReviewsRecord(reviews=reviews, digests=_chain(reviews))
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_atomically(folder / FILE_NAME, text + "\n")
    return review


def read_reviews(folder: Path) -> tuple[Review, ...]:
    """Every review of the folder's trees, the newest last; none where there is no file.

    Raises:
        SurrogateError: The file is truncated or was edited; the sentence names the field.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return ()
    again = "restore it, or move it away and review the tree again."
    try:
        record = ReviewsRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
        what = f"the field {field} is not as it was written" if field else "it is no whole JSON file"
        raise SurrogateError(f"{path}: {what} ({first['msg']}); {again}") from error
    expected = _chain(record.reviews)
    if len(record.digests) != len(expected):
        raise SurrogateError(f"{path}: the field reviews has lost or gained an entry since it was written; {again}")
    for number, (given, digest) in enumerate(zip(record.digests, expected, strict=True)):
        if given != digest:
            raise SurrogateError(f"{path}: the field reviews[{number}] was changed since it was written; {again}")
    return record.reviews


def standing_review(folder: Path, checkpoint: str | None = None) -> Review:
    """The newest review, if it is of the present tree.

    Args:
        folder: Where ``tree.json`` is.
        checkpoint: Digest of the run's present weights, which the tree must explain; any where omitted.

    Raises:
        SurrogateError: There is no review, no tree, or the tree has changed since.
    """
    reviews = read_reviews(folder)
    path = folder / TREE
    if not path.is_file():
        raise SurrogateError(f"{path} is missing; restore it, or build it with `interpretable tree RUN` and review it.")
    if not reviews:
        raise SurrogateError(f"{path} was not reviewed yet; do so with `interpretable review RUN --approve --by NAME`.")
    newest = reviews[-1]
    made = f"{newest.by} {newest.decision} it on {newest.time:%Y-%m-%d at %H:%M} UTC"
    if digest_of(path) != newest.tree:
        raise SurrogateError(
            f"{path} has changed since {made}; look at it and review it again with `interpretable review RUN`."
        )
    _refuse_other_weights(folder, newest.checkpoint, checkpoint)
    return newest


def _refuse_other_weights(folder: Path, explained: str, present: str | None) -> None:
    if present is not None and present != explained:
        raise SurrogateError(
            f"{folder / TREE} explains other weights than the run's present ones; build it again with `interpretable "
            "tree RUN`."
        )


def _chain(reviews: tuple[Review, ...]) -> tuple[str, ...]:
    digests, digest = [], ""
    for review in reviews:
        content = json.dumps([digest, review.model_dump(mode="json")], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(content.encode()).hexdigest()
        digests.append(digest)
    return tuple(digests)
