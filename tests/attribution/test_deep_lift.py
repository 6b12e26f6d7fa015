import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from attribution.awkward_nets import NETS, draw_weights, drawn_images, drawn_net
from oracles import deep_lift as oracle
from oracles.layer_graph import Step
from torch import Tensor, nn

from interpretable.attribution.deep_lift import DeepLIFT
from interpretable.attribution.gradient import GradientTimesInput, Saliency
from interpretable.errors import AttributionError
from interpretable.models import InterpretableCNN

IMAGES, OTHERS = drawn_images(3), drawn_images(3, seed=2)
BASELINES = {"zeros": None, "number": 0.3, "one": OTHERS[0], "each": OTHERS}


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance, check_dtype=False)


def flat(width: int, *layers: nn.Module) -> nn.Sequential:
    """A network of vectors, as of images of one row."""
    return nn.Sequential(nn.Flatten(), *layers).double()


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


class Gated(nn.Module):
    """Squeeze-and-excitation, a gate of the map's own shape, and a square."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.stem(x))
        x = torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1))) * x
        x *= torch.tanh(x)
        return self.head((x * x).mean((2, 3)))


ALL = {**NETS, "gated": Gated}


def drawn(name: str) -> nn.Module:
    return draw_weights(ALL[name]())


# Completeness


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", ALL)
def test_the_attributions_sum_to_the_difference_of_the_logits(name, baseline):
    net, x0 = drawn(name), BASELINES[baseline]
    images = x0.expand_as(IMAGES) if isinstance(x0, Tensor) else torch.full_like(IMAGES, x0 or 0)
    with torch.no_grad():
        change = (net(IMAGES) - net(images))[torch.arange(3), torch.tensor([0, 1, 2])]

    attributions, delta = DeepLIFT(baseline=x0).explain(net, IMAGES, [0, 1, 2])

    close(attributions.sum((1, 2, 3)), change)
    close(delta, change - attributions.sum((1, 2, 3)), 1e-14)
    assert (change.abs() > 1e-4).all()


@pytest.mark.parametrize(("name", "size"), [("resnet18", 40), ("mobilenet_v3_small", 64), ("efficientnet_b0", 64)])
def test_networks_of_torchvisions_are_complete(name, size):
    net = draw_weights(torchvision.models.get_model(name, num_classes=4))
    image, other = drawn_images(1, (size, size)), drawn_images(1, (size, size), seed=2)
    for baseline in (None, other):
        attributions, delta = DeepLIFT(baseline=baseline).explain(net, image, 1)
        assert attributions.abs().sum() > 1e-5
        assert delta.abs() < 1e-10 * attributions.abs().sum()


# Known values


def test_a_linear_network_gives_each_pixel_its_weight_times_its_difference():
    net = flat(4, linear([[1, -2, 3, 0.5], [0, 1, 0, 2]], [5, -1]))
    found, delta = DeepLIFT(baseline=row(1, 1, 0, 2)[0]).explain(net, row(3, -1, 2, 2), [[0, 1]])
    close(found, torch.stack([row(2, 4, 6, 0), row(0, -2, 0, 0)], 1))
    close(delta, torch.zeros(1, 2, dtype=torch.float64))


def test_a_saturated_unit_has_its_contribution_where_the_gradient_has_none():
    net = flat(1, linear([[-1]], [1]), nn.ReLU(), linear([[-1]], [1]))  # 1 − relu(1 − x)
    close(DeepLIFT()(net, row(2), 0), row(1))
    close(GradientTimesInput()(net, row(2), 0), row(0))


def test_the_minimum_of_two_pixels_is_the_smaller_ones():
    net = flat(2, linear([[1, 0], [1, -1]]), nn.ReLU(), linear([[1, -1]]))  # x₁ − relu(x₁ − x₂)
    close(DeepLIFT()(net, torch.cat([row(3, 1), row(1, 3)]), 0), torch.cat([row(0, 1), row(1, 0)]))


@pytest.mark.parametrize(
    ("image", "baseline", "expected"),
    [
        ((5, 1), (2, 3), (2, 0)),  # from 3 to 5, by the winner in the image
        ((0, 1), (2, 3), (0, -2)),  # from 3 to 1, by the winner in the baseline
        ((0, 2), (4, 1), (-2, 0)),  # from 4 to 2
        ((3, 1), (1, 3), (0, 0)),
        ((2, 1), (2, 1), (0, 0)),
    ],
)
def test_a_pools_change_goes_to_the_winner_that_made_it(image, baseline, expected):
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, (1, 2)).flatten(1)

    close(DeepLIFT(baseline=row(*baseline)[0])(Pool(), row(*image), 0), row(*expected))


def test_a_winner_that_has_not_moved_passes_the_derivative_to_what_has():
    class PoolOfDifference(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.linear(x.flatten(1), torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
            return F.max_pool1d(x[:, None], 2).flatten(1)

    close(DeepLIFT(baseline=row(1, 0)[0])(PoolOfDifference(), row(3, 2).float(), 0), row(2, -2))


def test_overlapping_windows_that_share_a_winner_add_up():
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, (1, 2), 1).sum((1, 2, 3), keepdim=True).flatten(1)

    found, delta = DeepLIFT().explain(Pool(), row(0.5, 3, 1), 0)
    close(found, row(0, 6, 0))
    close(delta, torch.zeros(1, dtype=torch.float64))


def test_a_rectifier_right_before_a_pool_is_complete_from_any_baseline():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(60, 3))
    attributions, delta = DeepLIFT(baseline=OTHERS).explain(draw_weights(net), IMAGES, [0, 1, 2])
    close(delta, torch.zeros_like(delta))
    assert (attributions.flatten(1).abs().sum(1) > 0.1).all()


def test_a_product_is_halved_between_its_factors():
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x.flatten(1).split(1, 1)
            return a * b

    close(DeepLIFT(baseline=row(1, 2)[0])(Product(), row(5, 3), 0), row(4 * 5 / 2, 1 * 6 / 2))


def test_from_zero_a_network_without_biases_gives_the_gradient_times_the_image():
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(5, 4, 3, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3, bias=False),
    )  # fmt: skip
    draw_weights(net)
    found = DeepLIFT()(net, IMAGES, [0, 1, 2])
    assert found.abs().max() > 0.01
    close(found, GradientTimesInput()(net, IMAGES, [0, 1, 2]))


@pytest.mark.parametrize("name", ALL)
def test_next_to_the_baseline_the_multipliers_are_the_gradient(name):
    # Differences that quotients would lose: their rounding is as large as they are.
    net, step = drawn(name), 1e-13 * OTHERS
    found = DeepLIFT(baseline=IMAGES)(net, IMAGES + step, 1)
    torch.testing.assert_close(found / 1e-13, Saliency()(net, IMAGES, 1) * OTHERS, rtol=0.05, atol=1e-3)


def test_a_small_difference_is_as_exact_as_a_large_one():
    net = flat(1, linear([[1]], [0.5]), nn.Sigmoid())
    slope = math.exp(-1.5) / (1 + math.exp(-1.5)) ** 2
    for step in (1e-12, 1e-9, 1e-7):
        found = DeepLIFT(baseline=row(1)[0])(net, row(1) + step, 0)
        exact = slope * float(row(1) + step - 1)
        assert abs(float(found) - exact) < 1e-7 * exact


# The literal formulas


def weighted(module: nn.Module, source: str, output: str) -> Step:
    parameters = {"weight": module.weight.detach().numpy()}
    if module.bias is not None:
        parameters["bias"] = module.bias.detach().numpy()
    if isinstance(module, nn.Linear):
        return Step("linear", (source,), output, parameters)
    options = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation, "groups": module.groups}
    return Step("convolution", (source,), output, {**parameters, **options})


def normalised(module: nn.BatchNorm2d, source: str, output: str) -> Step:
    values = (module.running_mean, module.running_var, module.weight, module.bias)
    names = ("mean", "variance", "weight", "bias")
    parameters = {name: value.detach().numpy() for name, value in zip(names, values, strict=True)}
    return Step("batch_norm", (source,), output, {**parameters, "eps": module.eps})


def residual(net: nn.Module) -> list[Step]:
    return [
        weighted(net.stem, "x", "1"),
        normalised(net.norm, "1", "2"),
        Step("relu", ("2",), "3"),
        Step("max_pool", ("3",), "4", {"kernel": 3, "stride": 2, "padding": 1}),
        weighted(net.grouped, "4", "5"),
        normalised(net.norm_grouped, "5", "6"),
        weighted(net.branch, "4", "7"),
        normalised(net.norm_branch, "7", "8"),
        Step("add", ("6", "8"), "9"),
        Step("relu", ("9",), "10"),
        Step("average_pool", ("10",), "11", {"kernel": 3, "stride": 1, "padding": 1}),
        Step("average_pool", ("11",), "12", {"kernel": (4, 3)}),
        Step("flatten", ("12",), "13"),
        weighted(net.head, "13", "logits"),
    ]


def dense(net: nn.Module) -> list[Step]:
    return [
        weighted(net.stem, "x", "1"),
        normalised(net.norm_first, "1", "2"),
        Step("relu", ("2",), "3"),
        weighted(net.first, "3", "4"),
        Step("concatenate", ("1", "4"), "5"),
        normalised(net.norm_second, "5", "6"),
        Step("relu", ("6",), "7"),
        weighted(net.second, "7", "8"),
        normalised(net.norm_last, "8", "9"),
        Step("relu", ("9",), "10"),
        Step("average_pool", ("10",), "11", {"kernel": (7, 6)}),
        Step("flatten", ("11",), "12"),
        weighted(net.head, "12", "logits"),
    ]


def reused(net: nn.Module) -> list[Step]:
    steps = [weighted(net.stem, "x", "1"), Step("relu", ("1",), "2")]
    for number in (3, 5, 7):
        steps += [weighted(net.layer, str(number - 1), str(number)), Step("relu", (str(number),), str(number + 1))]
    return [
        *steps,
        Step("max_pool", ("8",), "9", {"kernel": 3, "stride": 1}),
        Step("max_pool", ("9",), "10", {"kernel": 3, "stride": 1}),
        Step("average_pool", ("10",), "11", {"kernel": (3, 2)}),
        Step("flatten", ("11",), "12"),
        weighted(net.head, "12", "logits"),
    ]


class Gates(nn.Module):
    """Products of maps of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.layer(torch.tanh(x)).sigmoid_()
        return self.head((gate * x * gate).mean((2, 3)))


