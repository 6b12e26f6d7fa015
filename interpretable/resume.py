"""What a run needs to be stopped and go on: the last checkpoint, and the random state in it."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from interpretable.errors import ConfigurationError


class LastCheckpoint(ModelCheckpoint):
    """Keeps last.ckpt at the end of every epoch; `save_last` would write it only when the best one changes.

    Args:
        every_n_steps: Optimizer steps after which it is written in mid-epoch too, for runs that may be stopped there.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigurationError(f"last.every_n_steps must be 1 or more, or null, got {every_n_steps}.")
        super().__init__(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.every_n_steps = every_n_steps
        self._written_at = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run has taken the checkpoint's step already; what accumulates for the next one is not in it."""
        super().on_train_start(trainer, pl_module)
        self._written_at = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Writes the file where a step is due; with accumulated gradients only behind the batch that made it."""
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._written_at:
            self._written_at = step
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                trainer.save_checkpoint(self.format_checkpoint_name({}))


class RandomState(pl.Callback):
    """Keeps torch's random state in checkpoints and puts it back right before the first step of the resumed run.

    Checkpoints have the loss buffers, the optimizer and the schedules anyway, and the order and augmentation of the
    images depend on (seed, epoch) alone. So a run on one process goes on bit for bit, from the end of an epoch as from
    the middle of it, given the same settings: ``max_epochs`` too, over which the schedules are laid out. Ranks, which
    start from one seed, all take the state of rank 0. Gradients that accumulate over batches are in no checkpoint:
    one written behind an optimizer step, as last.ckpt is, needs none.

    Not kept are the random numbers of Python and NumPy, from which nothing here draws, and what an epoch has logged so
    far: the training means of an epoch that is resumed in its middle are those of its remaining batches. A checkpoint
    written behind the last step of an epoch but before its validation goes on with the next epoch, without that
    validation.
    """

    def __init__(self) -> None:
        self._resumed: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the CPU and, where CUDA is in use, of this process's GPU, as bytes."""
        state = {"cpu": torch.get_rng_state()}
        return state | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else state  # type: ignore[no-untyped-call]

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Keeps the state until training goes on: validation of a checkpoint leaves the process as it is."""
        self._resumed = state_dict

    def on_train_batch_start(self, *_: Any) -> None:
        """Puts the state back once."""
        if self._resumed:
            torch.set_rng_state(self._resumed["cpu"])
            if "cuda" in self._resumed and torch.cuda.is_available():
                torch.cuda.set_rng_state(self._resumed["cuda"])
            self._resumed = {}
