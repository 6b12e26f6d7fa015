"""``interpretable graph``: the part patterns inside a run's filters, and which of them move together."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Subset

from interpretable.activations import ActivationStore
from interpretable.artifacts import log_artifact
from interpretable.commands.graph_export import PAGE, GraphExport
from interpretable.commands.graph_stores import graph_layers, graph_store
from interpretable.commands.graph_tables import few_shot_rows, mean_evaluations, measure_rows, place_rows
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import say, show, show_progress
from interpretable.commands.tree_images import evenly
from interpretable.commands.tree_tables import table_of, write_csv
from interpretable.errors import ConfigurationError, sentence_of
from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.node_measures import NodePlaces, evaluate_places, peak_table
from interpretable.evaluation.part_masks import annotated_batches
from interpretable.files import LONGEST_NAME, safe_name
from interpretable.runs import Run, load_run
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes
from interpretable.surrogates.graph_arguments import check_densities
from interpretable.surrogates.graph_records import GraphAbout
from interpretable.surrogates.layer_maps import stored_maps
from interpretable.surrogates.learned_layers import forget_layers

FOLDER = "graph"


class Category(NamedTuple):
    """Images that a graph is of."""

    name: str
    folder: str
    """Name of the graph's folder."""
    classes: tuple[str, ...]
    """Names of their classes, none where they are of all."""
    train: Tensor
    """Rows in the store of training images."""
    test: Tensor
    """Rows in the store of test images."""


class Splits(NamedTuple):
    """Stores of the maps."""

    train: ActivationStore
    test: ActivationStore
    train_mirrored: ActivationStore | None
    test_mirrored: ActivationStore | None


def build_graphs(
    run: Path,
    layers: Sequence[str],
    classes: Sequence[str],
    together: bool,
    images: int,
    device: str,
    parameters: Mapping[str, Any],
) -> None:
    """Learns, measures and exports the explanatory graphs of a run."""
    ExplanatoryGraph(**parameters, device=device).check_arguments()
    opened = load_run(run)
    if opened.model.hparams["task"] == "multilabel":
        raise ConfigurationError("Graphs are of one category each, but the run's images have several labels.")
    known = predict_split(opened, "test").predict_dataset.data.classes
    if unknown := [name for name in classes if name not in known]:
        raise ConfigurationError(f"The run has the classes {', '.join(known)}, not {unknown[0]}; choose among them.")
    _move(opened, device)
    chosen = graph_layers(opened, layers)
    densities = parameters.get("density")
    check_densities(len(densities) if isinstance(densities, tuple) else None, len(chosen))
    folder = opened.folder / FOLDER
    splits = _stores(opened, folder / "activations", chosen, bool(parameters.get("mirror")))
    written: list[Path] = []
    measured: dict[str, dict[str, Evaluation]] = {}
    for category in _categories(splits, classes, together, images):
        own = folder / category.folder
        graph = ExplanatoryGraph(**parameters, device=device).fit(
            stored_maps(splits.train, splits.train_mirrored, category.train),
            splits.train.image_size,
            own / "layers",
            lambda items, what, name=category.name: show_progress(items, f"{name}: {what}"),
        )
        trained = graph.infer(stored_maps(splits.train, splits.train_mirrored, category.train))
        tested = graph.infer(stored_maps(splits.test, splits.test_mirrored, category.test))
        evaluations = _evaluate(opened, splits, category, trained, tested)
        measured[category.name] = evaluations
        about = GraphAbout(
            checkpoint=splits.train.manifest.model,
            train_data=splits.train.manifest.data,
            images=len(category.train),
            image_size=splits.train.image_size,
            categories=category.classes,
            versions=splits.train.manifest.versions,
        )
        export = GraphExport(opened, own, category.name, graph, about, splits.test, category.test, tested, evaluations)
        written += export.write()
    if not measured:
        raise ConfigurationError("No graph was learned, as no class has both training and test images; choose others.")
    rows = measure_rows(measured)
    write_csv(folder / "measures.csv", rows)
    if splits.test.parts:
        means = mean_evaluations(measured)
        show(table_of("The strongest nodes and raw filters on test images, mean of graphs", place_rows(means)))
        show(table_of("Error of a part pointed out in few images, share of the diagonal", few_shot_rows(means)))
    files = [folder / "measures.csv", *written]
    if log_artifact(opened, f"graph-{opened.folder.name}", "graph", files, {"graph/measures": rows}):
        say("W&B: logged as an artifact of the run")
    say(f"{run / FOLDER}: measures.csv, and for each graph graph.json, graph.graphml, nodes.csv, a picture and a page")
    for kept in folder.glob("*/layers"):  # also of a command that was stopped and is not gone on with
        forget_layers(kept)
    for path in written:
        if path.name == PAGE:
            say(f"{run / path.relative_to(opened.folder)}")


