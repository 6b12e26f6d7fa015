"""Guided Grad-CAM: guided backpropagation where Grad-CAM says that a class is."""

from dataclasses import dataclass

from torch import Tensor

from interpretable.attribution.grad_cam import GradCAM
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network
from interpretable.attribution.rectifiers import GuidedBackprop


@dataclass(frozen=True, kw_only=True)
class GuidedGradCAM(Method):
    """Guided backpropagation times the rectified, upsampled Grad-CAM, (B, C, H, W) (Selvaraju et al. 2017, §3.2).

    Args:
        layer: Dotted name of Grad-CAM's layer; see there for the one by default.
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images, first of one factor and then of the other.
    """

    layer: str | None = None

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        where = GradCAM(layer=self.layer, relu=True, upsample=True, batch_size=self.batch_size, track=self.track)
        guided = GuidedBackprop(batch_size=self.batch_size, track=self.track)
        maps = where._attributions(network, images, classes)
        return guided._attributions(network, images, classes) * maps
