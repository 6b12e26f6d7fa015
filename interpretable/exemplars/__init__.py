"""Exemplars: the images that represent a data set, and those that these fail to represent."""

from interpretable.exemplars.mmd_critic import MMDCritic

__all__ = ["MMDCritic"]
