import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from awkward_nets import NETS, Applied, draw_weights, drawn_images, drawn_net
from numpy.testing import assert_allclose
from oracles import layer_graph
from oracles import lrp as oracle
from step_nets import StepNet, residual_steps
from torch import Tensor, nn
from torchvision.models import convnext_tiny, densenet121, efficientnet_b0, resnet18

from interpretable.attribution.lrp import COMPOSITES, LRP, Composite
from interpretable.attribution.lrp_input_rules import Flat, WSquare, ZBox
from interpretable.attribution.lrp_rules import AlphaBeta, Epsilon, Gamma, ZPlus
from interpretable.errors import AttributionError

BOX = {"low": -6.0, "high": 6.0}


def composite(name: str, **options: float) -> LRP:
    return LRP(rule=name, **(BOX if name.endswith("box") else {}), **options)


def assert_conserved(method: LRP, net: nn.Module, images: Tensor, target: Tensor) -> None:
    explanation = method.explain(net, images, target)
    with torch.no_grad():
        logits = net(images).gather(1, target)
    total = explanation.attributions.flatten(2).sum(2) + explanation.absorbed
    torch.testing.assert_close(total, logits, atol=1e-10, rtol=0)
    assert explanation.attributions.abs().flatten(2).sum(2).min() > 1e-3


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("net", NETS)
def test_relevance_and_what_is_absorbed_sum_to_the_logit_on_awkward_networks(net: str, name: str) -> None:
    target = torch.tensor([[0, 1], [2, 0], [1, 1]])
    for stabiliser in (0.0, 0.1):
        assert_conserved(composite(name, stabiliser=stabiliser), drawn_net(net), drawn_images(3), target)


@pytest.fixture(scope="module", params=[resnet18, densenet121])
def torchvision_net(request: pytest.FixtureRequest) -> nn.Module:
    return draw_weights(request.param(weights=None, num_classes=4))


@pytest.mark.parametrize("name", COMPOSITES)
def test_relevance_and_what_is_absorbed_sum_to_the_logit_on_deep_networks(
    torchvision_net: nn.Module, name: str
) -> None:
    assert_conserved(composite(name), torchvision_net, drawn_images(1, (40, 48)), torch.tensor([[1]]))


@pytest.mark.parametrize(
    ("rules", "ours"),
    [
        ([("epsilon", {"epsilon": 0.01})] * 4, Composite(convolution=Epsilon(0.01), dense=Epsilon(0.01))),
        (
            [("z_plus", {})] * 3 + [("epsilon", {"epsilon": 1e-6})],
            Composite(convolution=ZPlus(), dense=Epsilon()),
        ),
        (
            [("flat", {})] + [("alpha_beta", {"alpha": 2.0, "beta": 1.0})] * 2 + [("gamma", {"gamma": 0.5})],
            Composite(convolution=AlphaBeta(2, 1), dense=Gamma(0.5), first=Flat()),
        ),
        (
            [("gamma", {"gamma": 0.25})] * 2 + [("epsilon", {"epsilon": 0.01}), ("epsilon", {"epsilon": 0.1})],
            Composite(convolution=Gamma(), upper=Epsilon(0.01), dense=Epsilon(0.1)),
        ),
        (
            [("w_square", {})] + [("gamma", {"gamma": 0.25})] * 2 + [("epsilon", {"epsilon": 0.1})],
            Composite(convolution=Gamma(), dense=Epsilon(0.1), first=WSquare()),
        ),
        (
            [("z_box", {"low": [-4.0, -5.0], "high": [4.0, 3.0]})] + [("gamma", {"gamma": 0.25})] * 3,
            Composite(convolution=Gamma(), dense=Gamma(), first=ZBox),
        ),
    ],
)
@pytest.mark.parametrize("stabiliser", [0.0, 0.01])
def test_a_network_is_explained_as_step_by_step_with_matrices(
    rules: list[tuple[str, dict]], ours: Composite, stabiliser: float
) -> None:
    steps = residual_steps(3)
    images = drawn_images(2, (6, 5))[:, :2]
    target = torch.tensor([[0, 2], [1, 0]])
    bounds = {"low": [-4.0, -5.0], "high": torch.tensor([4.0, 3.0])} if ours.first is ZBox else {}
    explanation = LRP(rule=ours, stabiliser=stabiliser, **bounds).explain(StepNet(steps), images, target)
    for i in range(2):
        for k in range(2):
            expected = oracle.explain(layer_graph.fold(steps), images[i].numpy(), int(target[i, k]), rules, stabiliser)
            assert_allclose(explanation.attributions[i, k].numpy(), expected.of["x"], rtol=0, atol=1e-10)
            assert_allclose(explanation.absorbed[i, k].item(), expected.absorbed, rtol=0, atol=1e-10)


