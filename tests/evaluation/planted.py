"""Networks whose filters fire where a test wants them to: an image's channels hold the maps, two pixels a cell."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from interpretable.activations import ActivationStore, record_activations
from interpretable.data import Creatures
from interpretable.evaluation.stored_filters import StoredFilters
from interpretable.models import InterpretableCNN

CELLS = 33
SIDE = 2 * CELLS
"""Pixels; an odd number of cells, so that one of them lies in the very centre of the image."""


class Annotations(NamedTuple):
    labels: Tensor
    landmarks: Tensor
    boxes: Tensor
    masks: Tensor


@cache
def creatures(split: str, size: int) -> Annotations:
    """The annotations of drawn creatures, images of SIDE pixels."""
    data = Creatures(split, size, SIDE)
    samples = [data[index] for index in range(size)]
    stacked = (
        torch.stack([sample[name].as_subclass(Tensor) for sample in samples])
        for name in ("landmarks", "boxes", "masks")
    )
    return Annotations(data.labels, *stacked)


class PlantedImages:
    """A data set whose images are the maps (N, C, h, w) that the filters are to have."""

    def __init__(
        self,
        maps: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        parts: Sequence[str] = (),
        landmarks: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> None:
        images = len(maps)
        self.maps, self.labels = maps, labels
        self.classes, self.parts = tuple(classes), tuple(parts)
        self.landmarks = torch.zeros(images, 0, 2) if landmarks is None else landmarks
        self.boxes = torch.zeros(images, 0, 4) if boxes is None else boxes
        self.masks = masks

    def fingerprint(self) -> str:
        return f"{len(self)} planted images"

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = {
            "image": self.maps[index].repeat_interleave(2, -1).repeat_interleave(2, -2),
            "label": self.labels[index],
            "landmarks": self.landmarks[index],
            "boxes": self.boxes[index],
            "index": index,
        }
        return sample if self.masks is None else sample | {"masks": self.masks[index]}


def network(
    channels: int, *head: nn.Module, mask: bool = False, part_share: float = 1.0, part_layers: int = 1
) -> InterpretableCNN:
    """Shows the planted maps to a head, which is a random linear layer for two classes where it is left out."""
    head = head or (nn.Linear(channels, 2),)
    layers = OrderedDict[str, nn.Module](
        cells=nn.AvgPool2d(2), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), top=nn.Sequential(*head)
    )
    example = torch.zeros(1, channels, SIDE, SIDE)
    return InterpretableCNN.from_module(
        nn.Sequential(layers), "cells", example, part_layers=part_layers, mask=mask, part_share=part_share
    )


def stored(net: nn.Module, data: PlantedImages, folder: Path, **options: Any) -> ActivationStore:
    return record_activations(net, DataLoader(data, batch_size=64), folder, maps=True, **options)  # type: ignore[arg-type]


def stored_filters(net: nn.Module, train: PlantedImages, test: PlantedImages, folder: Path) -> StoredFilters:
    return StoredFilters(stored(net, train, folder / "train"), stored(net, test, folder / "test"))


def bumps(places: Tensor, radius: float = 6.0) -> Tensor:
    """(N, h, w) maps that fall from a peak at places (N, 2) in pixels; silent where the place is NaN."""
    centres = 1.0 + 2 * torch.arange(CELLS)
    across = centres - places[:, :1]
    down = centres - places[:, 1:]
    distance = (across[:, None] ** 2 + down[..., None] ** 2).sqrt()
    return (1 - distance / radius).clamp(min=0).nan_to_num(0)
