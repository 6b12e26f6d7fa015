"""What is recorded of a network: which layers, which head, and the numbers that one batch gives."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from interpretable.activations.manifest import Chosen, LayerInfo
from interpretable.activations.rationales import rationales
from interpretable.activations.tap import UpTo, tap
from interpretable.errors import ConfigurationError, ModelError
from interpretable.models import InterpretableCNN, PartFilters
from interpretable.receptive_field import ReceptiveField, theoretical_receptive_field
from interpretable.templates import peaks

_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Recording:
    """What to read of a network and what to keep of each image."""

    layers: tuple[str, ...]
    """Dotted names of the layers, bottom to top."""
    head: Callable[[Tensor], Tensor] | None = None
    """Maps of the top layer, masked where the network masks, to logits; for rationales."""
    mask: Callable[[Tensor], Tensor] | None = None
    """The mask between the top layer and the head."""
    maps: bool = False
    """Whether full maps are kept."""
    rationales: Chosen = None
    """Of which classes rationales are kept: these, each image's own (``"label"``), or none."""
    fields: Mapping[str, ReceptiveField] = dataclasses.field(default_factory=dict)
    """Receptive fields of part layers, by name; those of other layers are measured."""
    filters: int | None = None
    """How many channels of the part layers, the first ones, are part filters; all where omitted."""

    def __post_init__(self) -> None:
        if self.rationales is not None and self.head is None:
            raise ConfigurationError(
                "Rationales need the head that makes logits of the top layer's maps, got none; pass head=, a function "
                "of maps (N, C, h, w)."
            )

    def rows(self, labels: Tensor, logits: Tensor, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The numbers of a batch by their names in a shard, on the CPU; images along the first axis of each."""
        rows = {"logits": logits.float()}
        for name in self.layers:
            values, indices = peaks(maps[name])
            rows[f"{name}/peaks"] = values.float()
            rows[f"{name}/peak_indices"] = indices.int()
            rows[f"{name}/sums"] = maps[name].sum((-2, -1), dtype=torch.float32)
            if self.maps:
                rows[f"{name}/maps"] = maps[name].clamp(-_HALF, _HALF).half()
        seen = maps[self.layers[-1]]
        if self.mask is not None:
            seen = self.mask(seen)
            rows["masked_sums"] = seen.sum((-2, -1), dtype=torch.float32)
        if self.rationales is not None and self.head is not None:
            found = rationales(self.head, seen, self._chosen(labels, logits))
            rows["rationales"], rows["intercepts"] = found
        return {name: array.detach().cpu().contiguous() for name, array in rows.items()}

    def _chosen(self, labels: Tensor, logits: Tensor) -> Tensor:
        """(N, R) the classes whose logits each image's rationales are of."""
        outputs = logits.shape[1]
        if self.rationales != "label":
            named = torch.tensor(self.rationales, device=logits.device).clamp(max=outputs - 1)
            return named.expand(len(logits), -1)
        if labels.ndim != 1:
            raise ConfigurationError(
                "Rationales of each image's own class need one label per image, got several; name classes instead."
            )
        highest = max(outputs - 1, 1)  # the one logit of a binary task is that of class 1
        wrong = labels[(labels < 0) | (labels > highest)]
        if len(wrong):
            raise ConfigurationError(
                f"Rationales of each image's own class need labels from 0 to {highest}, got {wrong[0].item():g}; name "
                "classes instead."
            )
        return labels.long().clamp(max=outputs - 1)[:, None]


def recording_of(
    model: nn.Module,
    layers: Sequence[str] | None = None,
    *,
    maps: bool = False,
    rationales: Chosen = None,
    head: Callable[[Tensor], Tensor] | None = None,
) -> Recording:
    """What to record of a network: by default the part layers of an `InterpretableCNN`, with its mask and head.

    Args:
        model: The network, or a module that holds an `InterpretableCNN` as ``net``, such as the classifier.
        layers: Other layers, bottom to top; needed for any other network.
        maps: Whether to keep full maps.
        rationales: Of which classes to keep rationales.
        head: Maps of the top layer to logits, for rationales of other layers or networks.

    Raises:
        ConfigurationError: The layers are not known and not given, or rationales lack a head.
    """
    net = model if isinstance(model, InterpretableCNN) else getattr(model, "net", None)
    if not isinstance(net, InterpretableCNN):
        if not layers:
            raise ConfigurationError(
                f"{type(model).__name__} has no part layers to record; name its layers, as in named_modules()."
            )
        return Recording(tuple(layers), head, None, maps, rationales)
    prefix = "" if net is model else "net."
    own = tuple(f"{prefix}part_filters.{number}" for number in range(len(net.part_filters)))
    top = (own or (f"{prefix}trunk",))[-1]
    chosen = tuple(layers or own or (top,))
    mask = None
    if head is None and chosen[-1] == top:
        head = net.head
        layer = cast(PartFilters, net.part_filters[-1]) if own else None
        mask = layer.mask if layer is not None and layer.masked else None
    fields = dict(zip(own, net.receptive_fields, strict=True)) if own else {}
    return Recording(chosen, head, mask, maps, rationales, fields, net.num_filters)


def _receptive_field(model: nn.Module, layer: str, in_channels: int) -> ReceptiveField | None:
    try:
        return theoretical_receptive_field(UpTo(model, layer), in_channels)
    except ModelError:  # layers that see the whole image, or of one dimension
        return None


@torch.inference_mode()
def describe_layers(model: nn.Module, recording: Recording, image: Tensor) -> tuple[LayerInfo, ...]:
    """Shapes and receptive fields of the layers to record, of images like this one (3, H, W).

    Raises:
        ModelError: A layer gives no maps (N, C, h, w).
    """
    with tap(model, recording.layers) as read:
        maps = read(image[None])
    described = []
    for name, values in maps.items():
        if values.ndim != 4:
            raise ModelError(
                f"A recorded layer must give maps (N, C, h, w), got shape {tuple(values.shape)} from {name}; record a "
                "convolutional layer."
            )
        channels, height, width = values.shape[1:]
        of_parts = name in recording.fields
        field = recording.fields[name] if of_parts else _receptive_field(model, name, len(image))
        filters = recording.filters if of_parts and recording.filters else channels
        place = (field.stride, field.offset, field.size) if field else (None, None, None)
        described.append(LayerInfo(name, channels, filters, height, width, *place))
    return tuple(described)
