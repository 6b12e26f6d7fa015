"""What influence is asked for, checked before anything is computed or written."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from interpretable.commands.attribution_images import OF_A_FILE, explained_images
from interpretable.commands.influence_batches import TrainingImages, logits_of
from interpretable.commands.influence_checkpoints import Checkpoint, checkpoints_of, weighted
from interpretable.commands.stores import checked_split, predict_split
from interpretable.errors import ConfigurationError
from interpretable.exemplars.critic_arguments import place
from interpretable.influence.labelled_images import LabelledImages
from interpretable.runs import Run

InfluenceMethod = Literal["last_layer", "trac_in", "ek_fac"]


class Asked(NamedTuple):
    """Whose influence on what, and how it is computed."""

    images: tuple[str, ...]
    """Indices of images of the split, files and folders; only self-influence is computed where there are none."""
    label: str | None
    """Class of the files; that which the network predicts of each if None."""
    method: str
    top: int
    """Training images that are listed as helpful, and as harmful, at the most."""
    split: str
    """Which images indices mean: train, validation or test."""
    damping: float | None
    device: str
    batch_size: int | None
    """Images in a forward pass at the most; chosen by the device if None."""


class Queries(NamedTuple):
    """Images whose losses are looked at; tensors are on the CPU."""

    pixels: Tensor
    """(T, 3, H, W) as the network takes them."""
    names: tuple[str, ...]
    indices: tuple[int, ...]
    """In the split; −1 of files."""
    labels: Tensor
    """(T,) int64, the classes of the losses."""
    predicted: Tensor
    """(T,) int64."""
    losses: Tensor
    """(T,) in nats."""

    @property
    def batches(self) -> LabelledImages:
        """As estimators take them."""
        return [(self.pixels, self.labels)]


class Request(NamedTuple):
    """What is asked for, read and known to be there."""

    asked: Asked
    run: Run
    """Its network is on the device."""
    training: TrainingImages
    queries: Queries | None
    """None where only self-influence is asked for."""
    checkpoints: tuple[Checkpoint, ...]
    """Of TracIn alone: those whose learning rate is above 0, in the order of training."""
    left_out: tuple[Checkpoint, ...]
    """Those whose learning rate is 0."""


def checked_request(run: Run, asked: Asked) -> Request:
    """All that is asked for, once the words are known to be right.

    Raises:
        ConfigurationError: The run is of another task, or there is no such image or class.
        DataError: A file is no image, or the run has no such split.
        InfluenceError: The checkpoints do not do for TracIn.
    """
    check_task(run)
    found = checkpoints_of(run) if asked.method == "trac_in" else []
    kept = tuple(weighted(found)) if found else ()
    run.model.to(asked.device)
    queries = asked_images(run, asked)
    left_out = tuple(checkpoint for checkpoint in found if checkpoint not in kept)
    return Request(asked, run, TrainingImages(run, asked.batch_size), queries, kept, left_out)


def check_words(asked: Asked) -> None:
    """Refuses words of the command line that are none that are known, or contradict one another.

    Raises:
        ConfigurationError: They do.
        ExemplarError: This machine has no such device.
    """
    checked_split(asked.split)
    if asked.method not in get_args(InfluenceMethod):
        raise ConfigurationError(f"--method must be {', '.join(get_args(InfluenceMethod))}, got {asked.method!r}.")
    if asked.damping is not None and asked.method == "trac_in":
        raise ConfigurationError("--damping is of a curvature, which trac_in has none of; leave it out.")
    if asked.damping is not None and not 0 < asked.damping < math.inf:
        raise ConfigurationError(f"--damping must be a number above 0, got {asked.damping:g}.")
    if asked.label is not None and not asked.images:
        raise ConfigurationError("--label is the class of image files, but there is no --image; add one.")
    place(torch.empty(0), asked.device)


def check_task(run: Run) -> None:
    """Refuses a run whose loss is not the cross-entropy of the softmax.

    Raises:
        ConfigurationError: It is not.
    """
    if run.model.task != "multiclass":
        raise ConfigurationError(
            "Influence is through the cross-entropy of the softmax, that of task=multiclass, but the run was trained "
            f"with task={run.model.task}; give one of several exclusive classes."
        )


def asked_images(run: Run, asked: Asked) -> Queries | None:
    """The images that are asked for, as the network on its device sees them; None where there are none.

    Raises:
        ConfigurationError: There is no such image or class, or all images have labels of their own.
        DataError: A file is no image, or the run has no such split.
    """
    if not asked.images:
        return None
    split = checked_split(asked.split)
    classes = predict_split(run, split).predict_dataset.data.classes
    if asked.label is not None and asked.label not in classes:
        raise ConfigurationError(f"--label must be one of the classes {', '.join(classes)}, got {asked.label!r}.")
    images = explained_images(run, split, asked.images)
    if asked.label is not None and OF_A_FILE not in images.indices:
        raise ConfigurationError(
            f"--label is the class of image files, but all images are of the {split} images, whose labels are known; "
            "leave it out."
        )
    unlabelled = [(images.pixels, torch.zeros(len(images.pixels), dtype=torch.int64))]
    logits = logits_of(run, unlabelled, asked.batch_size).double()
    predicted = logits.argmax(1)
    given = None if asked.label is None else classes.index(asked.label)
    labels = torch.tensor(_labels(images.labels, predicted, given))
    losses = F.cross_entropy(logits, labels, reduction="none")
    return Queries(images.pixels, images.names, images.indices, labels, predicted, losses)


def _labels(known: Sequence[tuple[int, ...]], predicted: Tensor, given: int | None) -> list[int]:
    """Each image's own class, else the one that is given, else the predicted one."""
    otherwise = predicted.tolist() if given is None else [given] * len(known)
    return [own[0] if own else other for own, other in zip(known, otherwise, strict=True)]
