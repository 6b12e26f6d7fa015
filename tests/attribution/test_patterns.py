from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.awkward_nets import NETS, draw_weights, drawn_images, drawn_net
from oracles import patterns as literal
from oracles.layer_graph import Step
from torch import nn

from interpretable.attribution.pattern_fit import Patterns
from interpretable.attribution.pattern_methods import PatternAttribution, PatternNet
from interpretable.errors import AttributionError

ESTIMATORS = ["two_component", "conditional", "linear"]


def chain(bias: bool = True) -> nn.Sequential:
    return draw_weights(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=(1, 2), dilation=(1, 2), bias=bias),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(4, 5, 2, bias=bias),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5 * 3 * 4, 3, bias=bias),
        )
    )


def steps_of(net: nn.Sequential) -> list[Step]:
    first, _, _, second, _, _, head = net
    weights = [
        {"weight": m.weight.detach().numpy(), "bias": None if m.bias is None else m.bias.detach().numpy()}
        for m in (first, second, head)
    ]
    geometry = {"stride": first.stride, "padding": first.padding, "dilation": first.dilation}
    return [
        Step("convolution", ("x",), "c1", {**weights[0], **geometry}),
        Step("relu", ("c1",), "r1"),
        Step("max_pool", ("r1",), "p", {"kernel": 2, "stride": 1, "padding": 0}),
        Step("convolution", ("p",), "c2", weights[1]),
        Step("relu", ("c2",), "r2"),
        Step("flatten", ("r2",), "f"),
        Step("linear", ("f",), "y", weights[2]),
    ]


def matrix(y: torch.Tensor) -> np.ndarray:
    return y.detach().movedim(1, -1).flatten(0, -2).numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_patterns_are_the_estimators_over_all_patches(estimator, bias):
    net, images = chain(bias), drawn_images(5)
    fitted = Patterns.fit(net, [images[:2], (images[2:3], 0), {"image": images[3:]}], estimator=estimator)

    first, relu, pool, second, *rest = net
    middle = pool(relu(first(images).clone()))
    flat = nn.Sequential(*rest[:-1])(second(middle)).detach()
    expected = [
        literal.patterns(
            literal.patches(images, (3, 3), first.stride, first.padding, first.dilation),
            matrix(first(images)),
            first.weight.detach().flatten(1),
            estimator,
        ),
        literal.patterns(
            literal.patches(middle.detach(), (2, 2)),
            matrix(second(middle)),
            second.weight.detach().flatten(1),
            estimator,
        ),
        literal.patterns(flat, rest[-1](flat).detach(), rest[-1].weight.detach(), "linear"),
    ]

    for pattern, wanted, layer in zip(fitted.tensors, expected, (first, second, rest[-1]), strict=True):
        np.testing.assert_allclose(pattern.flatten(1), wanted, rtol=1e-9, atol=1e-10)
        along = (layer.weight.detach() * pattern).flatten(1).sum(1)
        np.testing.assert_allclose(along[pattern.flatten(1).any(1)], 1, atol=1e-10)


@pytest.mark.parametrize("mean", [0.0, 1.5])
def test_a_distractor_with_a_mean_misleads_the_papers_estimator_and_not_the_conditional_one(mean):
    generator = torch.Generator().manual_seed(3)
    signal = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    distractor = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    amounts = torch.randn(40_000, 2, generator=generator, dtype=torch.float64)
    x = amounts[:, :1] * signal + (amounts[:, 1:] + mean) * distractor
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False), nn.ReLU(), nn.Linear(1, 1)).double()
    net[1].weight.data = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)  # w · signal = 1, w · distractor = 0

    def error(estimator: str) -> float:
        (pattern, _) = Patterns.fit(net, [x[:, :, None, None]], estimator=estimator).tensors
        return float((pattern[0] - signal).norm() / signal.norm())

    assert error("conditional") < 0.02
    assert error("linear") < 0.02
    if mean:
        assert error("two_component") > 0.3
    else:
        assert error("two_component") < 0.02


def test_a_unit_that_is_never_positive_has_no_pattern_and_is_counted():
    net = chain()
    net[0].bias.data[1] = -1e3

    fitted = Patterns.fit(net, [drawn_images(4)])

    assert fitted.dead_units[0] == 1
    assert not fitted.tensors[0][1].any()


@pytest.mark.parametrize(
    ("method", "oracle"), [(PatternNet, literal.pattern_net), (PatternAttribution, literal.pattern_attribution)]
)
def test_the_backward_passes_are_the_papers(method, oracle):
    net, images = chain(), drawn_images(3)
    fitted = Patterns.fit(net, [drawn_images(20, seed=5)])
    named = {name: pattern.numpy() for name, pattern in zip(("c1", "c2", "y"), fitted.tensors, strict=True)}

    found = method(patterns=fitted)(net, images, torch.tensor([[0, 2], [1, 1], [2, 0]]))

    for image, targets, results in zip(images, ((0, 2), (1, 1), (2, 0)), found, strict=True):
        for target, result in zip(targets, results, strict=True):
            expected = oracle(steps_of(net), image.numpy(), target, named)
            np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


