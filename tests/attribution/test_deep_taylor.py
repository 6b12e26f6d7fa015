from collections.abc import Callable

import numpy
import pytest
import torch
import torch.nn.functional as F
from awkward_nets import NETS, Applied, draw_weights, drawn_images, drawn_net
from numpy.testing import assert_allclose
from oracles import deep_taylor as oracle
from oracles import layer_graph, lrp
from step_nets import StepNet, chain_steps
from torch import Tensor, nn
from torchvision.models import densenet121, mobilenet_v2

from interpretable.attribution.deep_taylor import DeepTaylor
from interpretable.errors import AttributionError

LOW, HIGH = [-5.0, -4.0, -6.0], torch.tensor([5.0, 6.0, 4.0])
METHODS = {"w square": DeepTaylor(), "box": DeepTaylor(low=LOW, high=HIGH)}


def assert_decomposed(method: DeepTaylor, net: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Nowhere below 0, and the rectified logit in all, which are given."""
    explanation = method.explain(net, images, target)
    with torch.no_grad():
        logits = net(images).gather(1, target)
    assert explanation.attributions.min() >= 0
    assert explanation.dropped.min() >= 0
    total = explanation.attributions.flatten(2).sum(2) + explanation.dropped
    torch.testing.assert_close(total, logits.clamp(min=0), atol=1e-10, rtol=0)
    assert (logits > 0).any()
    return logits


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("net", NETS)
def test_it_is_nowhere_negative_and_sums_to_the_rectified_logit_on_awkward_networks(net: str, method: str) -> None:
    target = torch.tensor([[0, 1, 2]]).expand(4, -1)
    logits = assert_decomposed(METHODS[method], drawn_net(net, 2), drawn_images(4), target)
    assert (logits < 0).any()


@pytest.mark.parametrize("build", [densenet121, mobilenet_v2])
def test_it_is_nowhere_negative_and_sums_to_the_rectified_logit_on(build: Callable[..., nn.Module]) -> None:
    net = draw_weights(build(weights=None, num_classes=3))
    assert_decomposed(DeepTaylor(low=LOW, high=HIGH), net, drawn_images(1, (32, 32)), torch.arange(3)[None])


@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0, None])
@pytest.mark.parametrize("rule", ["w_square", "z_box"])
def test_it_is_the_first_order_term_at_the_root_of_every_unit(rule: str, sign: float | None) -> None:
    bounds = {"low": [-4.0, -5.0], "high": [4.0, 3.0]} if rule == "z_box" else {}
    images = drawn_images(2, (9, 7))[:, :2]
    told = 0
    for seed in range(2):
        steps = chain_steps(seed, sign)
        explanation = DeepTaylor(**bounds).explain(StepNet(steps), images, [[0, 1, 2], [2, 1, 0]])
        for i, classes in enumerate(([0, 1, 2], [2, 1, 0])):
            for k, target in enumerate(classes):
                expected = oracle.explain(steps, images[i].numpy(), target, rule, **bounds)
                assert_allclose(explanation.attributions[i, k].numpy(), expected.of["x"], rtol=0, atol=1e-10)
                assert_allclose(explanation.dropped[i, k].item(), expected.dropped, rtol=0, atol=1e-10)
                told += expected.of["x"].sum() > 0.01
    assert told >= 2


def test_units_that_their_bias_alone_makes_active_drop_their_relevance() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for layer, weight, bias in (
            (net[1], [[1.0, 2.0], [0, 1]], [0.0, 0]),
            (net[3], [[1.0, 1.0], [-1, -1]], [-1.0, 20]),
            (net[5], [[1.0, 1.0]], [0.0]),
        ):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    # 5 and 2, then 6 and 13: the second of these has no positive weight.
    explanation = DeepTaylor().explain(net, torch.tensor([[[[1.0, 2.0]]]]), 0)
    assert explanation.dropped.item() == pytest.approx(13)
    first, second = 6 * 5 / 7, 6 * 2 / 7
    assert explanation.attributions.flatten().tolist() == pytest.approx([first / 5, first * 4 / 5 + second])


def test_positive_biases_take_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    net = nn.Sequential(*net, nn.Flatten(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    explanation = DeepTaylor().explain(net, drawn_images(2).abs(), 0)
    torch.testing.assert_close(explanation.attributions.flatten(1).sum(1), net(drawn_images(2).abs())[:, 0].detach())
    assert explanation.dropped.tolist() == [0, 0]


class Signed(nn.Module):
    """The second layer reads values of both signs, or what is positive of them."""

    def __init__(self, rectified: bool) -> None:
        super().__init__()
        self.rectified = rectified
        self.first, self.second = nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.second(F.relu(x) if self.rectified else x)


def test_later_layers_share_by_squares_where_an_images_values_are_signed_and_by_z_plus_where_not() -> None:
    net, images = Signed(rectified=False).double(), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        net.first.weight[:, 0] += 2
        images[0] = torch.tensor([3.0, 0, 0, 0]).view(1, 2, 2)  # the first image's values are all positive
        images[1:, :, 0, 0] = 0
        hidden = net.first(images.flatten(1))
        logits = net.second(hidden)
    assert (hidden[0] > 0).all()
    assert (hidden[1:] < 0).any(1).all()
    target = logits.argmax(1)
    assert (logits.amax(1) > 0)[:2].all()
    relevance = DeepTaylor()(net, images, target)
    first, second = (layer.weight.detach().numpy() for layer in (net.first, net.second))
    for i in range(3):
        start = torch.where(torch.arange(3) == target[i], logits[i], 0).clamp(min=0).numpy()
        nothing = numpy.zeros(3)
        above = (
            lrp.z_plus_rule(hidden[i].numpy(), second, nothing, start)
            if i == 0
            else lrp.w_square_rule(hidden[i].numpy(), second, nothing, start)
        )[0]
        expected, _ = lrp.w_square_rule(images[i].flatten().numpy(), first, numpy.zeros(5), above)
        assert_allclose(relevance[i].flatten().numpy(), expected, rtol=0, atol=1e-12)


def test_sums_and_averages_share_among_what_is_positive() -> None:
    class Summed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x[:, 0], x[:, 1]
            return torch.cat([(a + b).flatten(1), x.mean((1, 2, 3))[:, None]], 1)

    image = torch.tensor([[[[3.0, 4.0, -2.0]], [[1.0, -1.0, 3.0]]]])
    explanation = DeepTaylor().explain(Summed(), image, [[0, 1, 2, 3]])
    logits = [4.0, 3.0, 1.0, 8 / 6]
    shares = [
        [3 / 4, 0, 0, 1 / 4, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [3 / 11, 4 / 11, 0, 1 / 11, 0, 3 / 11],
    ]
    for k in range(4):
        expected = [logits[k] * share for share in shares[k]]
        assert explanation.attributions[0, k].flatten().tolist() == pytest.approx(expected)
    assert explanation.dropped.tolist() == [[0, 0, 0, 0]]


def test_operations_with_one_input_pass_relevance_on_and_constants_take_none() -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu6(x.flatten(1) + torch.tensor([2.0, 0, 0, 1]))
            x = F.batch_norm(
                x, torch.zeros(4), torch.ones(4), torch.tensor([2.0, -1, 0, 1]), torch.tensor([0.0, 5, 1, 0])
            )
            return 2 * x - 1

    explanation = DeepTaylor().explain(Single(), torch.tensor([[[[1.0, 2, 3, 4]]]]), [[0, 1, 2, 3]])
    total = explanation.attributions[0].flatten(1)
    logits = Single()(torch.tensor([[[[1.0, 2, 3, 4]]]]))[0]
    for k in (0, 1, 3):
        assert total[k].tolist() == pytest.approx([float(logits[k]) if i == k else 0 for i in range(4)])
    assert total[2].abs().sum() == 0  # its factor is 0
    assert explanation.dropped[0].tolist() == pytest.approx([0, 0, 1, 0])


def test_what_constants_receive_that_are_concatenated_is_dropped() -> None:
    class Joined(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((x.flatten(1), torch.full((len(x), 1), 3.0)), 1).mean(1, keepdim=True)

    explanation = DeepTaylor().explain(Joined(), torch.tensor([[[[1.0, 2]]]]), 0)
    assert explanation.attributions.flatten().tolist() == pytest.approx([1 / 3, 2 / 3])
    assert explanation.dropped.item() == pytest.approx(1)


@pytest.mark.parametrize("net", NETS)
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(net: str) -> None:
    model, images, target = drawn_net(net, 2), drawn_images(3), torch.tensor([[0, 2], [1, 0], [2, 2]])
    images[1] = images[1].abs()
    for method in (*METHODS.values(), DeepTaylor(batch_size=2)):
        together = method.explain(model, images, target)
        for i in range(3):
            for k in range(2):
                alone = method.explain(model, images[i : i + 1], int(target[i, k]))
                for one, all_of_them in zip(alone, together, strict=True):
                    torch.testing.assert_close(one[0], all_of_them[i, k], atol=1e-12, rtol=0)


def test_the_first_layer_must_read_what_is_in_the_box() -> None:
    net = drawn_net("functional")
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    images.view(-1)[:2] = torch.tensor([0.0, 1.0])
    exact = DeepTaylor(low=0.0, high=[1.0, 1.0, 1.0])(net, images, 0)
    rounded = DeepTaylor(low=1e-7, high=1 - 1e-7)(net, images, 0)
    assert rounded.min() >= 0
    torch.testing.assert_close(rounded, exact, atol=1e-5, rtol=0)
    with pytest.raises(
        AttributionError, match=r"must be within low and high, got values from -2 to 1; give the bounds"
    ):
        DeepTaylor(low=0.0, high=1.0)(net, images.index_fill(0, torch.tensor([1]), -2.0), 0)
    with pytest.raises(AttributionError, match="both or neither"):
        DeepTaylor(low=0.0)


@pytest.mark.parametrize(
    ("function", "name"), [(F.gelu, "gelu"), (F.leaky_relu, "leaky_relu"), (lambda x: x * F.relu(x), "mul")]
)
def test_functions_that_the_theory_does_not_cover_are_refused_by_name(
    function: Callable[[Tensor], Tensor], name: str
) -> None:
    with pytest.raises(AttributionError, match=f"Deep Taylor decomposition needs a rule .* none for {name}; choose"):
        DeepTaylor()(Applied(function), torch.rand(1, 3, 4, 4), 0)


def test_the_oracles_graph_is_the_network_that_is_explained() -> None:
    steps, images = chain_steps(0, None), drawn_images(2, (9, 7))[:, :2]
    for image, logits in zip(images, StepNet(steps)(images), strict=True):
        assert_allclose(logits.numpy(), layer_graph.forward(steps, image.numpy())["logits"], atol=1e-12)
