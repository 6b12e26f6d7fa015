"""The activation store: what a network gave for each image of a data set, on disk, for everything after training."""

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from interpretable.activations.manifest import LayerInfo, Manifest
from interpretable.activations.shards import INDEX, StoredArray, open_shard, shard_paths
from interpretable.errors import StoreError


class StoredLayer:
    """One layer of a store; N images, C channels, maps of h × w cells."""

    def __init__(self, store: "ActivationStore", info: LayerInfo) -> None:
        self._store = store
        self.info = info

    @property
    def peaks(self) -> StoredArray:
        """(N, C) float32: each map's maximum, before any mask."""
        return self._array("peaks")

    @property
    def peak_indices(self) -> StoredArray:
        """(N, C) int32: row-major cell of the maximum."""
        return self._array("peak_indices")

    @property
    def sums(self) -> StoredArray:
        """(N, C) float32: each map's sum over its cells, before any mask."""
        return self._array("sums")

    @property
    def means(self) -> Tensor:
        """(N, C) float32: each map's mean over its cells."""
        return self.sums[:] / (self.info.height * self.info.width)

    @property
    def maps(self) -> StoredArray:
        """(N, C, h, w) float16, values beyond its range clamped.

        Raises:
            StoreError: The store was written without maps.
        """
        if not self._store.manifest.maps:
            raise StoreError(
                f"{self._store.folder} was written without maps; write it again with `--maps`, which takes "
                f"{self._store.map_bytes / 2**20:,.0f} MiB."
            )
        return self._array("maps")

    def peak_positions(self) -> Tensor:
        """(N, C, 2) float32: image position x, y in pixels of the centre of the strongest unit's receptive field.

        Raises:
            StoreError: The layer's receptive field is not known.
        """
        field = self.info.receptive_field
        if field is None:
            raise StoreError(
                f"Positions in the image need the receptive field of {self.info.name}, which could not be measured; "
                "record a layer of convolutions and pooling."
            )
        return field.positions(self.peak_indices[:], self.info.width)

    def _array(self, name: str) -> StoredArray:
        return self._store.array(f"{self.info.name}/{name}")


class ActivationStore:
    """Activations of a network on a data set, in the order of the data set, mapped from disk and read when indexed.

    Made by `open`; written by ``train.py predict``, ``interpretable activations`` or `record_activations`.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._shards = shard_paths(folder)
        indices = [open_shard(path).get_tensor(INDEX).numpy() for path in self._shards]
        shard = np.repeat(np.arange(len(indices)), [len(part) for part in indices])
        row = np.concatenate([np.arange(len(part)) for part in indices] or [np.empty(0, np.int64)])
        # An image that two shards hold, both right, counts once.
        recorded, first = np.unique(np.concatenate(indices or [np.empty(0, np.int64)]), return_index=True)
        self.recorded = torch.from_numpy(recorded.astype(np.int64))
        """Indices in the data set of the images that the store holds, ascending."""
        self._shard, self._row = shard[first].astype(np.int64), row[first].astype(np.int64)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        data: str | None = None,
        allow_incomplete: bool = False,
    ) -> Self:
        """Opens a store.

        Args:
            path: Its folder.
            model: Digest of the weights that it must be of (`weights_digest`), any where omitted.
            data: Fingerprint of the images that it must be of, any where omitted.
            allow_incomplete: Open also a store whose writing was stopped; its rows are those of ``recorded``.

        Raises:
            StoreError: There is no store, its writing was stopped, or it is of another network or other data.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        for what, expected, found in (("weights", model, manifest.model), ("data", data, manifest.data)):
            if expected is not None and expected != found:
                raise StoreError(
                    f"{folder} holds activations of other {what} ({found[:12]}, expected {expected[:12]}); delete it "
                    "or write it again with `interpretable activations RUN --overwrite`."
                )
        store = cls(folder, manifest)
        if len(store) < manifest.images and not allow_incomplete:
            raise StoreError(
                f"{folder} holds {len(store)} of {manifest.images} images: its writing was stopped; run the command "
                "that wrote it again, which goes on from there."
            )
        return store

    def __len__(self) -> int:
        return len(self.recorded)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.manifest.classes

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts."""
        return self.manifest.parts

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images in pixels."""
        return self.manifest.image_size

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64, or (N, K) float multi-hot."""
        return self.array("label")[:]

    @property
    def logits(self) -> StoredArray:
        """(N, outputs) float32."""
        return self.array("logits")

    @property
    def landmarks(self) -> StoredArray:
        """(N, P, 2) float32: x, y in pixels, NaN where not visible."""
        return self.array("landmarks")

    @property
    def boxes(self) -> StoredArray:
        """(N, P, 4) float32: cxcywh in pixels, NaN where not annotated."""
        return self.array("boxes")

    @property
    def layers(self) -> tuple[StoredLayer, ...]:
        """Recorded layers, bottom to top."""
        return tuple(StoredLayer(self, info) for info in self.manifest.layers)

    def layer(self, name: str | None = None) -> StoredLayer:
        """The layer of that name, the top one where omitted.

        Raises:
            StoreError: The store has no such layer.
        """
        if name is None:
            return self.layers[-1]
        for layer in self.layers:
            if layer.info.name == name:
                return layer
        names = ", ".join(layer.info.name for layer in self.layers)
        raise StoreError(f"{self.folder} has the layers {names}, not {name}; choose one of them.")

    @property
    def masked_sums(self) -> StoredArray:
        """(N, C) float32: sums over the top layer's maps as the head sees them, after the mask where there is one."""
        return self.array("masked_sums") if self.manifest.masked else self.layer().sums

    @property
    def rationales(self) -> StoredArray:
        """(N, R, C) float32: gradient of each chosen class's logit at the maps the head sees, mean over cells."""
        return self._rationale("rationales")

    @property
    def intercepts(self) -> StoredArray:
        """(N, R) float32: what the linearised logits have beside the rationales' products with the maps."""
        return self._rationale("intercepts")

    @property
    def map_bytes(self) -> int:
        """What the maps of all layers take on disk."""
        manifest = self.manifest
        return 2 * manifest.images * sum(layer.channels * layer.height * layer.width for layer in manifest.layers)

    def array(self, name: str) -> StoredArray:
        """An array by its name in the shards.

        Raises:
            StoreError: The store holds no image.
        """
        if not self._shards:
            raise StoreError(f"{self.folder} holds no image yet; run the command that writes it again.")
        return StoredArray(name, self._shards, self._shard, self._row)

    def _rationale(self, name: str) -> StoredArray:
        if self.manifest.rationales is None:
            raise StoreError(
                f"{self.folder} was written without rationales; write it again with `--rationales label`, or with the "
                "names of classes."
            )
        return self.array(name)

    def __repr__(self) -> str:
        layers = ", ".join(f"{layer.info.name} ({layer.info.channels})" for layer in self.layers)
        return f"ActivationStore({str(self.folder)!r}, {len(self)} images, layers {layers})"
