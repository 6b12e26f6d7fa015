"""What attributions are asked for, checked before anything is computed or written."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.attribution import METHODS
from interpretable.commands.attribution_images import ExplainedImages, explained_images
from interpretable.commands.stores import checked_split, predict_split
from interpretable.errors import ConfigurationError
from interpretable.exemplars.critic_arguments import place
from interpretable.runs import Run


class Asked(NamedTuple):
    """What is to be explained, and how."""

    images: tuple[str, ...]
    """Indices of images of the split, files and folders of images; a few of the split where there are none."""
    methods: tuple[str, ...]
    """Names, several in one by commas; the usual ones where there are none."""
    target: str
    """``predicted``, ``label``, or the name of a class."""
    split: str
    """Which images indices mean: train, validation or test."""
    device: str
    batch_size: int | None
    """Examples in a forward pass; chosen by the device if None."""


class Request(NamedTuple):
    """What is to be explained, read and known to be there."""

    images: ExplainedImages
    classes: tuple[str, ...]
    """Names of the network's outputs."""
    target: Tensor | None
    """Outputs (N,) to explain; None for those that are predicted."""


def checked_words(asked: Asked) -> Asked:
    """The same with one method to a name, in their order and without repeats.

    Raises:
        ConfigurationError: A word of the command line is none that is known.
        ExemplarError: This machine has no such device.
    """
    checked_split(asked.split)
    methods = dict.fromkeys(name.strip() for names in asked.methods for name in names.split(","))
    for name in methods:
        if name not in METHODS:
            closest = difflib.get_close_matches(name, METHODS, n=3, cutoff=0.0)
            raise ConfigurationError(
                f"--methods must be among {', '.join(METHODS)}, got {name!r}; the closest are {', '.join(closest)}."
            )
    place(torch.empty(0), asked.device)
    return asked._replace(methods=tuple(methods))


def checked_request(run: Run, asked: Asked) -> Request:
    """The images and the outputs that are asked for.

    Raises:
        ConfigurationError: There is no such image or class, or an image has no label, or several.
        DataError: A file is no image, or the run has no such split.
    """
    split = checked_split(asked.split)
    names = predict_split(run, split).predict_dataset.data.classes
    # The one output of a binary run is that of its category.
    classes = names[1:] if run.model.task == "binary" else names
    _check_target(asked.target, classes)
    images = explained_images(run, split, asked.images)
    return Request(images, classes, _target(asked.target, classes, images))


def _check_target(target: str, classes: Sequence[str]) -> None:
    if target not in ("predicted", "label", *classes):
        raise ConfigurationError(
            f"--target must be predicted, label or one of the classes {', '.join(classes)}, got {target!r}."
        )


def _target(target: str, classes: Sequence[str], images: ExplainedImages) -> Tensor | None:
    if target == "predicted":
        return None
    if target != "label":
        return torch.full((len(images.names),), classes.index(target))
    for name, labels in zip(images.names, images.labels, strict=True):
        if len(labels) != 1:
            found = f"{name} has {len(labels)}" if labels else f"that of {name} is not known"
            raise ConfigurationError(
                f"--target label is for images with one label each, but {found}; give --target predicted or a class."
            )
    own = torch.tensor([labels[0] for labels in images.labels])
    return torch.zeros_like(own) if len(classes) == 1 else own
