"""``interpretable prototypes``: the images that represent each class, and those that these fail to represent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from interpretable.activations import ActivationStore
from interpretable.artifacts import log_artifact
from interpretable.commands.prototype_errors import (
    check_test_layer,
    errors_of,
    has_test_images,
    tells_classes_apart,
)
from interpretable.commands.prototype_export import PrototypeExport
from interpretable.commands.prototype_features import ComparedImages, compared_by_peaks, compared_by_pixels
from interpretable.commands.prototype_filters import filter_selections
from interpretable.commands.prototype_request import Asked, checked_layer, checked_settings
from interpretable.commands.prototype_selections import Selection, select, with_median_gamma
from interpretable.commands.prototype_tables import error_rows, fewer_criticisms, selection_rows
from interpretable.commands.stores import open_or_write, predict_split
from interpretable.commands.terminal import say, show, show_progress
from interpretable.commands.tree_tables import Rows, table_of
from interpretable.data.splits import Split
from interpretable.errors import ConfigurationError
from interpretable.exemplars import MMDCritic
from interpretable.exemplars.exemplar_records import FILE_NAME, ExemplarAbout
from interpretable.exemplars.exemplar_view import ErrorCurve
from interpretable.runs import Run, load_run

FOLDER = "prototypes"


def choose_prototypes(run: Path, asked: Asked, parameters: Mapping[str, Any]) -> None:
    """Chooses, measures and draws the prototypes and criticisms of a run's images."""
    parameters = checked_settings(asked, parameters)
    opened = load_run(run)
    if opened.model.hparams["task"] == "multilabel":
        raise ConfigurationError("Prototypes are of one class each, but the run's images have several labels.")
    split = cast(Split, asked.split)
    data = predict_split(opened, split).predict_dataset
    known, labels = data.data.classes, data.labels.numpy()
    if unknown := [name for name in asked.classes if name not in known]:
        raise ConfigurationError(f"The run has the classes {', '.join(known)}, not {unknown[0]}; choose among them.")
    layer = checked_layer(opened, asked)
    sets = _sets(labels, known, asked)
    of_sets = [labels[rows] for _, rows in sets]
    if not asked.pixels and tells_classes_apart(split, of_sets) and has_test_images(opened, of_sets):
        check_test_layer(opened, layer)
    store = open_or_write(opened, split)
    images = _compared(opened, split, asked, store, layer)
    chosen = _selections(sets, images, asked, parameters)
    of_filters = filter_selections(opened, split, asked, store.layer(layer), images, parameters)
    errors, named = _errors(opened, asked, layer, chosen)
    about = ExemplarAbout(
        checkpoint=store.manifest.model,
        data=store.manifest.data,
        split=split,
        features=images.name,
        layer="" if asked.pixels else layer,
        classes=store.classes,
        versions=store.manifest.versions,
    )
    export = PrototypeExport(opened, opened.folder / FOLDER, store, layer, split, chosen, of_filters, errors)
    files = export.write({**parameters, "together": asked.together}, about)
    show(table_of("Prototypes against as many images picked at random", selection_rows([*chosen, *of_filters])))
    if fewer := fewer_criticisms([*chosen, *of_filters], parameters["n_criticisms"]):
        say(fewer)
    if named:
        show(table_of("Test images named wrongly by the nearest", named))
    ratio = np.mean([one.critic.off_diagonal_ratio_ for one in chosen])
    say(
        f"Off-diagonal sums of the kernel are {ratio:.3g} times its diagonal: that greedy comes within 1 - 1/e of the "
        "best choice is proven only where they are near 0."
    )
    if log_artifact(opened, f"prototypes-{opened.folder.name}", "prototypes", files):
        say("W&B: logged as an artifact of the run")
    say(f"{run / FOLDER}: {FILE_NAME} and pictures")
    for path in files:
        if path.suffix == ".png":
            say(f"{run / path.relative_to(opened.folder)}")


def _sets(labels: np.ndarray, classes: Sequence[str], asked: Asked) -> list[tuple[str, np.ndarray]]:
    """Names of the sets of images that prototypes are chosen of, and their rows."""
    wanted = sorted({classes.index(name) for name in asked.classes}) or list(range(len(classes)))
    if asked.together:
        name = ", ".join(classes[label] for label in wanted) if asked.classes else "all classes"
        sets = [(name, np.flatnonzero(np.isin(labels, wanted)))]
    else:
        sets = [(classes[label], np.flatnonzero(labels == label)) for label in wanted]
    for name, rows in sets:
        if len(rows) < 2:
            say(f"{name} is left out: it has {len(rows)} {asked.split} image{'' if len(rows) == 1 else 's'}")
    left = [(name, rows) for name, rows in sets if len(rows) > 1]
    if not left:
        raise ConfigurationError(f"No class has two {asked.split} images or more; choose others.")
    return left


def _compared(run: Run, split: Split, asked: Asked, store: ActivationStore, layer: str) -> ComparedImages:
    if asked.pixels:
        return compared_by_pixels(run, split, store)
    return compared_by_peaks(run, split, store, layer)


def _selections(
    sets: Sequence[tuple[str, np.ndarray]], images: ComparedImages, asked: Asked, parameters: Mapping[str, Any]
) -> list[Selection]:
    """What is chosen of each set; those without a median distance are left out."""
    settings = {**parameters, "gamma": _gamma(images, asked, parameters)}
    chosen = []
    for name, rows in sets:
        of_set = with_median_gamma(images.rows[rows], settings)
        if of_set is None:
            say(f"{name} is left out: half of the pairs of its images or more are equal, so their median is 0")
        else:
            chosen.append(select(name, images, rows, of_set, track=show_progress))
    if not chosen:
        raise ConfigurationError(
            f"No median distance of {asked.split} images is above 0, as half of their pairs or more are equal; give "
            "--gamma a number."
        )
    return chosen


def _gamma(images: ComparedImages, asked: Asked, parameters: Mapping[str, Any]) -> float | str:
    """γ of every choice; cross-validation is of all classes at once, as within one there is nothing to tell apart."""
    gamma: float | str = parameters["gamma"]
    if gamma != "cv-1nn" or asked.together:
        return gamma
    classes = len(np.unique(images.labels))
    units = len(np.unique(images.groups))
    count = min(classes * parameters["n_prototypes"], units)
    critic = MMDCritic(**{**parameters, "n_prototypes": count, "n_criticisms": 0, "local": True})
    return critic.fit(images.rows, images.labels, groups=images.groups, track=show_progress).gamma_


def _errors(run: Run, asked: Asked, layer: str, chosen: Sequence[Selection]) -> tuple[ErrorCurve | None, Rows]:
    """Errors on test images and their table, where there are several classes and test images of them."""
    labels = [one.images.labels[one.rows] for one in chosen]
    if not tells_classes_apart(cast(Split, asked.split), labels):
        return None, ()
    if not has_test_images(run, labels):
        say("Errors are left out: there are no test images of these classes")
        return None, ()
    test = open_or_write(run, "test")
    errors = errors_of(chosen, _compared(run, "test", asked, test, layer))
    return errors, error_rows(errors, test, chosen)
