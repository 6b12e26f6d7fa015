"""``interpretable prototypes``: the images that represent each class, and those that these fail to represent."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np

from interpretable.activations import ActivationStore
from interpretable.artifacts import log_artifact
from interpretable.commands.prototype_export import PrototypeExport
from interpretable.commands.prototype_features import (
    ComparedImages,
    compared_by_peaks,
    compared_by_pixels,
    features_at_peaks,
)
from interpretable.commands.prototype_selections import Selection, errors_of, select
from interpretable.commands.prototype_tables import error_rows, selection_rows
from interpretable.commands.stores import open_or_write, predict_split
from interpretable.commands.terminal import say, show, show_progress
from interpretable.commands.tree_tables import table_of
from interpretable.data.splits import Split
from interpretable.errors import ConfigurationError
from interpretable.exemplars import MMDCritic
from interpretable.exemplars.exemplar_records import FILE_NAME
from interpretable.runs import Run, load_run

FOLDER = "prototypes"

FILTER_IMAGES = 100
"""Images on which a filter fires strongest, which its prototypes are chosen from."""


class Asked(NamedTuple):
    """What prototypes are of."""

    layer: str | None
    """Whose filter peaks images are compared by; the top one if None."""
    pixels: bool
    """Whether they are compared by their pixels instead."""
    split: str
    """Which images are chosen from: train, validation or test."""
    classes: tuple[str, ...]
    """Those of which prototypes are chosen; all where there are none."""
    together: bool
    """One choice among the images of all of these."""
    filters: int
    """How many filters prototypes are chosen of."""
    numbers: tuple[int, ...]
    """Which filters; the loudest where there are none."""


def choose_prototypes(run: Path, asked: Asked, parameters: Mapping[str, Any]) -> None:
    """Chooses, measures and draws the prototypes and criticisms of a run's images."""
    parameters = _read(asked, parameters)
    opened = load_run(run)
    if opened.model.hparams["task"] == "multilabel":
        raise ConfigurationError("Prototypes are of one class each, but the run's images have several labels.")
    known = predict_split(opened, "test").predict_dataset.data.classes
    if unknown := [name for name in asked.classes if name not in known]:
        raise ConfigurationError(f"The run has the classes {', '.join(known)}, not {unknown[0]}; choose among them.")
    split = cast(Split, asked.split)
    store = open_or_write(opened, split)
    layer = store.layer(asked.layer).info
    if wrong := [number for number in asked.numbers if number >= layer.channels]:
        raise ConfigurationError(
            f"{layer.name} has the filters 0 to {layer.channels - 1}, not {wrong[0]}; choose among them."
        )
    images = _compared(opened, split, asked, store)
    settings = {**parameters, "gamma": _gamma(images, asked, parameters)}
    chosen = [
        select(name, images, rows, settings, track=show_progress) for name, rows in _sets(images, asked, store.classes)
    ]
    tested = open_or_write(opened, "test")
    errors = None
    if asked.split != "test" and len({int(label) for one in chosen for label in images.labels[one.rows]}) > 1:
        errors = errors_of(chosen, _of_classes(_compared(opened, "test", asked, tested), chosen))
    of_filters = _filter_selections(opened, split, asked, store, images, parameters)
    export = PrototypeExport(opened, opened.folder / FOLDER, store, layer.name, split, chosen, of_filters, errors)
    files = export.write({**parameters, "together": asked.together})
    show(table_of("Prototypes against as many images picked at random", selection_rows([*chosen, *of_filters])))
    if errors is not None:
        show(table_of("Test images named wrongly by the nearest", error_rows(errors, tested, chosen)))
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


