"""Writing a store: from any network and data loader, in one process."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler, Subset

from interpretable.activations.manifest import FILE_NAME, Chosen, Manifest, weights_digest
from interpretable.activations.recording import Recording, describe_layers, recording_of
from interpretable.activations.shards import INDEX, ShardWriter, recorded_images, shard_paths
from interpretable.activations.store import ActivationStore
from interpretable.activations.tap import tap
from interpretable.errors import ConfigurationError, StoreError


def record_activations(
    model: nn.Module,
    loader: DataLoader[Any],
    folder: str | Path,
    layers: Sequence[str] | None = None,
    *,
    maps: bool = False,
    rationales: Chosen = None,
    head: Callable[[Tensor], Tensor] | None = None,
    split: str = "data",
    fingerprint: str | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ActivationStore:
    """Runs a network over a data set and keeps what its layers give in a store; goes on where a stopped run ended.

    Batches are those of this package (`interpretable.data.Batch`), or tuples of images (N, 3, H, W) and, if there are
    any, labels (N,). The model is run as it is, on its own device: in evaluation mode, and left in the mode it was in.

    Args:
        model: Maps images to logits (N, K).
        loader: Gives the images in the order of its data set, which may name its ``classes`` and ``parts`` and give a
            ``fingerprint()``.
        folder: Where the store goes.
        layers: Names of the layers, bottom to top; the part layers of an `InterpretableCNN` where omitted.
        maps: Whether to keep full maps.
        rationales: Classes whose rationales to keep, ``"label"`` for each image's own.
        head: Maps of the top layer to logits, for rationales of another network than an `InterpretableCNN`.
        split: Name of the data set, for readers of the store.
        fingerprint: What tells the data set from others, where it does not tell itself.
        progress: Wraps the batches to show how far the work is, such as `rich.progress.track`.

    Raises:
        StoreError: The folder holds a store of something else.
        ConfigurationError: The loader shuffles, or arguments contradict one another.
    """
    folder = Path(folder)
    recording = recording_of(model, layers=layers, maps=maps, rationales=rationales, head=head)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    try:
        manifest = describe(model, recording, loader.dataset, split, fingerprint, device)
        remaining = begin(folder, manifest)
        if len(remaining):
            writer = ShardWriter(folder)
            batches = _loader_of(loader, remaining)
            with torch.inference_mode(), tap(model, recording.layers, stop=False) as read:
                first = 0
                for batch in progress(batches):
                    images, rows = batch_rows(batch)
                    rows.setdefault(INDEX, torch.from_numpy(remaining[first : first + len(images)]))
                    first += len(images)
                    logits = model(images.to(device))
                    labels = rows["label"].to(device)
                    writer.add(rows | recording.rows(labels, logits, read.outputs))
                writer.flush()
    finally:
        model.train(training)
    return ActivationStore.open(folder)


def batch_rows(batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The images of a batch, and by name what a shard keeps of their annotations."""
    if isinstance(batch, dict):
        kept = ("label", "landmarks", "boxes", INDEX)
        rows = {name: torch.as_tensor(batch[name]).as_subclass(Tensor).cpu() for name in kept if name in batch}
        images: Tensor = batch["image"].as_subclass(Tensor)
    else:
        images, *others = batch if isinstance(batch, (tuple, list)) else (batch,)
        rows = {"label": torch.as_tensor(others[0]).cpu()} if others else {}
    none = images.new_full((), torch.nan, device="cpu", dtype=torch.float32)
    rows.setdefault("label", torch.full((len(images),), -1))
    rows.setdefault("landmarks", none.expand(len(images), 0, 2))
    rows.setdefault("boxes", none.expand(len(images), 0, 4))
    return images, {name: array.contiguous() for name, array in rows.items()}


def describe(
    model: nn.Module,
    recording: Recording,
    dataset: Any,
    split: str,
    fingerprint: str | None,
    device: torch.device,
) -> Manifest:
    """The manifest of a store of these images.

    Raises:
        ConfigurationError: The data set does not tell itself from others, and no fingerprint is given, or rationales
            are asked for of classes that the network does not have.
    """
    if fingerprint is None:
        if not hasattr(dataset, "fingerprint"):
            raise ConfigurationError(
                f"A store says which images it is of, but {type(dataset).__name__} has no fingerprint(); pass "
                "fingerprint=, any text that changes when the images do."
            )
        fingerprint = str(dataset.fingerprint())
    first = dataset[0]
    image = (first["image"] if isinstance(first, dict) else first[0] if isinstance(first, (tuple, list)) else first).to(
        device
    )
    image = image.as_subclass(Tensor)
    with torch.inference_mode():
        outputs = model(image[None]).shape[-1]
    chosen = recording.rationales
    if chosen is not None and chosen != "label" and not (chosen and all(0 <= label < outputs for label in chosen)):
        raise ConfigurationError(
            f"Rationales must be of classes from 0 to {outputs - 1}, got {list(chosen)}; choose among them."
        )
    return Manifest(
        images=len(dataset),
        image_size=(image.shape[-2], image.shape[-1]),
        layers=describe_layers(model, recording, image),
        outputs=outputs,
        classes=tuple(map(str, getattr(dataset, "classes", ()))),
        parts=tuple(map(str, getattr(dataset, "parts", ()))),
        split=split,
        model=weights_digest(model),
        data=fingerprint,
        maps=recording.maps,
        masked=recording.mask is not None,
        rationales=recording.rationales,
    )


def begin(folder: Path, manifest: Manifest) -> np.ndarray[Any, np.dtype[np.int64]]:
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


def _loader_of(loader: DataLoader[Any], remaining: np.ndarray[Any, Any]) -> DataLoader[Any]:
    """The loader for some of its images."""
    if not isinstance(loader.sampler, SequentialSampler):
        raise ConfigurationError(
            "A store is written in the order of the data set, got a loader that draws another one; make it with "
            "shuffle=False and without a sampler."
        )
    return DataLoader(
        Subset(loader.dataset, remaining.tolist()),
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
    )
