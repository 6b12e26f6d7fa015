import itertools
import math

import pytest
import torch
from torch import nn

from interpretable.errors import ConfigurationError
from interpretable.optimizers import build_optimizer, rate_factor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)


def build(name="AdamW", **options):
    return build_optimizer(name, Net(), lr=0.1, trunk_lr=0.5, weight_decay=0.01, options=options)


def test_biases_are_not_decayed_and_the_trunk_learns_at_its_own_rate():
    groups = {(g["params"][0].ndim, g["lr"]): g["weight_decay"] for g in build().param_groups}
    assert groups == {(2, 0.05): 0.01, (1, 0.05): 0.0, (2, 0.1): 0.01, (1, 0.1): 0.0}


def test_frozen_parameters_are_left_out():
    net = Net()
    net.trunk.requires_grad_(False)
    optimizer = build_optimizer("SGD", net, lr=0.1, trunk_lr=1.0, weight_decay=0.0, options={"momentum": 0.9})
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_an_unknown_optimizer_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigurationError, match=r"no optimizer 'Adamw'; choose one of .*AdamW"):
        build("Adamw")


def test_an_unknown_option_is_refused_with_those_that_exist():
    with pytest.raises(ConfigurationError, match=r"SGD takes no option momentun; it takes .*momentum"):
        build("SGD", momentun=0.9)


def test_cosine_rises_to_one_and_falls_to_zero():
    factor = rate_factor("cosine", 0.1, 100)
    rates = [factor(step) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_constant_stays_at_one_after_the_rise():
    factor = rate_factor("constant", 0.0, 10)
    assert [factor(step) for step in range(12)] == [1.0] * 12


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_a_warmup_that_is_no_share_is_refused(warmup):
    with pytest.raises(ConfigurationError, match=r"A warm-up must be a share of the run in \[0, 1\)"):
        rate_factor("cosine", warmup, 10)


def test_a_step_moves_trunk_and_head_by_their_rates():
    net = Net()
    before = [parameter.detach().clone() for parameter in (net.trunk.bias, net.head.bias)]
    optimizer = build_optimizer("SGD", net, lr=0.1, trunk_lr=0.5, weight_decay=0.0, options={})
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert torch.allclose(before[0] - net.trunk.bias, torch.full((2,), 0.05))
    assert torch.allclose(before[1] - net.head.bias, torch.full((2,), 0.1))
