"""The callback that writes a store while a trainer predicts, on any number of devices."""

from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from interpretable.activations.batches import batch_rows, check_size
from interpretable.activations.manifest import Chosen
from interpretable.activations.recording import recording_of
from interpretable.activations.shards import INDEX, ShardWriter, recorded_images
from interpretable.activations.starting import begin, describe
from interpretable.activations.tap import LayerReader, tap
from interpretable.errors import ConfigurationError
from interpretable.runs import run_dir


class ActivationWriter(pl.Callback):
    """Writes the activations of every image that ``predict`` sees to a store, each once, a shard file per rank.

    ``predict_step`` must return a dictionary with the batch's ``"logits"``. A store whose writing was stopped is gone
    on with: with a `PartsDataModule` the images that it has are not even loaded. Under a precision such as
    ``bf16-true`` a trainer rounds the annotations too, before any callback sees them.

    Args:
        folder: The store; where omitted ``activations/<split>`` in the run folder of the checkpoint, or of this run
            where the checkpoint is in none.
        layers: Names of the layers, bottom to top; the classifier's part layers where omitted.
        maps: Keep full maps too, in half precision.
        rationales: Of which classes to keep rationales: names, or ``["label"]`` for each image's own.
    """

    def __init__(
        self,
        folder: str | None = None,
        layers: list[str] | None = None,
        maps: bool = False,
        rationales: list[str] | None = None,
    ) -> None:
        self.folder = folder
        self.layers = layers
        self.maps = maps
        self.rationales = rationales
        self._scope = ExitStack()
        self._read: LayerReader | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Has the data module leave out what the store holds already."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        if stage == "predict" and hasattr(datamodule, "leave_out"):
            if 0 < len(datamodule.predict_dataset) < trainer.world_size:
                raise ConfigurationError(
                    f"Each device needs an image, got {len(datamodule.predict_dataset)} for {trainer.world_size}; "
                    "predict with fewer devices."
                )
            callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
            writers = [callback for callback in callbacks if isinstance(callback, ActivationWriter)]
            # The trainer knows its checkpoint, and with it the folder, only after this hook.
            datamodule.leave_out(lambda: reduce(np.intersect1d, [writer._recorded(trainer) for writer in writers]))

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compares the store with the network and the data, and begins to read the layers."""
        folder = self._folder(trainer)
        if folder is None and not getattr(trainer, "fast_dev_run", False):
            raise ConfigurationError(
                "A store needs a folder, got a trainer whose logger has none and a checkpoint outside of a run; set "
                "activations.folder, or give the trainer a logger."
            )
        if folder is None:
            return
        self._recording = recording_of(pl_module, self.layers, maps=self.maps, rationales=self._classes(trainer))
        datamodule: Any = getattr(trainer, "datamodule", None)
        loader: Any = trainer.predict_dataloaders
        dataset = getattr(datamodule, "predict_dataset", None) or loader.dataset
        split = getattr(datamodule, "predict_split", "data")
        self._manifest = describe(pl_module, self._recording, dataset, split, None, str(trainer.precision))
        if trainer.is_global_zero:
            begin(folder, self._manifest)
        trainer.strategy.barrier()
        self._missing = torch.zeros(self._manifest.images, dtype=torch.bool)
        self._missing[torch.from_numpy(begin(folder, self._manifest))] = True
        trainer.strategy.barrier()  # before any rank adds a shard
        self._writer = ShardWriter(folder, trainer.global_rank)
        self._read = self._scope.enter_context(tap(pl_module, self._recording.layers, stop=False))

    def on_predict_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Forgets the batch before, also where ``predict_step`` calls a part of the module instead of the whole."""
        if self._read is not None:
            self._read.forget()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *place: int
    ) -> None:
        """Adds a batch."""
        if self._read is None:
            return
        if not isinstance(outputs, dict) or "logits" not in outputs:
            raise ConfigurationError(
                "predict_step must return a dictionary with logits for a store, got "
                f"{type(outputs).__name__}; add them, or use interpretable.activations.record_activations."
            )
        images, rows = batch_rows(batch)
        check_size(images, self._manifest)
        if INDEX not in rows:
            raise ConfigurationError(
                "A batch must say which images it holds (index) for a store that several devices may write; add it to "
                "the samples, or use interpretable.activations.record_activations."
            )
        if rows[INDEX].max() >= self._manifest.images:
            raise ConfigurationError(
                f"The index of an image must be its position among the {self._manifest.images} of the data set, got "
                f"{rows[INDEX].max()}; number a selection anew, or use interpretable.activations.record_activations."
            )
        rows |= self._recording.rows(rows["label"].to(pl_module.device), outputs["logits"], self._read.outputs)
        missing = self._missing[rows[INDEX]]
        if missing.any():
            self._writer.add({name: array[missing] for name, array in rows.items()})

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what is left."""
        if self._read is not None:
            self._writer.flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """As `teardown`, which a trainer then leaves out."""
        self._close(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leaves the network without hooks, and the data module with all of its images."""
        self._close(trainer)

    def _close(self, trainer: pl.Trainer) -> None:
        self._scope.close()
        self._read = None
        datamodule: Any = getattr(trainer, "datamodule", None)
        if hasattr(datamodule, "leave_out"):
            datamodule.leave_out(None)

    def _recorded(self, trainer: pl.Trainer) -> NDArray[np.int64]:
        folder = self._folder(trainer)
        return recorded_images(folder) if folder else np.empty(0, np.int64)

    def _folder(self, trainer: pl.Trainer) -> Path | None:
        """The store's folder, the same on every rank; None for a trial run."""
        if self.folder is not None:
            return Path(self.folder)
        split = getattr(getattr(trainer, "datamodule", None), "predict_split", "data")
        checkpoint = Path(str(trainer.ckpt_path)) if trainer.ckpt_path else None
        if checkpoint and checkpoint.parent.name == "checkpoints":
            return checkpoint.parent.parent / "activations" / split
        folder = trainer.strategy.broadcast(run_dir(trainer))
        return folder / "activations" / split if folder else None

    def _classes(self, trainer: pl.Trainer) -> Chosen:
        """Positions of the classes named."""
        if self.rationales is None:
            return None
        if self.rationales == ["label"]:
            return "label"
        known = list(getattr(getattr(trainer, "datamodule", None), "classes", ()))
        unknown = [name for name in self.rationales if name not in known]
        if unknown:
            raise ConfigurationError(
                f"Rationales must be of classes of the data or of each image's own (label), got {unknown[0]!r}; the "
                f"classes are {', '.join(known)}."
            )
        return tuple(known.index(name) for name in self.rationales)
