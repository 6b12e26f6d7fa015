"""How torchvision's data sets name their splits, read from their signatures."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder

from interpretable.errors import ConfigurationError, DataError

TRAIN_NAMES = ("train", "trainval", "train-standard")
VALIDATION_NAMES = ("validation", "val", "valid")
FILLED_IN = ("root", "train", "transform", "target_transform", "transforms")


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Arguments that a class takes, with those it passes on to its parents as keywords."""
    found: dict[str, inspect.Parameter] = {}
    for ancestor in cls.__mro__:
        if "__init__" in vars(ancestor):
            own = [p for p in inspect.signature(vars(ancestor)["__init__"]).parameters.values() if p.name != "self"]
            found = {p.name: p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} | found
            if all(p.kind is not p.VAR_KEYWORD for p in own):
                break
    return found


def accepted_options(cls: type) -> list[str]:
    """Arguments left to the user: not those that name the place and the split or transform the images."""
    names = parameters(cls)
    # EMNIST has both: there split names the variant, and train the split.
    filled_in = FILLED_IN if "train" in names else (*FILLED_IN, "split")
    return [name for name in names if name not in filled_in]


def own_splits(cls: type, arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arguments of the splits (train, validation, test) that a set itself has; the rules are in TorchvisionImages.

    Raises:
        DataError: where the set is not found, or is a folder without train.
        ConfigurationError: where the set's splits are none of those.
    """
    if cls is ImageFolder:
        return _folders(arguments)
    names = parameters(cls)
    if "train" in names:
        return {split: {**arguments, "train": split == "train"} for split in ("train", "test")}
    if "split" not in names:
        return {"train": dict(arguments)}
    accepted = _accepted_names(cls, arguments)
    train = next((name for name in TRAIN_NAMES if name in accepted), None)
    if train is None:
        raise ConfigurationError(
            f"torchvision's {cls.__name__} has no split for training; it has {', '.join(accepted)}"
        )
    validation = next((name for name in VALIDATION_NAMES if name in accepted), None)
    # Where there is no test split the published numbers are those of val, which must then not guide the training.
    test = "test" if "test" in accepted else validation
    named = {"train": train, "validation": validation if "test" in accepted else None, "test": test}
    return {split: {**arguments, "split": name} for split, name in named.items() if name is not None}


def open_set(cls: type, arguments: Mapping[str, Any]) -> Any:
    """An instance of the class, or a DataError where torchvision does not find its files."""
    try:
        return cls(**arguments)
    except (RuntimeError, OSError) as error:
        raise _not_found(cls, arguments, error) from error


def _accepted_names(cls: type, arguments: Mapping[str, Any]) -> list[str]:
    """The values of ``split``: torchvision lists them only in the error for a wrong one."""
    try:
        cls(**arguments, split="?")
    except ValueError as error:
        names = re.findall(r"'([^']+)'", str(error).partition("Valid values are")[2])
        if not names:
            raise
        return names
    except (RuntimeError, OSError) as error:
        raise _not_found(cls, arguments, error) from error
    raise ConfigurationError(f"torchvision's {cls.__name__} does not say which splits it has; use another data set")


def _not_found(cls: type, arguments: Mapping[str, Any], error: Exception) -> DataError:
    download = ", or set download: true in its options" if "download" in parameters(cls) else ""
    return DataError(
        f"torchvision's {cls.__name__} was expected under root={arguments.get('root')}, but is not there as it is "
        f"distributed ({error}); correct root{download}"
    )


def _folders(arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """ImageFolder's splits are folders of class folders: train, one of validation, val and valid, and test."""
    root = Path(arguments["root"])
    candidates = {"train": ("train",), "validation": VALIDATION_NAMES, "test": ("test",)}
    found = {
        split: next((root / name for name in names if (root / name).is_dir()), None)
        for split, names in candidates.items()
    }
    if found["train"] is None:
        raise DataError(
            f"root was expected to be a folder with train, test and perhaps val, each of them with a folder per class, "
            f"but {root} {'has no train' if root.is_dir() else 'is no folder'}; correct root"
        )
    _check_class_folders(found)
    return {split: {**arguments, "root": str(folder)} for split, folder in found.items() if folder is not None}


def _check_class_folders(folders: Mapping[str, Path | None]) -> None:
    """Refuse a class that only other splits have."""
    classes = {
        split: {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder is not None else set()
        for split, folder in folders.items()
    }
    for split in ("validation", "test"):
        unknown = sorted(classes[split] - classes["train"])
        if unknown:
            raise DataError(
                f"{folders[split]} / {unknown[0]} is a class that {folders['train']} does not have; rename it or add "
                "training images"
            )
