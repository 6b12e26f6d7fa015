"""The slow oracles of attribution obey the closed forms and axioms that need nothing to compare them with."""

import numpy
import pytest
import torch
from numpy import ndarray
from numpy.testing import assert_allclose
from oracles import deep_lift, deep_taylor, layer_graph, lrp, patterns
from oracles.layer_graph import Step
from torch.nn import functional as F

X = numpy.array([1.0, -1.0, -1.0, 1.0])
W = numpy.array([[1.0, -1.0, 2.0, -2.0]])  # z = −2 at X, parts (1, 1, −2, −2)
NONE = numpy.zeros(1)

RULES = [
    ("epsilon", {"epsilon": 0.0}),
    ("epsilon", {"epsilon": 0.25}),
    ("gamma", {"gamma": 0.3}),
    ("gamma", {"gamma": 0.3, "epsilon": 0.1}),
    ("alpha_beta", {"alpha": 2.0, "beta": 1.0}),
    ("alpha_beta", {"alpha": 2.0, "beta": 1.0, "epsilon": 0.1}),
    ("z_plus", {}),
    ("w_square", {}),
    ("flat", {}),
]


def close(actual, expected) -> None:
    assert_allclose(actual, expected, rtol=0, atol=1e-10)


def draws(seed: int = 0) -> numpy.random.Generator:
    return numpy.random.default_rng(seed)


def batch_norm(random: numpy.random.Generator, source: str, output: str, channels: int, biased: bool = True) -> Step:
    parameters = {
        "mean": biased * random.normal(size=channels),
        "variance": random.uniform(0.5, 2, channels),
        "weight": random.normal(size=channels),
        "bias": biased * random.normal(size=channels),
        "eps": 1e-3,
    }
    return Step("batch_norm", (source,), output, parameters)


def awkward(seed: int = 0, biased: bool = True) -> tuple[list[Step], ndarray]:
    """Groups, dilation, an overlapping padded pool, a residual sum, a concatenation, batch norm on either side."""
    random = draws(seed)

    def weighted(kind: str, source: str, output: str, shape: tuple[int, ...], **options) -> Step:
        bias = {"bias": random.normal(size=shape[0])} if biased else {}
        return Step(kind, (source,), output, {"weight": random.normal(size=shape), **bias, **options})

    steps = [
        weighted("convolution", "x", "c1", (4, 2, 3, 3), padding=1),
        batch_norm(random, "c1", "n1", 4, biased),
        Step("relu", ("n1",), "r1"),
        Step("max_pool", ("r1",), "p1", {"kernel": 3, "stride": 2, "padding": 1}),
        weighted("convolution", "p1", "c2", (4, 2, 3, 3), padding=2, dilation=2, groups=2),
        batch_norm(random, "c2", "n2", 4, biased),
        Step("add", ("n2", "p1"), "s"),
        Step("relu", ("s",), "r2"),
        batch_norm(random, "r2", "n3", 4, biased),
        Step("relu", ("n3",), "r3"),
        weighted("convolution", "r3", "c3", (2, 4, 1, 1)),
        Step("concatenate", ("r2", "c3"), "joined"),
        Step("average_pool", ("joined",), "p2", {"kernel": 2, "stride": 1}),
        Step("flatten", ("p2",), "flat"),
        weighted("linear", "flat", "logits", (3, 24)),
    ]
    return steps, random.normal(size=(2, 6, 5))


def in_torch(steps: list[Step], x: torch.Tensor) -> torch.Tensor:
    """The awkward network by torch's own operations."""

    def tensor(values) -> torch.Tensor:
        return torch.from_numpy(numpy.asarray(values))

    values = {"x": x[None]}
    for kind, inputs, output, parameters in steps:
        first = values[inputs[0]]
        options = {name: parameters[name] for name in parameters if name in ("stride", "padding", "dilation", "groups")}
        match kind:
            case "convolution":
                bias = tensor(parameters["bias"]) if "bias" in parameters else None
                values[output] = F.conv2d(first, tensor(parameters["weight"]), bias, **options)
            case "linear":
                bias = tensor(parameters["bias"]) if "bias" in parameters else None
                values[output] = F.linear(first, tensor(parameters["weight"]), bias)
            case "batch_norm":
                names = ("mean", "variance", "weight", "bias")
                values[output] = F.batch_norm(first, *(tensor(parameters[n]) for n in names), eps=parameters["eps"])
            case "max_pool":
                values[output] = F.max_pool2d(first, parameters["kernel"], **options)
            case "average_pool":
                values[output] = F.avg_pool2d(first, parameters["kernel"], **options)
            case "concatenate":
                values[output] = torch.cat([values[name] for name in inputs], 1)
            case "add":
                values[output] = first + values[inputs[1]]
            case "flatten":
                values[output] = first.flatten(1)
            case "relu":
                values[output] = F.relu(first)
    return values[output][0]


