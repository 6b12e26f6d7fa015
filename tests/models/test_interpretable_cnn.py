import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.errors import ModelError
from interpretable.models import BACKBONES, InterpretableCNN
from interpretable.receptive_field import theoretical_receptive_field
from interpretable.templates import template_mask


def untrained(backbone: str = "small", **options: object) -> InterpretableCNN:
    return InterpretableCNN(backbone, 4, **options).eval()


@torch.no_grad()
def test_the_forward_is_trunk_mask_convolution_mask_head() -> None:
    net = untrained(part_layers=2)
    images = torch.randn(3, 3, 64, 64)
    first = net.trunk(images).clamp(min=0)
    weight, bias = net.part_filters[1].conv.weight, net.part_filters[1].conv.bias
    second = F.conv2d(first * template_mask(first), weight, bias, padding=1).clamp(min=0)
    maps = net.forward_features(images)
    assert len(maps) == 2
    assert torch.equal(maps[0], first)
    assert torch.equal(maps[1], second)
    assert torch.equal(net.forward_head(maps[1]), net.head(second * template_mask(second)))
    assert torch.equal(net(images), net.forward_head(maps[-1]))


@pytest.mark.parametrize("part_layers", [1, 2, 3])
@torch.no_grad()
def test_the_plain_twin_has_the_same_parameters_and_another_output(part_layers: int) -> None:
    twins = []
    for mask in (True, False):
        torch.manual_seed(5)
        twins.append(untrained(part_layers=part_layers, mask=mask))
    masked, plain = (twin.state_dict() for twin in twins)
    assert list(masked) == list(plain)
    assert all(torch.equal(masked[name], plain[name]) for name in masked)
    images = torch.randn(2, 3, 64, 64)
    maps = twins[1].forward_features(images)
    assert torch.equal(maps[0], twins[0].forward_features(images)[0])
    assert torch.equal(twins[1](images), twins[1].head(maps[-1]))
    assert not torch.equal(twins[0](images), twins[1](images))


def test_parameters_are_named_by_trunk_part_filters_and_head() -> None:
    names = untrained("resnet18").state_dict()
    assert {name.partition(".")[0] for name in names} == {"trunk", "part_filters", "head"}
    assert {"trunk.layer3.1.conv2.weight", "part_filters.1.conv.weight", "head.layer4.0.conv1.weight"} <= set(names)


def test_without_part_layers_there_is_nothing_but_the_backbone() -> None:
    net = untrained(part_layers=0)
    images = torch.randn(1, 3, 16, 24)  # a 2×3 map, which no part layer would take
    with torch.no_grad():
        (z,) = net.forward_features(images)
        assert torch.equal(z, net.trunk(images))
        assert torch.equal(net(images), net.head(z))
    assert not any(name.startswith("part_filters") for name in net.state_dict())
    assert list(untrained(part_layers=0, head="linear").head.state_dict()) == list(net.head.state_dict())
    assert type(untrained("resnet18", part_layers=0, head="linear").head[0]) is type(untrained("resnet18").head[0])


@torch.no_grad()
def test_a_new_first_layer_leaves_the_backbones_own_map_as_it_is() -> None:
    net = untrained(part_layers=2, first_layer="convolution", norm=True)
    images = torch.randn(3, 3, 64, 64)
    first, second = net.part_filters
    below = net.trunk(images)
    bottom = first.norm(first.conv(below)).clamp(min=0)
    top = second.norm(second.conv(bottom * template_mask(bottom))).clamp(min=0)
    maps = net.forward_features(images)
    torch.testing.assert_close(maps, (bottom, top))
    assert first.conv.bias is None
    assert [field.size for field in net.receptive_fields] == [69, 85]
    stack = nn.Sequential(net.trunk, first.conv, second.conv)
    assert net.receptive_fields[-1] == theoretical_receptive_field(stack)


@torch.no_grad()
def test_a_linear_head_reads_the_average_of_each_masked_map() -> None:
    net = untrained("resnet18", part_layers=1, head="linear")
    (top,) = net.forward_features(torch.randn(2, 3, 97, 113))
    average = (top * template_mask(top)).mean((-2, -1))
    torch.testing.assert_close(net.forward_head(top), average @ net.head.fc.weight.T + net.head.fc.bias)


@pytest.mark.parametrize(("frozen", "still"), [("layer2", 15), ("layer3", 0)])
def test_training_leaves_frozen_layers_as_they_were(frozen: str, still: int) -> None:
    net = InterpretableCNN(
        "resnet18", 4, part_layers=1, first_layer="convolution", head="linear", frozen=frozen
    ).train()
    assert sum(parameter.requires_grad for parameter in net.trunk.parameters()) == still
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD([parameter for parameter in net.parameters() if parameter.requires_grad], lr=0.1)
    net(torch.randn(2, 3, 97, 97)).square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not any(name.startswith(("trunk.conv1", "trunk.bn1", "trunk.layer1", "trunk.layer2")) for name in changed)
    assert any(name.startswith("trunk.layer3") for name in changed) == bool(still)
    assert {"part_filters.0.conv.weight", "head.fc.weight"} <= changed
    assert net.eval().train().head.training
    assert not net.trunk.layer2.training


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"first_layer": "new"}, "must be backbone or convolution, got 'new'"),
        ({"head": "mlp"}, "must be backbone or linear, got 'mlp'"),
        (
            {"frozen": "layer9"},
            "The frozen layer must name a child, or a layer of a child that is an nn.Sequential, got",
        ),
        ({"frozen": "head.layer4"}, "got 'head.layer4'; the closest names are layer"),
        (
            {"frozen": "layer3"},
            "the trunk up to layer3 is frozen; freeze less, or set first_layer to convolution",
        ),
    ],
)
def test_unknown_layers_are_refused(option: dict[str, str], sentence: str) -> None:
    with pytest.raises(ModelError, match=re.escape(sentence)):
        untrained("resnet18", **option)


