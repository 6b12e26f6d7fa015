"""The images that excite each filter most, kept as they come: in bounded memory, whatever the order and the ranks."""

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.errors import MetricError

TOP_IMAGES = 100
"""Images of a filter that count: the paper's number for location instability (Zhang et al. 2018, §5.2)."""


def check_top(top: int) -> None:
    """Raises a MetricError unless an image at least is to count."""
    if top < 1:
        raise MetricError(f"The number of top images must be 1 or more, got {top}; the usual one is {TOP_IMAGES}.")


def no_images(top: int, filters: int, entries: int) -> Float[Tensor, "top filter entry"]:
    """(top, C, 2 + entries) float64: value, index and entries of each filter's top images, none so far.

    Value 0 marks a free place; an image with a lower one never counts.

    Raises:
        MetricError: ``top`` is below 1.
    """
    check_top(top)
    return torch.zeros(top, filters, 2 + entries, dtype=torch.float64)


def strongest(table: Float[Tensor, "image filter entry"], top: int) -> Float[Tensor, "top filter entry"]:
    """The rows of each filter with the highest values, the lower index where they are equal."""
    order = table[..., 1].argsort(0)
    order = order.gather(0, table[..., 0].gather(0, order).argsort(dim=0, descending=True, stable=True)[:top])
    return table.gather(0, order[..., None].expand(-1, -1, table.shape[-1]))


def merge_ranks(kept: Float[Tensor, "rank top filter entry"]) -> Float[Tensor, "top filter entry"]:
    """The top images of what each rank kept, a ``dist_reduce_fx``."""
    return strongest(kept.flatten(0, 1), kept.shape[1])
