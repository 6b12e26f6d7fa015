"""Activations: layers of a network read in one pass, and kept on disk for everything that comes after training."""

import importlib
from typing import TYPE_CHECKING, Any

from interpretable.activations.manifest import LayerInfo, Manifest, weights_digest
from interpretable.activations.rationales import Rationales, rationales
from interpretable.activations.shards import StoredArray
from interpretable.activations.store import ActivationStore, StoredLayer
from interpretable.activations.tap import LayerReader, UpTo, tap

if TYPE_CHECKING:
    from interpretable.activations.record import record_activations
    from interpretable.activations.writer import ActivationWriter

__all__ = [
    "ActivationStore",
    "ActivationWriter",
    "LayerInfo",
    "LayerReader",
    "Manifest",
    "Rationales",
    "StoredArray",
    "StoredLayer",
    "UpTo",
    "rationales",
    "record_activations",
    "tap",
    "weights_digest",
]

_MODULES = {"ActivationWriter": "writer", "record_activations": "record"}


def __getattr__(name: str) -> Any:
    """Imports what writes a store when it is asked for: readers load neither networks nor Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