@pytest.mark.parametrize("net", NETS)
def test_without_biases_epsilon_of_nearly_zero_is_gradient_times_input(net: str) -> None:
    model = drawn_net(net)
    for module in model.modules():
        if getattr(module, "bias", None) is not None:
            module.bias.data.zero_()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.zero_()
    images = drawn_images(2).requires_grad_()
    (gradient,) = torch.autograd.grad(model(images)[:, 1].sum(), images)
    nothing = Composite(convolution=Epsilon(0), dense=Epsilon(0))
    explanation = LRP(rule=nothing, stabiliser=0).explain(model, images, 1)
    torch.testing.assert_close(explanation.attributions, (gradient * images).detach(), atol=1e-10, rtol=0)
    torch.testing.assert_close(explanation.absorbed, torch.zeros(2).double(), atol=1e-10, rtol=0)
    nearly = LRP(rule="epsilon")(model, images, 1)
    torch.testing.assert_close(nearly, explanation.attributions, atol=1e-3, rtol=0)


class Twice(nn.Module):
    """One linear layer, called twice or written out as two."""

    def __init__(self, separate: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)
        self.second = nn.Linear(4, 4, bias=False) if separate else self.first
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.second(self.relu(self.first(x.flatten(1))))))


@pytest.mark.parametrize("rule", [ZPlus(), Gamma(), AlphaBeta(2, 1), Epsilon(0)])
def test_a_layer_that_is_called_twice_is_two_layers(rule) -> None:
    once, twice = Twice(separate=True).double(), Twice(separate=False).double()
    once.load_state_dict({**twice.state_dict(), "second.weight": twice.first.weight})
    method = LRP(rule=Composite(convolution=rule, dense=rule))
    images = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    relevance = method(twice, images, [0, 1, 0])
    torch.testing.assert_close(relevance, method(once, images, [0, 1, 0]))
    assert relevance.abs().max() > 1e-3


class Spelled(nn.Module):
    """A residual network of functions out of place, or of modules and operators that write in place."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.first, self.second, self.side = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        before = self.side(x)
        if self.in_place:
            self.relu(x)  # which the layer at the side has read by now
            y = self.second(x)
            y += x
            y -= before
            y.relu_()
        else:
            x = F.relu(x)
            y = F.relu(torch.sub(torch.add(F.conv2d(x, self.second.weight, self.second.bias, padding=1), x), before))
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("name", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma_flat"])
def test_functions_modules_and_operations_in_place_are_the_same(name: str) -> None:
    plain, in_place = draw_weights(Spelled(False)), draw_weights(Spelled(True))
    images = drawn_images(2)
    torch.testing.assert_close(plain(images), in_place(images))
    expected, actual = (LRP(rule=name).explain(net, images, [0, 2]) for net in (plain, in_place))
    torch.testing.assert_close(actual, expected)
    assert_conserved(LRP(rule=name), in_place, images, torch.tensor([[0], [2]]))


@pytest.mark.parametrize("net", NETS)
def test_a_batch_is_its_images_one_by_one_and_several_classes_are_each_alone(net: str) -> None:
    model, images, target = drawn_net(net), drawn_images(3), torch.tensor([[0, 2], [1, 0], [2, 2]])
    images[1] = images[1].abs()
    for method in (LRP(), LRP(rule="epsilon_gamma"), LRP(rule="epsilon_alpha2_beta1", batch_size=2)):
        together = method.explain(model, images, target)
        for i in range(3):
            for k in range(2):
                alone = method.explain(model, images[i : i + 1], int(target[i, k]))
                for one, all_of_them in zip(alone, together, strict=True):
                    torch.testing.assert_close(one[0], all_of_them[i, k], atol=1e-12, rtol=0)


class Beside(nn.Module):
    """Pads by a function, concatenates coordinates, adds, subtracts, multiplies and divides by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(F.pad(x, (1, 2, 0, 1), value=0.5)) + 0.25)
        across = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype).expand(len(x), 1, *x.shape[2:])
        x = self.second(nn.ZeroPad2d(1)(torch.cat((across, 1 - x), dim=1).relu_()))
        return self.head(
            F.relu(
                F.pad(x, (1, 0, 0, 0), "replicate") * torch.linspace(-1, 2, 4, dtype=x.dtype)[:, None, None] / 2
            ).mean((2, 3))
        )


@pytest.mark.parametrize("name", COMPOSITES)
def test_what_constants_receive_is_absorbed(name: str) -> None:
    assert_conserved(composite(name), draw_weights(Beside(), 3), drawn_images(2), torch.tensor([[0, 1], [2, 0]]))


