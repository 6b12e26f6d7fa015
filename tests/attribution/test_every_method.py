"""What holds for every method: a batch is its images, several classes are each of them, and nothing is left behind."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from attribution.awkward_nets import NETS, draw_weights, drawn_images, drawn_net
from torch import Tensor, nn

from interpretable.attribution import METHODS, Patterns, attribute
from interpretable.errors import AttributionError
from interpretable.models import InterpretableCNN

OPTIONS: dict[str, dict[str, Any]] = {
    "smooth_grad": {"samples": 4},
    "rise": {"masks": 12, "cells": 3},
    "occlusion": {"window": 4, "stride": 3},
}
NEED_PATTERNS = ("pattern_net", "pattern_attribution")
TARGETS = torch.tensor([[0, 2], [1, 1], [2, 0]])


@cache
def patterns(name: str) -> Patterns:
    return Patterns.fit(network(name), [images(name, 12, seed=4)])


def network(name: str) -> nn.Module:
    if name != "interpretable":
        return drawn_net(name)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    example = drawn_images(1).float()
    return draw_weights(InterpretableCNN.from_module(net, "2", example, part_layers=2, first_layer="convolution"))


def images(name: str, count: int, seed: int = 1) -> Tensor:
    return drawn_images(count, seed=seed)


def options(method: str, name: str) -> dict[str, Any]:
    given = OPTIONS.get(method, {})
    return {**given, "patterns": patterns(name)} if method in NEED_PATTERNS else given


def explain(method: str, name: str, net: nn.Module, x: Tensor, target: Any) -> Tensor:
    return attribute(net, x, target, method, **options(method, name))


PAIRS = [
    (method, name)
    for method in METHODS
    for name in (*NETS, "interpretable")
    if (method != "part_filters" or name == "interpretable")
    # The maps that their heads average are of functions, not of layers.
    and (method != "cam" or name not in ("functional", "residual"))
]


@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_a_batch_is_its_images_and_several_classes_are_each_of_them(method, name):
    net, x = network(name), images(name, 3)
    found = explain(method, name, net, x, TARGETS)
    # Deep Taylor decomposition explains what is positive of a logit.
    assert found.abs().sum() > 0 or (method == "deep_taylor" and (net(x).gather(1, TARGETS) <= 0).all())
    for row in range(3):
        for column in range(2):
            single = explain(method, name, net, x[row : row + 1], int(TARGETS[row, column]))[0]
            torch.testing.assert_close(found[row, column], single, rtol=1e-9, atol=1e-12)


def state_of(net: nn.Module) -> list[Any]:
    """Everything that a method could leave behind on a network, and in the process."""
    return [
        [(key, value.clone()) for key, value in net.state_dict().items()],
        [(key, id(value), value.requires_grad, value.grad) for key, value in net.named_parameters()],
        [(key, id(value)) for key, value in net.named_buffers()],
        [(key, module.training, getattr(module, "inplace", None)) for key, module in net.named_modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
         for module in net.modules()],
        [sorted(vars(module)) for module in net.modules()],
        torch.get_rng_state(),
        torch.is_grad_enabled(),
        torch.overrides._len_torch_function_stack() if hasattr(torch.overrides, "_len_torch_function_stack") else 0,
    ]  # fmt: skip


def same(before: list[Any], after: list[Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.equal(a, b)
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(map(equal, a, b))
        return type(a) is type(b) and a == b

    return equal(before, after)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["plain", "no_grad", "inference_mode", "exception"])
def test_nothing_is_left_behind(method, mode):
    name = "interpretable" if method in ("part_filters", "cam") else "residual"
    net, x = network(name).train(), images(name, 2)
    given = options(method, name)
    next(net.parameters()).requires_grad_(False)
    parameter = list(net.parameters())[-1]
    parameter.grad = torch.ones_like(parameter)
    kept, before = x.clone(), state_of(net)
    expected = attribute(copy.deepcopy(net).eval(), x, 1, method, **given)
    if mode == "exception":
        with pytest.raises(AttributionError, match="the network's classes"):
            attribute(net, x, 17, method, **given)
    else:
        scope = {"plain": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[mode]
        with scope():
            found = attribute(net, x.clone(), 1, method, **given)
        torch.testing.assert_close(found.clone(), expected, rtol=1e-9, atol=1e-12)
        assert not found.requires_grad
        assert not found.is_inference()
    assert torch.equal(x, kept)
    assert same(before, state_of(net))


class Watching(nn.Module):
    """A network that writes into its images, counts its passes, draws numbers, and fails in a pass if told to."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.fails: type[BaseException] | None = None
        self.fails_in = 0
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        x.mul_(1 + 0 * float(torch.rand(())))
        self.fails_in -= 1
        if self.fails is not None and self.fails_in < 0:
            raise self.fails("stopped")
        return self.inner(x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [None, ValueError, KeyboardInterrupt])
def test_a_network_that_counts_draws_and_writes_is_left_as_it_was_also_when_it_is_stopped(method, fails):
    name = "interpretable" if method in ("part_filters", "cam") else "residual"
    net, x = Watching(network(name)).double().train(), images(name, 3)
    given = dict(options(method, name))
    if method in NEED_PATTERNS:
        given["patterns"] = Patterns.fit(net, [images(name, 12, seed=4)])
    net.fails, net.fails_in = fails, 1 if method not in ("saliency", "gradient_times_input") else 0
    kept, before = x.clone(), state_of(net)
    calls = net.fails_in
    if fails is None:
        attribute(net, x, 1, method, **given)
    else:
        with pytest.raises(fails, match="stopped"):
            attribute(net, x, 1, method, batch_size=1, **given)
    net.fails_in = calls  # the network's own count, which no method knows of
    assert torch.equal(x, kept)
    assert same(before, state_of(net))


@pytest.mark.parametrize("method", METHODS)
def test_the_precision_of_a_trainer_does_not_reach_the_explanation(method):
    name = "interpretable" if method in ("part_filters", "cam") else "residual"
    net, x = network(name).float(), images(name, 2).float()
    given = options(method, name)
    if method in NEED_PATTERNS:
        given = {**given, "patterns": Patterns.fit(net, [x])}
    expected = attribute(net, x, 1, method, **given)
    with torch.autocast("cpu", torch.bfloat16):
        found = attribute(net, x, 1, method, **given)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["guided_backprop", "lrp", "deep_lift", "grad_cam"])
def test_a_compiled_network_is_explained_as_the_network_itself(method):
    net, x = network("residual"), images("residual", 2)
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(x)
    torch.testing.assert_close(attribute(compiled, x, 1, method), attribute(net, x, 1, method), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "lrp", "deep_lift", "guided_backprop"])
def test_equal_functions_have_equal_explanations(method):
    """The same network, written with modules, and with functions and rectifiers in place."""
    modules = drawn_net("residual")
    functions = copy.deepcopy(modules)

    def forward(x: Tensor) -> Tensor:
        f = functions
        x = torch.max_pool2d(torch.clamp_min(f.norm(f.stem(x)), 0), 3, 2, 1)
        x = torch.add(f.norm_grouped(f.grouped(x)), f.norm_branch(f.branch(x))).relu_()
        return nn.functional.linear(nn.functional.avg_pool2d(x, 3, 1, 1).mean((-1, -2)), f.head.weight, f.head.bias)

    functions.forward = forward
    x = images("residual", 3)
    found, expected = (attribute(net, x, [0, 1, 2], method) for net in (functions, modules))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