@torch.no_grad()
def test_a_batch_gives_what_its_images_give_alone() -> None:
    net = untrained(part_layers=2).double()
    images = torch.randn(4, 3, 64, 80, dtype=torch.float64)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backbone", ["small", "resnet18", "densenet121", "mobilenet_v3_small", "convnext_tiny"])
@torch.no_grad()
def test_grey_images_that_are_not_square_are_taken(backbone: str) -> None:
    net = untrained(backbone)
    height = BACKBONES[backbone].smallest_input
    grey = torch.randn(1, 1, height, height + 40)
    maps = net.forward_features(grey)
    logits = net(grey)
    assert all(z.shape[1] == net.num_filters and z.shape[2] == 7 and z.shape[3] > 7 for z in maps)
    assert all((z >= 0).all() for z in maps)
    assert logits.isfinite().all()
    assert torch.equal(logits, net(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11"])
@torch.no_grad()
def test_heads_with_a_fixed_number_of_inputs_take_any_image_size(backbone: str) -> None:
    with torch.device("meta"):
        net = untrained(backbone)
        shapes = [net(torch.empty(2, 3, *size)).shape for size in ((130, 130), (224, 224), (140, 300))]
    assert shapes == [(2, 4)] * 3


@pytest.mark.parametrize(
    ("backbone", "size", "found", "smallest"),
    [("small", (48, 64), "6×8", 53), ("resnet18", (224, 96), "14×6", 97), ("alexnet", (3, 200), "none", 127)],
)
def test_a_map_below_seven_cells_is_refused_with_the_smallest_image_that_works(
    backbone: str, size: tuple[int, int], found: str, smallest: int
) -> None:
    with torch.device("meta"):
        net = untrained(backbone)
    sentence = (
        f"must be at least 7×7, got {found} from images of {size[0]}×{size[1]} px; use images of at least {smallest} px"
    )
    with pytest.raises(ModelError, match=sentence):
        net.forward_features(torch.empty(1, 3, *size, device="meta"))
    if found != "none":
        enough = torch.empty(1, 3, max(size[0], smallest), max(size[1], smallest), device="meta")
        assert min(net.forward_features(enough)[-1].shape[-2:]) >= 7


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 4, 64, 64), (2, 2, 64, 64)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=re.escape(f"(B, 3, H, W), or of one channel, got shape {shape}")):
        untrained()(torch.randn(shape))


def test_published_fields_grow_by_two_units_per_added_convolution() -> None:
    net = untrained("small", part_layers=3)
    stack = nn.Sequential(net.trunk, *[layer.conv for layer in list(net.part_filters)[1:]])
    assert [field.size for field in net.receptive_fields] == [53, 69, 85]
    assert net.receptive_fields[-1] == theoretical_receptive_field(stack)
    assert untrained("small", part_layers=0).receptive_fields == (BACKBONES["small"].receptive_field,)


def test_a_cut_of_ones_own_is_measured() -> None:
    with torch.device("meta"):
        net = untrained("resnet18", cut="layer2.0")
    assert net.num_filters == 128
    assert net.smallest_input == 49
    assert net.receptive_fields[0] == (67, 8, 0.5)
    assert "trunk.layer2.0.conv1.weight" in net.state_dict()
    assert "head.layer2.1.conv1.weight" in net.state_dict()


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        ("layer9", "got 'layer9'; the closest names are layer"),
        ("layer3.0.conv1", "got 'layer3.0.conv1'; the closest names are layer3"),
        ("fc", "must leave a head above it, got 'fc'"),
        ("flatten", "must be at a feature map"),
        ("avgpool", "must be at least 7×7, got less from images of 1024×1024 px"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(cut: str, sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=sentence):
        untrained("resnet18", cut=cut)


def test_the_head_never_writes_into_the_raw_maps_it_is_given() -> None:
    net = InterpretableCNN("resnet18", 4, part_layers=1, mask=False, cut="bn1").eval()  # the head starts in place
    z = net.forward_features(torch.randn(1, 3, 32, 32))[0]
    loss = (z**2).sum() + net.forward_head(z).sum()
    loss.backward()
    untouched = untrained("resnet18", part_layers=0, cut="bn1")
    with torch.no_grad():
        z = untouched.forward_features(torch.randn(1, 3, 32, 32))[0]
        before = z.clone()
        untouched.forward_head(z)
    assert before.min() < 0
    assert torch.equal(z, before)


def test_every_parameter_is_trained() -> None:
    net = InterpretableCNN("small", 4, part_layers=2)
    net(torch.randn(8, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@torch.no_grad()
def test_an_exported_program_computes_the_same() -> None:
    net = untrained()
    images = torch.randn(2, 3, 64, 64)
    program = torch.export.export(net, (images,))
    torch.testing.assert_close(program.module()(images), net(images))


def test_a_negative_number_of_part_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="must be 0 or more, got -1"):
        untrained(part_layers=-1)


def test_half_precision_under_autocast_trains() -> None:
    net = InterpretableCNN("small", 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits: Tensor = net(torch.randn(2, 3, 64, 64))
    logits.float().sum().backward()
    assert logits.isfinite().all()