def gradient(steps: list[Step], x: ndarray, target: int) -> ndarray:
    image = torch.from_numpy(x).requires_grad_()
    return torch.autograd.grad(in_torch(steps, image)[target], image)[0].numpy()


def chain(seed: int, biased: float = 0.0) -> tuple[list[Step], ndarray]:
    """Convolution, pools and two linear layers; biases are all of the sign of `biased`."""
    random = draws(seed)

    def weighted(kind: str, source: str, output: str, shape: tuple[int, ...], **options) -> Step:
        bias = biased * random.uniform(0.1, 0.5, shape[0])
        return Step(kind, (source,), output, {"weight": random.normal(size=shape), "bias": bias, **options})

    steps = [
        weighted("convolution", "x", "z1", (3, 2, 3, 3), padding=1, stride=2),
        Step("relu", ("z1",), "r1"),
        Step("max_pool", ("r1",), "p1", {"kernel": 2, "stride": 1}),
        Step("average_pool", ("p1",), "p2", {"kernel": 2}),
        Step("flatten", ("p2",), "flat"),
        weighted("linear", "flat", "z2", (6, 3)),
        Step("relu", ("z2",), "r2"),
        weighted("linear", "r2", "logits", (3, 6)),
    ]
    return steps, random.uniform(0, 1, (2, 6, 6))


# The graph


@pytest.mark.parametrize("biased", [True, False])
def test_the_graph_computes_what_torch_computes(biased: bool) -> None:
    steps, x = awkward(1, biased)
    close(layer_graph.forward(steps, x)["logits"], in_torch(steps, torch.from_numpy(x)))


def test_a_padded_average_pool_and_oblong_windows_are_torchs() -> None:
    x = draws().normal(size=(2, 5, 6))
    for kind, pool in (("average_pool", F.avg_pool2d), ("max_pool", F.max_pool2d)):
        step = Step(kind, ("x",), "y", {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 0)})
        expected = pool(torch.from_numpy(x)[None], (3, 2), (1, 2), (1, 0))[0]
        close(layer_graph.forward([step], x)["y"], expected)


def test_folding_removes_the_batch_norms_behind_weights_alone_and_changes_no_output() -> None:
    steps, x = awkward(2)
    folded = layer_graph.fold(steps)
    assert [step.output for step in folded if step.kind == "batch_norm"] == ["n3"]
    before, after = layer_graph.forward(steps, x), layer_graph.forward(folded, x)
    for name in after:
        close(after[name], before[name])


def test_a_batch_norm_whose_input_has_another_reader_is_not_folded() -> None:
    steps = [
        Step("linear", ("x",), "z", {"weight": numpy.eye(2)}),
        batch_norm(draws(), "z", "n", 2),
        Step("add", ("z", "n"), "y"),
    ]
    assert [step.kind for step in layer_graph.fold(steps)] == ["linear", "batch_norm", "add"]


def test_the_first_of_equal_cells_wins() -> None:
    step = Step("max_pool", ("x",), "y", {"kernel": 2, "stride": 1})
    assert layer_graph.winners(step, numpy.zeros((1, 2, 3))) == [0, 1]
    assert layer_graph.winners(step, numpy.array([[[0.0, 1, 1], [1, 0, 0]]])) == [1, 1]


# LRP


