"""Layers of an explanatory graph that are learned already, kept on disk while the others are being learned."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interpretable.files import written_atomically
from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.pattern_passes import Above

_DIGEST = "digest"
_TENSORS = ("deviations", "places", "spreads", "mean_places", "scores", "parents", "strengths", "objective")


class LearnedLayers:
    """Learned layers in a folder, each beside a digest of all that it was learned from; nothing without a folder.

    Args:
        folder: Where they are.
        settings: Of the graph.
        layers: Maps that they are learned from, bottom to top.
        scales: What the activations of each layer's filters are divided by.
    """

    def __init__(
        self,
        folder: Path | None,
        settings: Mapping[str, object],
        layers: Sequence[LayerMaps],
        scales: Sequence[Tensor],
    ) -> None:
        self._folder = folder
        self._layers = layers
        contents = (
            [(layer.digest(), scale.tolist()) for layer, scale in zip(layers, scales, strict=True)] if folder else []
        )
        self._digests = [_digest(settings, layers[place:], contents[place:]) for place in range(len(contents))]

    def read(self, place: int) -> tuple[Above, Tensor] | None:
        """The layer at a place from the bottom, and which images are read mirrored; None if it is not there."""
        path = self._path(place)
        if path is None or not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
                found = (file.metadata() or {}).get(_DIGEST)
        except SafetensorError:
            return None
        if found != _sealed(self._digests[place], arrays):
            return None
        maps = self._layers[place]
        height, width = maps.maps.shape[2:]
        layer = NodeLayer(maps.name, height, width, maps.field, *(arrays[name] for name in _TENSORS))
        return Above(layer, arrays["cells"], arrays["image_scores"]), arrays["flipped"].bool()

    def write(self, place: int, found: Above, flipped: Tensor) -> None:
        """Keeps a layer."""
        path = self._path(place)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(found.layer, name).contiguous() for name in _TENSORS}
        arrays |= {"cells": found.cells, "image_scores": found.scores, "flipped": flipped.byte()}
        with written_atomically(path) as temporary:
            save_file(arrays, temporary, {_DIGEST: _sealed(self._digests[place], arrays)})

    def _path(self, place: int) -> Path | None:
        return None if self._folder is None else self._folder / f"layer-{place}.safetensors"


def forget_layers(folder: Path) -> None:
    """Removes the layers that are kept in a folder, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.glob("layer-*.safetensors"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _digest(settings: Mapping[str, object], layers: Sequence[LayerMaps], contents: Sequence[object]) -> str:
    """SHA-256 of settings and of a layer's maps and those of the layers above it."""
    of_layers = [
        [layer.name, layer.filters, list(layer.maps.shape), list(layer.field), content]
        for layer, content in zip(layers, contents, strict=True)
    ]
    return hashlib.sha256(json.dumps([settings, of_layers], sort_keys=True).encode()).hexdigest()


def _sealed(digest: str, arrays: Mapping[str, Tensor]) -> str:
    """The digest of what a layer was learned from, joined with that of what was learned."""
    content = hashlib.sha256(digest.encode())
    for name in sorted(arrays):
        content.update(arrays[name].numpy().tobytes())
    return content.hexdigest()
