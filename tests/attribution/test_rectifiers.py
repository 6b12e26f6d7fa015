import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from attribution.awkward_nets import NETS, draw_weights, drawn_images, drawn_net
from torch import Tensor, nn

from interpretable.attribution.gradient import Saliency
from interpretable.attribution.method import Method
from interpretable.attribution.rectifiers import DeconvNet, GuidedBackprop
from interpretable.errors import AttributionError

METHODS = {"deconvnet": DeconvNet(), "guided": GuidedBackprop()}
IMAGES = drawn_images(3)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


class Small(nn.Module):
    """Two convolutions with rectifiers, a pool and a linear layer, by modules or by functions."""

    def __init__(self, functional: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 2), nn.Linear(4, 3)
        self.relu, self.last = nn.ReLU(), nn.ReLU(inplace=True)
        self.functional = functional

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = F.max_pool2d(F.relu(x) if self.functional else self.relu(x), 3, 2)
        x = self.second(x)
        return self.head((x.clamp_min(0) if self.functional else self.last(x)).mean((2, 3)))


def by_hand(net: Small, image: Tensor, target: int, guided: bool) -> Tensor:
    """The signal of one image (C, H, W) layer by layer, each window and channel for itself."""
    first = net.first(image[None])[0]
    rectified = first.clamp(min=0)
    pooled, winners = F.max_pool2d(rectified[None], 3, 2, return_indices=True)
    second = net.second(pooled)[0]
    signal = net.head.weight[target][:, None, None].expand_as(second) / second[0].numel()
    signal = signal.clamp(min=0) * (second > 0 if guided else 1)
    below = F.conv_transpose2d(signal[None], net.second.weight)[0]
    signal = torch.zeros_like(first)
    for channel in range(len(below)):
        for cell, winner in zip(below[channel].flatten(), winners[0, channel].flatten(), strict=True):
            signal[channel].view(-1)[winner] += cell
    signal = signal.clamp(min=0) * (first > 0 if guided else 1)
    return F.conv_transpose2d(signal[None], net.first.weight)[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_signal_is_that_of_the_layers_one_by_one(name):
    net = draw_weights(Small(), seed=2)
    found = METHODS[name](net, IMAGES, [0, 1, 2])
    for index in range(3):
        with torch.no_grad():
            expected = by_hand(net, IMAGES[index], index, guided=name == "guided")
        assert expected.abs().max() > 0.01
        close(found[index], expected)


def test_a_rectifier_passes_what_is_positive_and_to_guided_where_its_input_was():
    class Rectified(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (F.relu(x).flatten(1) * torch.tensor([2.0, -1.0, 3.0, -4.0])).sum(1, keepdim=True)

    image = torch.tensor([1.0, 2.0, -1.0, -2.0]).view(1, 1, 1, 4)
    close(METHODS["guided"](Rectified(), image, 0).flatten(), torch.tensor([2.0, 0, 0, 0]))
    close(METHODS["deconvnet"](Rectified(), image, 0).flatten(), torch.tensor([2.0, 0, 3, 0]))


def test_an_upper_limit_stops_the_guided_signal_alone():
    class Limited(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu6(x).flatten(1).sum(1, keepdim=True)

    image = torch.tensor([1.0, 7.0]).view(1, 1, 1, 2)
    close(METHODS["guided"](Limited(), image, 0).flatten(), torch.tensor([1.0, 0.0]))
    close(METHODS["deconvnet"](Limited(), image, 0).flatten(), torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize("name", METHODS)
def test_functions_give_what_modules_give(name):
    modules, functions = draw_weights(Small()), draw_weights(Small(functional=True))
    close(METHODS[name](functions, IMAGES, 2), METHODS[name](modules, IMAGES, 2), 0)
    assert not torch.allclose(METHODS[name](functions, IMAGES, 2), Saliency()(functions, IMAGES, 2))


@pytest.mark.parametrize("name", METHODS)
def test_without_rectifiers_the_signal_is_the_gradient(name):
    net = draw_weights(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 3)))
    close(METHODS[name](net, IMAGES, 1), Saliency()(net, IMAGES, 1), 0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", NETS)
def test_a_batch_is_its_images_and_several_classes_are_each_of_them(method: Method, name):
    net, targets = drawn_net(name), torch.tensor([[0, 2], [1, 1], [2, 0]])
    found = method(net, IMAGES, targets)
    for index in range(3):
        for column in range(2):
            single = method(net, IMAGES[index : index + 1], int(targets[index, column]))[0]
            close(found[index, column], single)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_other_activations_are_refused_by_their_name(method: Method):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with pytest.raises(AttributionError, match=f"{type(method).__name__} needs a rule .* has none for gelu;"):
        method(net, IMAGES, 0)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
@pytest.mark.parametrize("name", METHODS)
def test_a_residual_network_gives_what_captum_gives(name):
    captum = pytest.importorskip("captum.attr")
    net, images = draw_weights(torchvision.models.resnet18(num_classes=4)), drawn_images(2, (40, 40))
    rival = captum.GuidedBackprop if name == "guided" else captum.Deconvolution
    expected = rival(copy.deepcopy(net)).attribute(images.clone().requires_grad_(), [1, 3])
    torch.testing.assert_close(METHODS[name](net, images, [1, 3]), expected.detach(), rtol=1e-12, atol=1e-12)


def chain() -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(8):
        layers += [nn.Conv2d(16 if number else 3, 16, 3, padding=1), nn.ReLU(), *[nn.MaxPool2d(2)] * (number in (2, 5))]
    net = draw_weights(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)))
    for module in net:
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 2**0.5
            module.bias.data.zero_()
    return net


def test_guided_signals_hardly_depend_on_the_upper_layers_where_gradients_do():
    images, net = drawn_images(3, (24, 24)), chain()
    other = copy.deepcopy(net)
    for module in [module for module in other if isinstance(module, (nn.Conv2d, nn.Linear))][-3:]:
        module.weight.data.copy_(
            module.weight.data.flatten()[torch.randperm(module.weight.numel())].view_as(module.weight)
        )

    def correlations(method: Method) -> Tensor:
        pairs = zip(method(net, images, 1), method(other, images, 1), strict=True)
        return torch.stack([torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in pairs])

    assert (correlations(GuidedBackprop()) > 0.85).all()
    assert (correlations(Saliency()).abs() < 0.5).all()