@pytest.mark.parametrize(
    ("rule", "options", "expected"),
    [
        ("epsilon", {}, [1, 1, -2, -2]),
        ("epsilon", {"epsilon": 2.0}, [0.5, 0.5, -1, -1]),
        ("gamma", {"gamma": 1.0}, [1 / 3, 1 / 3, -4 / 3, -4 / 3]),
        ("gamma", {"gamma": 0.0}, [1, 1, -2, -2]),
        ("z_plus", {}, [-1, -1, 0, 0]),
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, [-2, -2, 1, 1]),
        (
            "z_box",
            {"low": numpy.full(4, -1.0), "high": numpy.full(4, 1.0)},
            [-1, -1, 0, 0],
        ),  # parts 1 + 1, 1 + 1, −2 + 2, 0
        ("z_box", {"low": numpy.full(4, -2.0), "high": numpy.full(4, 1.0)}, [-6 / 7, -4 / 7, -4 / 7, 0]),
        ("w_square", {}, [-0.2, -0.2, -0.8, -0.8]),
        ("flat", {}, [-0.5, -0.5, -0.5, -0.5]),
    ],
)
def test_each_rule_of_a_signed_unit_has_its_value_by_hand(rule: str, options: dict, expected: list[float]) -> None:
    incoming, absorbed = lrp.RULES[rule](X, W, NONE, numpy.array([-2.0]), **options)
    close(incoming, expected)
    close(absorbed, -2 - sum(expected))


@pytest.mark.parametrize(
    ("rule", "options", "expected"),
    [
        ("epsilon", {}, [-2, 4, -1]),  # z = −2 + 4 − 1
        ("gamma", {"gamma": 1.0}, [-2 / 5, 8 / 5, -1 / 5]),  # −2 + 8 − 1
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, [-2 / 3, 2, -1 / 3]),  # 2 R · 4 / 4 and −R · (−2, −1) / −3
        ("z_plus", {}, [0, 1, 0]),
    ],
)
def test_the_bias_is_one_part_more_and_is_absorbed(rule: str, options: dict, expected: list[float]) -> None:
    incoming, absorbed = lrp.RULES[rule](
        numpy.array([2.0, -1.0]), numpy.array([[-1.0, -4.0]]), numpy.array([-1.0]), numpy.ones(1), **options
    )
    close([*incoming, absorbed], expected)


def test_gamma_enlarges_the_parts_on_the_side_of_z_and_at_zero_the_positive_ones() -> None:
    one, weight = numpy.ones(2), numpy.array([[3.0, -1.0]])
    close(lrp.gamma_rule(one, weight, NONE, numpy.ones(1), gamma=1.0)[0], [6 / 5, -1 / 5])
    close(lrp.gamma_rule(one, -weight, NONE, numpy.ones(1), gamma=1.0)[0], [6 / 5, -1 / 5])
    balanced = numpy.array([[1.0, -1.0]])
    close(lrp.gamma_rule(one, balanced, NONE, numpy.ones(1), gamma=1.0)[0], [2, -1])


def test_a_large_gamma_is_the_sides_own_part_alone() -> None:
    random = draws(3)
    a, weight, bias = random.normal(size=5), random.normal(size=(4, 5)), random.normal(size=4)
    z = weight @ a + bias
    assert 0 < (z > 0).sum() < 4
    for j in range(4):
        own = (a, weight[j : j + 1], bias[j : j + 1], numpy.ones(1))
        opposite = (-a, weight[j : j + 1], -bias[j : j + 1], numpy.ones(1))
        expected = lrp.z_plus_rule(*(own if z[j] > 0 else opposite))
        assert_allclose(lrp.gamma_rule(*own, gamma=1e9)[0], expected[0], atol=1e-7)


@pytest.mark.parametrize(
    ("rule", "options", "weight", "lost"),
    [
        ("epsilon", {}, [1.0, -1.0], 5),
        ("epsilon", {"epsilon": 0.1}, [1.0, -1.0], 5),  # the parts cancel: the stabiliser has the whole
        ("gamma", {"gamma": 1.0}, [0.0, 0.0], 5),
        ("z_plus", {}, [-1.0, -1.0], 5),
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, [-1.0, -1.0], 10),
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, [1.0, 1.0], -5),
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, [0.0, 0.0], 5),
        ("z_box", {"low": numpy.ones(2), "high": numpy.full(2, 3.0)}, [1.0, 0.0], 5),
        ("w_square", {}, [0.0, 0.0], 5),
        ("flat", {"connected": numpy.zeros((1, 2), dtype=bool)}, [1.0, 1.0], 5),
    ],
)
def test_relevance_without_a_denominator_is_dropped_and_counted(
    rule: str, options: dict, weight: list[float], lost: float
) -> None:
    arguments = numpy.ones(2), numpy.array([weight]), NONE, numpy.array([5.0])
    incoming, absorbed = lrp.RULES[rule](*arguments, **options)
    close(absorbed, lost)
    close(incoming.sum(), 5 - lost)


