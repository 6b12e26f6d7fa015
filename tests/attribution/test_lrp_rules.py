import numpy
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from oracles import lrp as oracle
from torch import Tensor

from interpretable.attribution.lrp_input_rules import Flat, WSquare, ZBox
from interpretable.attribution.lrp_rules import AlphaBeta, Epsilon, Gamma, ZPlus
from interpretable.errors import AttributionError

LOW, HIGH = -1.5, 2.0
RULES = {
    "epsilon 0": (Epsilon(0), "epsilon", {"epsilon": 0.0}),
    "epsilon": (Epsilon(0.25), "epsilon", {"epsilon": 0.25}),
    "gamma": (Gamma(0.25), "gamma", {"gamma": 0.25}),
    "alpha 2 beta 1": (AlphaBeta(2, 1), "alpha_beta", {"alpha": 2.0, "beta": 1.0}),
    "z plus": (ZPlus(), "z_plus", {}),
    "z box": (ZBox(LOW, HIGH), "z_box", {}),
    "w square": (WSquare(), "w_square", {}),
    "flat": (Flat(), "flat", {}),
}
LAYERS = {
    "linear": (F.linear, (4, 6), (6,), {}),
    "linear in rows": (F.linear, (4, 6), (3, 6), {}),
    "convolution": (F.conv2d, (4, 3, 3, 3), (3, 5, 6), {}),
    "stride and padding": (F.conv2d, (4, 2, 3, 3), (2, 7, 6), {"stride": (2, 1), "padding": (1, 2)}),
    "dilation": (F.conv2d, (2, 2, 3, 2), (2, 7, 5), {"dilation": 2, "padding": 1}),
    "groups": (F.conv2d, (6, 2, 1, 3), (4, 4, 5), {"groups": 2, "padding": "same"}),
    "over time": (F.conv1d, (3, 2, 3), (2, 7), {"padding": 1}),
    "transposed": (F.conv_transpose2d, (3, 2, 3, 3), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
}
X, W = torch.tensor([[1.0, -1, -1, 1]]).double(), torch.tensor([[1.0, -1, 2, -2]]).double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def layer(name: str):
    function, weight, shape, options = LAYERS[name]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return function(x, weight, bias, **options)

    return run, weight, shape


def matrix(run, weight: Tensor, shape: tuple[int, ...]) -> numpy.ndarray:
    """The layer as a matrix (outputs, inputs), by pushing each basis input through it."""
    size = int(numpy.prod(shape))
    return run(torch.eye(size, dtype=torch.float64).view(size, *shape), weight).reshape(size, -1).T.numpy()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_on_each_layer_is_that_of_its_matrix(rule: str, name: str, biased: bool) -> None:
    ours, theirs, options = RULES[rule]
    run, weight_shape, shape = layer(name)
    weight = drawn(*weight_shape)
    weight.view(-1)[0] = 0
    x = drawn(2, *shape).clamp(LOW, HIGH)
    outputs = run(x, weight)
    channel = -1 if "linear" in name else 1
    bias = drawn(outputs.shape[channel]) if biased else None
    relevance = torch.randn_like(outputs)
    incoming, absorbed = ours(run, x, weight, bias, relevance)
    dense, connected = matrix(run, weight, shape), matrix(run, torch.ones_like(weight), shape) != 0
    rest = torch.zeros_like(outputs[0]) if bias is None else run(torch.zeros_like(x[:1]), weight, bias)[0]
    if theirs == "flat":
        options = {"connected": connected}
    if theirs == "z_box":
        options = {"low": numpy.full(dense.shape[1], LOW), "high": numpy.full(dense.shape[1], HIGH)}
    for i in range(2):
        of_oracle, lost = oracle.RULES[theirs](
            x[i].flatten().numpy(), dense, rest.flatten().numpy(), relevance[i].flatten().numpy(), **options
        )
        assert_allclose(incoming[i].flatten().numpy(), of_oracle, rtol=1e-10, atol=1e-10)
        assert_allclose(absorbed[i].sum().item(), lost, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Epsilon(0), [1, 1, -2, -2]),
        (ZPlus(), [-1, -1, 0, 0]),
        (AlphaBeta(1, 0), [-1, -1, 0, 0]),
        (AlphaBeta(2, 1), [-2, -2, 1, 1]),
        (Gamma(1), [1 / 3, 1 / 3, -4 / 3, -4 / 3]),
        (Gamma(1e9), [0, 0, -1, -1]),
        (WSquare(), [-0.2, -0.2, -0.8, -0.8]),
        (Flat(), [-0.5, -0.5, -0.5, -0.5]),
        (ZBox(-2.0, 1.0), [-6 / 7, -4 / 7, -4 / 7, 0]),
    ],
)
def test_a_signed_unit_has_its_value_by_hand(rule, expected: list[float]) -> None:
    incoming, absorbed = rule(F.linear, X, W, None, F.linear(X, W))
    assert_allclose(incoming[0].numpy(), expected, atol=1e-8)
    assert absorbed.abs().max() < 1e-8