def gates(net: nn.Module) -> list[Step]:
    return [
        weighted(net.stem, "x", "1"),
        Step("tanh", ("1",), "2"),
        weighted(net.layer, "2", "3"),
        Step("sigmoid", ("3",), "4"),
        Step("multiply", ("4", "1"), "5"),
        Step("multiply", ("5", "4"), "6"),
        Step("average_pool", ("6",), "7", {"kernel": (5, 4)}),
        Step("flatten", ("7",), "8"),
        weighted(net.head, "8", "logits"),
    ]


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(
    ("net", "steps"),
    [(NETS["residual"], residual), (NETS["dense"], dense), (NETS["reused"], reused), (Gates, gates)],
    ids=lambda value: value.__name__,
)
def test_contributions_are_the_literal_formulas(net, steps, zeros):
    net, images, others = draw_weights(net()), drawn_images(2, (7, 6)), drawn_images(2, (7, 6), seed=2)
    baseline = torch.zeros_like(images) if zeros else others
    found, delta = DeepLIFT(baseline=None if zeros else others).explain(net, images, [0, 2])
    for index, target in enumerate((0, 2)):
        expected = oracle.explain(steps(net), images[index].numpy(), baseline[index].numpy(), target)
        close(found[index], torch.from_numpy(expected.contributions))
        close(delta[index], torch.tensor(expected.delta))


