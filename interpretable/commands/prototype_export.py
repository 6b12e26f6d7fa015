"""The files of prototypes: JSON and pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from interpretable.activations import ActivationStore
from interpretable.commands.prototype_numbers import errors_record, selection_record
from interpretable.commands.prototype_pictures import (
    SHEETS,
    SHEETS_ON_A_PAGE,
    page_names,
    picture_names,
    sheet_name,
)
from interpretable.commands.prototype_selections import Selection
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import show_progress
from interpretable.commands.tree_images import SMALLEST_REGION, Picture, picture, region, thumbnail
from interpretable.data.splits import Split
from interpretable.documents import Value, read_document, write_document
from interpretable.errors import ExemplarError
from interpretable.exemplars.exemplar_class_counts import draw_class_counts
from interpretable.exemplars.exemplar_curves import draw_errors, draw_mmd2
from interpretable.exemplars.exemplar_pictures import draw_sheet, draw_sheets
from interpretable.exemplars.exemplar_records import FILE_NAME, ExemplarAbout, ExemplarsRecord
from interpretable.exemplars.exemplar_view import ClassCounts, ErrorCurve, ExemplarSheet, ShownExemplar
from interpretable.runs import Run

Draw = Callable[[Path], None]


@dataclass(frozen=True)
class PrototypeExport:
    """Writes what was chosen of a run's images."""

    run: Run
    folder: Path
    store: ActivationStore
    layer: str
    """Of the filters."""
    split: Split
    chosen: Sequence[Selection]
    """Of classes, or of all images."""
    of_filters: Sequence[Selection]
    errors: ErrorCurve | None

    def write(self, parameters: Mapping[str, Value], about: ExemplarAbout) -> list[Path]:
        """Writes all files, each whole or not at all, and says which; pictures of an earlier call are deleted."""
        record = ExemplarsRecord(
            about=about,
            parameters=dict(parameters),
            selections=tuple(
                selection_record(one, self.store.classes, self.layer) for one in (*self.chosen, *self.of_filters)
            ),
            errors=None if self.errors is None else errors_record(self.errors),
        )
        names = picture_names(record)
        drawings = self._drawings()
        self._remove_pictures_but(names)
        write_document(self.folder / FILE_NAME, record)
        (self.folder / SHEETS).mkdir(exist_ok=True)
        for name in names:
            drawings[name](self.folder / name)
        return [self.folder / FILE_NAME, *(self.folder / name for name in names)]

    def _remove_pictures_but(self, names: Sequence[str]) -> None:
        """Deletes the pictures of the file that is there, but for some; all else stays."""
        try:
            before = picture_names(read_document(self.folder / FILE_NAME, ExemplarsRecord))
        except ExemplarError:
            return
        for name in set(before) - set(names):
            (self.folder / name).unlink(missing_ok=True)

    def _drawings(self) -> dict[str, Draw]:
        """What draws each picture, by its name."""
        sheets, of_filters = ([self._sheet(one) for one in some] for some in (self.chosen, self.of_filters))
        drawings: dict[str, Draw] = {
            sheet_name(number, sheet.name): partial(draw_sheet, sheet) for number, sheet in enumerate(sheets)
        }
        for kind, some in (("prototypes", sheets), ("filters", of_filters)):
            for page, name in enumerate(page_names(kind, len(some))):
                drawings[name] = partial(draw_sheets, some[page * SHEETS_ON_A_PAGE : (page + 1) * SHEETS_ON_A_PAGE])
        drawings["mmd2.png"] = partial(draw_mmd2, [one.random for one in (*self.chosen, *self.of_filters)])
        if self.errors is not None:
            drawings["errors.png"] = partial(draw_errors, [self.errors])
        drawings["classes.png"] = partial(draw_class_counts, self._counts(self.chosen[0]))
        return drawings

    def _sheet(self, selection: Selection) -> ExemplarSheet:
        critic = selection.critic
        return ExemplarSheet(
            selection.name,
            *(
                tuple(self._shown(selection, place) for place in places)
                for places in (critic.prototype_indices_, critic.criticism_indices_)
            ),
        )

    def _shown(self, selection: Selection, place: int) -> ShownExemplar:
        row, images = int(selection.rows[place]), selection.images
        return ShownExemplar(
            self._image(selection, row),
            int(images.indices[row]),
            float(selection.critic.witness_[place]),
            self.store.classes[images.labels[row]],
        )

    def _image(self, selection: Selection, row: int) -> Picture:
        """The image, or of a filter what it looks at."""
        index = int(selection.images.indices[row])
        whole = self._pictures[index]
        if selection.filter is None or self.store.layer(self.layer).info.receptive_field is None:
            return thumbnail(whole)
        place = int(np.searchsorted(self.store.recorded.numpy(), index))
        return region(whole, self._positions[place, selection.filter], self._side)

    @cached_property
    def _positions(self) -> np.ndarray:
        positions: np.ndarray = self.store.layer(self.layer).peak_positions().numpy()
        return positions

    @cached_property
    def _side(self) -> int:
        """Of the regions that filters look at: a third of the image."""
        return round(min(max(max(self.store.image_size) / 3, SMALLEST_REGION), *self.store.image_size))

    @cached_property
    def _pictures(self) -> dict[int, Picture]:
        """Every image that is shown, by its index."""
        dataset = predict_split(self.run, self.split).predict_dataset
        shown = {
            int(one.images.indices[row])
            for one in (*self.chosen, *self.of_filters)
            for row in (*one.prototypes, *one.criticisms)
        }
        return {index: picture(dataset, index) for index in show_progress(sorted(shown), "pictures")}

    def _counts(self, selection: Selection) -> ClassCounts:
        labels = selection.images.labels
        present = np.unique(labels[selection.rows])
        counts = (
            np.bincount(labels[rows], minlength=present.max() + 1)[present]
            for rows in (selection.rows, selection.prototypes, selection.criticisms)
        )
        return ClassCounts(tuple(self.store.classes[label] for label in present), *counts)
