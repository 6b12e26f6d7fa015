import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from interpretable.errors import ModelError
from interpretable.models import InterpretableCNN, from_module


class Chain(nn.Module):
    """A user's network: nested blocks, an implicit flatten, two linear layers, one-channel images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.Tanh()),
            nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()),
        )
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(64, 10)
        self.act = nn.ReLU()
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.body(self.stem(x)))
        return self.fc(self.act(self.hidden(torch.flatten(self.drop(x), 1))))


class Skipping(Chain):
    """Not a chain: the forward adds the image's mean."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean()


class Reordered(Chain):
    """Not a chain: the children are not called in order."""

    def __init__(self) -> None:
        super().__init__()
        stem = self.stem
        del self.stem
        self.stem = stem


class Unlike(Chain):
    """A chain whose output is no logits."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(x)}


@torch.no_grad()
def test_a_users_chain_is_cut_inside_its_nested_blocks() -> None:
    module = Chain().eval()
    images = torch.randn(2, 1, 40, 32)
    untouched = from_module(module, "body.0", images, part_layers=0)
    assert torch.equal(untouched(images), module(images))
    assert {name.split(".", 1)[1] for name in untouched.state_dict()} == set(module.state_dict())
    net = from_module(module, "body.0", images)
    maps = net.forward_features(images)
    assert isinstance(net, InterpretableCNN)
    assert net.num_filters == 12
    assert net.smallest_input == 13
    assert [field.size for field in net.receptive_fields] == [7, 11]
    assert net.receptive_fields[0][1:] == (2, 0.5)
    assert torch.equal(maps[0], module.body[0](module.stem(images)).clamp(min=0))  # tanh made non-negative
    assert net(images).shape == (2, 3)


@torch.no_grad()
def test_torchvisions_resnet_is_cut_as_by_its_key() -> None:
    module = get_model("resnet18", num_classes=3).eval()
    images = torch.randn(1, 3, 100, 112)
    torch.manual_seed(1)
    net = from_module(module, "layer3", images).eval()
    torch.manual_seed(1)
    by_key = InterpretableCNN("resnet18", 3).eval()
    by_key.load_state_dict(net.state_dict())
    assert torch.equal(net(images), by_key(images))
    assert net.receptive_fields == by_key.receptive_fields
    assert net.smallest_input == by_key.smallest_input


def test_the_networks_own_layers_are_used_and_left_as_they_were() -> None:
    module = Chain()
    module.stem[1].eval()
    modes = [layer.training for layer in module.modules()]
    before = copy.deepcopy(module.state_dict())
    example = torch.randn(2, 1, 40, 40)
    kept = example.clone()
    net = from_module(module, "body.0", example)
    assert net.trunk.stem is module.stem
    assert net.head.fc is module.fc
    assert [layer.training for layer in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(example, kept)


@pytest.mark.parametrize(
    ("module", "cut", "sentence"),
    [
        (Skipping(), "body", "forward of Skipping must call its children one after the other, got logits that differ"),
        (Reordered(), "body", "forward of Reordered must call its children one after the other, got RuntimeError"),
        (Unlike(), "body", r"must return logits \(B, K\) as one tensor, got dict"),
        (Chain(), "body.7", "got 'body.7'; the closest names are body"),
        (Chain(), "hidden", "must be at a feature map"),
        (nn.Sequential(nn.Conv2d(1, 3, 3)), "0", "cut between its children, got Sequential with 1"),
    ],
)
def test_what_cannot_be_cut_is_refused_and_keeps_its_mode(module: nn.Module, cut: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        from_module(module, cut, torch.randn(2, 1, 40, 40))
    assert all(layer.training for layer in module.modules())


def test_new_layers_take_the_type_of_the_example() -> None:
    example = torch.randn(2, 1, 40, 40, dtype=torch.float64)
    net = from_module(Chain().double(), "body.0", example, part_layers=3)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float64}
    assert net(example).dtype == torch.float64
