"""``interpretable review``: a person's decision on a run's tree, and whether it stands and approves."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from interpretable.activations import weights_digest
from interpretable.commands.terminal import say, show
from interpretable.errors import ConfigurationError, SurrogateError
from interpretable.runs import load_run
from interpretable.surrogates.approval import FILE_NAME, Review, add_review, standing_review
from interpretable.surrogates.records import FILE_NAME as TREE


def review_tree(run: Path, approve: bool, reject: bool, by: str | None, note: str) -> None:
    """Records a decision, or shows the approval that stands.

    Raises:
        ConfigurationError: Both decisions are given, or a decision without a name, or a name without a decision.
        SurrogateError: The tree cannot be reviewed; or, where none is recorded, no decision on it stands or it was
            rejected, so that a release can be made to wait for the approval.
    """
    if approve and reject:
        raise ConfigurationError("A tree is either approved or rejected; give one of --approve and --reject.")
    if not (approve or reject) and (by is not None or note):
        raise ConfigurationError(
            "--by and --note are of a decision, and there is none; give --approve or --reject too."
        )
    if (approve or reject) and by is None:
        raise ConfigurationError("A review needs the name of the person who made it; give it with --by NAME.")
    opened = load_run(run)
    folder, checkpoint = opened.folder / "tree", weights_digest(opened.model)
    if approve or reject:
        add_review(folder, "approved" if approve else "rejected", by or "", note, checkpoint)
        say(str(run / "tree" / FILE_NAME))
    standing = standing_review(folder, checkpoint)
    if standing.decision == "rejected" and not reject:
        because = f"with the note {standing.note!r}" if standing.note.strip() else "without a note"
        raise SurrogateError(
            f"{folder / TREE} was rejected by {standing.by} on {standing.time:%Y-%m-%d at %H:%M} UTC {because}; build "
            "another one with `interpretable tree RUN` and review it."
        )
    show(_table(standing))


def _table(review: Review) -> Table:
    table = Table(show_header=False)
    for name, value in (
        ("decision", review.decision),
        ("by", review.by),
        ("on", f"{review.time:%Y-%m-%d %H:%M} UTC"),
        ("note", review.note),
        ("tree.json", review.tree),
        ("weights", review.checkpoint),
    ):
        table.add_row(name, Text(value, overflow="fold"))  # text of a person: no markup
    return table
