"""What the page of an explanatory graph is told of it: names and numbers as JSON, arrays as base64 of their bytes."""

import base64
from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from interpretable.surrogates.export.graph_view import GraphView, LayerView
from interpretable.surrogates.export.html_file import finite, header_data
from interpretable.words import one_line

TOP_IMAGES = 12
"""Images that a node is shown in at first, those in which it is most active."""

_SHARE = np.iinfo(np.uint16).max
"""Positions and strengths are rounded to this part of the image's longer side and of 1."""

_ACTIVITY = 32
"""Activities are rounded down to this part of 1, so that 0.5 remains what it is, and end at 255 of it, 7.97."""


def graph_data(view: GraphView) -> dict[str, Any]:
    """All of a graph as lists, dictionaries, strings and finite numbers.

    What does not print in a name is written out. Positions outside the image are moved to its border.

    Args:
        view: What is shown.
    """
    shown = sorted(key for key in view.images if 0 <= key < len(view.gallery))
    return {
        **header_data(view.title, view.digest, view.about, view.tables),
        "size": view.image_size,
        "share": _SHARE,
        "activity": _ACTIVITY,
        "top": TOP_IMAGES,
        "gallery": [one_line(name) for name in view.gallery],
        "layers": [_layer(layer, view.image_size, shown) for layer in view.layers],
    }


def top_images(activity: Float[np.ndarray, "image node"], shown: Collection[int]) -> Int[np.ndarray, "node top"]:
    """The ``TOP_IMAGES`` images in which each node is most active, the first of equal ones first.

    Where a node is active in fewer, −1 stands for the others.

    Args:
        activity: Of the nodes in all images.
        shown: Images among which is chosen, in ascending order.
    """
    keys = np.asarray(list(shown), np.int64)
    among = np.nan_to_num(activity[keys])
    order = np.argsort(-among, axis=0, kind="stable")[:TOP_IMAGES]
    top = np.full((activity.shape[1], TOP_IMAGES), -1)
    top[:, : len(order)] = np.where(np.take_along_axis(among, order, axis=0) > 0, keys[order], -1).T
    return top


def _layer(layer: LayerView, image_size: tuple[int, int], shown: Collection[int]) -> dict[str, Any]:
    height, width = image_size
    positions = np.clip(layer.positions, 0, (width, height)) / max(image_size)
    activity = np.clip(np.nan_to_num(layer.activity) * _ACTIVITY, 0, np.iinfo(np.uint8).max)
    return {
        "name": one_line(layer.name),
        "nodesPerFilter": layer.nodes_per_filter,
        "total": layer.total,
        "side": layer.side,
        "filters": layer.filters.tolist(),
        "numbers": layer.numbers.tolist(),
        "scores": _listed(layer.scores),
        "places": [_listed(place) for place in layer.places],
        "spreads": _listed(layer.spreads),
        "parts": [one_line(part) for part in layer.parts],
        "purity": _listed(layer.purity),
        "instability": _listed(layer.instability),
        "parentsEach": layer.parents.shape[1],
        "parents": _packed(layer.parents, "<i4"),
        "strengths": _packed(_shares(layer.strengths), "<u2"),
        "positions": _packed(_shares(positions), "<u2"),
        "activity": _packed(activity, "u1"),
        "top": _packed(top_images(layer.activity, shown), "<i4"),
    }


def _listed(values: Float[np.ndarray, " node"]) -> list[float | None]:
    return [finite(value) for value in values.tolist()]


def _shares(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] to the nearest of the steps that are stored."""
    steps: np.ndarray = np.rint(np.clip(np.nan_to_num(values), 0, 1) * _SHARE)
    return steps


def _packed(values: np.ndarray, kind: str) -> str:
    """Base64 of the bytes in row-major order, little end first, as a script's typed array has them."""
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode("ascii")
