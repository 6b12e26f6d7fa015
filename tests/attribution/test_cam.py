from collections.abc import Callable

import pytest
import torch
from explained_nets import CLASSES, FunctionalEnd, Holder, chain, drawn_images, interpretable
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.attribution.cam import CAM
from interpretable.attribution.grad_cam import GradCAM
from interpretable.errors import AttributionError
from interpretable.upsampling import upsample

NETS: dict[str, Callable[[], nn.Module]] = {
    "functional average": lambda: FunctionalEnd().double(),
    "in place": lambda: FunctionalEnd(inplace=True).double(),
    "chain": chain,
    "interpretable": interpretable,
    "two part layers": lambda: interpretable(part_layers=2, part_share=0.5),
    "held": lambda: Holder(interpretable()),
    "no bias": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES, bias=False)
    ).double(),
}
ALL = torch.arange(CLASSES).expand(3, -1)


def bias(net: nn.Module) -> Tensor | float:
    found = [module for module in net.modules() if isinstance(module, nn.Linear)][-1].bias
    return 0.0 if found is None else found.detach()


@pytest.mark.parametrize("name", NETS)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(name: str) -> None:
    net, images = NETS[name]().eval(), drawn_images()
    maps = CAM(batch_size=2)(net, images, ALL)
    assert maps.shape[:3] == (3, CLASSES, 1)
    with torch.no_grad():
        torch.testing.assert_close(maps.mean((2, 3, 4)) + bias(net), net(images), rtol=0, atol=1e-12)


def test_a_map_is_the_sum_of_the_last_maps_by_the_weights_of_the_class() -> None:
    net, images = FunctionalEnd(inplace=True).double(), drawn_images(2)
    found = CAM()(net, images, [4, 1])
    with torch.no_grad():
        last = net.conv(images).relu()
        for image, label in enumerate((4, 1)):
            literal = sum(net.fc.weight[label, k] * last[image, k] for k in range(6))
            torch.testing.assert_close(found[image, 0], literal, rtol=0, atol=1e-12)
    assert found.shape == (2, 1, 8, 10)
    assert found.min() < 0 < found.max()


def test_the_maps_of_an_interpretable_network_are_those_that_its_head_sees() -> None:
    net, images = interpretable(), drawn_images()
    with torch.no_grad():
        masked = net.part_filters[-1].mask(net.forward_features(images)[-1])
        expected = torch.einsum("c,bchw->bhw", net.head.fc.weight[2], masked)
    torch.testing.assert_close(CAM()(net, images, 2)[:, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["functional average", "in place", "chain", "no bias"])
def test_cam_is_grad_cam_times_the_number_of_cells(name: str) -> None:
    net, images = NETS[name]().eval(), drawn_images()
    maps = CAM()(net, images, ALL)
    cells = maps[0, 0].numel()
    torch.testing.assert_close(maps, cells * GradCAM()(net, images, ALL), rtol=0, atol=1e-12)


def test_maps_are_upsampled_where_their_units_lie_or_over_equal_cells() -> None:
    images = drawn_images()
    net = interpretable()
    for model in (net, Holder(net)):
        coarse, fine = CAM()(model, images, 3), CAM(upsample=True)(model, images, 3)
        expected = upsample(coarse, (16, 20), net.receptive_fields[-1], (16, 20))
        torch.testing.assert_close(fine, expected, rtol=0, atol=1e-12)
    net = chain()
    coarse, fine = CAM()(net, images, 3), CAM(upsample=True)(net, images, 3)
    expected = F.interpolate(coarse, (16, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(fine, expected, rtol=0, atol=1e-12)


class Scaled(FunctionalEnd):
    """Looks like the right head, but its logits are divided by a temperature."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 1.01


class Late(FunctionalEnd):
    """Rectifies after the last layer that gives maps."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


OTHERS = {
    "another scale": (lambda: Scaled(), "differ by up to"),
    "a rectifier that is no layer": (lambda: Late(), "differ by up to"),
    "a linear layer of cells": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 18, CLASSES)),
        "from 504 to 5 for 2 maps",
    ),
    "two linear layers": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5)
        ),
        "differ by up to",
    ),
    "the largest cell": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)),
        "differ by up to",
    ),
    "no linear layer": (
        lambda: nn.Sequential(nn.Conv2d(3, CLASSES, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "no linear layer",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_heads_are_refused_by_what_their_logits_are(name: str) -> None:
    net, found = OTHERS[name]
    with pytest.raises(AttributionError, match=f"CAM is for networks that end in the average.*{found}.*grad_cam"):
        CAM()(net().double(), drawn_images(), 0)


def test_a_network_without_maps_and_a_class_it_does_not_have_are_refused() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3, CLASSES)).double()
    with pytest.raises(AttributionError, match="no such maps"):
        CAM()(linear, torch.randn(2, 3, 1, 1).double(), 0)
    with pytest.raises(AttributionError, match="from 0 to 4"):
        CAM()(chain(), drawn_images(), CLASSES)
