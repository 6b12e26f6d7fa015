"""Every method explains every backbone, or refuses it by the name of the operation that it has no rule for."""

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from interpretable.attribution import METHODS, Patterns, attribute
from interpretable.errors import AttributionError
from interpretable.models import BACKBONES, InterpretableCNN

LESS: dict[str, dict[str, Any]] = {
    "smooth_grad": {"samples": 2},
    "integrated_gradients": {"steps": 2, "tolerance": None},
    "rise": {"masks": 2, "cells": 2},
    "occlusion": {"window": 32, "stride": 32},
}
BY_RULES = (
    "deconvnet", "guided_backprop", "lrp", "deep_taylor", "deep_lift", "pattern_net", "pattern_attribution",
    "guided_grad_cam",
)  # fmt: skip
REFUSED = {
    **dict.fromkeys(("mobilenet_v3_small", "mobilenet_v3_large"), ("hardswish", "hardsigmoid", "mul")),
    "efficientnet_b0": ("silu", "sigmoid", "mul"),
    "convnext_tiny": ("layer_norm", "gelu"),
}
LIFTED = ("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0")


@cache
def network(backbone: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    net = InterpretableCNN(backbone, 4, part_layers=1, head="linear").eval()
    side = max(net.smallest_input, 64)
    return net, torch.randn(2, 3, side, side)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_method_explains_a_backbone_or_refuses_it_by_an_operation(backbone):
    net, images = network(backbone)
    refused: dict[str, str] = {}
    for method in METHODS:
        options = dict(LESS.get(method, {}))
        try:
            if method.startswith("pattern"):
                options["patterns"] = Patterns.fit(net, [images])
            found = attribute(net, images[:1], 1, method, **options)
        except AttributionError as error:
            refused[method] = str(error)
        else:
            assert found.isfinite().all(), method
            assert found.abs().sum() > 0 or method != "saliency"
    if "must stay finite" in refused.get("pattern_net", ""):  # the sentence says what to do
        del refused["pattern_net"]
        net, images = deepcopy(net).double(), images.double()
        assert attribute(net, images[:1], 1, "pattern_net", patterns=Patterns.fit(net, [images])).isfinite().all()
    expected = set(BY_RULES if backbone in REFUSED else ())
    assert set(refused) == expected - ({"deep_lift"} if backbone in LIFTED else set())
    for sentence in refused.values():
        assert any(f"has none for {name};" in sentence for name in REFUSED[backbone]), sentence
    network.cache_clear()
