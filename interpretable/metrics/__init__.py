"""How interpretable a network's filters are: a pure function and a torchmetrics class for each measure."""

from interpretable.metrics.dissection_counts import DissectionCounts, dissection_counts
from interpretable.metrics.dissection_nulls import random_rotation, rotate, shuffled_images
from interpretable.metrics.dissection_report import DissectionReport, dissection_report, iou
from interpretable.metrics.few_shot_localisation import FewShotResult, LocalisationError, few_shot_localisation
from interpretable.metrics.filter_ablation import (
    class_accuracy,
    head_ablation_accuracy,
    linear_ablation_accuracy,
)
from interpretable.metrics.filter_activity import FilterActivity, FilterActivityResult, activity, filter_activity
from interpretable.metrics.filter_purity import FilterPurity, FilterPurityResult, filter_purity
from interpretable.metrics.group_ablation import GroupAblation, GroupAblationResult, group_accuracy
from interpretable.metrics.keypoint_regression import (
    CentreTable,
    KeypointRegression,
    KeypointRegressionResult,
    keypoint_regression,
    soft_centres,
)
from interpretable.metrics.location_instability import (
    LocationInstability,
    LocationInstabilityResult,
    location_instability,
)
from interpretable.metrics.map_information import MapInformation, MapInformationResult, map_information
from interpretable.metrics.network_dissection import NetworkDissection, NetworkDissectionResult
from interpretable.metrics.part_clustering import (
    PartClustering,
    PartClusteringResult,
    assign_keypoints,
    part_clustering,
)
from interpretable.metrics.part_interpretability import (
    PartCounts,
    PartInterpretability,
    PartInterpretabilityResult,
    part_interpretability,
    part_interpretability_counts,
)
from interpretable.metrics.part_purity import PartPurity, PartPurityResult, part_purity
from interpretable.metrics.part_tracking import (
    PartTracking,
    PartTrackingResult,
    TrackingDifference,
    part_tracking,
    tracking_difference,
)
from interpretable.metrics.peak_table import PeakTable
from interpretable.metrics.quantiles import ActivationQuantile
from interpretable.metrics.redundancy import RedundancyOrder, redundancy_order
from interpretable.metrics.unit_importance import UnitImportance, UnitImportanceResult, unit_importance

__all__ = [
    "ActivationQuantile",
    "CentreTable",
    "DissectionCounts",
    "DissectionReport",
    "FewShotResult",
    "FilterActivity",
    "FilterActivityResult",
    "FilterPurity",
    "FilterPurityResult",
    "GroupAblation",
    "GroupAblationResult",
    "KeypointRegression",
    "KeypointRegressionResult",
    "LocalisationError",
    "LocationInstability",
    "LocationInstabilityResult",
    "MapInformation",
    "MapInformationResult",
    "NetworkDissection",
    "NetworkDissectionResult",
    "PartClustering",
    "PartClusteringResult",
    "PartCounts",
    "PartInterpretability",
    "PartInterpretabilityResult",
    "PartPurity",
    "PartPurityResult",
    "PartTracking",
    "PartTrackingResult",
    "PeakTable",
    "RedundancyOrder",
    "TrackingDifference",
    "UnitImportance",
    "UnitImportanceResult",
    "activity",
    "assign_keypoints",
    "class_accuracy",
    "dissection_counts",
    "dissection_report",
    "few_shot_localisation",
    "filter_activity",
    "filter_purity",
    "group_accuracy",
    "head_ablation_accuracy",
    "iou",
    "keypoint_regression",
    "linear_ablation_accuracy",
    "location_instability",
    "map_information",
    "part_clustering",
    "part_interpretability",
    "part_interpretability_counts",
    "part_purity",
    "part_tracking",
    "random_rotation",
    "redundancy_order",
    "rotate",
    "shuffled_images",
    "soft_centres",
    "tracking_difference",
    "unit_importance",
]
