"""The one door to training: LightningCLI over the classifier and the data module."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from interpretable.activations import ActivationWriter
from interpretable.callbacks import LearningCurves, TopImages
from interpretable.classifier import InterpretableClassifier
from interpretable.data import PartsDataModule
from interpretable.errors import InterpretableError, sentence_of
from interpretable.files import write_atomically
from interpretable.quiet import silence_what_the_user_cannot_mend
from interpretable.resume import LastCheckpoint, RandomState
from interpretable.runs import link_latest, run_dir


class SaveRunConfig(SaveConfigCallback):
    """Writes config.yaml into the run's own folder, with any logger, and points ``latest`` at a training run.

    Loggers hold the same values as the hyper-parameter ``config``.
    """

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Runs on rank 0 alone."""
        text = self.parser.dump(self.config, skip_none=False)
        if folder := run_dir(trainer):
            write_atomically(folder / "config.yaml", text)
        for logger in trainer.loggers:
            # Under one key: a W&B sweep has locked its own, ``model.temperature`` or ``seed_everything``, by now.
            logger.log_hyperparams({"config": yaml.safe_load(text)})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Moves ``latest`` only now, when model and data have been found to fit."""
        folder = run_dir(trainer) if trainer.is_global_zero else None
        if folder and (root := trainer.loggers[0].save_dir):
            link_latest(folder, Path(root))


class TrainingCLI(LightningCLI):
    """fit, validate, test and predict, with checkpoints of the best validation accuracy and of the last epoch."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what the trainer's own signature does not have."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/accuracy",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                # One file of each name: a better epoch replaces best.ckpt instead of adding best-v1.ckpt.
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(ActivationWriter, "activations")
        parser.add_argument(
            "--test_after_fit", type=bool, default=False, help="Test the best checkpoint when fit has ended."
        )

    def before_instantiate_classes(self) -> None:
        """Leaves the loader's workers their cores: threads that wait for a core in use slow each step."""
        workers = self.config[self.subcommand]["data"]["num_workers"]
        torch.set_num_threads(max(1, torch.get_num_threads() - workers))

    def before_predict(self) -> None:
        """Keeps no batch of predictions in memory: the store has them."""
        self.config_init["predict"]["return_predictions"] = False

    def before_fit(self) -> None:
        """Opens the test split before the training that a test is to conclude: a missing one is told at once."""
        if self.config["fit"]["test_after_fit"]:
            _ = self.datamodule.test_dataset

    def after_fit(self) -> None:
        """Tests where asked to, then says where everything is."""
        if self.config["fit"]["trainer"]["fast_dev_run"]:
            return
        if self.config["fit"]["test_after_fit"]:
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path="best", weights_only=True)
        folder = run_dir(self.trainer) if self.trainer.is_global_zero else None
        checkpoints = self.trainer.checkpoint_callback
        if folder and isinstance(checkpoints, ModelCheckpoint):
            written = ", ".join(sorted(path.name for path in folder.iterdir()))
            print(
                f"\nRun folder: {folder} ({written})\n"
                f"Next: python train.py test --config {folder / 'config.yaml'} "
                f"--ckpt_path {os.path.relpath(checkpoints.best_model_path)}",
                flush=True,
            )


def main(args: Sequence[str] | None = None) -> TrainingCLI:
    """Runs ``fit``, ``validate``, ``test`` or ``predict``; an error of this package ends the program in one line.

    Args:
        args: Words of the command line, those of the process where omitted.
    """
    silence_what_the_user_cannot_mend()
    try:
        return TrainingCLI(
            InterpretableClassifier,
            PartsDataModule,
            seed_everything_default=0,
            trainer_defaults={
                "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs", "name": ""}},
                "callbacks": [LearningCurves(), TopImages(), RandomState()],
            },
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            args=args if args is None else list(args),
        )
    except (InterpretableError, MisconfigurationException, OSError, UnpicklingError) as error:
        print(f"error: {sentence_of(error)}", file=sys.stderr)
        raise SystemExit(1) from error