# Invariants


@pytest.mark.parametrize("name", ALL)
def test_a_batch_with_different_baselines_and_targets_is_its_images_one_by_one(name):
    net, targets = drawn(name), torch.tensor([[0, 2], [1, 1], [2, 0]])
    found, delta = DeepLIFT(baseline=OTHERS, batch_size=2).explain(net, IMAGES, targets)
    assert found.shape == (3, 2, 3, 9, 11)
    assert delta.shape == (3, 2)
    for index in range(3):
        for column in range(2):
            method, target = DeepLIFT(baseline=OTHERS[index]), int(targets[index, column])
            close(found[index, column], method(net, IMAGES[index : index + 1], target)[0], 1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_baseline_that_all_share_is_as_if_each_had_it(name):
    net = drawn(name)
    shared = DeepLIFT(baseline=OTHERS[0])(net, IMAGES, [0, 1, 2])
    close(shared, DeepLIFT(baseline=OTHERS[:1].expand_as(IMAGES))(net, IMAGES, [0, 1, 2]), 1e-12)


@pytest.mark.parametrize("name", ALL)
def test_image_and_baseline_swapped_change_the_sign_of_all_attributions(name):
    net = drawn(name)
    there = DeepLIFT(baseline=OTHERS)(net, IMAGES, [0, 1, 2])
    close(there, -DeepLIFT(baseline=IMAGES)(net, OTHERS, [0, 1, 2]), 1e-12)


def test_functions_and_modules_and_in_place_layers_give_the_same():
    net = drawn_net("functional")
    modules = [net.first, nn.ReLU(inplace=True), net.second, nn.MaxPool2d(2, 1), nn.ReLU(True)]
    same = nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.head)
    close(DeepLIFT(baseline=0.3)(net, IMAGES, 2), DeepLIFT(baseline=0.3)(same, IMAGES, 2), 1e-14)


