"""Writing a store: from any network and data loader, in one process."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler, Subset

from interpretable.activations.batches import as_weights, batch_rows, check_size
from interpretable.activations.manifest import Chosen, Manifest
from interpretable.activations.recording import Recording, recording_of
from interpretable.activations.shards import INDEX, ShardWriter
from interpretable.activations.starting import begin, describe
from interpretable.activations.store import ActivationStore
from interpretable.activations.tap import tap
from interpretable.errors import ConfigurationError
from interpretable.evaluation_mode import evaluation_mode

_PRECISIONS = {
    torch.float32: "32-true",
    torch.float64: "64-true",
    torch.bfloat16: "bf16-true",
    torch.float16: "16-true",
}


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
    any, labels (N,). The model is run as it is, on its own device and in the type of its weights: in evaluation mode,
    and each of its layers left in the mode it was in. An image's index in the store is its position in the loader's
    data set, whatever index a batch holds.

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
    with evaluation_mode(model), torch.inference_mode():
        manifest = describe(model, recording, loader.dataset, split, fingerprint, _precision(model))
        remaining = begin(folder, manifest)
        if len(remaining):
            batches = progress(_loader_of(loader, remaining))
            _write(model, recording, manifest, batches, remaining, ShardWriter(folder))
    return ActivationStore.open(folder)


def _write(
    model: nn.Module,
    recording: Recording,
    manifest: Manifest,
    batches: Iterable[Any],
    remaining: NDArray[np.int64],
    writer: ShardWriter,
) -> None:
    """Runs the network on batches of the remaining images and writes what it gives."""
    first = 0
    with tap(model, recording.layers, stop=False) as read:
        for batch in batches:
            images, rows = batch_rows(batch)
            check_size(images, manifest)
            rows[INDEX] = torch.from_numpy(remaining[first : first + len(images)])
            first += len(images)
            logits = model(as_weights(images, model))
            writer.add(rows | recording.rows(rows["label"].to(logits.device), logits, read.outputs))
    writer.flush()


def _precision(model: nn.Module) -> str:
    """The precision that a network runs in here, in the trainer's words."""
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return "mixed"
    weight = next(model.parameters(), None)
    return "32-true" if weight is None else _PRECISIONS.get(weight.dtype, str(weight.dtype))


def _loader_of(loader: DataLoader[Any], remaining: NDArray[np.int64]) -> DataLoader[Any]:
    """The loader for some of its images."""
    if not isinstance(loader.sampler, SequentialSampler) or loader.batch_size is None:
        raise ConfigurationError(
            "A store is written in the order of the data set, got a loader that draws another one; make it with "
            "shuffle=False and a batch size, without a sampler of images or of batches."
        )
    return DataLoader(
        Subset(loader.dataset, remaining.tolist()),
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
    )
