"""What prototypes are asked for, checked before anything is computed or written."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from interpretable.activations import ActivationStore, weights_digest
from interpretable.activations.batches import as_weights
from interpretable.activations.recording import describe_layers, recording_of
from interpretable.commands.prototype_features import layer_below
from interpretable.commands.stores import checked_split, predict_split, store_folder
from interpretable.data.splits import Split
from interpretable.errors import ConfigurationError, StoreError
from interpretable.exemplars.critic_arguments import place
from interpretable.runs import Run


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


def checked_settings(asked: Asked, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `MMDCritic`, with numbers where words of the command line are numbers.

    Raises:
        ConfigurationError: A word of the command line is none that is known.
        ExemplarError: This machine has no such device.
    """
    checked_split(asked.split)
    if parameters["local"] and not asked.together:
        raise ConfigurationError("--local is of one choice among several classes; add --together, or leave it out.")
    gamma = _word_or_number("--gamma", parameters["gamma"], ("median", "1/d", "cv-1nn"))
    weight = _word_or_number("--weight", parameters["regularizer_weight"], ("auto",))
    if gamma == 0:
        raise ConfigurationError("--gamma must be above 0, got 0; the larger it is the narrower the kernel.")
    place(torch.empty(0), parameters["device"])
    return {**parameters, "gamma": gamma, "regularizer_weight": weight}


def checked_layer(run: Run, asked: Asked) -> str:
    """The layer that is asked for, or the top one of those that are recorded.

    Raises:
        ConfigurationError: It is not recorded, or lacks a filter that is asked for.
    """
    split = checked_split(asked.split)
    recorded = recorded_layers(run, split)
    layer = recorded[-1] if asked.layer is None else asked.layer
    if layer not in recorded:
        raise ConfigurationError(
            f"The layers that are recorded of {split} images are {', '.join(recorded)}, not {layer}; choose among "
            f"them, or record it with `interpretable activations RUN --overwrite --split {split} --layer {layer}`."
        )
    if asked.numbers:
        if layer_below(run, layer) is None:
            raise ConfigurationError(
                f"What filters look at is known of part layers alone, not of {layer}; leave out --filter, or choose a "
                "part layer with --layer."
            )
        image = predict_split(run, split).predict_dataset[0]["image"].as_subclass(Tensor)
        (info,) = describe_layers(run.model, recording_of(run.model, (layer,)), as_weights(image, run.model))
        if wrong := [number for number in asked.numbers if number >= info.channels]:
            raise ConfigurationError(
                f"{layer} has the filters 0 to {info.channels - 1}, not {wrong[0]}; choose among them."
            )
    return layer


def recorded_layers(run: Run, split: Split) -> tuple[str, ...]:
    """The layers, bottom to top, that `open_or_write` will give of a split; nothing is written."""
    data = predict_split(run, split).predict_dataset.fingerprint()
    try:
        store = ActivationStore.open(
            store_folder(run, split), model=weights_digest(run.model), data=data, allow_incomplete=True
        )
    except StoreError:
        return recording_of(run.model).layers
    return tuple(layer.name for layer in store.manifest.layers)


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
