"""``interpretable evaluate``: how interpretable a run's filters are, in numbers, with what chance would score."""

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from interpretable.activations import ActivationStore, UpTo, record_activations, weights_digest
from interpretable.classifier import InterpretableClassifier
from interpretable.commands.pictures import filter_rows
from interpretable.commands.stores import open_or_write, predict_split
from interpretable.commands.tables import measure_table
from interpretable.commands.terminal import say, show, show_progress
from interpretable.data.splits import Split
from interpretable.errors import RunError
from interpretable.evaluation.evaluation import FILE_NAME, Evaluation
from interpretable.evaluation.importance import add_importance
from interpretable.evaluation.measures import add_accuracy, add_keypoints, add_maps, add_places
from interpretable.evaluation.part_masks import add_part_masks, annotated_batches
from interpretable.evaluation.stored_filters import BATCH, StoredFilters
from interpretable.figures import draw_top_images
from interpretable.receptive_field import effective_receptive_field
from interpretable.runs import Run, load_run


def evaluate_folder(run: Path, layer: str | None, random_network: bool) -> None:
    """Evaluates a run, prints the table and says what was written."""
    opened = load_run(run)
    found = evaluate_run(opened, layer, random_network)
    show(measure_table({opened.folder.name: found}))
    say(f"{run / FILE_NAME}, {run / 'evaluation' / 'filters.png'}")


def evaluate_run(run: Run, layer: str | None = None, random_network: bool = True) -> Evaluation:
    """The evaluation of a run's layer, which is also written to the run folder, with a picture of its filters."""
    filters = StoredFilters(open_or_write(run, "train"), open_or_write(run, "test", maps=True), layer)
    evaluation = measure(run, filters)
    if random_network and filters.test.parts:  # only places of parts are measured on it
        with tempfile.TemporaryDirectory() as folder:
            baseline = measure_places(_random_twin(run, filters, Path(folder)))
        evaluation.add(**{f"random_network/{name}": value for name, value in baseline.numbers.items()})
    evaluation.write(run.folder / FILE_NAME)
    _draw(run, filters, evaluation)
    return evaluation


def evaluated(run: Run) -> Evaluation:
    """The evaluation in the run folder, made anew where it is missing, damaged, or of other weights or images."""
    try:
        found = Evaluation.read(run.folder / FILE_NAME)
    except RunError:
        return evaluate_run(run)
    splits: tuple[Split, ...] = ("train", "test")
    data = {split: predict_split(run, split).predict_dataset.fingerprint() for split in splits}
    same = found.about.get("model") == weights_digest(run.model) and found.about.get("data") == data
    return found if same else evaluate_run(run)


def measure(run: Run, filters: StoredFilters) -> Evaluation:
    """All measures of a run's filters."""
    evaluation = measure_places(filters)
    evaluation.about |= {
        "layer": filters.test.layer(filters.layer).info.name,
        "model": filters.test.manifest.model,
        "data": {"train": filters.train.manifest.data, "test": filters.test.manifest.data},
        "images": {"train": len(filters.train), "test": len(filters.test)},
        "classes": list(filters.test.classes),
        "parts": list(filters.test.parts),
        "versions": filters.test.manifest.versions,
    }
    evaluation.add(theoretical_field=filters.field.size, effective_field=effective_size(run, filters))
    add_accuracy(evaluation, filters)
    add_maps(evaluation, filters, show_progress)
    if filters.test.parts:
        batches = annotated_batches(predict_split(run, "test").predict_dataset)
        add_part_masks(evaluation, filters, batches, show_progress)
    add_importance(evaluation, filters, run.model.net)
    return evaluation


def measure_places(filters: StoredFilters) -> Evaluation:
    """The measures of where filters fire, which a network with random weights is given too."""
    evaluation = Evaluation()
    add_places(evaluation, filters)
    add_keypoints(evaluation, filters)
    return evaluation


def effective_size(run: Run, filters: StoredFilters) -> float:
    """Side in pixels of what a unit of the layer really sees, on the first test images (Luo et al. 2016)."""
    dataset = predict_split(run, "test").predict_dataset
    images = torch.stack([dataset[index]["image"].as_subclass(Tensor) for index in range(min(BATCH, len(dataset)))])
    layer = UpTo(run.model, filters.test.layer(filters.layer).info.name)
    return float(effective_receptive_field(layer, [images]).size)


def _random_twin(run: Run, filters: StoredFilters, folder: Path) -> StoredFilters:
    """The same layer of the same network with random weights, as before any training, on the same images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {**run.model.hparams, "weights": None}
        twin = InterpretableClassifier(**options).eval()
    layer = filters.test.layer(filters.layer).info.name

    def record(split: Split) -> ActivationStore:
        loader = predict_split(run, split).predict_dataloader()
        batches = partial(show_progress, what=f"random network, {split}")
        return record_activations(
            twin, loader, folder / split, [layer], maps=split == "test", split=split, progress=batches
        )

    return StoredFilters(record("train"), record("test"), layer)


def _draw(run: Run, filters: StoredFilters, evaluation: Evaluation) -> None:
    rows = filter_rows(run, filters, evaluation)
    path = run.folder / "evaluation" / "filters.png"
    draw_top_images(rows, filters.field, f"{run.folder.name}: the best filter of each part in turn", path)
