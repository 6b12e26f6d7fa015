"""What a person is shown of an explanatory graph: its strongest nodes, where they are in images, and their edges."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

MOST_NODES = 5000
"""Nodes that are shown at the most, the strongest of all layers."""


@dataclass(frozen=True)
class LayerView:
    """n shown nodes of a layer, the strongest first; places are x, y in pixels of the image."""

    name: str
    nodes_per_filter: int
    total: int
    """Nodes of the layer, shown or not."""
    side: float
    """Of a square of the image that a node looks at, in pixels: what a patch of it shows."""
    filters: Int[np.ndarray, " node"]
    """Of each node."""
    numbers: Int[np.ndarray, " node"]
    """Which of its filter's nodes it is, from 0 on."""
    scores: Float[np.ndarray, " node"]
    """Mean score over the training images, over the mean of the layer's nodes."""
    places: Float[np.ndarray, "node 2"]
    """Mean place in the training images as the graph reads them, some of them mirrored."""
    spreads: Float[np.ndarray, " node"]
    """σ in pixels of the image."""
    parts: tuple[str, ...]
    """The part that each node is on most often; empty where that is not known."""
    purity: Float[np.ndarray, " node"]
    """How often it is on that part, in [0, 1]; NaN where that is not known."""
    instability: Float[np.ndarray, " node"]
    """Location instability, as a share of the image's diagonal; NaN where that is not known."""
    parents: Int[np.ndarray, "node parent"]
    """Positions among the shown nodes of the layer above, strongest edge first; −1 for one that is not shown."""
    strengths: Float[np.ndarray, "node parent"]
    """Of those edges, in [0, 1]."""
    positions: Float[np.ndarray, "image node 2"]
    """Where the node is in each image of the gallery."""
    activity: Float[np.ndarray, "image node"]
    """Score in that image over the node's mean score; it fires from 0.5 on."""


@dataclass(frozen=True)
class GraphView:
    """An explanatory graph with a gallery of images that its nodes are shown on."""

    title: str
    digest: str
    """SHA-256 of the ``graph.json`` that is shown."""
    about: tuple[tuple[str, str], ...]
    """Pairs of a word and what it is, of the network, data and settings."""
    image_size: tuple[int, int]
    """(H, W) in pixels, of which positions are."""
    layers: tuple[LayerView, ...]
    """Bottom to top."""
    gallery: tuple[str, ...]
    """What each image is called: its class and number."""
    images: Mapping[int, UInt8[np.ndarray, "height width 3"]]
    """Pixels of the gallery's images by their place there, of any resolution."""
    tables: Mapping[str, tuple[tuple[str, ...], ...]]
    """Rows of text by title, the columns' names first."""
