"""Prototypes and criticisms of sets of images, each beside as many images picked at random."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from interpretable.commands.prototype_features import ComparedImages
from interpretable.errors import ExemplarError
from interpretable.exemplars import MMDCritic
from interpretable.exemplars.bandwidth import median_gamma
from interpretable.exemplars.critic_arguments import checked_array, place
from interpretable.exemplars.exemplar_view import Mmd2Curve
from interpretable.progress import Track, untracked

RANDOM_PICKS = 20
"""Sets of images picked at random that prototypes are compared with."""


class Selection(NamedTuple):
    """What was chosen of a set of images."""

    name: str
    images: ComparedImages
    rows: np.ndarray
    """(n,) which of the images it was chosen from; what is fitted counts along them."""
    critic: MMDCritic
    random: Mmd2Curve
    filter: int | None = None
    """That the images are of; None of classes."""

    @property
    def prototypes(self) -> np.ndarray:
        """(m,) rows of the images."""
        chosen: np.ndarray = self.rows[self.critic.prototype_indices_]
        return chosen

    @property
    def criticisms(self) -> np.ndarray:
        """(c,) rows of the images."""
        chosen: np.ndarray = self.rows[self.critic.criticism_indices_]
        return chosen


def select(
    name: str,
    images: ComparedImages,
    rows: np.ndarray,
    parameters: Mapping[str, Any],
    *,
    number: int | None = None,
    weights: np.ndarray | None = None,
    track: Track = untracked,
) -> Selection:
    """Chooses among some images; fewer than asked for where there are not as many, or not of as many photographs.

    Args:
        name: Of the set.
        images: The images.
        rows: (n,) which of them to choose from.
        parameters: Of `MMDCritic`.
        number: Of the filter that the images are of.
        weights: (n,) how much each counts.
        track: Shows how far it is.
    """
    features, groups = images.rows[rows], images.groups[rows]
    asked = MMDCritic(**parameters)
    sizes = np.unique(groups, return_counts=True)[1]
    prototypes = min(asked.n_prototypes, len(sizes))
    # A photograph of one image that is a prototype has none left to criticise with.
    left = len(sizes) - min(prototypes, int((sizes == 1).sum()))
    asked.set_params(n_prototypes=prototypes, n_criticisms=min(asked.n_criticisms, left))
    critic = asked.fit(features, images.labels[rows], groups=groups, sample_weight=weights, track=track)
    generator = np.random.default_rng(critic.random_state)
    curves = [critic.mmd2_of(random_picks(groups, prototypes, generator)) for _ in range(RANDOM_PICKS)]
    random = Mmd2Curve(name, critic.mmd2_, np.mean(curves, axis=0), np.std(curves, axis=0))
    return Selection(name, images, rows, critic, random, number)


def with_median_gamma(features: np.ndarray, parameters: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Parameters of `MMDCritic` with a number for γ where it is that of the median distance of these two rows or more.

    None where half of their pairs or more are equal, so that there is no such γ.

    Raises:
        ExemplarError: A feature is not finite.
    """
    if parameters["gamma"] != "median":
        return parameters
    rows = place(torch.from_numpy(checked_array(features)), parameters["device"])
    try:
        return {**parameters, "gamma": median_gamma(rows, parameters["random_state"])}
    except ExemplarError:
        return None


def random_picks(groups: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count,) numbers of images with groups (n,), picked at random like prototypes: at most one of a group."""
    order = generator.permutation(len(groups))
    first = np.unique(groups[order], return_index=True)[1]
    picks: np.ndarray = order[np.sort(first)[:count]]
    return picks
