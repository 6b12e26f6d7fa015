import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.ops import SqueezeExcitation

from interpretable.errors import ModelError
from interpretable.receptive_field import ReceptiveField, theoretical_receptive_field


def closed_recursion(layers: list[tuple[int, int, int, int]]) -> ReceptiveField:
    """Field of a chain of layers (kernel, stride, padding, dilation), written from the textbook recursion."""
    size, jump, centre = 1, 1, 0.5
    for kernel, stride, padding, dilation in layers:
        size += (kernel - 1) * dilation * jump
        centre += ((kernel - 1) * dilation / 2 - padding) * jump
        jump *= stride
    return ReceptiveField(size, jump, centre)


def first_children(net: nn.Module, last: str) -> nn.Sequential:
    names = [name for name, _ in net.named_children()]
    return nn.Sequential(*list(net.children())[: names.index(last) + 1])


@pytest.mark.parametrize(
    ("name", "last", "size", "stride"),
    [
        ("alexnet", "2", 19, 8),
        ("alexnet", "5", 67, 16),
        ("alexnet", "12", 195, 32),
        ("vgg16", "29", 196, 16),
        ("vgg16", "30", 212, 32),
        ("resnet18", "layer1", 43, 4),
        ("resnet18", "layer2", 99, 8),
        ("resnet18", "layer3", 211, 16),
        ("resnet18", "layer4", 435, 32),
        ("resnet50", "layer3", 267, 16),
        ("resnet50", "layer4", 427, 32),
    ],
)
def test_published_fields_are_measured_on_torchvisions_networks(name: str, last: str, size: int, stride: int) -> None:
    with torch.device("meta"):
        net = get_model(name)
    field = theoretical_receptive_field(first_children(getattr(net, "features", net), last))
    assert field[:2] == (size, stride)


def test_vgg16_units_are_centred_where_the_papers_authors_place_them() -> None:
    with torch.device("meta"):
        features = get_model("vgg16").features
    conv5, conv4 = (theoretical_receptive_field(features[:end]) for end in (30, 23))
    # 8.5 + 16(μ−1) and 4.5 + 8(μ−1) in 1-based pixels, whose centres lie at i − 1/2 in continuous coordinates.
    assert conv5.centres(4).tolist() == [8.0, 24.0, 40.0, 56.0]
    assert conv4.centres(3).tolist() == [4.0, 12.0, 20.0]