def test_the_attribution_of_a_linear_unit_sums_to_its_output_without_its_bias():
    net = draw_weights(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    images = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    fitted = Patterns.fit(net, [torch.randn(50, 3, 2, 2, dtype=torch.float64)])

    found = PatternAttribution(patterns=fitted)(net, images, 1)

    torch.testing.assert_close(found.sum((1, 2, 3)), net(images)[:, 1].detach(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("method", [PatternNet, PatternAttribution])
def test_a_batch_norm_is_folded_into_the_convolution_below(method):
    conv, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
    net = draw_weights(nn.Sequential(conv, norm, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                     nn.Linear(4, 3)))  # fmt: skip
    folded = nn.Conv2d(3, 4, 3).double()
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded.weight.data = conv.weight * scale.view(-1, 1, 1, 1)
    folded.bias.data = norm.bias - norm.running_mean * scale
    plain = nn.Sequential(folded, *net[2:]).eval()
    data, images = drawn_images(20, seed=5), drawn_images(3)

    of_both = [method(patterns=Patterns.fit(n, [data]))(n, images, [2, 0, 1]) for n in (net, plain)]

    torch.testing.assert_close(*of_both, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", [PatternNet, PatternAttribution])
@pytest.mark.parametrize("name", NETS)
def test_a_batch_is_its_images_and_several_classes_are_each_of_them(name, method):
    net, images = drawn_net(name), drawn_images(3)
    fitted = Patterns.fit(net, [drawn_images(12, seed=4)])
    explain = method(patterns=fitted)
    targets = torch.tensor([[0, 1], [2, 0], [1, 1]])

    found = explain(net, images, targets)

    for row in range(3):
        for column in range(2):
            single = explain(net, images[row : row + 1], targets[row : row + 1, column])[0]
            torch.testing.assert_close(found[row, column], single, rtol=1e-10, atol=1e-14)


def test_uneven_batches_give_the_patterns_of_one_batch():
    net, images = drawn_net("residual"), drawn_images(11)

    at_once = Patterns.fit(net, [images])
    in_parts = Patterns.fit(net, [images[:4], images[4:5], images[5:]])

    for one, other in zip(at_once.tensors, in_parts.tensors, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_patterns_come_back_from_their_file_and_are_refused_with_other_weights(tmp_path):
    net = drawn_net("residual")
    fitted = Patterns.fit(net, [drawn_images(6)], estimator="conditional")
    fitted.save(tmp_path / "patterns.safetensors")

    loaded = Patterns.load(tmp_path / "patterns.safetensors", net)

    assert (loaded.estimator, loaded.weights) == (fitted.estimator, fitted.weights)
    assert all(torch.equal(a, b) for a, b in zip(loaded.tensors, fitted.tensors, strict=True))
    with pytest.raises(AttributionError, match="of the network's own weights"):
        Patterns.load(tmp_path / "patterns.safetensors", drawn_net("residual", seed=1))


def test_what_is_no_file_of_patterns_is_refused(tmp_path):
    (tmp_path / "p.safetensors").write_bytes(b"nothing")
    for path in (tmp_path / "p.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(AttributionError, match="must be a file of patterns"):
            Patterns.load(path)


def test_patterns_of_another_network_and_bad_arguments_are_refused():
    fitted = Patterns.fit(drawn_net("residual"), [drawn_images(6)])
    for other in (drawn_net("functional"), drawn_net("residual", seed=1)):
        with pytest.raises(AttributionError, match="of the network's own weights"):
            PatternNet(patterns=fitted)(other, drawn_images(1), 0)
    with pytest.raises(AttributionError, match="has no pattern of its shape"):
        PatternNet(patterns=replace(fitted, tensors=fitted.tensors[:1]))(drawn_net("residual"), drawn_images(1), 0)
    with pytest.raises(AttributionError, match="must be finite"):
        Patterns.fit(drawn_net("residual"), [drawn_images(2) / 0])
    with pytest.raises(AttributionError, match='have them under "image", got dict'):
        Patterns.fit(drawn_net("residual"), [{"pixels": drawn_images(2)}])
    with pytest.raises(AttributionError, match="got none"):
        Patterns.fit(drawn_net("residual"), [])
    with pytest.raises(AttributionError, match="got 'best'"):
        Patterns.fit(drawn_net("residual"), [drawn_images(2)], estimator="best")
