"""Networks: backbones cut into trunk and head, and the part filters in between."""

from interpretable.models.backbones import BACKBONES, Backbone
from interpretable.models.export import export_onnx, export_program
from interpretable.models.interpretable_cnn import InterpretableCNN
from interpretable.models.part_filters import PartFilters
from interpretable.models.small import small

__all__ = [
    "BACKBONES",
    "Backbone",
    "InterpretableCNN",
    "PartFilters",
    "export_onnx",
    "export_program",
    "from_module",
    "small",
]

from_module = InterpretableCNN.from_module