def test_the_stabiliser_of_a_zero_is_positive() -> None:
    incoming, absorbed = lrp.epsilon_rule(numpy.ones(2), numpy.array([[1.0, -1.0]]), NONE, numpy.ones(1), epsilon=0.1)
    close([*incoming, absorbed], [10, -10, 1])


def test_alpha_and_beta_that_do_not_differ_by_one_are_refused() -> None:
    with pytest.raises(ValueError, match="α − β must be 1"):
        lrp.alpha_beta_rule(X, W, NONE, NONE, 2.0, 2.0)


@pytest.mark.parametrize(("rule", "options"), RULES)
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("stabiliser", [0.0, 0.01])
def test_relevance_and_what_is_absorbed_sum_to_the_logit(
    rule: str, options: dict, folded: bool, stabiliser: float
) -> None:
    steps, x = awkward(4)
    steps = layer_graph.fold(steps) if folded else steps
    box = ("z_box", {"low": x.min(axis=(1, 2)), "high": x.max(axis=(1, 2))})
    for first in ((rule, options), box):
        result = lrp.explain(steps, x, 1, [first, *[(rule, options)] * 3], stabiliser)
        logit = layer_graph.forward(steps, x)["logits"][1]
        scale = max(abs(part).sum() for part in result.of.values())
        assert abs(result.of["x"].sum() + result.absorbed - logit) < 1e-13 * scale
        assert abs(result.of["x"]).sum() > 0.001


def test_each_step_alone_conserves() -> None:
    steps, x = awkward(5)
    result = lrp.explain(steps, x, 0, [("gamma", {"gamma": 0.5})] * 4)
    for output, read in (("n1", "c1"), ("c1", "x"), ("p2", "joined"), ("c3", "r3"), ("logits", "flat")):
        close(result.of[read].sum() + result.absorbed_by[output], result.of[output].sum())


def test_without_biases_lrp_zero_is_gradient_times_input() -> None:
    for seed in range(3):
        steps, x = awkward(seed, biased=False)
        zero = [("epsilon", {})] * 4
        for folded in (steps, layer_graph.fold(steps)):
            result = lrp.explain(folded, x, 2, zero)
            assert_allclose(result.of["x"], x * gradient(steps, x, 2), atol=1e-9)
            close(result.absorbed, 0)


def test_padding_adds_nothing_to_a_box_and_is_connected_with_nothing() -> None:
    step = Step("convolution", ("x",), "z", {"weight": numpy.ones((1, 1, 3, 3)), "padding": 1})
    pool = Step("average_pool", ("z",), "p", {"kernel": 2})
    last = [pool, Step("flatten", ("p",), "logits")]
    x = numpy.ones((1, 2, 2))
    flat = lrp.explain([step, *last], x, 0, [("flat", {})])
    close(flat.of["x"], numpy.ones((1, 2, 2)))  # each output sees the 4 cells; the mean of 4 outputs of 4
    box = lrp.explain([step, *last], x, 0, [("z_box", {"low": [-1.0], "high": [2.0]})])
    close(box.of["x"], numpy.ones((1, 2, 2)))
    close(box.absorbed, 0)


def test_flat_counts_a_connection_whose_weight_is_zero() -> None:
    weight = numpy.zeros((1, 1, 1, 2))
    weight[..., 0] = 1
    steps = [Step("convolution", ("x",), "z", {"weight": weight}), Step("flatten", ("z",), "logits")]
    close(lrp.explain(steps, numpy.array([[[4.0, 9.0]]]), 0, [("flat", {})]).of["x"], [[[2, 2]]])


