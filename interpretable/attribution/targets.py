"""Which classes of each image are explained."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.network import Network
from interpretable.errors import AttributionError

Predicted = Literal["predicted"]
Target = int | Predicted | Sequence[int] | Sequence[Sequence[int]] | Tensor
"""One class for all images, one for each (B,), several for each (B, K), or the one that is predicted."""


def chosen_classes(network: Network, images: Tensor, target: Target, size: int) -> Tensor:
    """The classes (B, K) int64 that a target names, K = 1 unless it is (B, K).

    Only "predicted" takes a forward pass, in chunks of ``size`` images; of equal logits the first is taken.

    Raises:
        AttributionError: The target is of another kind, shape or type, or below 0.
    """
    if isinstance(target, str):
        if target not in get_args(Predicted):
            raise AttributionError(
                f'A target in words must be "predicted", got {target!r}; classes are given by number.'
            )
        with torch.no_grad():
            chunks = in_chunks(lambda chunk: network(images[chunk]).argmax(1, keepdim=True), len(images), size)
        return torch.cat(chunks)
    classes = torch.as_tensor(target, device=images.device).detach().clone()
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise AttributionError(f"A target must be of whole numbers, the classes, got {classes.dtype}.")
    if (
        classes.ndim > 2
        or (classes.ndim and len(classes) != len(images))
        or (classes.ndim == 2 and not classes.shape[1])
    ):
        raise AttributionError(
            f"A target must be one class, one for each of the {len(images)} images, or several for each of them, got "
            f"shape {tuple(classes.shape)}."
        )
    classes = classes.long()
    if classes.numel() and int(classes.min()) < 0:  # the largest is known when the logits are
        raise AttributionError(f"A target must be 0 or more, the number of a class, got {int(classes.min())}.")
    return classes.expand(len(images))[:, None] if classes.ndim < 2 else classes


def several(target: Target) -> bool:
    """Whether a target names several classes for each image, as (B, K) does."""
    return not isinstance(target, (str, int)) and torch.as_tensor(target).ndim == 2
