"""Images with their parts: samples, data sets, and the data module that batches them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpretable.data.creatures import Creatures
    from interpretable.data.cub200 import CUB200
    from interpretable.data.datamodule import PartsDataModule
    from interpretable.data.part_folder import PartAnnotatedFolder
    from interpretable.data.samples import Batch, Sample
    from interpretable.data.torchvision_sets import TorchvisionImages

__all__ = ["CUB200", "Batch", "Creatures", "PartAnnotatedFolder", "PartsDataModule", "Sample", "TorchvisionImages"]

_MODULES = {
    "CUB200": "cub200",
    "Batch": "samples",
    "Creatures": "creatures",
    "PartAnnotatedFolder": "part_folder",
    "PartsDataModule": "datamodule",
    "Sample": "samples",
    "TorchvisionImages": "torchvision_sets",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the other rooms read samples without loading Lightning."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
