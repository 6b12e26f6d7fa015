import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from interpretable.errors import ModelError
from interpretable.models import BACKBONES, InterpretableCNN, small
from interpretable.models.map_size import map_shape
from interpretable.models.weights import build
from interpretable.receptive_field import theoretical_receptive_field

MAP_SIZES = {  # of images of the size that the published weights were trained on
    "small": (64, 8),
    "alexnet": (224, 13),
    "densenet121": (224, 7),
    "inception_v3": (299, 17),
}


@torch.no_grad()
def cheap(backbone: str, num_classes: int = 5) -> InterpretableCNN:
    """The untouched backbone with random weights and running statistics, without its own slow initialisation."""
    with torch.device("meta"):
        net = InterpretableCNN(backbone, num_classes, part_layers=0)
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        bound = math.sqrt(6 / max(1, parameter[0].numel())) if parameter.ndim > 1 else 1.0
        parameter.uniform_(-bound, bound)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(0.5, 1.5)
    for name, buffer in net.named_buffers():
        if name.startswith("trunk.transform_input."):
            buffer.fill_(1.0 if name.endswith("scale") else 0.0)
    return net.eval()


@torch.no_grad()
def torchvision_twin(net: InterpretableCNN, backbone: str, num_classes: int = 5, **options: object) -> nn.Module:
    """The library's own network with the same tensors, whose names are ours without trunk and head."""
    state = {
        name.partition(".")[2]: tensor for name, tensor in net.state_dict().items() if "transform_input" not in name
    }
    if backbone == "inception_v3":
        options |= {"aux_logits": False, "init_weights": False}
    with torch.device("meta"):
        twin = small(num_classes) if backbone == "small" else get_model(backbone, num_classes=num_classes, **options)
    twin.load_state_dict(state, assign=True)
    return twin.eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_part_layers_the_forward_is_torchvisions_to_the_bit(backbone: str) -> None:
    net = cheap(backbone)
    images = torch.randn(2, 3, 80, 96)
    with torch.no_grad():
        expected = torchvision_twin(net, backbone)(images)
        found = net(images)
    assert expected.isfinite().all()
    assert expected.std() > 0
    assert torch.equal(found, expected)


def test_inceptions_published_weights_get_the_input_scale_that_torchvision_gives_them() -> None:
    net = cheap("inception_v3")
    torch.save(torchvision_twin(net, "inception_v3").state_dict(), "inception.pth")
    pretrained = InterpretableCNN("inception_v3", 5, part_layers=0, weights="inception.pth").eval()
    images = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        expected = torchvision_twin(net, "inception_v3", transform_input=True)(images)
        assert torch.equal(pretrained(images), expected)
        assert not torch.equal(net(images), expected)
    net.load_state_dict(pretrained.state_dict())  # a checkpoint carries the scale into a network built without weights
    with torch.no_grad():
        assert torch.equal(net(images), expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_published_facts_are_those_of_the_map_at_the_cut(backbone: str) -> None:
    published = BACKBONES[backbone]
    with torch.device("meta"):
        trunk = InterpretableCNN(backbone, 2, part_layers=0).trunk
    smallest = published.smallest_input
    size, cells = MAP_SIZES.get(backbone, (224, 14))
    assert theoretical_receptive_field(trunk) == published.receptive_field
    assert map_shape(trunk, 3, smallest, smallest) == (published.channels, 7, 7)
    assert map_shape(trunk, 3, smallest - 1, smallest)[1:] == (6, 7)
    assert map_shape(trunk, 3, size, size)[1:] == (cells, cells)


def test_the_cut_of_plain_networks_keeps_the_activation_and_leaves_the_pooling() -> None:
    for backbone in ("alexnet", "vgg11", "vgg16_bn", "small"):
        with torch.device("meta"):
            net = InterpretableCNN(backbone, 2, part_layers=0)
        last = [layer for layer in net.trunk.modules() if not list(layer.children())][-1]
        first = next(layer for layer in net.head.modules() if not list(layer.children()))
        assert isinstance(last, nn.ReLU)
        assert isinstance(first, nn.AdaptiveAvgPool2d if backbone == "small" else nn.MaxPool2d)


def test_small_is_small_and_starts_with_logits_of_order_one() -> None:
    net = small(10)
    logits: Tensor = net(torch.randn(16, 3, 64, 64))
    assert sum(parameter.numel() for parameter in net.parameters()) < 200_000
    assert 0.05 < logits.std().item() < 2


def test_an_unknown_backbone_names_the_closest() -> None:
    with pytest.raises(ModelError, match="got 'resnet81'; the closest are resnet18"):
        InterpretableCNN("resnet81", 2)


def test_a_fresh_network_differs_by_seed_and_repeats_under_one() -> None:
    def first_kernel(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return build("resnet18", 2).conv1.weight

    assert torch.equal(first_kernel(1), first_kernel(1))
    assert not torch.equal(first_kernel(1), first_kernel(2))