def test_a_sum_shares_in_proportion_and_books_its_stabiliser() -> None:
    shares, absorbed = lrp.sum_rule([numpy.array([3.0, -1.0, 2.0]), numpy.array([1.0, -2.0, -2.0])], numpy.ones(3))
    close(shares, [[3 / 4, 1 / 3, 0], [1 / 4, 2 / 3, 0]])
    close(absorbed, 1)
    shares, absorbed = lrp.sum_rule([numpy.array([3.0, -1.0]), numpy.array([1.0, -2.0])], numpy.ones(2), epsilon=1.0)
    close(shares, [[3 / 5, 1 / 4], [1 / 5, 2 / 4]])
    close(absorbed, 1 / 5 + 1 / 4)


def test_an_average_pool_and_a_batch_norm_share_in_proportion_and_book_stabiliser_and_shift() -> None:
    pool = [Step("average_pool", ("x",), "y", {"kernel": (1, 2)}), Step("flatten", ("y",), "logits")]
    result = lrp.explain(pool, numpy.array([[[3.0, 5.0]]]), 0, [], stabiliser=1.0)  # 1.5 + 2.5 + 1
    close([*result.of["x"].reshape(-1), result.absorbed], [4 * 1.5 / 5, 4 * 2.5 / 5, 4 / 5])
    norm = {"mean": [1.0], "variance": [3.0], "weight": [4.0], "bias": [3.0], "eps": 1.0}  # y = 2 x + 1
    result = lrp.explain([Step("batch_norm", ("x",), "y", norm)], [-2.0], 0, [], stabiliser=0.5)
    close([*result.of["x"], result.absorbed], [-3 * -4 / -3.5, -3 * (1 - 0.5) / -3.5])


def test_windows_that_share_a_winner_are_added() -> None:
    step = Step("max_pool", ("x",), "y", {"kernel": (1, 2), "stride": 1})
    x = numpy.array([[[1.0, 5, 2]]])
    close(lrp.max_pool_rule(step, x, numpy.array([[[0.25, 0.5]]])), [[[0, 0.75, 0]]])
    expected = [[[0, 0.75, 0]]]
    close(deep_lift.through_max_pool(step, x, x, numpy.array([0.25, 0.5])).reshape(1, 1, 3), expected)


def test_a_step_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sigmoid"):
        lrp.explain([Step("sigmoid", ("x",), "y")], X, 0, [])


# Deep Taylor


@pytest.mark.parametrize("rule", ["w_square", "z_plus", "z_box"])
def test_the_root_lies_on_the_plane_and_in_the_domain(rule: str) -> None:
    random = draws(6)
    for _ in range(50):
        w, b = random.normal(size=5), -random.uniform(0, 0.3)
        x = random.uniform(0, 1, 5)
        if w @ x + b <= 0:
            continue
        low, high = numpy.zeros(5), numpy.full(5, 1.5)
        root = deep_taylor.root_point(x, w, b, deep_taylor.direction(rule, x, w, low, high))
        close(w @ root + b, 0)
        if rule == "w_square":
            close(numpy.linalg.norm(x - root), (w @ x + b) / numpy.linalg.norm(w))  # the plane is no nearer than this
        else:
            assert (root >= -1e-12).all()
        if rule == "z_box":
            assert (root <= 1.5 + 1e-12).all()


@pytest.mark.parametrize("sign", [0.0, -1.0])
@pytest.mark.parametrize("rule", ["w_square", "z_plus", "z_box"])
def test_deep_taylor_is_nowhere_negative_and_sums_to_the_rectified_logit(rule: str, sign: float) -> None:
    told = 0
    for seed in range(6):
        steps, x = chain(seed, sign)
        for target in range(3):
            logit = layer_graph.forward(steps, x)["logits"][target]
            result = deep_taylor.explain(steps, x, target, rule, low=0.0, high=[1.0, 2.0])
            assert result.of["x"].min() >= 0
            assert result.dropped == 0
            close(result.of["x"].sum(), max(logit, 0))
            told += logit > 0
    assert told > 3


