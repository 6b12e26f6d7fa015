"""Axioms as properties of random networks: completeness, conservation, positivity, invariance."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from attribution.awkward_nets import draw_weights
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from interpretable.attribution import (
    LRP,
    DeepLIFT,
    DeepTaylor,
    GradientTimesInput,
    IntegratedGradients,
    Patterns,
    Saliency,
)

RECTIFIERS: list[Callable[[Tensor], Tensor]] = [
    F.relu, torch.relu_, lambda x: x.clamp(min=0), lambda x: F.relu(x, inplace=True), lambda x: F.threshold(x, 0, 0),
]  # fmt: skip
POOLS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x, lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(x, 2, 1, 1),
    lambda x: F.avg_pool2d(x, 3, 1, 1),
]  # fmt: skip


class Block(nn.Module):
    """A convolution of any kind, perhaps normalised before or behind, called once or twice, beside itself or not."""

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__()
        groups, dilation = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2]))
        self.conv = nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation, groups=groups, bias=draw(st.booleans()))
        self.before = nn.BatchNorm2d(4) if draw(st.booleans()) else nn.Identity()
        self.behind = nn.BatchNorm2d(4) if draw(st.booleans()) else nn.Identity()
        self.calls = draw(st.sampled_from([1, 2]))
        self.residual = draw(st.booleans())
        self.rectifier, self.pool = draw(st.sampled_from(RECTIFIERS)), draw(st.sampled_from(POOLS))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            y = self.behind(self.conv(self.before(x)))
            x = self.rectifier(y + x if self.residual else y)
        return self.pool(x)


@st.composite
def networks(draw: st.DrawFn, bias: bool = True) -> nn.Module:
    """A stem, up to three blocks and a linear head, with drawn weights and statistics."""
    blocks = [Block(draw) for _ in range(draw(st.integers(1, 3)))]
    stem = nn.Conv2d(3, 4, draw(st.sampled_from([1, 3])), stride=draw(st.sampled_from([1, 2])))
    net = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    draw_weights(net, draw(st.integers(0, 2**16)))
    if not bias:
        for module in net.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
    return net


def images(seed: int) -> Tensor:
    return torch.randn(2, 3, 9, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


property_of = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**16)
CLASSES = torch.tensor([[0, 2], [1, 1]])


def logits(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).gather(1, CLASSES)


def total(attributions: Tensor) -> Tensor:
    return attributions.flatten(2).sum(2)


@property_of
@given(networks(), SEEDS)
def test_contributions_of_deep_lift_sum_to_the_change_of_the_logit(net: nn.Module, seed: int) -> None:
    x, baseline = images(seed), images(seed + 1)
    found = DeepLIFT(baseline=baseline).explain(net, x, CLASSES)
    change = logits(net, x) - logits(net, baseline)
    torch.testing.assert_close(total(found.attributions), change, rtol=0, atol=1e-10)


@property_of
@given(networks(), SEEDS, st.sampled_from(["epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma"]))
def test_relevance_and_what_is_absorbed_are_the_logit(net: nn.Module, seed: int, rule: str) -> None:
    x = images(seed)
    relevance, absorbed = LRP(rule=rule).explain(net, x, CLASSES)
    expected = logits(net, x)
    # Signed sums that nearly cancel enlarge relevance, and with it its rounding.
    scale = relevance.abs().amax((2, 3, 4)).clamp(min=1)
    assert ((total(relevance) + absorbed - expected).abs() <= 1e-10 * scale).all()


@property_of
@given(networks(), SEEDS)
def test_deep_taylor_relevance_is_positive_and_with_what_is_dropped_the_rectified_logit(
    net: nn.Module, seed: int
) -> None:
    x = images(seed)
    relevance, dropped = DeepTaylor().explain(net, x, CLASSES)
    assert (relevance >= 0).all()
    torch.testing.assert_close(total(relevance) + dropped, logits(net, x).clamp(min=0), rtol=1e-9, atol=1e-10)


@property_of
@given(networks(), SEEDS)
def test_the_delta_of_integrated_gradients_is_what_is_missing(net: nn.Module, seed: int) -> None:
    x = images(seed)
    found = IntegratedGradients(steps=8, max_steps=64).explain(net, x, CLASSES)
    after, before = logits(net, x), logits(net, torch.zeros_like(x))
    change = after - before
    torch.testing.assert_close(total(found.attributions) + found.delta, change, rtol=0, atol=1e-10)
    scale = torch.stack([change.abs(), after.abs() / 10, before.abs() / 10]).amax(0)
    assert ((found.steps == 64) | (found.delta.abs() <= 0.05 * scale)).all()


@property_of
@given(networks(bias=False), SEEDS)
def test_without_biases_methods_that_are_complete_are_one(net: nn.Module, seed: int) -> None:
    x = images(seed)
    expected = GradientTimesInput()(net, x, CLASSES)
    torch.testing.assert_close(total(expected), logits(net, x), rtol=0, atol=1e-10)
    torch.testing.assert_close(DeepLIFT()(net, x, CLASSES), expected, rtol=0, atol=1e-10)
    found = IntegratedGradients(steps=2, tolerance=None)(net, x, CLASSES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@property_of
@given(networks(), SEEDS)
def test_patterns_have_a_product_of_one_with_their_weights(net: nn.Module, seed: int) -> None:
    fitted = Patterns.fit(net, [images(seed), images(seed + 1)])
    weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert fitted.tensors[0].shape == weights[0].shape
    head = (fitted.tensors[-1] * weights[-1].detach()).sum(1)
    assert (((head - 1).abs() < 1e-6) | (fitted.tensors[-1] == 0).all(1)).all()


@property_of
@given(networks(), SEEDS)
def test_the_gradient_is_the_limit_of_differences(net: nn.Module, seed: int) -> None:
    x = images(seed)
    direction = images(seed + 1)
    step = 1e-7
    rise = (logits(net, x + step * direction) - logits(net, x - step * direction)) / (2 * step)
    found = (Saliency()(net, x, CLASSES) * direction[:, None]).flatten(2).sum(2)
    torch.testing.assert_close(found, rise, rtol=1e-4, atol=1e-5)


def test_a_property_that_does_not_hold_is_found() -> None:
    @settings(property_of, phases=[Phase.generate], report_multiple_bugs=False)
    @given(networks(), SEEDS)
    def gradient_times_input_is_complete(net: nn.Module, seed: int) -> None:
        x = images(seed)
        torch.testing.assert_close(total(GradientTimesInput()(net, x, CLASSES)), logits(net, x), rtol=0, atol=1e-10)

    with pytest.raises(AssertionError):
        gradient_times_input_is_complete()
