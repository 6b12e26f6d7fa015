"""The backbones: where each network is cut into trunk and head, and what its map at the cut is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpretable.models.chain import links
from interpretable.receptive_field import ReceptiveField


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision's (or `small`), as it is cut, with the facts of the map at the cut."""

    cut: str
    """Name of the last layer of the trunk."""
    channels: int
    """Channels of the map, the filters of the first part layer."""
    receptive_field: ReceptiveField
    """Theoretical field, stride and first centre of the map's units, in pixels."""
    smallest_input: int
    """Side in pixels of the smallest image whose map is 7×7."""
    links: Callable[[nn.Module], dict[str, nn.Module]] = links
    """The layers of the network by name, in the order in which its forward calls them."""


class InputScaling(nn.Module):
    """From torchvision's ImageNet normalisation to the (−1, 1) scale of Inception's published weights.

    Scale and shift are kept with the parameters, so a checkpoint of a fine-tuned network knows its own; a network that
    starts without weights has 1 and 0.

    Args:
        enabled: Whether images are rescaled.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        std, mean = ((0.229, 0.224, 0.225), (0.485, 0.456, 0.406)) if enabled else ((0.5,) * 3, (0.5,) * 3)
        # Computed in double precision before they are rounded, as torchvision's own arithmetic.
        self.register_buffer("scale", torch.tensor([value / 0.5 for value in std])[:, None, None])
        self.register_buffer("shift", torch.tensor([(value - 0.5) / 0.5 for value in mean])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), rescaled per channel."""
        return x * self.scale + self.shift


def _pooled_links(net: nn.Module, **before_pooling: nn.Module) -> dict[str, nn.Module]:
    """The forward of torchvision calls the pooling between features and classifier as a function."""
    children = dict(net.named_children())
    pooling = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return {"features": children["features"], **before_pooling, **pooling, "classifier": children["classifier"]}


def _densenet_links(net: nn.Module) -> dict[str, nn.Module]:
    """The forward of torchvision calls the last ReLU as a function too."""
    return _pooled_links(net, relu=nn.ReLU(inplace=True))


def _inception_links(net: nn.Module) -> dict[str, nn.Module]:
    """The forward of torchvision rescales the image first, where the weights are the published ones."""
    return {"transform_input": InputScaling(bool(net.transform_input)), **links(net)}


BACKBONES: dict[str, Backbone] = {
    # Plain nets: the last convolution's activation, before its pooling.
    "small": Backbone("features.15", 96, ReceptiveField(53, 8, 2.5), 53),
    "alexnet": Backbone("features.11", 256, ReceptiveField(163, 16, 15.5), 127),
    "vgg11": Backbone("features.19", 512, ReceptiveField(134, 16, 8.0), 112),
    "vgg13": Backbone("features.23", 512, ReceptiveField(140, 16, 8.0), 112),
    "vgg16": Backbone("features.29", 512, ReceptiveField(196, 16, 8.0), 112),
    "vgg11_bn": Backbone("features.27", 512, ReceptiveField(134, 16, 8.0), 112),
    "vgg13_bn": Backbone("features.33", 512, ReceptiveField(140, 16, 8.0), 112),
    "vgg16_bn": Backbone("features.42", 512, ReceptiveField(196, 16, 8.0), 112),
    # After layer3, as the published ports of the method: 14×14 at 224 px.
    "resnet18": Backbone("layer3", 256, ReceptiveField(211, 16, 0.5), 97),
    "resnet34": Backbone("layer3", 256, ReceptiveField(547, 16, 0.5), 97),
    "resnet50": Backbone("layer3", 1024, ReceptiveField(267, 16, 0.5), 97),
    # At its end, as the published ports: 7×7 at 224 px.
    "densenet121": Backbone("relu", 1024, ReceptiveField(2071, 32, 14.5), 221, _densenet_links),
    # The deepest stage of stride 16: 14×14 at 224 px, where the end of the net would leave 7×7.
    "mobilenet_v2": Backbone("features.13", 96, ReceptiveField(267, 16, 0.5), 97, _pooled_links),
    "mobilenet_v3_small": Backbone("features.8", 48, ReceptiveField(319, 16, 0.5), 97),
    "mobilenet_v3_large": Backbone("features.12", 112, ReceptiveField(275, 16, 0.5), 97),
    "efficientnet_b0": Backbone("features.5", 112, ReceptiveField(339, 16, 0.5), 97),
    "convnext_tiny": Backbone("features.5", 384, ReceptiveField(1096, 16, 8.0), 112),
    # 17×17 at 299 px.
    "inception_v3": Backbone("Mixed_6e", 768, ReceptiveField(927, 16, 21.5), 139, _inception_links),
}
"""Every backbone by torchvision's name; ``small`` is the package's own (`interpretable.models.small`)."""