def test_with_positive_biases_the_sum_falls_short_by_what_is_dropped_alone() -> None:
    dropped = []
    for seed in range(8):
        steps, x = chain(seed, 1.0)
        hidden = next(i for i, step in enumerate(steps) if step.output == "z2")
        weight = steps[hidden].parameters["weight"].copy()
        weight[0] = 0  # active by its bias alone
        steps[hidden] = steps[hidden]._replace(parameters={**steps[hidden].parameters, "weight": weight})
        for target in range(3):
            logit = layer_graph.forward(steps, x)["logits"][target]
            result = deep_taylor.explain(steps, x, target)
            assert result.of["x"].min() >= 0
            close(result.of["x"].sum() + result.dropped, max(logit, 0))
            close(result.dropped_by["z2"], result.of["z2"][0])
            dropped.append(result.dropped)
    assert max(dropped) > 0


@pytest.mark.parametrize("rule", ["w_square", "z_plus", "z_box"])
def test_root_points_give_what_the_closed_rules_give(rule: str) -> None:
    options = {"low": 0.0, "high": [1.0, 2.0]} if rule == "z_box" else {}
    told = 0
    for seed in range(4):
        steps, x = chain(seed, -1.0)
        for target in range(3):
            if layer_graph.forward(steps, x)["logits"][target] <= 0:
                continue
            closed = lrp.explain(steps, x, target, [(rule, options), ("z_plus", {}), ("z_plus", {})])
            close(deep_taylor.explain(steps, x, target, rule, **options).of["x"], closed.of["x"])
            told += 1
    assert told > 2


def test_units_without_a_root_are_dropped_and_inputs_outside_the_domain_refused() -> None:
    one = numpy.ones(1)
    incoming, dropped = deep_taylor.decompose("z_plus", numpy.ones(2), -numpy.ones((1, 2)), 3 * one, one)
    close([*incoming, dropped], [0, 0, 1])
    with pytest.raises(ValueError, match="inputs ≥ 0"):
        deep_taylor.decompose("z_plus", X, W, 9 * one, one)
    with pytest.raises(ValueError, match="searches in"):
        deep_taylor.decompose("z_box", X, W, 9 * one, one, numpy.zeros(4), numpy.ones(4))


# DeepLIFT


@pytest.mark.parametrize("folded", [True, False])
def test_deep_lift_is_complete_for_zero_and_random_references(folded: bool) -> None:
    for seed in range(4):
        steps, x = awkward(seed)
        steps = layer_graph.fold(steps) if folded else steps
        for x0 in (numpy.zeros_like(x), draws(seed + 9).normal(size=x.shape)):
            result = deep_lift.explain(steps, x, x0, 1)
            scale = abs(result.contributions).sum()
            assert scale > 0.1
            assert abs(result.delta) < 1e-12 * scale


def test_without_biases_and_from_zero_deep_lift_is_gradient_times_input() -> None:
    steps, x = awkward(7, biased=False)
    expected = x * gradient(steps, x, 0)
    assert_allclose(deep_lift.explain(steps, x, numpy.zeros_like(x), 0).contributions, expected, atol=1e-9)


def test_at_the_reference_itself_the_multipliers_are_the_gradient() -> None:
    steps, x = awkward(8)
    assert_allclose(deep_lift.explain(steps, x, x, 2).multipliers["x"], gradient(steps, x, 2), atol=1e-9)


@pytest.mark.parametrize("kind", ["sigmoid", "tanh"])
def test_a_unit_that_has_not_moved_has_its_derivative(kind: str) -> None:
    x = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(getattr(torch, kind)(x)[1], x)[0]
    close(deep_lift.explain([Step(kind, ("x",), "y")], x.detach(), x.detach(), 1).multipliers["x"], expected)


def test_a_saturated_unit_still_has_its_contribution() -> None:
    steps = [  # 1 − relu(1 − x)
        Step("linear", ("x",), "z", {"weight": [[-1.0]], "bias": [1.0]}),
        Step("relu", ("z",), "r"),
        Step("linear", ("r",), "f", {"weight": [[-1.0]], "bias": [1.0]}),
    ]
    result = deep_lift.explain(steps, [2.0], [0.0], 0)
    close(result.contributions, [1])
    close(result.multipliers["z"], [-0.5])


