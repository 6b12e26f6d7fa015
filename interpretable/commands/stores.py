"""The stores of a run: opened where they are up to date, written where they are not."""

import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import cast, get_args

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException

from interpretable.activations import ActivationStore, ActivationWriter, weights_digest
from interpretable.activations.manifest import FILE_NAME, Manifest
from interpretable.activations.recording import recording_of
from interpretable.activations.shards import shard_paths
from interpretable.data import PartsDataModule
from interpretable.data.splits import Split
from interpretable.errors import ConfigurationError, StoreError
from interpretable.quiet import silence_what_the_user_cannot_mend
from interpretable.runs import Run


def store_folder(run: Run, split: str) -> Path:
    """Where a run keeps the activations of a split."""
    return run.folder / "activations" / split


def checked_split(word: str) -> Split:
    """The split that a word of the command line names.

    Raises:
        ConfigurationError: It names none.
    """
    if word not in get_args(Split):
        raise ConfigurationError(f"--split must be {', '.join(get_args(Split))}, got {word!r}.")
    return cast(Split, word)


def predict_split(run: Run, split: Split) -> PartsDataModule:
    """The run's data module, set to predict a split, with nothing left over from another."""
    datamodule = run.datamodule
    datamodule.predict_split = split
    vars(datamodule).pop("predict_dataset", None)
    return datamodule


def write_store(
    run: Run,
    split: Split,
    *,
    layers: list[str] | None = None,
    maps: bool = False,
    rationales: list[str] | None = None,
    devices: int = 1,
    accelerator: str = "auto",
    overwrite: bool = False,
) -> ActivationStore:
    """Writes the activations of a split, or goes on with a store whose writing was stopped.

    Raises:
        StoreError: The folder holds a store of something else, and is not to be overwritten.
        ConfigurationError: There are no such devices.
    """
    folder = store_folder(run, split)
    trainer = _trainer(accelerator, devices, ActivationWriter(str(folder), layers, maps, rationales))
    if overwrite and os.environ.get("LOCAL_RANK", "0") == "0":
        remove_store(folder)
    trainer.predict(run.model, predict_split(run, split), return_predictions=False)
    trainer.strategy.barrier()  # until all devices have written theirs, images are missing
    return ActivationStore.open(folder)


def _trainer(accelerator: str, devices: int, writer: ActivationWriter) -> pl.Trainer:
    silence_what_the_user_cannot_mend()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # which devices there are, and a tip
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[writer],
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigurationError(
            f"There is no such accelerator as {accelerator!r} with {devices} devices ({error}); choose others with "
            "--accelerator and --devices."
        ) from error


def remove_store(folder: Path) -> None:
    """Deletes a store.

    Raises:
        StoreError: The folder holds something else, which stays.
    """
    if not folder.exists():
        return
    own = {folder / FILE_NAME, *shard_paths(folder)}
    others = sorted(path.name for path in folder.iterdir() if path not in own and not path.name.startswith("."))
    if others:
        raise StoreError(f"{folder} holds {others[0]}, which is not of a store; move it away or delete the folder.")
    shutil.rmtree(folder)


def begun_store(folder: Path, model: str, data: str) -> Manifest | None:
    """What a store of this network and data was begun with, whole or not; one that is damaged or of others is deleted.

    Raises:
        StoreError: The folder holds something that is not of a store.
    """
    try:
        return ActivationStore.open(folder, model=model, data=data, allow_incomplete=True).manifest
    except StoreError:
        remove_store(folder)
        return None


def open_or_write(run: Run, split: Split, *, maps: bool = False, rationales: Collection[str] = ()) -> ActivationStore:
    """The run's store of a split, written if it is missing, stopped half-way, stale, or lacks what is asked for.

    What a store of the same network and data was written with is kept, but rationales of each image's own class give
    way to those of classes by name.

    Args:
        run: The run.
        split: Which of its images.
        maps: Whether full maps are needed.
        rationales: Names of classes whose rationales are needed.
    """
    folder = store_folder(run, split)
    model, data = weights_digest(run.model), predict_split(run, split).predict_dataset.fingerprint()
    try:
        store = ActivationStore.open(folder, model=model, data=data)
        if store.manifest.maps >= maps and set(rationales) <= set(_with_rationales(store.manifest)):
            return store
    except StoreError:
        pass
    layers, wanted, overwrite = None, list(rationales), False
    if found := begun_store(folder, model, data):
        layers = [layer.name for layer in found.layers]
        if rationales:  # which are of what the head reads
            top = recording_of(run.model).layers[-1]
            layers = [*(name for name in layers if name != top), top]
        before = _with_rationales(found)
        if not wanted and found.rationales == "label":
            wanted = ["label"]
        elif not set(wanted) <= set(before):
            wanted, overwrite = [*before, *(name for name in wanted if name not in before)], True
        else:
            wanted = list(before)
        overwrite |= maps and not found.maps
        maps |= found.maps
    return write_store(run, split, layers=layers, maps=maps, rationales=wanted or None, overwrite=overwrite)


def _with_rationales(manifest: Manifest) -> tuple[str, ...]:
    """Names of the classes whose rationales a store holds of every image."""
    chosen = manifest.rationales
    return tuple(manifest.classes[label] for label in chosen) if isinstance(chosen, tuple) else ()