@pytest.mark.parametrize("seed", range(12))
def test_a_chain_follows_the_closed_recursion(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    layers: list[nn.Module] = []
    geometry = []
    for _ in range(draw(2, 5)):
        kernel, stride, dilation = draw(1, 5), draw(1, 3), draw(1, 3)
        if draw(0, 2):
            padding = draw(0, kernel)
            layers.append(nn.Conv2d(3, 3, kernel, stride, padding, dilation, groups=3 if draw(0, 1) else 1))
        else:
            padding, dilation = draw(0, kernel // 2), 1
            pool = nn.MaxPool2d if draw(0, 1) else nn.AvgPool2d
            layers.append(pool(kernel, stride, padding, ceil_mode=bool(draw(0, 1))))
        layers.append(nn.ReLU(inplace=True))
        geometry.append((kernel, stride, padding, dilation))
    assert theoretical_receptive_field(nn.Sequential(*layers)) == closed_recursion(geometry)


@pytest.mark.parametrize(
    ("first", "stages"),
    [
        ((11, 4, 0), [(3, 2, 0, 5, 1, 2), (3, 2, 0, 3, 1, 1)]),
        ((3, 1, 1), [(2, 2, 0, 3, 1, 1), (2, 2, 0, 3, 1, 1), (3, 2, 1, 5, 2, 0)]),
        ((7, 2, 3), [(3, 2, 1, 3, 2, 1), (2, 1, 0, 4, 1, 1)]),
    ],
)
def test_stages_of_pooling_and_convolution_follow_the_recursion_of_the_papers_authors(
    first: tuple[int, int, int], stages: list[tuple[int, int, int, int, int, int]]
) -> None:
    kernel, stride, padding = first
    layers: list[nn.Module] = [nn.Conv2d(3, 2, kernel, stride, padding)]
    centre, jump = (1 + kernel - 2 * padding) / 2, stride  # in 1-based pixels, whose centres are whole numbers
    for pool, pool_stride, pool_padding, kernel, stride, padding in stages:
        layers += [nn.ReLU(), nn.MaxPool2d(pool, pool_stride, pool_padding), nn.Conv2d(2, 2, kernel, stride, padding)]
        centre += jump * (pool - 2 * pool_padding - 1) / 2 + (kernel - 2 * padding - 1) * pool_stride * jump / 2
        jump *= pool_stride * stride
    field = theoretical_receptive_field(nn.Sequential(*layers))
    assert (field.offset, field.stride) == (centre - 0.5, jump)


def test_positions_are_the_centres_of_the_units_column_and_row() -> None:
    field = ReceptiveField(11, 4, -1.5)
    index = torch.arange(6).reshape(2, 3)  # the units of maps of two rows and three columns
    x, y = field.positions(index, width=3).unbind(-1)
    assert torch.equal(x, field.centres(3).expand(2, 3))
    assert torch.equal(y, field.centres(2)[:, None].expand(2, 3))


def test_a_widely_dilated_kernel_is_not_mistaken_for_its_centre() -> None:
    assert theoretical_receptive_field(nn.Conv2d(3, 2, 3, padding=200, dilation=200)) == (401, 1, 0.5)


def test_the_field_is_the_set_of_pixels_that_change_a_unit() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.Softplus(), nn.Conv2d(4, 4, 3, 1, 0, 2), nn.AvgPool2d(2)).double()
    field = theoretical_receptive_field(net, in_channels=1)
    unit = 2
    images = torch.randn(1, 1, 40, 40, dtype=torch.float64).expand(1 + 40, -1, -1, -1).clone()
    images[1:].diagonal(dim1=0, dim2=2)[..., :] += 1.0  # image i has its row i changed
    with torch.no_grad():
        values = net(images)[:, :, unit, unit]
    changed = ((values[1:] - values[0]).abs().amax(1) > 1e-12).nonzero()[:, 0]
    centre = field.centres(unit + 1)[unit].item()
    assert changed.min().item() == centre - field.size / 2
    assert changed.max().item() + 1 == centre + field.size / 2


class Branches(nn.Module):
    """Two branches of different fields, functional pooling, concatenation, a gated residual and a scale of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 2, 3, padding=1)
        self.wide = nn.Conv2d(3, 2, 7, padding=3)
        self.merge = nn.Conv2d(4, 8, 3, padding=1)
        self.gate = SqueezeExcitation(8, 2)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.zeros(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        narrow = F.max_pool2d(self.narrow(x), 2)
        wide = F.avg_pool2d(F.relu(self.wide(x)), 2)
        merged = torch.cat([narrow, wide], 1)
        residual = self.gate(self.norm(self.merge(merged)))
        out = -self.scale * residual
        out += torch.cat([merged, merged], 1)
        return F.hardtanh(out - 5, 0, 1)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_field_is_measured_where_gradients_are_off(mode: type) -> None:
    net = nn.Conv2d(3, 2, 3, 2)
    with mode():
        assert theoretical_receptive_field(net) == (3, 2, 1.5)
        assert not torch.is_grad_enabled()


def test_branches_count_by_the_widest_and_gates_not_at_all() -> None:
    expected = closed_recursion([(7, 1, 3, 1), (2, 2, 0, 1), (3, 1, 1, 1)])
    assert theoretical_receptive_field(Branches()) == expected


def test_layer_norm_and_linear_layers_over_channels_see_their_own_cell_alone() -> None:
    with torch.device("meta"):
        features = get_model("convnext_tiny").features
    # A stem of stride 4 and three blocks, each a 7×7 depthwise convolution before norm and linear layers.
    assert theoretical_receptive_field(features[:2]) == closed_recursion([(4, 4, 0, 1), *[(7, 1, 3, 1)] * 3])


@pytest.mark.parametrize("fails", [False, True], ids=["measured", "refused"])
def test_a_measurement_leaves_nothing_behind(fails: bool) -> None:
    net: nn.Module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), Branches())
    net = nn.Sequential(net, nn.AdaptiveAvgPool2d(1)) if fails else net
    net[0].eval()
    next(net.modules()).register_forward_hook(lambda *_: None)
    before = copy.deepcopy(net.state_dict())
    modes = [layer.training for layer in net.modules()]
    identities = [id(parameter) for parameter in net.parameters()]
    random_state = torch.get_rng_state()
    if fails:
        with pytest.raises(ModelError, match="depends on the image"):
            theoretical_receptive_field(net)
    else:
        theoretical_receptive_field(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [layer.training for layer in net.modules()] == modes
    assert [id(parameter) for parameter in net.parameters()] == identities
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert sum(len(layer._forward_hooks) for layer in net.modules()) == 1
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (nn.Conv2d(3, 2, (3, 5)), "same along both axes"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), r"feature map \(B, C, h, w\)"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(4)), "must fit into 8192 pixels"),
        (nn.ConvTranspose2d(3, 2, 3, 2), "is known for two-dimensional convolution"),
        (nn.MaxPool2d(3, 1, 0, 2), "max-pooling with dilation"),
    ],
)
def test_what_has_no_single_field_is_refused_in_a_sentence(net: nn.Module, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        theoretical_receptive_field(net)