def _move(run: Run, device: str) -> None:
    try:
        run.model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"--device must be one that this machine has, such as cpu or cuda, got {device!r} ({sentence_of(error)})."
        ) from error


def _stores(run: Run, folder: Path, layers: tuple[str, ...], mirror: bool) -> Splits:
    train, test = (graph_store(folder, run, split, layers) for split in ("train", "test"))
    if not mirror:
        return Splits(train, test, None, None)
    return Splits(train, test, *(graph_store(folder, run, split, layers, True) for split in ("train", "test")))


def _categories(splits: Splits, classes: Sequence[str], together: bool, images: int) -> Iterator[Category]:
    """The images of each graph: of one class each, or of all of them together."""
    names = splits.train.classes
    chosen = sorted({names.index(name) for name in classes}) or list(range(len(names)))
    groups = [chosen] if together else [[label] for label in chosen]
    for labels in groups:
        train, test = (
            torch.isin(store.labels, torch.tensor(labels)).nonzero().squeeze(1) for store in (splits.train, splits.test)
        )
        some = torch.from_numpy(evenly(train.numpy(), images))
        whole = together and not classes
        of = () if whole else tuple(names[label] for label in labels)
        name = "all classes" if whole else ", ".join(of)
        if not len(some) or not len(test):
            say(f"{name} is left out: it has no {'test' if len(some) else 'training'} image")
            continue
        yield Category(name, _folder_name(labels, of), of, some, test)


def _folder_name(labels: Sequence[int], classes: Sequence[str]) -> str:
    """Different for different classes, also where their names have no letters in common alphabets."""
    if not classes:
        return "all_classes"
    if len(labels) > 1:
        numbers = "_".join(map(str, labels))
        long = len(numbers) > LONGEST_NAME
        return f"together_{hashlib.sha256(numbers.encode()).hexdigest()[:12] if long else numbers}"
    return safe_name(labels[0], classes[0])


def _evaluate(
    run: Run, splits: Splits, category: Category, trained: FoundNodes, tested: FoundNodes
) -> dict[str, Evaluation]:
    """Measures of each layer's raw filters and nodes, by name."""
    places = {}
    for number, layer in enumerate(splits.train.layers):
        name, filters = layer.info.name, layer.info.filters
        raw = [
            (store.layer(name).peaks[rows][:, :filters], store.layer(name).peak_positions()[rows, :filters])
            for store, rows in ((splits.train, category.train), (splits.test, category.test))
        ]
        nodes = [
            (found.layers[number].scores.flatten(1), found.positions[number].flatten(1, 2))
            for found in (trained, tested)
        ]
        places[f"{name}, filters"] = _places(splits, category, raw)
        places[f"{name}, nodes"] = _places(splits, category, nodes)
    images = Subset(predict_split(run, "test").predict_dataset, splits.test.recorded[category.test].tolist())
    batches = show_progress(annotated_batches(images), f"{category.name}: parts")
    return evaluate_places(places, batches, len(splits.train.classes))


def _places(splits: Splits, category: Category, found: Sequence[tuple[Tensor, Tensor]]) -> NodePlaces:
    """Tables from scores and positions in the training and in the test images."""
    return NodePlaces(
        *(
            peak_table(store, rows, values, positions)
            for store, rows, (values, positions) in zip(splits[:2], (category.train, category.test), found, strict=True)
        )
    )
