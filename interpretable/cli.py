"""The one door to training: LightningCLI over the classifier and the data module."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities import rank_zero_only

from interpretable.callbacks import LearningCurves, TopImages
from interpretable.classifier import InterpretableClassifier
from interpretable.data import PartsDataModule
from interpretable.errors import InterpretableError
from interpretable.runs import link_latest, run_dir, write_atomically


class SaveRunConfig(SaveConfigCallback):
    """Writes config.yaml into the run's own folder, with any logger, and points ``latest`` at a training run."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Runs on rank 0 alone."""
        folder = run_dir(trainer)
        text = self.parser.dump(self.config, skip_none=False)
        write_atomically(folder / "config.yaml", text)
        if stage == "fit" and trainer.loggers:
            link_latest(folder, Path(trainer.loggers[0].save_dir or "."))


class TrainingCLI(LightningCLI):
    """fit, validate, test and predict, with a checkpoint of the best validation accuracy."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what the trainer's own signature does not have."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/accuracy",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.save_last": True,
                # One file of each name: a better epoch replaces best.ckpt instead of adding best-v1.ckpt.
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint when fit has ended."
        )

    def before_instantiate_classes(self) -> None:
        """Leaves out initial weights that a checkpoint replaces, so that they need not be there any more."""
        config = self.config[self.subcommand]
        if config["ckpt_path"]:
            config["model"]["weights"] = None

    def after_fit(self) -> None:
        """Tests where asked to, then says where everything is."""
        if self.config["fit"]["trainer"]["fast_dev_run"]:
            return
        if self.config["fit"]["test_after_fit"]:
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path="best", weights_only=True)
        self._say_where(run_dir(self.trainer) if self.trainer.is_global_zero else Path())

    @rank_zero_only
    def _say_where(self, folder: Path) -> None:
        best = folder / "checkpoints" / "best.ckpt"
        print(
            f"\nRun folder: {folder} (config.yaml, metrics.csv, curves.png, checkpoints)\n"
            f"Next: python train.py test --config {folder / 'config.yaml'} --ckpt_path {best}",
            flush=True,
        )


def _silence_what_the_user_cannot_mend() -> None:
    # Lightning 2.6 makes calls that jsonargparse 5 removes; the bound below 5 is the cure.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    # Lightning 2.6's own tree helper, under torch 2.11 and later.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # How many workers pay depends on the data: drawn images in the main process are fast enough.
    warnings.filterwarnings("ignore", r"The '\w+_dataloader' does not have many workers")
    # A test writes to its own folder; the checkpoints that it reads stay where they are.
    warnings.filterwarnings("ignore", r"The dirpath has changed from")
    # Everything is logged once an epoch.
    warnings.filterwarnings("ignore", r"The number of training batches .* is smaller than the logging interval")


def main(args: Sequence[str] | None = None) -> TrainingCLI:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``; an error of this package ends the program in one line.

    Args:
        args: Words of the command line, those of the process where omitted.
    """
    _silence_what_the_user_cannot_mend()
    try:
        return TrainingCLI(
            InterpretableClassifier,
            PartsDataModule,
            seed_everything_default=0,
            trainer_defaults={
                "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs", "name": ""}},
                "callbacks": [LearningCurves(), TopImages()],
            },
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            args=args if args is None else list(args),
        )
    except InterpretableError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
