"""Receptive fields: what a unit can see of the image, what moves it, and what changes it when it is hidden."""

from interpretable.receptive_field.effective import EffectiveReceptiveField, effective_receptive_field, extent
from interpretable.receptive_field.empirical import EmpiricalReceptiveField, empirical_receptive_field, region_masks
from interpretable.receptive_field.occlusion import OccludedPeaks, Occluder, occluded_peaks
from interpretable.receptive_field.theoretical import ReceptiveField, theoretical_receptive_field

__all__ = [
    "EffectiveReceptiveField",
    "EmpiricalReceptiveField",
    "OccludedPeaks",
    "Occluder",
    "ReceptiveField",
    "effective_receptive_field",
    "empirical_receptive_field",
    "extent",
    "occluded_peaks",
    "region_masks",
    "theoretical_receptive_field",
]
