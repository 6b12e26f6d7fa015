"""An interpretable network's own explanation: what each of its part filters contributes to a class, and where."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.activations.rationales import linearised
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.layer_maps import maps_and_logits, top_part_layer
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network, check_classes
from interpretable.attribution.upsampled_maps import upsampled
from interpretable.errors import AttributionError


class PartFilterContributions(NamedTuple):
    """Of each image, or of each of its classes: tensors (B, ...) or (B, K, ...)."""

    attributions: Tensor
    """(B, 1, h, w) what each cell contributes to the logit, summed over filters."""
    contributions: Tensor
    """(B, C) what each filter contributes, summed over cells; with the intercept they sum to the logit."""
    intercepts: Tensor
    """(B,) what the logit is without filters, in the linear function that a piecewise-linear head is there."""
    filters: Tensor
    """(B, top) numbers of the filters that contribute most, in that order; of equal ones the lowest is first."""
    filter_maps: Tensor
    """(B, top, h, w) what each of their cells contributes."""


@dataclass(frozen=True, kw_only=True)
class PartFilterExplanation(ExplainingMethod[PartFilterContributions]):
    """Gradient of the logit at the masked maps of the top part layer, times these maps (Zhang et al. 2019, §3).

    A cell of a filter's masked map x contributes ∂y/∂x · x, so cells of all filters and the intercept sum to the logit.
    Attributions (B, 1, h, w) are the sums over filters. Channels that are no part filters, where an interpretable
    network has a share of those, have no mask, come after the part filters, and count like them.

    Args:
        top: How many filters `explain` gives maps of; all where the layer has fewer.
        upsample: Whether to give maps at the pixels of the image, (B, ..., H, W).
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.

    Raises:
        AttributionError: Fewer than one filter is asked for; when called, the network has no part layers.
    """

    top: int = 5
    upsample: bool = False

    def __post_init__(self) -> None:
        if self.top < 1:
            raise AttributionError(f"top must be 1 filter or more, got {self.top}.")

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> PartFilterContributions:
        layer = top_part_layer(network.module)
        if layer is None:
            raise AttributionError(
                f"part_filters explains networks with part layers, got {type(network.module).__name__} without any; "
                "build one with InterpretableCNN, or use grad_cam."
            )

        def contributions(chunk: slice) -> PartFilterContributions:
            # Of raw maps the product with their gradient is that of masked ones: the mask is a factor without gradient.
            maps, logits = maps_and_logits(network, images[chunk], layer)
            check_classes(classes, logits.shape[1])
            columns = [
                self._column(gradient * maps.detach(), intercept)
                for gradient, intercept in linearised(logits.gather(1, classes[chunk]), maps)
            ]
            return PartFilterContributions._make(torch.stack(field, 1) for field in zip(*columns, strict=True))

        chunks = in_chunks(contributions, len(images), self._size(network), self.track, "part filters")
        found = PartFilterContributions._make(torch.cat(field) for field in zip(*chunks, strict=True))
        if not self.upsample:
            return found
        attributions, filter_maps = (
            upsampled(cells, images, network.module, layer) for cells in (found.attributions, found.filter_maps)
        )
        return found._replace(attributions=attributions, filter_maps=filter_maps)

    def _column(self, cells: Tensor, intercepts: Tensor) -> PartFilterContributions:
        """Of one class of each image, from what each cell of each filter contributes (B, C, h, w)."""
        contributions = cells.sum((-2, -1))
        filters = contributions.argsort(stable=True, dim=1, descending=True)[:, : self.top]
        filter_maps = cells.take_along_dim(filters[:, :, None, None], 1)
        return PartFilterContributions(cells.sum(1, keepdim=True), contributions, intercepts, filters, filter_maps)
