"""``interpretable influence``: which training images decided an image, and which the network learned by heart."""

from pathlib import Path
from typing import cast

from interpretable.artifacts import log_artifact
from interpretable.commands.influence_export import ROWS, TABLE, InfluenceExport
from interpretable.commands.influence_methods import Influence, influence_of
from interpretable.commands.influence_request import Asked, InfluenceMethod, Request, check_words, checked_request
from interpretable.commands.influence_tables import LISTED, query_rows, query_title, self_influence_rows
from interpretable.commands.influence_words import WORDS
from interpretable.commands.terminal import say, show
from interpretable.commands.tree_tables import table_of
from interpretable.runs import load_run

FOLDER = "influence"


def show_influence(run: Path, asked: Asked) -> None:
    """Computes, lists and draws the influence of a run's training images on each other's and on their own losses."""
    check_words(asked)
    opened = load_run(run)
    request = checked_request(opened, asked)
    for sentence in _checkpoints(request):
        say(sentence)
    found = influence_of(request)
    words = WORDS[cast(InfluenceMethod, asked.method)]
    files = InfluenceExport(request, found, words).write(opened.folder / FOLDER)
    _show_queries(request, found)
    classes = request.training.dataset.classes
    highest = self_influence_rows(found, classes, "{:.3g}".format)[: LISTED + 1]
    show(table_of("Highest self-influence", highest))
    if request.queries is not None:
        say(f"Influence: {words.influence}")
    say(f"Self-influence: {words.itself}; the highest ones are what to look at first for wrong labels")
    damping = "" if found.damping is None else f", damping {found.damping:.2g}"
    say(f"By {asked.method}, of {len(found.labels)} training images{damping}")
    if log_artifact(opened, f"influence-{opened.folder.name}", "influence", files):
        say("W&B: logged as an artifact of the run")
    for path in files:
        say(f"{run / path.relative_to(opened.folder)}")


def _checkpoints(request: Request) -> list[str]:
    """Sentences on the checkpoints that TracIn uses, and on those that it leaves out."""
    if not request.checkpoints:
        return []
    used = [f"{one.path.name} (step {one.step}, learning rate {one.learning_rate:.2g})" for one in request.checkpoints]
    sentences = [f"TracIn uses the checkpoints that the run keeps: {', '.join(used)}"]
    if request.left_out:
        names = ", ".join(one.path.name for one in request.left_out)
        sentences.append(f"Left out, as the learning rate recorded is 0: {names}")
    return sentences


def _show_queries(request: Request, found: Influence) -> None:
    if request.queries is None or found.on_queries is None:
        return
    classes = request.training.dataset.classes
    for place, influence in enumerate(found.on_queries[:ROWS]):
        rows = query_rows(found, influence, classes, request.asked.top)
        show(table_of(query_title(request.queries, place, classes), rows))
    if len(found.on_queries) > ROWS:
        say(f"… and {len(found.on_queries) - ROWS} more images in {TABLE}")
