"""The files of influence: JSON, tables and pictures."""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from interpretable.activations import weights_digest
from interpretable.commands.influence_methods import Influence
from interpretable.commands.influence_records import FILE_NAME, CheckpointRecord, InfluenceRecord, QueryRecord
from interpretable.commands.influence_request import Queries, Request
from interpretable.commands.influence_tables import by_self_influence, influence_rows, ranked, self_influence_rows
from interpretable.commands.influence_words import Words
from interpretable.commands.terminal import show_progress
from interpretable.commands.tree_images import picture, pictures, thumbnail
from interpretable.commands.tree_tables import write_csv
from interpretable.documents import write_document
from interpretable.files import written_atomically
from interpretable.influence.influence_pictures import draw_influence, draw_self_influence
from interpretable.influence.influence_view import InfluenceRow, InfluenceWords, InfluentialImage

TABLE, SELF_TABLE, SELF_SHEET = "influence.csv", "self_influence.csv", "self_influence.png"

ROWS = 8
"""Queries of a sheet at the most."""

SHOWN = 32
"""Training images of the sheet of self-influence at the most."""

Write = Callable[[Path], None]


def sheet_name(number: int) -> str:
    """Of a sheet of queries, the first being 0."""
    return f"influence_{number + 1}.png" if number else "influence.png"


class InfluenceExport:
    """Writes the influence of a run's training images.

    Args:
        request: What was asked for.
        found: What was computed.
        words: What its numbers mean.
    """

    def __init__(self, request: Request, found: Influence, words: Words) -> None:
        self.request = request
        self.found = found
        self.words = words
        self.classes = request.training.dataset.classes

    def write(self, folder: Path) -> list[Path]:
        """Writes all files or, if one of them fails, none, and says which; files of an earlier call are replaced."""
        writes = self._writes()
        with ExitStack() as whole:
            temporary = {name: whole.enter_context(written_atomically(folder / name)) for name in writes}
            for name in show_progress(writes, "files"):
                writes[name](temporary[name])
        self._remove_but(folder, writes)
        return [folder / name for name in writes]

    def _writes(self) -> dict[str, Write]:
        """What writes each file, by its name."""
        classes, queries, influence = self.classes, self.request.queries, self.found.on_queries
        writes: dict[str, Write] = {FILE_NAME: partial(write_document, document=self._record())}
        if queries is not None and influence is not None:
            table = influence_rows(self.found, influence, queries, classes, self.request.asked.top)
            writes[TABLE] = partial(write_csv, rows=table)
            words = InfluenceWords(
                self.words.helpful,
                self.words.harmful,
                f"Below each training image: {self.words.influence}; its label; its number in the training images. "
                "Numbers are in the unit that stands with the image on the left, if one does.",
            )
            rows = [self._row(queries, place, influence[place]) for place in range(len(influence))]
            for number, first in enumerate(range(0, len(rows), ROWS)):
                writes[sheet_name(number)] = partial(draw_influence, rows[first : first + ROWS], words)
        writes[SELF_TABLE] = partial(write_csv, rows=self_influence_rows(self.found, classes))
        highest = [self._image(index, self.found.itself) for index in by_self_influence(self.found)[:SHOWN]]
        title = "Highest self-influence: what to look at first for wrong labels"
        meaning = f"Below each training image: {self.words.itself}; its label; its number in the training images."
        writes[SELF_SHEET] = partial(draw_self_influence, highest, title, meaning)
        return writes

    def _remove_but(self, folder: Path, kept: Collection[str]) -> None:
        """Deletes the files on queries of an earlier call, which had more of them."""
        number = 0
        while (folder / sheet_name(number)).is_file():
            if sheet_name(number) not in kept:
                (folder / sheet_name(number)).unlink()
            number += 1
        if TABLE not in kept:
            (folder / TABLE).unlink(missing_ok=True)

    def _record(self) -> InfluenceRecord:
        request, found = self.request, self.found
        return InfluenceRecord(
            method=request.asked.method,
            meaning=self.words.influence,
            checkpoint=weights_digest(request.run.model),
            data=request.training.dataset.fingerprint(),
            training_images=len(found.labels),
            split=request.asked.split,
            classes=tuple(self.classes),
            damping=found.damping,
            layers=found.layers,
            checkpoints=tuple(
                CheckpointRecord(file=one.path.name, step=one.step, learning_rate=one.learning_rate)
                for one in request.checkpoints
            ),
            top=request.asked.top,
            queries=() if request.queries is None else self._queries(request.queries),
        )

    def _queries(self, queries: Queries) -> tuple[QueryRecord, ...]:
        return tuple(
            QueryRecord(
                name=name,
                index=queries.indices[place],
                label=self.classes[int(queries.labels[place])],
                predicted=self.classes[int(queries.predicted[place])],
                loss=float(queries.losses[place]),
            )
            for place, name in enumerate(queries.names)
        )

    def _row(self, queries: Queries, place: int, influence: Tensor) -> InfluenceRow:
        chosen = ranked(influence, self.request.asked.top)
        return InfluenceRow(
            queries.names[place],
            thumbnail(picture([{"image": image} for image in queries.pixels], place)),
            self.classes[int(queries.labels[place])],
            self.classes[int(queries.predicted[place])],
            float(queries.losses[place]),
            *(tuple(self._image(index, influence) for index in indices) for indices in chosen.values()),
        )

    def _image(self, index: int, influence: Tensor) -> InfluentialImage:
        label, predicted = (self.classes[int(labels[index])] for labels in (self.found.labels, self.found.predicted))
        return InfluentialImage(self._pictures[index], index, label, predicted, float(influence[index]))

    @cached_property
    def _pictures(self) -> dict[int, np.ndarray]:
        """Thumbnails of every training image that is shown, by its index."""
        shown = set(by_self_influence(self.found)[:SHOWN])
        for influence in () if self.found.on_queries is None else self.found.on_queries:
            for indices in ranked(influence, self.request.asked.top).values():
                shown |= set(indices)
        return pictures(self.request.training.dataset, shown, "pictures")
