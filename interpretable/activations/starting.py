"""Starting a store: what it will say of itself, and which images it lacks where it was begun before."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from interpretable.activations.batches import as_weights
from interpretable.activations.manifest import FILE_NAME, Manifest, weights_digest
from interpretable.activations.recording import Recording, describe_layers
from interpretable.activations.shards import recorded_images, shard_paths
from interpretable.errors import ConfigurationError, StoreError


def describe(
    model: nn.Module,
    recording: Recording,
    dataset: Any,
    split: str,
    fingerprint: str | None,
    precision: str,
) -> Manifest:
    """The manifest of a store of these images.

    Raises:
        ConfigurationError: The data set is empty, it does not tell itself from others, and no fingerprint is given, or
            rationales are asked for of classes that the network has no logit of.
    """
    if not len(dataset):
        raise ConfigurationError("A store needs at least one image, got an empty data set; choose another one.")
    if fingerprint is None:
        if not hasattr(dataset, "fingerprint"):
            raise ConfigurationError(
                f"A store says which images it is of, but {type(dataset).__name__} has no fingerprint(); pass "
                "fingerprint=, any text that changes when the images do."
            )
        fingerprint = str(dataset.fingerprint())
    first = dataset[0]
    image = first["image"] if isinstance(first, dict) else first[0] if isinstance(first, (tuple, list)) else first
    image = as_weights(image.as_subclass(Tensor), model)
    with torch.inference_mode():
        outputs = model(image[None]).shape[-1]
    classes = tuple(map(str, getattr(dataset, "classes", ())))
    chosen = recording.rationales
    # The one logit of a binary task is that of class 1.
    known = range(1, 2) if outputs == 1 and len(classes) == 2 else range(outputs)
    if chosen is not None and chosen != "label" and not (chosen and all(label in known for label in chosen)):
        raise ConfigurationError(
            f"Rationales must be of classes from {known[0]} to {known[-1]}, got {list(chosen)}; choose among them."
        )
    return Manifest(
        images=len(dataset),
        image_size=(image.shape[-2], image.shape[-1]),
        layers=describe_layers(model, recording, image),
        outputs=outputs,
        classes=classes,
        parts=tuple(map(str, getattr(dataset, "parts", ()))),
        split=split,
        model=weights_digest(model),
        precision=precision,
        data=fingerprint,
        maps=recording.maps,
        masked=recording.mask is not None,
        rationales=recording.rationales,
    )


def begin(folder: Path, manifest: Manifest) -> NDArray[np.int64]:
    """Starts a store, or goes on with one: indices of the images that it lacks, ascending.

    Raises:
        StoreError: The folder holds a store of something else, or something that is no store.
    """
    if (folder / FILE_NAME).exists():
        different = Manifest.read(folder).differences(manifest)
        if different:
            raise StoreError(
                f"{folder} holds a store of another {' and '.join(different)}; write to another folder, or delete it "
                "(`interpretable activations RUN --overwrite`)."
            )
    elif shard_paths(folder):
        raise StoreError(f"{folder} holds shards without {FILE_NAME}; delete it, or write to another folder.")
    else:
        manifest.write(folder)
    return np.setdiff1d(np.arange(manifest.images), recorded_images(folder))