def _read(asked: Asked, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `MMDCritic`, with numbers where words of the command line are numbers."""
    if asked.split not in get_args(Split):
        raise ConfigurationError(f"--split must be {', '.join(get_args(Split))}, got {asked.split!r}.")
    if parameters["local"] and not asked.together:
        raise ConfigurationError("--local is of one choice among several classes; add --together, or leave it out.")
    gamma = _word_or_number("--gamma", parameters["gamma"], ("median", "1/d", "cv-1nn"))
    weight = _word_or_number("--weight", parameters["regularizer_weight"], ("auto",))
    if gamma == 0:
        raise ConfigurationError("--gamma must be above 0, got 0; the larger it is the narrower the kernel.")
    return {**parameters, "gamma": gamma, "regularizer_weight": weight}


def _word_or_number(option: str, text: str, words: tuple[str, ...]) -> float | str:
    if text in words:
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ConfigurationError(f"{option} must be {', '.join(words)} or a number of 0 or more, got {text!r}.")
    return number


def _compared(run: Run, split: Split, asked: Asked, store: ActivationStore) -> ComparedImages:
    if asked.pixels:
        return compared_by_pixels(run, split, store)
    return compared_by_peaks(run, split, store, store.layer(asked.layer).info.name)


def _gamma(images: ComparedImages, asked: Asked, parameters: Mapping[str, Any]) -> float | str:
    """γ of every choice; cross-validation is of all classes at once, as within one there is nothing to tell apart."""
    gamma: float | str = parameters["gamma"]
    if gamma != "cv-1nn" or asked.together:
        return gamma
    classes = len(np.unique(images.labels))
    units = len(np.unique(images.groups))
    critic = MMDCritic(min(classes * parameters["n_prototypes"], units), 0, gamma="cv-1nn", local=True)
    return critic.fit(images.rows, images.labels, groups=images.groups, track=show_progress).gamma_


def _sets(images: ComparedImages, asked: Asked, classes: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Names of the sets of images that prototypes are chosen of, and their rows."""
    labels = sorted({classes.index(name) for name in asked.classes}) or list(range(len(classes)))
    if asked.together:
        name = ", ".join(classes[label] for label in labels) if asked.classes else "all classes"
        return [(name, np.flatnonzero(np.isin(images.labels, labels)))]
    sets = []
    for label in labels:
        rows = np.flatnonzero(images.labels == label)
        if len(rows) > 1:
            sets.append((classes[label], rows))
        else:
            say(f"{classes[label]} is left out: it has {len(rows)} {asked.split} images")
    if not sets:
        raise ConfigurationError(f"No class has two {asked.split} images or more; choose others.")
    return sets


def _of_classes(test: ComparedImages, chosen: Sequence[Selection]) -> ComparedImages:
    """The test images of the classes that prototypes were chosen of."""
    labels = np.unique(np.concatenate([one.images.labels[one.rows] for one in chosen]))
    rows = np.flatnonzero(np.isin(test.labels, labels))
    return ComparedImages(test.name, *(column[rows] for column in test[1:]))


def _filter_selections(
    run: Run, split: Split, asked: Asked, store: ActivationStore, images: ComparedImages, parameters: Mapping[str, Any]
) -> list[Selection]:
    """What typifies the places at which filters fire strongest, each image counting by how strongly, and what does not.

    Images are compared by what the layer below has in the cell of the peak.
    """
    layer = store.layer(asked.layer)
    peaks = layer.peaks[:].numpy()
    loudest = np.argsort(-peaks.mean(0), kind="stable")[: asked.filters]
    filters = np.array(asked.numbers or loudest[peaks[:, loudest].max(0) > 0].tolist(), dtype=np.int64)
    if not len(filters):
        return []
    rows = np.argsort(-peaks[:, filters], axis=0, kind="stable")[:FILTER_IMAGES].T
    features = features_at_peaks(run, split, layer, rows, filters)
    selections = []
    for number, at, vectors in zip(filters.tolist(), rows, features, strict=True):
        strength = peaks[at, number]
        seen = ComparedImages("", vectors, *(column[at] for column in images[2:]))
        fires = np.flatnonzero(strength > 0)
        if len(fires) > 1:
            selections.append(
                select(
                    f"filter {number}", seen, fires, {**parameters, "gamma": "median", "local": False}, strength[fires]
                )
            )
        else:
            say(f"filter {number} is left out: it fires on {len(fires)} images")
    return selections
