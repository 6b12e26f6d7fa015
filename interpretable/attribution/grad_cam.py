"""Grad-CAM: a layer's maps, each weighted by the mean gradient of the logit at it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.layer_maps import default_layer, maps_and_logits
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, vector_jacobian_products
from interpretable.attribution.upsampled_maps import upsampled


@dataclass(frozen=True, kw_only=True)
class GradCAM(Method):
    """A layer's maps A, each weighted by the mean of the logit's gradient at it (Selvaraju et al. 2017, eq. 1 and 2).

    Σ_k α_k · A_k, (B, 1, h, w), with α_k the mean over cells of ∂y_c/∂A_k. Gradients are computed down to the layer and
    no further.

    Args:
        layer: Dotted name of the layer, as in ``named_modules()``. By default the top part layer of an interpretable
            network, and of others the last layer in the order of calls that gives maps larger than 1×1.
        relu: Whether negative cells of the result are set to 0, as in the paper. They are what speaks against the
            class, without which maps of several classes do not compare and one may be all 0, so they are kept.
        upsample: Whether to give maps at the pixels of the image, (B, 1, H, W), after that.
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.
    """

    layer: str | None = None
    relu: bool = False
    upsample: bool = False

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        layer = default_layer(network, images) if self.layer is None else self.layer

        def class_maps(chunk: slice) -> Tensor:
            maps, logits = maps_and_logits(network, images[chunk], layer)
            columns = []
            # One class's gradients at a time, which are as large as the maps.
            for column in torch.split(classes[chunk], 1, dim=1):
                gradients = vector_jacobian_products(logits, maps, column, retain_graph=True)[:, 0]
                columns.append(torch.einsum("bc,bchw->bhw", gradients.mean((-2, -1)), maps.detach()))
            return torch.stack(columns, 1)[:, :, None]

        found = torch.cat(in_chunks(class_maps, len(images), self._size(network), self.track, "Grad-CAM"))
        found = found.relu() if self.relu else found
        return upsampled(found, images, network.module, layer) if self.upsample else found
