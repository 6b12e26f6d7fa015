"""Run folders: where a run writes, which one is the newest, and how a finished one is opened again."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from interpretable.errors import RunError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from interpretable.classifier import InterpretableClassifier
    from interpretable.data import PartsDataModule

LATEST = "latest"


def run_dir(trainer: "pl.Trainer") -> Path | None:
    """The run's own folder, the parent of its checkpoints, for every kind of logger; to be used on rank 0 alone.

    None for a run that keeps no folder: without a logger, and for ``fast_dev_run``.
    """
    # As ModelCheckpoint does it: `trainer.log_dir` is shared by all runs under W&B's logger.
    logger = trainer.loggers[0] if trainer.loggers else None
    if logger is None or logger.save_dir is None:
        return None
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir) / str(logger.name) / version


def link_latest(folder: Path, root: Path) -> None:
    """Points ``root/latest`` at a run folder."""
    temporary = root / f".{LATEST}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(folder, root), target_is_directory=True)
        temporary.replace(root / LATEST)
    except OSError as error:  # a folder of that name stands there, or the file system has no links
        temporary.unlink(missing_ok=True)
        warnings.warn(f"{root / LATEST} could not be pointed at {folder} ({error}); training goes on.", stacklevel=2)


@dataclass(frozen=True)
class Run:
    """A finished run: its best network in evaluation mode, its data, its configuration and its folder."""

    model: "InterpretableClassifier"
    datamodule: "PartsDataModule"
    config: dict[str, Any]
    folder: Path


def load_run(path: str | Path) -> Run:
    """Opens a run folder, such as ``runs/latest``; nothing is unpickled.

    Raises:
        RunError: The folder is missing, or lacks its configuration or checkpoint.
    """
    from jsonargparse import ArgumentParser

    from interpretable.classifier import InterpretableClassifier
    from interpretable.data import PartsDataModule

    folder = Path(path).resolve()
    checkpoint = folder / "checkpoints" / "best.ckpt"
    for needed in (folder / "config.yaml", checkpoint):
        if not needed.is_file():
            raise RunError(
                f"{path} is not the folder of a finished run: it has no {needed.relative_to(folder)}; give a folder "
                "that `python train.py fit` wrote, such as runs/latest."
            )
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PartsDataModule, "data")
    datamodule = parser.instantiate(parser.parse_object({"data": config["data"]})).data
    if config["data"]["seed"] is None and isinstance(config["seed_everything"], int):
        datamodule.seed = config["seed_everything"]
    with warnings.catch_warnings():
        # Lightning 2.6 instantiates by a call that jsonargparse 5 removes; the bound below 5 is the cure.
        warnings.filterwarnings("ignore", r"\s*(By default only one Jsonargparse|``instantiate_classes`` was)")
        try:
            model = InterpretableClassifier.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
        except (RuntimeError, TypeError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise RunError(
                f"{checkpoint} was expected to hold a network of this version of the package, but {reason} Train it "
                "again, or open it with the version that wrote it."
            ) from error
    return Run(model.eval(), datamodule, config, folder)
