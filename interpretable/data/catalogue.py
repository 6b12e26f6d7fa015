"""Data sets by name: this package's own and those of torchvision."""

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torchvision

from interpretable.data.samples import PartsDataset
from interpretable.data.splits import Split
from interpretable.data.torchvision_sets import TorchvisionImages
from interpretable.data.torchvision_splits import accepted_options, parameters
from interpretable.errors import ConfigurationError

# Name of the class to the module that defines it.
DATASETS = {
    "Creatures": "interpretable.data.creatures",
    "PartAnnotatedFolder": "interpretable.data.part_folder",
    "CUB200": "interpretable.data.cub200",
}
_FILLED_IN = ("self", "root", "split", "classes", "validation")


def build_dataset(
    name: str,
    split: Split,
    root: str | None,
    classes: Sequence[str] | None,
    validation: float,
    image_size: tuple[int, int],
    options: Mapping[str, Any],
) -> PartsDataset:
    """A split of the data set of that name; arguments as in PartsDataModule, checked by ``check_arguments``."""
    if name not in DATASETS:
        return TorchvisionImages(name, root and expand(root), split, classes, validation, **options)
    cls = _own_class(name)
    offered = {
        "root": root and expand(root),
        "classes": classes,
        "validation": validation,
        "image_size": max(image_size),
    }
    accepted = inspect.signature(cls).parameters
    filled_in = {argument: value for argument, value in offered.items() if argument in accepted and value is not None}
    dataset: PartsDataset = cls(**{**filled_in, **options, "split": split})
    return dataset


def check_arguments(name: str, root: str | None, classes: Sequence[str] | None, options: Mapping[str, Any]) -> None:
    """Raise a ConfigurationError for an unknown name or option, or a root or classes that are missing or of no use."""
    known = [*DATASETS, *torchvision.datasets.__all__]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise ConfigurationError(
            f"dataset was expected to be {', '.join(DATASETS)} or a class of torchvision.datasets, found {name!r}; "
            f"did you mean {' or '.join(close) if close else 'ImageFolder'}"
        )
    cls = _own_class(name) if name in DATASETS else getattr(torchvision.datasets, name)
    accepted = parameters(cls)
    names = [n for n in accepted if n not in _FILLED_IN] if name in DATASETS else accepted_options(cls)
    unknown = [option for option in options if option not in names]
    if unknown:
        raise ConfigurationError(f"options of {name} has {unknown[0]!r}; it accepts {', '.join(names) or 'none'}")
    if root is None and "root" in accepted:
        raise ConfigurationError(f"{name} reads files: set root to its folder")
    if root is not None and "root" not in accepted:
        raise ConfigurationError(f"{name} reads no files, found root={root}; remove root")
    if classes is not None and name in DATASETS and "classes" not in accepted:
        raise ConfigurationError(f"{name} has a fixed set of classes, found classes={list(classes)}; remove them")


def expand(root: str) -> str:
    """The path with ~ and $VARIABLES replaced; a ConfigurationError for a variable that is not set."""
    expanded = os.path.expandvars(os.path.expanduser(root))
    unset = re.search(r"\$(\w+|\{[^}]*\})", expanded)
    if unset:
        variable = unset.group(1).strip("{}")
        raise ConfigurationError(f"root={root} needs the environment variable {variable}, which is not set; set it")
    return expanded


def _own_class(name: str) -> Any:
    return getattr(importlib.import_module(DATASETS[name]), name)
