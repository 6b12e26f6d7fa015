"""Which training images made a network decide as it does."""

from interpretable.influence.detection import MislabelDetection, mislabel_detection
from interpretable.influence.ek_fac import EKFAC
from interpretable.influence.last_layer import LastLayerInfluence
from interpretable.influence.last_layer_features import last_layer_features
from interpretable.influence.linear_head import LastLayer
from interpretable.influence.trac_in import TracIn

__all__ = [
    "EKFAC",
    "LastLayer",
    "LastLayerInfluence",
    "MislabelDetection",
    "TracIn",
    "last_layer_features",
    "mislabel_detection",
]