def test_the_minimum_of_two_inputs_is_the_smaller_ones() -> None:
    steps = [  # min(x1, x2) = x1 − relu(x1 − x2)
        Step("linear", ("x",), "z", {"weight": [[1.0, 0.0], [1.0, -1.0]]}),
        Step("relu", ("z",), "r"),
        Step("linear", ("r",), "f", {"weight": [[1.0, -1.0]]}),
    ]
    close(deep_lift.explain(steps, [3.0, 1.0], [0.0, 0.0], 0).contributions, [0, 1])
    close(deep_lift.explain(steps, [1.0, 3.0], [0.0, 0.0], 0).contributions, [1, 0])


def test_a_product_is_halved_between_its_factors() -> None:
    steps = [
        Step("linear", ("x",), "a", {"weight": [[1.0, 0.0]]}),
        Step("linear", ("x",), "b", {"weight": [[0.0, 1.0]]}),
        Step("multiply", ("a", "b"), "f"),
    ]
    close(deep_lift.explain(steps, [5.0, 3.0], [1.0, 2.0], 0).contributions, [4 * 5 / 2, 1 * 6 / 2])
    close(deep_lift.explain(steps, [5.0, 3.0], [1.0, 2.0], 0).delta, 0)


def test_a_gate_is_complete() -> None:
    random = draws(10)
    steps = [
        Step("linear", ("x",), "z", {"weight": random.normal(size=(4, 3)), "bias": random.normal(size=4)}),
        Step("sigmoid", ("z",), "gate"),
        Step("tanh", ("z",), "t"),
        Step("multiply", ("gate", "t"), "g"),
        Step("multiply", ("g", "g"), "squared"),
        Step("linear", ("squared",), "f", {"weight": random.normal(size=(2, 4))}),
    ]
    result = deep_lift.explain(steps, random.normal(size=3), random.normal(size=3), 1)
    assert abs(result.contributions).sum() > 0.01
    close(result.delta, 0)


def test_a_pools_change_goes_to_the_winner_that_made_it() -> None:
    step = Step("max_pool", ("x",), "y", {"kernel": (1, 2)})

    def shares(x: list[float], x0: list[float]) -> list[float]:
        first, second = numpy.array([[x]]), numpy.array([[x0]])
        multipliers = deep_lift.through_max_pool(step, first, second, numpy.ones(1))
        return multipliers * (first - second).reshape(-1)

    close(shares([5, 1], [2, 3]), [2, 0])  # from 3 to 5, made by the winner of x
    close(shares([0, 1], [2, 3]), [0, -2])  # from 3 to 1, made by the winner of x0
    close(shares([0, 2], [4, 1]), [-2, 0])  # from 4 to 2
    close(shares([3, 1], [1, 3]), [0, 0])


# Patterns


def planted(mean: float) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """x = a s + d with w · d = 0, and for every s the distractor's mean in the sample exactly `mean`."""
    a, w = numpy.array([1.0, 2.0, 0.0]), numpy.array([1.0, 0.0, 1.0])
    along = numpy.array([1.0, 1.0, -1.0])
    samples = [a * s + along * (mean + side) for s in (-3.0, -1.0, 0.5, 2.0, 4.0) for side in (-0.7, 0.7)]
    x = numpy.array(samples)
    return x, x @ w, w, a


@pytest.mark.parametrize("estimator", ["linear", "two_component", "conditional"])
def test_each_estimator_finds_the_signal_behind_a_centred_distractor(estimator: str) -> None:
    x, y, w, a = planted(0.0)
    close(patterns.pattern(x, y, w, estimator), a)


def test_two_components_alone_are_wrong_where_the_distractor_has_a_mean() -> None:
    x, y, w, a = planted(1.5)
    close(patterns.pattern(x, y, w, "linear"), a)
    close(patterns.pattern(x, y, w, "conditional"), a)
    positive = y > 0
    mean = y[positive].mean()
    wrong = a * (y[positive] ** 2).mean() + numpy.array([1, 1, -1]) * 1.5 * mean
    wrong -= (a * mean + numpy.array([1, 1, -1]) * 1.5) * y.mean()
    close(patterns.pattern(x, y, w, "two_component"), wrong / (w @ wrong))
    assert abs(patterns.pattern(x, y, w, "two_component") - a).max() > 0.1


