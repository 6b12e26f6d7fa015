"""Small networks that are explained by their maps, in float64, and images for them that are not square."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from interpretable.models import InterpretableCNN

CLASSES = 5


def drawn_images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 16, 20, dtype=torch.float64)


def drawn_weights(net: nn.Module) -> nn.Module:
    """The network in float64 and evaluation mode, with weights that keep signals as large as they are."""
    for parameter in net.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    return net.double().eval()


class FunctionalEnd(nn.Module):
    """A convolution, a rectifier and a linear layer; the average in between is no layer."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=inplace)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


def chain() -> nn.Sequential:
    """Two convolutions whose rectifiers work in place, an average and a linear layer."""
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
    )
    features[3].running_mean.normal_(std=0.1)
    features[3].running_var.uniform_(0.5, 2)
    layers = OrderedDict(
        features=features, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(6, CLASSES)
    )
    return drawn_weights(nn.Sequential(layers))


def interpretable(**options: object) -> InterpretableCNN:
    """The chain, with one layer of part filters above its maps, or as asked."""
    options = {"cut": "features", "part_layers": 1, "first_layer": "convolution", **options}
    return InterpretableCNN.from_module(chain(), example=drawn_images(1), **options).double().eval()


class Holder(nn.Module):
    """Holds a network in an attribute, as a classifier does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
