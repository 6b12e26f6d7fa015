"""What a network decides when the filters of a part are removed."""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.activations.shards import StoredArray


@torch.inference_mode()
def logits_without(
    forward_head: Callable[[Tensor], Tensor],
    maps: StoredArray,
    parts: Sequence[Sequence[int]],
    track: Callable[[Iterable[Tensor]], Iterable[Tensor]],
    batch_size: int = 64,
) -> Float[Tensor, "image removed class"]:
    """Logits of images with all filters, and with those of one part after the other set to 0.

    Args:
        forward_head: Takes raw maps (n, C, h, w) to logits (n, K).
        maps: Stored maps of the layer that the head reads.
        parts: Filters of each part.
        track: Shows how far it is.
        batch_size: Images that are looked at together.

    Returns:
        (N, 1 + P, K), the whole network first; all from the same stored maps, so that their rounding cancels.
    """
    whole = []
    for batch in track(maps.batches(batch_size)):
        raw = batch.float()
        removed = [forward_head(raw)]
        for filters in parts:
            left = raw.clone()
            left[:, list(filters)] = 0
            removed.append(forward_head(left))
        whole.append(torch.stack(removed, 1))
    return torch.cat(whole)