def test_several_classes_take_one_forward_pass():
    net, passes = drawn_net("residual"), []
    net.register_forward_hook(lambda *_: passes.append(1))
    DeepLIFT()(net, IMAGES, [[0, 1, 2]] * 3)
    assert len(passes) == 1


def test_in_float32_the_sum_is_off_by_rounding_alone():
    net = drawn_net("residual").float()
    attributions, delta = DeepLIFT(baseline=OTHERS.float()).explain(net, IMAGES.float(), 1)
    assert attributions.dtype == torch.float32
    assert (delta.abs() < 1e-5 * attributions.flatten(1).abs().sum(1)).all()


# Factors without gradient


class Switched(nn.Module):
    """The first pixel where the second is above 0."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return x[:, :1] * (x[:, 1:].detach() > 0)


def test_a_factor_that_image_and_baseline_share_passes_itself():
    weights = torch.tensor([2, -1, 3])

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (weights * x).flatten(1)

    close(DeepLIFT(baseline=0.5)(Scaled(), row(1, 2, 3), [[0, 1]])[0], torch.cat([row(1, 0, 0), row(0, -1.5, 0)]))
    close(DeepLIFT(baseline=row(1, 2)[0])(Switched(), row(4, 3), 0), row(3, 0))


def test_a_factor_that_differs_keeps_its_share_of_the_change():
    found, delta = DeepLIFT(baseline=row(3, -1)[0]).explain(Switched(), row(5, 1), 0)
    close(found, row((5 - 3) * 0.5, 0))
    close(delta, torch.full_like(delta, (1 - 0) * 4))


def test_the_share_of_part_masks_that_move_is_all_that_is_missing():
    images, others = drawn_images(2, (64, 64)), drawn_images(2, (64, 64), seed=2)
    magnitudes, missing = [], []
    for mask in (True, False):
        net = draw_weights(InterpretableCNN("small", 4, mask=mask))
        attributions, delta = DeepLIFT(baseline=others).explain(net, images, [1, 3])
        magnitudes.append(attributions.flatten(1).abs().sum(1))
        missing.append(delta.abs())
    assert (missing[1] < 1e-10 * magnitudes[1]).all()
    assert (missing[0] > 1e-5 * magnitudes[0]).all()
    assert (magnitudes[0] < magnitudes[1]).all()  # masked maps are smaller


# What it cannot explain


def test_what_has_no_multiplier_is_refused_by_its_name():
    class Normalised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, x.shape[1:]).mean((2, 3))

    class Swapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x.transpose(0, 1)).transpose(0, 1).mean((2, 3))

    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().mean((2, 3))

    for net, sentence in (
        (Normalised(), "DeepLIFT needs a rule for every operation .* has none for layer_norm"),
        (Swapped(), r"6 with their baselines, along the first .* tanh has an operand of shape \(3, 6, 9, 11\)"),
        (Cut(), "must depend on the images"),
    ):
        with pytest.raises(AttributionError, match=sentence):
            DeepLIFT(baseline=OTHERS)(net, IMAGES, 0)
