"""What loaders give: batches of this package's form or of any other, as a network and a store take them."""

from typing import Any

import torch
from torch import Tensor, nn

from interpretable.activations.manifest import Manifest
from interpretable.activations.shards import INDEX
from interpretable.errors import ConfigurationError


def batch_rows(batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The images of a batch, and by name what a shard keeps of their annotations."""
    if isinstance(batch, dict):
        kept = ("label", "landmarks", "boxes", INDEX)
        rows = {name: torch.as_tensor(batch[name]).as_subclass(Tensor).cpu() for name in kept if name in batch}
        images: Tensor = batch["image"].as_subclass(Tensor)
    else:
        images, *others = batch if isinstance(batch, (tuple, list)) else (batch,)
        rows = {"label": torch.as_tensor(others[0]).cpu()} if others else {}
    none = images.new_full((), torch.nan, device="cpu", dtype=torch.float32)
    rows.setdefault("label", torch.full((len(images),), -1))
    rows.setdefault("landmarks", none.expand(len(images), 0, 2))
    rows.setdefault("boxes", none.expand(len(images), 0, 4))
    for name in ("landmarks", "boxes"):
        rows[name] = rows[name].float()
    return images, {name: array.contiguous() for name, array in rows.items()}


def check_size(images: Tensor, manifest: Manifest) -> None:
    """Compares the size of a batch's images with that of the store's.

    Raises:
        ConfigurationError: They differ.
    """
    if tuple(images.shape[-2:]) != manifest.image_size:
        expected, found = ("×".join(map(str, size)) for size in (manifest.image_size, images.shape[-2:]))
        raise ConfigurationError(
            f"The images of a store must be of one size, {expected} px as the first of them, got {found} px; resize "
            "them to one size."
        )


def as_weights(images: Tensor, model: nn.Module) -> Tensor:
    """Images on the device and, where they are no integers, in the type of a network's weights."""
    weight = next(model.parameters(), None)
    return images if weight is None else images.to(weight.device, weight.dtype if images.is_floating_point() else None)
