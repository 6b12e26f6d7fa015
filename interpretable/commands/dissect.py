"""``interpretable dissect``: the concept that each filter detects."""

import re
from pathlib import Path
from typing import Any

from rich.table import Table
from torch.utils.data import DataLoader

from interpretable.activations import ActivationStore, record_activations, weights_digest
from interpretable.commands.pictures import SHOWN_FILTERS, in_turn, top_row
from interpretable.commands.stores import begun_store, open_or_write, predict_split, store_folder
from interpretable.commands.terminal import say, show, show_progress
from interpretable.concepts import ConceptDataset, CreatureConcepts, PartConcepts, open_concepts
from interpretable.data.creatures import Creatures
from interpretable.dissection import BATCH, Dissection, dissect
from interpretable.errors import DataError
from interpretable.figures import draw_detectors, draw_top_images
from interpretable.runs import Run, load_run

FINEST_LABELS = 112
"""Side of label maps in pixels at the most: half of 224, as in the published evaluations."""


def dissect_folder(
    run: Path, concepts: str | None, layer: str | None, iou_threshold: float, nulls: bool, workers: int
) -> None:
    """Dissects a run's layer on a concept set, draws and prints what was found."""
    opened = load_run(run)
    name, data = _concepts_of(opened, concepts)
    store = _store_of(opened, name, data, own=concepts is None)
    of_layer = store.layer(layer)
    found = dissect(
        of_layer, store.image_size, data, name, show_progress,
        iou_threshold=iou_threshold, nulls=nulls, workers=workers,
    )  # fmt: skip
    found.about["model"] = store.manifest.model
    folder = opened.folder / "dissection"
    found.write(folder / f"{name}.json")
    _draw(found, store, of_layer.info.name, data, folder, opened.folder.name)
    show(dissection_table({opened.folder.name: found}))
    shown = run / "dissection"
    files = (f"{name}.json", f"{name}_filters.png", f"{name}_detectors.png")
    say(", ".join(str(shown / file) for file in files))


def _concepts_of(run: Run, spec: str | None) -> tuple[str, ConceptDataset]:
    """The concept set and its name, which is safe as that of a file."""
    image_size = run.datamodule.image_size
    size = (min(image_size[0], FINEST_LABELS), min(image_size[1], FINEST_LABELS))
    if spec is not None:
        return re.sub(r"\W+", "_", spec).strip("_"), open_concepts(spec, image_size, size)
    data = predict_split(run, "test").predict_dataset.data
    if isinstance(data, Creatures):
        return "test", CreatureConcepts(data, image_size, size)
    try:
        return "test", PartConcepts(data, image_size, size)
    except DataError as error:
        raise DataError(f"{error}; or name a set with --concepts") from error


def _store_of(run: Run, name: str, concepts: ConceptDataset, *, own: bool) -> ActivationStore:
    """The maps of the concept set's images."""
    if own:
        return open_or_write(run, "test", maps=True)
    folder = store_folder(run, f"concepts_{name}")
    begun_store(folder, weights_digest(run.model), concepts.fingerprint())
    loader: DataLoader[Any] = DataLoader(concepts, batch_size=BATCH)  # type: ignore[arg-type]
    return record_activations(
        run.model, loader, folder, maps=True, split=name,
        progress=lambda batches: show_progress(batches, f"{name}: maps"),
    )  # fmt: skip


def _draw(
    found: Dissection, store: ActivationStore, layer: str, concepts: ConceptDataset, folder: Path, title: str
) -> None:
    field = store.layer(layer).info.receptive_field
    if field is None:  # the dissection has refused such a layer
        return
    best = in_turn(found.concept, found.iou)[:SHOWN_FILTERS]
    rows = [
        top_row(
            store, concepts, layer, number,
            f"filter {number}\n{found.concept[number]} {found.iou[number]:.2f}", found.threshold[number],
        )
        for number in best
    ]  # fmt: skip
    name = found.concepts
    draw_top_images(rows, field, f"{title}: best detector of each concept, {name}", folder / f"{name}_filters.png")
    draw_detectors({title: (found.detectors_per_category, found.unique_per_category)}, folder / f"{name}_detectors.png")


def dissection_table(runs: dict[str, Dissection]) -> Table:
    """Detectors and unique concepts of runs on one concept set, beside what chance finds."""
    table = Table("dissection", *runs)
    first = next(iter(runs.values()))
    rows: list[tuple[str, list[str]]] = [
        ("filters", [str(len(run.iou)) for run in runs.values()]),
        (f"detectors (IoU > {first.about['iou_threshold']})", [str(run.num_detectors) for run in runs.values()]),
        ("unique concepts", [str(run.unique_concepts) for run in runs.values()]),
        ("… counted per category", [str(run.unique_by_category) for run in runs.values()]),
    ]
    for category in first.detectors_per_category:
        cells = [
            f"{run.detectors_per_category.get(category, 0)} ({run.unique_per_category.get(category, 0)})"
            for run in runs.values()
        ]
        rows.append((f"{category}: detectors (unique)", cells))
    for null in first.nulls:
        cells = [
            f"{run.nulls[null]['num_detectors']} ({run.nulls[null]['unique_concepts']})" if null in run.nulls else "–"
            for run in runs.values()
        ]
        rows.append((f"by chance, {null}: detectors (unique)", cells))
    for label, cells in rows:
        table.add_row(label, *cells)
    return table
