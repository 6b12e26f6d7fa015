"""What a store of activations says of itself: of which network, of which images, and what is kept of each."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpretable.errors import StoreError
from interpretable.files import write_atomically
from interpretable.receptive_field import ReceptiveField

SCHEMA = 1
FILE_NAME = "manifest.json"

_WRITERS = ("interpretable", "torch", "torchvision", "numpy", "safetensors")

Chosen = tuple[int, ...] | Literal["label"] | None
"""Of which classes rationales are kept: these, each image's own, or none."""


@dataclass(frozen=True)
class LayerInfo:
    """One recorded layer; its units' places in the image are known where its receptive field could be measured."""

    name: str
    """Dotted name of the module."""
    channels: int
    """C, all channels of the layer."""
    filters: int
    """How many of them, the first ones, are part filters; C for a layer of any other network."""
    height: int
    width: int
    """Cells of the maps, h and w."""
    stride: int | None = None
    """Distance between neighbouring units in image pixels."""
    offset: float | None = None
    """Centre of unit 0 in image pixels."""
    field_size: int | None = None
    """Side of the theoretical receptive field in image pixels."""

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Where the units are in the image; None where it could not be measured."""
        if self.field_size is None or self.stride is None or self.offset is None:
            return None
        return ReceptiveField(self.field_size, self.stride, self.offset)


@dataclass(frozen=True)
class Manifest:
    """Describes a store; two stores with equal manifests hold the same numbers, to rounding."""

    images: int
    """N, images of the data set."""
    image_size: tuple[int, int]
    """(H, W) of the images in pixels."""
    layers: tuple[LayerInfo, ...]
    """Bottom to top."""
    outputs: int
    """Logits of the network."""
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    split: str
    """Which images: train, validation or test of the run's data, or the name of another set."""
    model: str
    """Digest of the network's weights."""
    data: str
    """Fingerprint of the images and annotations."""
    precision: str = "32-true"
    """What the network ran in, in the trainer's words: a mask may move where its peak is decided by rounding."""
    maps: bool = False
    """Whether full maps of all layers are kept, in float16."""
    masked: bool = False
    """Whether a mask lies between the top layer and the head, whose sums are kept too."""
    rationales: Chosen = None
    schema: int = SCHEMA
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in _WRITERS}, compare=False)
    """Of the packages that wrote it."""

    def write(self, folder: Path) -> None:
        """Writes ``manifest.json`` into a folder, atomically."""
        write_atomically(folder / FILE_NAME, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads the manifest of a store.

        Raises:
            StoreError: There is none, or it is not one of this schema.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise StoreError(
                f"{folder} is no activation store: it has no {FILE_NAME}; write one with `interpretable activations`."
            )
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if found["schema"] != SCHEMA:
                raise StoreError(f"{path} has schema {found['schema']}, expected {SCHEMA}; write the store again.")
            layers = tuple(LayerInfo(**layer) for layer in found.pop("layers"))
            chosen = found.pop("rationales")
            return cls(
                layers=layers,
                image_size=tuple(found.pop("image_size")),
                classes=tuple(found.pop("classes")),
                parts=tuple(found.pop("parts")),
                rationales=tuple(chosen) if isinstance(chosen, list) else chosen,
                **found,
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(f"{path} was expected to describe a store, but {error!r}; write it again.") from error

    def differences(self, other: "Manifest") -> list[str]:
        """Names of the fields in which two manifests differ, versions aside."""
        names = [entry.name for entry in fields(self) if entry.compare]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def weights_digest(model: nn.Module) -> str:
    """Hex digest of a network's parameters and buffers, by name, type and value; the same on every device."""
    digest = hashlib.sha256()
    state: dict[str, Tensor] = model.state_dict()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