@pytest.mark.parametrize("estimator", ["linear", "two_component", "conditional"])
def test_weight_times_pattern_is_one_and_a_dead_unit_has_none(estimator: str) -> None:
    random = draws(11)
    x, weight = random.normal(size=(80, 6)), random.normal(size=(4, 6))
    bias = numpy.array([0.0, 0.5, -0.5, -100.0])
    found = patterns.patterns(x, x @ weight.T + bias, weight, estimator)
    one_by_one = [(w * a).sum() for w, a in zip(weight, found, strict=True)]
    close(one_by_one, [1, 1, 1, 1 if estimator == "linear" else 0])
    if estimator != "linear":
        close(found[3], 0)


@pytest.mark.parametrize("estimator", ["linear", "two_component", "conditional"])
def test_the_bias_matters_for_the_mask_alone(estimator: str) -> None:
    random = draws(12)
    x, w = random.normal(size=(60, 3)), random.normal(size=3)
    chosen = x[abs(x @ w) > 0.2]
    without, small = chosen @ w, chosen @ w - 0.1  # no sample's sign changes
    close(patterns.pattern(chosen, small, w, estimator), patterns.pattern(chosen, without, w, estimator))


def test_a_unit_that_never_varies_has_no_pattern() -> None:
    x = draws().normal(size=(5, 2))
    close(patterns.pattern(x, numpy.zeros(5), numpy.zeros(2), "linear"), 0)
    close(patterns.pattern(x[:1], numpy.ones(1), numpy.ones(2), "conditional"), 0)


def test_patches_times_weight_is_the_convolution() -> None:
    random = draws(13)
    images, weight = random.normal(size=(2, 3, 6, 7)), random.normal(size=(4, 3, 3, 2))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    rows = patterns.patches(images, (3, 2), **options) @ weight.reshape(4, -1).T
    expected = F.conv2d(torch.from_numpy(images), torch.from_numpy(weight), **options)
    close(rows, expected.permute(0, 2, 3, 1).reshape(-1, 4))


def test_the_weights_as_patterns_give_the_logit_times_the_gradient() -> None:
    steps, x = chain(0, 1.0)
    own = {step.output: step.parameters["weight"] for step in steps if step.kind in layer_graph.WEIGHTED}
    for target in range(3):
        logit = layer_graph.forward(steps, x)["logits"][target]
        close(patterns.pattern_net(steps, x, target, own), logit * gradient(steps, x, target))


def test_of_one_layer_the_signal_is_the_pattern_times_y_and_the_attribution_sums_to_y() -> None:
    x, y, w, a = planted(0.0)
    steps = [Step("linear", ("x",), "y", {"weight": w[None]})]
    of = {"y": patterns.patterns(x, y[:, None], w[None], "two_component")}
    close(patterns.pattern_net(steps, x[3], 0, of), a * y[3])
    close(patterns.pattern_attribution(steps, x[3], 0, of), w * a * y[3])
    close(patterns.pattern_attribution(steps, x[3], 0, of).sum(), y[3])


def test_pattern_attribution_sums_to_the_logit_where_every_unit_is_active_and_stops_at_those_that_are_not() -> None:
    random = draws(14)
    first, second = random.normal(size=(3, 4)), random.normal(size=(2, 3))

    def network(bias: list[float]) -> list[Step]:
        return [
            Step("linear", ("x",), "z", {"weight": first, "bias": bias}),
            Step("relu", ("z",), "r"),
            Step("linear", ("r",), "f", {"weight": second, "bias": [0.3, -0.2]}),
        ]

    inputs = random.normal(size=(50, 4))
    of = {
        "z": patterns.patterns(inputs, inputs @ first.T, first, "two_component"),
        "f": patterns.patterns(inputs[:, :3], inputs[:, :3] @ second.T, second, "linear"),
    }
    x = inputs[0]
    active = network([20.0, 20.0, 20.0])
    logits = layer_graph.forward(active, x)["f"]
    close(patterns.pattern_attribution(active, x, 0, of).sum(), logits[0])
    partly = network([20.0, -20.0, 20.0])
    logit = layer_graph.forward(partly, x)["f"][1]
    passed = second[1] * of["f"][1] * [1, 0, 1]
    close(patterns.pattern_attribution(partly, x, 1, of).sum(), logit * passed.sum())
    close(patterns.pattern_attribution(partly, x, 1, of), logit * ((first * of["z"]).T @ passed))
