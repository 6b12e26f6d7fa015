import copy
import math

import pytest
import torch
from torch import Tensor, nn

from interpretable.errors import MetricError, ModelError
from interpretable.receptive_field import effective_receptive_field, extent, theoretical_receptive_field


def stack(depth: int, relu: bool) -> nn.Sequential:
    """3×3 convolutions of eight channels at the initialisation that keeps the gradient's scale."""
    layers: list[nn.Module] = []
    for channels in [3] + [8] * (depth - 1):
        conv = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        layers += [conv, nn.ReLU()] if relu else [conv]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("depth", "relu", "linear"), [(5, 0.95, 0.96), (10, 0.72, 0.74), (20, 0.52, 0.54), (40, 0.36, 0.39)]
)
def test_the_field_shrinks_with_depth_as_published(depth: int, relu: float, linear: float) -> None:
    size = 2 * depth + 1
    for activation, published in ((True, relu), (False, linear)):
        influence = torch.zeros(size, size, dtype=torch.float64)
        for seed in range(4):  # the expectation is over weights as well
            torch.manual_seed(seed)
            net = stack(depth, activation)
            one = effective_receptive_field(net, [torch.randn(8 if activation else 1, 3, size, size)]).influence
            influence += one / one.max()
        assert theoretical_receptive_field(net).size == size
        assert (extent(influence).size / size).item() == pytest.approx(published, abs=0.04)


def test_an_averaging_kernel_is_seen_evenly_round_the_central_unit() -> None:
    conv = nn.Conv2d(3, 2, 5, 2, 1, bias=False)
    nn.init.constant_(conv.weight, -0.5)
    result = effective_receptive_field(conv, [torch.randn(4, 3, 22, 26), torch.randn(1, 3, 22, 26)])
    # Maps of 10×12 units; unit (5, 6) is centred at 1.5 + 2j and sums over two channels with weights of 3 × 0.5.
    expected = torch.zeros(22, 26, dtype=torch.float64)
    expected[9:14, 11:16] = 2 * 3 * 0.5
    assert torch.equal(result.influence, expected)
    assert result.size.item() == 5.0
    assert result.centre.tolist() == pytest.approx([13.5, 11.5])
    assert result.deviation.tolist() == pytest.approx([math.sqrt(2)] * 2)


def test_a_gaussian_has_its_own_moments() -> None:
    x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (90, 80))
    across, down = torch.exp(-(((x - 41) / 6) ** 2) / 2), torch.exp(-(((y - 37.3) / 4) ** 2) / 2)
    result = extent(down[:, None] * across)
    assert result.centre.tolist() == pytest.approx([41, 37.3])
    assert result.deviation.tolist() == pytest.approx([6, 4])
    # The ellipse on which the density has fallen to 0.0455 has half axes σ·√(−2 ln 0.0455).
    assert result.size.item() == pytest.approx(math.sqrt(math.pi * 24 * -2 * math.log(0.0455)), abs=0.3)


def test_batches_are_averaged_by_their_images() -> None:
    net, images = stack(3, True), torch.randn(5, 3, 9, 9)
    one = effective_receptive_field(net, [images])
    split = effective_receptive_field(net, iter([images[:1], images[1:]]))
    each = [effective_receptive_field(net, [image[None]]).influence for image in images]
    torch.testing.assert_close(split.influence, one.influence, rtol=1e-5, atol=0)
    torch.testing.assert_close(torch.stack(each).mean(0), one.influence, rtol=1e-5, atol=0)


def test_random_signs_let_channels_cancel_in_half_of_the_images() -> None:
    conv = nn.Conv2d(3, 2, 1, bias=False)
    nn.init.ones_(conv.weight)
    images = torch.randn(400, 3, 1, 1)
    assert effective_receptive_field(conv, [images]).influence.item() == 6
    signed = effective_receptive_field(conv, [images], random_signs=True)
    # Of two channels, the signs agree in half of the images (standard error 0.15).
    assert signed.influence.item() == pytest.approx(3, abs=0.6)
    assert torch.equal(signed.influence, effective_receptive_field(conv, [images], random_signs=True).influence)


def test_a_unit_that_is_silent_on_every_image_has_size_zero_and_no_centre() -> None:
    conv = nn.Conv2d(3, 2, 3)
    nn.init.constant_(conv.bias, -100.0)
    result = effective_receptive_field(nn.Sequential(conv, nn.ReLU()), [torch.rand(2, 3, 9, 9)])
    assert result.size.item() == 0
    assert result.centre.isnan().all()
    assert result.deviation.isnan().all()


class Dirty(nn.Module):
    """Works in place on its input, counts its calls and draws random numbers in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(x.mul_(2.0)) + torch.rand(())


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("fails", [False, True], ids=["measured", "refused"])
def test_a_measurement_leaves_nothing_behind(fails: bool, mode: type) -> None:
    net = nn.Sequential(Dirty(), nn.Dropout(), nn.Conv2d(3, 2, 3), *([nn.Flatten()] if fails else []))
    net[0].eval()
    before = copy.deepcopy(net.state_dict())
    modes = [layer.training for layer in net.modules()]
    net[2].weight.grad = torch.ones_like(net[2].weight)
    random_state = torch.get_rng_state()
    with mode():
        images = torch.ones(2, 3, 9, 9)
        if fails:
            with pytest.raises(ModelError, match=r"feature map \(B, C, h, w\)"):
                effective_receptive_field(net, [images])
        else:
            assert effective_receptive_field(net, [images]).size == 3
    assert torch.equal(images, torch.ones(2, 3, 9, 9))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [layer.training for layer in net.modules()] == modes
    assert torch.equal(net[2].weight.grad, torch.ones_like(net[2].weight))
    assert net[2].bias.grad is None
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([], "is a mean over images, got none"),
        ([torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9)], r"of one size, got \(8, 8\) and \(8, 9\)"),
        ([torch.full((1, 3, 8, 8), math.nan)], "must be numbers, got NaN"),
    ],
    ids=["none", "sizes", "nan"],
)
def test_what_has_no_field_is_refused_in_a_sentence(batches: list[Tensor], sentence: str) -> None:
    with pytest.raises(MetricError, match=sentence):
        effective_receptive_field(nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU()), batches)
