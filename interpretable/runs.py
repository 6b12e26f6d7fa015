"""Run folders: where a run writes, which one is the newest, and how a finished one is opened again."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import yaml

from interpretable.errors import RunError, sentence_of

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
    from interpretable.classifier import InterpretableClassifier

    folder = Path(path).resolve()
    checkpoint = folder / "checkpoints" / "best.ckpt"
    for needed in (folder / "config.yaml", checkpoint):
        if not needed.is_file():
            raise RunError(
                f"{path} is not the folder of a finished run: it has no {needed.relative_to(folder)}; give a folder "
                "that `python train.py fit` wrote, such as runs/latest."
            )
    config, datamodule = _read_config(folder / "config.yaml")
    with warnings.catch_warnings():
        # Lightning 2.6 instantiates by a call that jsonargparse 5 removes; the bound below 5 is the cure.
        warnings.filterwarnings("ignore", r"\s*(By default only one Jsonargparse|``instantiate_classes`` was)")
        try:
            model = InterpretableClassifier.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
        except (RuntimeError, TypeError, KeyError, EOFError, OSError, UnpicklingError) as error:
            raise RunError(
                f"{checkpoint} was expected to hold a network of this version of the package, but it cannot be loaded "
                f"({sentence_of(error)}); train it again, or open it with the version that wrote it."
            ) from error
    return Run(model.eval(), datamodule, config, folder)


def _read_config(path: Path) -> tuple[dict[str, Any], "PartsDataModule"]:
    """A run's configuration and the data that it names."""
    from jsonargparse import ArgumentError, ArgumentParser

    from interpretable.data import PartsDataModule

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PartsDataModule, "data")
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        datamodule: PartsDataModule = parser.instantiate(parser.parse_object({"data": config["data"]})).data
        if config["data"]["seed"] is None and isinstance(config["seed_everything"], int):
            datamodule.seed = config["seed_everything"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ArgumentError) as error:
        raise RunError(
            f"{path} was expected to be the configuration of a run, but it cannot be read ({sentence_of(error)}); "
            "restore it, or train again."
        ) from error
    return config, datamodule
