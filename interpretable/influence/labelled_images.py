"""Images with their labels, as estimators of influence take them."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.passes import examples_at_once

LabelledImages = Iterable[tuple[Tensor, Tensor]]
"""Batches of images (N, ...), as the network takes them, and of their classes (N,) int64."""


def in_passes(
    batches: LabelledImages, batch_size: int | None, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images and labels, moved to a network and cut into what runs in one forward pass.

    Args:
        batches: Pairs of images and labels.
        batch_size: Images in a forward pass at the most; chosen by the device if omitted.
        device: Where the network is.
        dtype: Type of its weights.

    Raises:
        InfluenceError: A batch is no pair of finite images and whole-number labels.
    """
    size = batch_size or examples_at_once(device)
    for batch in batches:
        images, labels = _checked(batch)
        for start in range(0, len(images), size):
            some = slice(start, start + size)
            yield images[some].to(device, dtype), labels[some].to(device)


def _checked(batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise InfluenceError(
            f"Batches must be pairs of tensors (images, labels), got {type(batch).__name__}; give a list of such pairs "
            "or a loader of them."
        )
    images, labels = (part.as_subclass(Tensor).detach() for part in batch)
    if labels.dtype != torch.int64 or labels.ndim != 1 or images.ndim < 2 or len(labels) != len(images):
        raise InfluenceError(
            "Batches must be images (N, ...) with their classes (N,) in int64, got images of shape "
            f"{tuple(images.shape)} and {labels.dtype} labels of shape {tuple(labels.shape)}."
        )
    if not images.is_floating_point() or not bool(torch.isfinite(images).all()):
        found = "NaN or infinite ones" if images.is_floating_point() else f"{images.dtype}"
        raise InfluenceError(f"Images must be finite real numbers, as the network takes them, got {found}.")
    return images, labels
