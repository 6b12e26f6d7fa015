"""Maps of a conv layer as an explanatory graph reads them: from memory or from a store, batch by batch."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.activations.manifest import LayerInfo
from interpretable.errors import SurrogateError
from interpretable.receptive_field import ReceptiveField

BATCH = 64
"""Images that are read at once."""


class Maps(Protocol):
    """Maps (image, channel, h, w) that are read when they are indexed: a tensor, or an array of a store."""

    @property
    def shape(self) -> Sequence[int]:
        """Of all images."""

    def __getitem__(self, rows: Any, /) -> Tensor:
        """The maps of some images."""


class LayerMaps(NamedTuple):
    """What a conv layer gave for the images of a graph."""

    name: str
    """Of the layer, as in ``named_modules()``."""
    maps: Maps
    field: ReceptiveField
    """Where its units are in the image."""
    filters: int
    """How many of the channels count, the first ones."""
    mirrored: Maps | None = None
    """Of the same images, mirrored left to right before the network saw them."""
    rows: Tensor | None = None
    """Rows of the images that the graph is of; all where omitted."""

    @property
    def images(self) -> int:
        """How many images the graph is of."""
        return self.maps.shape[0] if self.rows is None else len(self.rows)

    def batches(self, flipped: Bool[Tensor, " image"]) -> Iterator[tuple[slice, Tensor]]:
        """Maps (n, filter, h, w) float32 of the graph's images in turn, with the rows of ``flipped`` that they are.

        Args:
            flipped: Images whose mirrored form is read.

        Raises:
            SurrogateError: An activation is no finite number.
        """
        for start in range(0, self.images, BATCH):
            rows = slice(start, min(start + BATCH, self.images))
            picked = rows if self.rows is None else self.rows[rows]
            found = self._read(self.maps, picked)
            if self.mirrored is not None and flipped[rows].any():
                found = torch.where(flipped[rows, None, None, None], self._read(self.mirrored, picked), found)
            yield rows, found

    def _read(self, maps: Maps, rows: slice | Tensor) -> Tensor:
        found = maps[rows][:, : self.filters].float()
        if not found.isfinite().all():
            raise SurrogateError(
                f"Maps must be finite numbers, got others in the maps of {self.name}; record the activations again."
            )
        return found

    def digest(self) -> str:
        """Of the maps of the graph's images, and of the mirrored ones."""
        digest = hashlib.blake2b()
        for flipped in (False, True) if self.mirrored is not None else (False,):
            for _, found in self.batches(torch.full((self.images,), flipped)):
                digest.update(found.numpy().tobytes())
        return digest.hexdigest()


def deviations(layer: LayerMaps) -> Float64[Tensor, " filter"]:
    """Standard deviation of each filter over cells and all images, also those that the graph is not of; 1 if constant.

    Raises:
        SurrogateError: An activation is no finite number.
    """
    images = layer.maps.shape[0]
    total, squares = torch.zeros(2, layer.filters, dtype=torch.float64)
    everything = layer._replace(rows=None)
    for _, found in everything.batches(torch.zeros(images, dtype=torch.bool)):
        found = found.double()
        total += found.sum((0, 2, 3))
        squares += found.square().sum((0, 2, 3))
    number = images * layer.maps.shape[2] * layer.maps.shape[3]
    variance = squares / number - (total / number).square()
    # What rounding leaves of a constant is none.
    return torch.where(variance > 1e-12 * squares / number, variance.sqrt(), 1.0)


def stored_maps(
    store: ActivationStore, mirrored: ActivationStore | None = None, rows: Tensor | None = None
) -> tuple[LayerMaps, ...]:
    """The maps of all layers of a store, bottom to top.

    Args:
        store: Written with maps.
        mirrored: Of the same images, mirrored.
        rows: Rows of the store that the graph is of; all where omitted.

    Raises:
        SurrogateError: It is not known where a layer's units are in the image.
        StoreError: A store was written without maps.
    """
    layers = []
    for layer in store.layers:
        info = layer.info
        other = None if mirrored is None else mirrored.layer(info.name).maps
        layers.append(LayerMaps(info.name, layer.maps, field_of(info), info.filters, other, rows))
    return tuple(layers)


def field_of(info: LayerInfo) -> ReceptiveField:
    """Where the units of a recorded layer are in the image.

    Raises:
        SurrogateError: It is not known.
    """
    if info.receptive_field is None:
        raise SurrogateError(
            f"The places of {info.name}'s units in the image are not known, as its receptive field could not be "
            "measured; choose a layer of convolutions and pooling."
        )
    return info.receptive_field
