"""Prototypes of filters: what typifies the places at which they fire strongest, and what does not."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interpretable.activations import StoredLayer
from interpretable.commands.prototype_features import ComparedImages, features_at_peaks, layer_below
from interpretable.commands.prototype_request import Asked
from interpretable.commands.prototype_selections import Selection, select, with_median_gamma
from interpretable.commands.terminal import say
from interpretable.data.splits import Split
from interpretable.runs import Run

FILTER_IMAGES = 100
"""Images on which a filter fires strongest, which its prototypes are chosen from."""


def filter_selections(
    run: Run, split: Split, asked: Asked, layer: StoredLayer, images: ComparedImages, parameters: Mapping[str, Any]
) -> list[Selection]:
    """What is chosen of each filter's images, which count by how strongly it fires; filters without are left out.

    Images are compared by what the layer below has in the cell of the peak.

    Args:
        run: The run.
        split: Which of its images.
        asked: Which filters.
        layer: Of the filters, in the store of the split.
        images: All of the store.
        parameters: Of `MMDCritic`; γ is that of the median distance, and images of all classes are compared.
    """
    peaks = layer.peaks[:].numpy()
    loudness = peaks[:, : layer.info.filters].mean(0)  # of part filters alone
    loudest = np.argsort(-loudness, kind="stable")[: asked.filters]
    named = list(dict.fromkeys(asked.numbers))
    filters = np.array(named or loudest[peaks[:, loudest].max(0) > 0].tolist(), dtype=np.int64)
    if not len(filters):
        return []
    below = layer_below(run, layer.info.name)
    if below is None:
        say(f"Filters are left out: what they look at is known of part layers alone, not of {layer.info.name}")
        return []
    rows = np.argsort(-peaks[:, filters], axis=0, kind="stable")[:FILTER_IMAGES].T
    features = features_at_peaks(run, split, layer, below, rows, filters)
    settings = {**parameters, "gamma": "median", "local": False}
    selections = []
    for number, at, vectors in zip(filters.tolist(), rows, features, strict=True):
        name, strength = f"filter {number}", peaks[at, number]
        fires = np.flatnonzero(strength > 0)
        if len(fires) < 2:
            say(f"{name} is left out: it fires on {len(fires)} image{'' if len(fires) == 1 else 's'}")
        elif (of_filter := with_median_gamma(vectors[fires], settings)) is None:
            say(f"{name} is left out: half of the pairs of places that it fires at or more are equal")
        else:
            seen = ComparedImages("", vectors, *(column[at] for column in images[2:]))
            selections.append(select(name, seen, fires, of_filter, number=number, weights=strength[fires]))
    return selections
