"""Ante-hoc interpretable image classifiers on PyTorch Lightning.

The names below are imported when they are first used, so that a program which only reads activations or fits a
surrogate never loads Lightning.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("interpretable")

_HOMES = {
    "InterpretableCNN": "interpretable.models",
    "InterpretableClassifier": "interpretable.classifier",
    "InterpretableError": "interpretable.errors",
    "PartsDataModule": "interpretable.data",
    "Run": "interpretable.runs",
    "load_run": "interpretable.runs",
}

__all__ = ["InterpretableCNN", "InterpretableClassifier", "InterpretableError", "PartsDataModule", "Run", "load_run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
