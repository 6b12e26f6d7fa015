"""``interpretable tree``: what a run's decisions rest on, as trees that a person reads and signs off."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from interpretable.activations import ActivationStore
from interpretable.artifacts import log_artifact
from interpretable.commands.stores import open_or_write, predict_split
from interpretable.commands.terminal import say, show, show_progress
from interpretable.commands.tree_export import TreeExport
from interpretable.commands.tree_labels import suggested_labels
from interpretable.commands.tree_tables import fidelity_rows, level_rows, mean_levels, table_of
from interpretable.documents import write_document
from interpretable.errors import ConfigurationError
from interpretable.evaluation.part_removal import logits_without
from interpretable.evaluation.stored_filters import BATCH
from interpretable.runs import Run, load_run
from interpretable.surrogates.class_scores import Kind
from interpretable.surrogates.decision_mode_tree import DecisionModeTree
from interpretable.surrogates.export.mode_view import Names
from interpretable.surrogates.fidelity import FidelityRow
from interpretable.surrogates.filter_labels import FilterLabel, merged, parts_of, read_labels
from interpretable.surrogates.fitting import FittedSurrogates, SurrogateFit
from interpretable.surrogates.records import FILE_NAME, About, DocumentRecord

FOLDER = "tree"


def build_trees(
    run: Path, classes: Sequence[str], score: str, labels: Path | None, images: int, parameters: Mapping[str, Any]
) -> None:
    """Builds, measures and exports the trees of a run."""
    if score not in get_args(Kind):
        raise ConfigurationError(f"--score must be margin or logit, got {score!r}.")
    kind = cast(Kind, score)
    DecisionModeTree(**parameters).check_arguments()
    opened = load_run(run)
    if opened.model.hparams["task"] == "multilabel":
        raise ConfigurationError(
            "Trees explain one class against the others, but the run's images have several labels."
        )
    if labels is not None and not labels.is_file():
        raise ConfigurationError(f"{labels} is missing; write it with `interpretable tree-labels {run}`.")
    train, test = _stores(opened, classes, kind)
    names = _names(_labels(opened, labels), train)
    targets = [train.classes.index(name) for name in classes] or _all_targets(train)
    without = logits_without(
        opened.model.net.forward_head,
        test.layer().maps,
        list(names.parts.values()),
        lambda batches: show_progress(batches, "parts removed", -(-len(test) // BATCH)),
        BATCH,
    )
    fitted = SurrogateFit(train, test, kind, images, parameters).run(
        targets, names.parts, without.double().numpy(), show_progress
    )
    for name, reason in fitted.skipped.items():
        say(f"{name} is left out: {reason}")
    folder = opened.folder / FOLDER
    about = _about(train, test, kind, names, fitted)
    write_document(folder / FILE_NAME, _record(fitted, about))
    TreeExport(opened, folder, fitted, about, train, test, names).write()
    show(
        table_of(
            "Decision modes against the network on test images, mean over classes", level_rows(fitted, every_part=False)
        )
    )
    show(table_of("Surrogates of all decisions on test images", fidelity_rows(fitted.fidelity)))
    _log(opened, folder, fitted)
    shown = run / FOLDER
    say(f"{shown}: {FILE_NAME}, tree.txt, levels.csv, fidelity.csv, a picture of each tree, and the page to read")
    say(f"{shown / 'tree.html'}")


def _labels(run: Run, path: Path | None) -> list[FilterLabel]:
    """What filters are called: by a reviewer's file, or the parts that they were found in."""
    filters = run.model.net.num_filters
    has_parts = bool(predict_split(run, "test").predict_dataset.data.parts)
    suggested = suggested_labels(run) if has_parts else [FilterLabel(number) for number in range(filters)]
    return suggested if path is None else merged(suggested, read_labels(path, filters))


def _stores(run: Run, classes: Sequence[str], score: Kind) -> tuple[ActivationStore, ActivationStore]:
    """Stores of the training and test images with the rationales that the scores of these classes need."""
    known = predict_split(run, "test").predict_dataset.data.classes
    if unknown := [name for name in classes if name not in known]:
        raise ConfigurationError(f"The run has the classes {', '.join(known)}, not {unknown[0]}; choose among them.")
    if run.model.hparams["task"] == "binary":
        needed = [known[1]]  # of the one logit
    else:
        needed = list(classes) if classes and score == "logit" else list(known)
    train = open_or_write(run, "train", rationales=needed)
    return train, open_or_write(run, "test", maps=True, rationales=needed)


def _all_targets(store: ActivationStore) -> list[int]:
    """Every class; of a binary task the category alone, whose logit is the background's too."""
    return [1] if store.manifest.outputs == 1 else list(range(len(store.classes)))


def _names(labels: Sequence[FilterLabel], store: ActivationStore) -> Names:
    """What filters, parts and classes are called in the exports."""
    channels = store.layer().info.channels  # those beyond the part filters have no label
    parts = parts_of(labels)
    part_of = {number: part for part, filters in parts.items() for number in filters}
    filters = [f"{part_of[n]} · {n}" if n in part_of else f"filter {n}" for n in range(channels)]
    return Names(filters, parts, store.classes)


def _about(train: ActivationStore, test: ActivationStore, score: Kind, names: Names, fitted: FittedSurrogates) -> About:
    others = {name: "not asked for" for name in train.classes if name not in fitted.classes}
    return About(
        left_out=others | fitted.skipped,
        checkpoint=train.manifest.model,
        train_data=train.manifest.data,
        test_data=test.manifest.data,
        layer=train.layer().info.name,
        classes=train.classes,
        score="logit" if train.manifest.outputs == 1 else score,
        filters=tuple(names.filters),
        versions=train.manifest.versions,
    )


def _record(fitted: FittedSurrogates, about: About) -> DocumentRecord:
    return DocumentRecord(
        about=about,
        decision_modes=tuple(explained.tree.to_record() for explained in fitted.classes.values()),
        filter_tree=fitted.filter_tree.to_record(),
        linear=fitted.linear.to_record(),
    )


def _log(run: Run, folder: Path, fitted: FittedSurrogates) -> None:
    """Hands the trees and tables to W&B where it is the run's logger."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    levels = mean_levels(fitted)
    tables: dict[str, list[tuple[Any, ...]]] = {
        "tree/levels": [tuple(levels[0]), *(tuple(level.values()) for level in levels)],
        "tree/fidelity": [FidelityRow._fields, *fitted.fidelity],
    }
    if log_artifact(run, f"tree-{run.folder.name}", "tree", files, tables):
        say("W&B: logged as an artifact of the run")
