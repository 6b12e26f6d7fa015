"""The files of prototypes: JSON and pictures."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from interpretable.activations import ActivationStore
from interpretable.commands.prototype_selections import Selection, errors_record, selection_record
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import show_progress
from interpretable.commands.tree_images import SMALLEST_REGION, Picture, picture, region, thumbnail
from interpretable.data.splits import Split
from interpretable.documents import write_document
from interpretable.exemplars.exemplar_class_counts import draw_class_counts
from interpretable.exemplars.exemplar_curves import draw_errors, draw_mmd2
from interpretable.exemplars.exemplar_pictures import draw_sheet, draw_sheets
from interpretable.exemplars.exemplar_records import FILE_NAME, ExemplarAbout, ExemplarsRecord
from interpretable.exemplars.exemplar_view import ClassCounts, ErrorCurve, ExemplarSheet, ShownExemplar
from interpretable.runs import Run

SHEETS_ON_A_PAGE = 10


@dataclass(frozen=True)
class PrototypeExport:
    """Writes what was chosen of a run's images."""

    run: Run
    folder: Path
    store: ActivationStore
    layer: str
    split: Split
    chosen: Sequence[Selection]
    """Of classes, or of all images."""
    of_filters: Sequence[Selection]
    errors: ErrorCurve | None

    def write(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Writes all files, each whole or not at all, and says which; pictures of an earlier call are deleted."""
        shutil.rmtree(self.folder / "sheets", ignore_errors=True)
        (self.folder / "sheets").mkdir(parents=True)
        files = [self.folder / FILE_NAME]
        write_document(files[0], self._record(parameters))
        files += self._sheets()
        files.append(self.folder / "mmd2.png")
        draw_mmd2([one.random for one in (*self.chosen, *self.of_filters)], files[-1])
        errors, counts = self.folder / "errors.png", self.folder / "classes.png"
        if self.errors is not None:
            draw_errors([self.errors], errors)
        if len(self.chosen) == 1:
            draw_class_counts(self._counts(self.chosen[0]), counts)
        for path, drawn in ((errors, self.errors is not None), (counts, len(self.chosen) == 1)):
            if drawn:
                files.append(path)
            else:
                path.unlink(missing_ok=True)
        return files

    def _sheets(self) -> list[Path]:
        """A page for each class or for all images, pages of several classes, and pages of filters."""
        sheets = [self._sheet(one) for one in self.chosen]
        files = [
            self.folder / "sheets" / f"{_file_name(number, sheet.name)}.png" for number, sheet in enumerate(sheets)
        ]
        for sheet, path in zip(sheets, files, strict=True):
            draw_sheet(sheet, path)
        pages = {
            "prototypes": sheets if len(sheets) > 1 else [],
            "filters": [self._sheet(one) for one in self.of_filters],
        }
        for name, some in pages.items():
            for first in range(0, len(some), SHEETS_ON_A_PAGE):
                number = "" if len(some) <= SHEETS_ON_A_PAGE else f"_{first // SHEETS_ON_A_PAGE + 1}"
                files.append(self.folder / "sheets" / f"{name}{number}.png")
                draw_sheets(some[first : first + SHEETS_ON_A_PAGE], files[-1])
        return files

    def _sheet(self, selection: Selection) -> ExemplarSheet:
        witness = dict(zip(selection.rows.tolist(), selection.critic.witness_.tolist(), strict=True))
        labels = selection.images.labels
        return ExemplarSheet(
            selection.name,
            *(
                tuple(
                    ShownExemplar(
                        self._image(selection, int(row)),
                        int(selection.images.indices[row]),
                        witness[int(row)],
                        self.store.classes[labels[row]] if self.store.classes else str(labels[row]),
                    )
                    for row in rows
                )
                for rows in (selection.prototypes, selection.criticisms)
            ),
        )

    def _image(self, selection: Selection, row: int) -> Picture:
        """The image, or of a filter what it looks at."""
        index = int(selection.images.indices[row])
        whole = self._pictures[index]
        if not any(selection is one for one in self.of_filters):
            return thumbnail(whole)
        number = int(selection.name.removeprefix("filter "))
        layer = self.store.layer(self.layer)
        field = layer.info.receptive_field
        if field is None:
            return thumbnail(whole)
        place = int(np.searchsorted(self.store.recorded.numpy(), index))
        return region(whole, self._positions[place, number], self._side)

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
        names = tuple(self.store.classes[label] if self.store.classes else str(label) for label in present)
        return ClassCounts(names, *counts)

    def _record(self, parameters: Mapping[str, Any]) -> ExemplarsRecord:
        manifest = self.store.manifest
        features = self.chosen[0].images.name
        return ExemplarsRecord(
            about=ExemplarAbout(
                checkpoint=manifest.model,
                data=manifest.data,
                split=self.split,
                features=features,
                layer=self.layer,
                classes=self.store.classes,
                versions=manifest.versions,
            ),
            parameters=dict(parameters),
            selections=tuple(selection_record(one, self.store.classes) for one in (*self.chosen, *self.of_filters)),
            errors=None if self.errors is None else errors_record(self.errors),
        )


def _file_name(number: int, name: str) -> str:
    """Different for different classes, also where their names have no letters in common alphabets."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{number} {name}"[:60]).strip("_")