@pytest.mark.parametrize(
    ("rule", "expected", "lost"),
    [
        (Epsilon(0), [-2, 4], -1),
        (Epsilon(1), [-1, 2], 0),  # the bias −1/2, the stabiliser 1/2
        (Gamma(1), [-2 / 5, 8 / 5], -1 / 5),
        (AlphaBeta(2, 1), [-2 / 3, 2], -1 / 3),
        (ZPlus(), [0, 1], 0),
    ],
)
def test_a_bias_is_one_part_more_and_is_absorbed(rule, expected: list[float], lost: float) -> None:
    x, weight, bias = torch.tensor([[2.0, -1]]), torch.tensor([[-1.0, -4]]), torch.tensor([-1.0])
    incoming, absorbed = rule(F.linear, x, weight, bias, torch.ones(1, 1))
    assert_allclose(incoming[0], expected, atol=1e-6)
    assert_allclose(absorbed[0], [lost], atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "weight", "lost"),
    [
        (Epsilon(0), [1.0, -1], 5),
        (Epsilon(0.1), [1.0, -1], 5),
        (Gamma(1), [0.0, 0], 5),
        (ZPlus(), [-1.0, -1], 5),
        (AlphaBeta(2, 1), [-1.0, -1], 10),
        (AlphaBeta(2, 1), [1.0, 1], -5),
        (AlphaBeta(2, 1), [0.0, 0], 5),
        (ZBox(1, 3), [1.0, 0], 5),
        (WSquare(), [0.0, 0], 5),
        (ZPlus(), [1e-320, 0], 5),  # too small to divide by
    ],
)
def test_relevance_without_a_denominator_is_dropped_and_counted(rule, weight: list[float], lost: float) -> None:
    five = torch.full((1, 1), 5, dtype=torch.float64)
    incoming, absorbed = rule(F.linear, torch.ones_like(X[:, :2]), torch.tensor([weight]).double(), None, five)
    assert incoming.isfinite().all()
    assert absorbed.item() == lost
    assert incoming.sum().item() == pytest.approx(5 - lost)


def test_gamma_zero_is_the_rule_without_and_a_large_one_is_z_plus_of_positive_units() -> None:
    run, weight_shape, shape = layer("convolution")
    x, weight, bias = drawn(2, *shape), drawn(*weight_shape), drawn(4)
    outputs = run(x, weight, bias)
    relevance = torch.randn_like(outputs)
    torch.testing.assert_close(Gamma(0)(run, x, weight, bias, relevance), Epsilon(0)(run, x, weight, bias, relevance))
    relevance = relevance * (outputs > 0)
    assert relevance.any()
    incoming, expected = (rule(run, x, weight, bias, relevance)[0] for rule in (Gamma(1e12), ZPlus()))
    torch.testing.assert_close(incoming, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("rule", "both", "half"), [(ZPlus(), 2, 1), (AlphaBeta(2, 1), 4, 2), (Gamma(), 3, 2)])
def test_inputs_of_zero_or_more_cost_half_the_passes(rule, both: int, half: int) -> None:
    run, weight_shape, shape = layer("convolution")
    weight, x = drawn(*weight_shape), drawn(2, *shape)
    for inputs, passes in ((x, both), (x.abs(), half)):
        count = []

        def counted(*operands: Tensor | None, count: list[int] = count) -> Tensor:
            count.append(1)
            return run(*operands)

        # As behind a rectifier: units below 0 have no relevance.
        rule(counted, inputs, weight, None, run(inputs, weight).clamp(min=0))
        assert len(count) == passes


def test_an_image_of_both_signs_changes_nothing_for_the_others_of_its_batch() -> None:
    run, weight_shape, shape = layer("stride and padding")
    weight, x = drawn(*weight_shape), drawn(3, *shape)
    x[1] = x[1].abs()
    relevance = torch.randn_like(run(x, weight))
    for rule in (ZPlus(), AlphaBeta(2, 1), Gamma()):
        together = rule(run, x, weight, None, relevance)[0]
        alone = torch.cat([rule(run, x[i : i + 1], weight, None, relevance[i : i + 1])[0] for i in range(3)])
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


def test_bounds_are_those_of_each_channel_flattened_or_not() -> None:
    box = ZBox([-1.0, -2.0], torch.tensor([1.0, 3.0]))
    images, weight = drawn(2, 2, 3, 4).clamp(-1, 1), drawn(5, 2, 3, 4)
    relevance = drawn(2, 5)
    as_images, _ = box(F.conv2d, images, weight, None, relevance[:, :, None, None])
    flattened, _ = box(F.linear, images.flatten(1), weight.flatten(1), None, relevance)
    torch.testing.assert_close(flattened, as_images.flatten(1))
    shifted, _ = ZBox(-2.0, 3.0)(F.linear, images.flatten(1), weight.flatten(1), None, relevance)
    assert not torch.allclose(shifted, flattened)
    with pytest.raises(AttributionError, match="one for each of the 2 channels, got 3 of them"):
        ZBox([0.0, 0, 0], 1.0)(F.conv2d, images, weight, None, relevance[:, :, None, None])


def test_options_out_of_their_range_are_refused() -> None:
    with pytest.raises(AttributionError, match=r"epsilon must be 0 or more, got -1"):
        Epsilon(-1)
    with pytest.raises(AttributionError, match="gamma must be 0 or more, got nan"):
        Gamma(float("nan"))
    with pytest.raises(AttributionError, match="beta must be 0 or more"):
        AlphaBeta(0, -1)
    with pytest.raises(AttributionError, match="alpha must be 1 \\+ beta, 2, got 1"):
        AlphaBeta(1, 1)