def test_a_constant_summand_absorbs_its_part_and_a_factor_of_zero_everything() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.constant = nn.Parameter(torch.tensor([3.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1) + self.constant
            return x * torch.tensor([1.0, 0.0])

    # Parts of the image 1 of 4 and 2 of 3.
    explanation = LRP(stabiliser=0).explain(Constant(), torch.tensor([[[[1.0, 2.0]]]]), [[0, 1]])
    assert explanation.attributions.flatten().tolist() == [1, 0, 0, 0]
    assert explanation.absorbed.tolist() == [[3, 0]]


def test_max_pools_send_all_to_their_winners_and_averages_share() -> None:
    class Pools(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([F.max_pool2d(x, (1, 2), 1).mean((2, 3)), F.avg_pool2d(x, (1, 3)).flatten(1)], 1)

    images = torch.tensor([[[[1.0, 3, 2]]]])
    relevance = LRP(stabiliser=0)(Pools(), images, [[0, 1]])
    assert relevance.flatten(1).tolist() == [[0, 3, 0, pytest.approx(1 / 3), 1, pytest.approx(2 / 3)]]


def test_the_first_layer_alone_has_the_rule_of_the_first() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, (1, 2), bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[[[2.0, 1.0]]]]))
        net[3].weight.fill_(1)
    image = torch.tensor([[[[1.0, 3.0]]]])
    assert LRP(rule="epsilon_plus_flat")(net, image, 0).flatten().tolist() == pytest.approx([2.5, 2.5], rel=1e-5)
    assert LRP(rule="epsilon_plus")(net, image, 0).flatten().tolist() == pytest.approx([2, 3], rel=1e-5)


@pytest.mark.parametrize("build", [convnext_tiny, efficientnet_b0])
def test_networks_with_other_activations_and_products_are_refused(build: Callable[..., nn.Module]) -> None:
    names = {convnext_tiny: "LRP needs a rule .* none for layer_norm", efficientnet_b0: "LRP needs a rule .* for silu"}
    with pytest.raises(AttributionError, match=names[build]):
        LRP()(build(weights=None).eval(), torch.rand(1, 3, 32, 32), 0)


@pytest.mark.parametrize(
    ("function", "name"), [(F.gelu, "gelu"), (torch.sigmoid, "sigmoid"), (lambda x: x * F.relu(x), "mul")]
)
def test_functions_without_a_rule_are_refused_by_name(function: Callable[[Tensor], Tensor], name: str) -> None:
    with pytest.raises(AttributionError, match=f"has none for {name}; choose"):
        LRP()(Applied(function), torch.rand(1, 3, 4, 4), 0)


def test_options_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(AttributionError, match=r"rule must be a Composite or one of epsilon, .*, got 'z'"):
        LRP(rule="z")
    with pytest.raises(AttributionError, match="stabiliser must be 0 or more, got -1"):
        LRP(stabiliser=-1)
    with pytest.raises(AttributionError, match="needs low and high"):
        LRP(rule="epsilon_gamma_box", low=0)
    with pytest.raises(AttributionError, match="got them for epsilon_plus; leave them out"):
        LRP(low=0, high=1)
    with pytest.raises(AttributionError, match="A target must be from 0 to 2"):
        LRP()(drawn_net("functional"), drawn_images(1), 3)
    with pytest.raises(AttributionError, match="must depend on the images"):
        LRP()(Blind(), torch.rand(1, 3, 4, 4), 0)


class Blind(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 2)


def test_nothing_is_left_on_the_model_and_nothing_in_memory() -> None:
    model, images = drawn_net("residual"), drawn_images(2)
    model.train().requires_grad_(True)
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    identity = {name: id(value) for name, value in model.named_parameters()}
    alive = weakref.WeakSet()
    model.stem.register_forward_hook(lambda module, given, output: alive.add(output) or None)
    gc.disable()
    try:
        with torch.inference_mode():
            LRP()(model, images, [[0, 1], [1, 2]])
        assert len(alive) == 0
    finally:
        gc.enable()
    with pytest.raises(AttributionError):
        LRP()(model, images, 9)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: id(value) for name, value in model.named_parameters()} == identity
    assert all(module.training for module in model.modules())
    assert torch.equal(model.stem.weight.grad, torch.ones_like(model.stem.weight))
    assert model.head.weight.grad is None
    assert sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()) == 1


def test_float32_conserves_to_its_own_precision() -> None:
    net = drawn_net("residual").float()
    images = drawn_images(2).float()
    explanation = LRP().explain(net, images, [0, 2])
    assert explanation.attributions.dtype == torch.float32
    total = explanation.attributions.flatten(1).sum(1) + explanation.absorbed
    torch.testing.assert_close(total, net(images)[[0, 1], [0, 2]], atol=1e-5, rtol=0)


def test_captum_agrees_where_its_rules_are_right() -> None:
    captum = pytest.importorskip("captum.attr")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    layers = nn.Sequential(nn.Linear(12, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    images = torch.rand(2, 3, 2, 2, dtype=torch.float64)
    for theirs, ours in (
        (rules.EpsilonRule(1e-9), Epsilon(1e-9)),
        (rules.Alpha1_Beta0_Rule(), ZPlus()),
        (rules.GammaRule(), Gamma()),
    ):
        for layer in layers:
            layer.rule = theirs
        # Its gamma rule is right for a unit of 0 or more alone.
        target = layers(images.flatten(1)).argmax(1)
        inputs = images.flatten(1).requires_grad_()
        expected = captum.LRP(layers).attribute(inputs, target=target).view_as(images).detach()
        method = LRP(rule=Composite(convolution=ours, dense=ours))
        torch.testing.assert_close(method(nn.Sequential(nn.Flatten(), layers), images, target), expected)
