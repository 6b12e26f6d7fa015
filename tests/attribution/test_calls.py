import pytest
import torch
import torch.nn.functional as F
from attribution.awkward_nets import NETS, drawn_images, drawn_net
from torch import Tensor, nn

from interpretable.attribution.calls import Calls
from interpretable.attribution.operations import Call, Kind, Rule, as_is
from interpretable.errors import AttributionError

X = drawn_images(2, (6, 5))
IMAGE = drawn_images(2, (6, 6))
SQUARE = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Record:
    """A rule that leaves everything as it is, and what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Tensor:
        self.calls.append(call)
        return as_is(call)

    def __enter__(self) -> "Record":
        self.mode = Calls(dict.fromkeys(Kind, self), "The method")
        self.mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.mode.__exit__(*error)

    @property
    def kinds(self) -> list[Kind]:
        return [call.kind for call in self.calls]


def leaf(x: Tensor = X) -> Tensor:
    return x.clone().requires_grad_()


def same_with_rules(function, x: Tensor = X, tolerance: float = 0) -> list[Kind]:
    """Kinds of a function's calls, whose output and gradient are those that it has without rules."""
    plain, ruled = leaf(x), leaf(x)
    expected = function(plain.clone())
    with Record() as record:
        found = function(ruled.clone())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    weights = torch.linspace(-1, 2, found.numel(), dtype=found.dtype).view_as(found)
    gradients = [torch.autograd.grad((y * weights).sum(), z)[0] for y, z in ((found, ruled), (expected, plain))]
    torch.testing.assert_close(*gradients, rtol=0, atol=tolerance)
    return record.kinds


def refused(function, name: str, x: Tensor = X) -> None:
    with Record(), pytest.raises(AttributionError, match=f"The method needs a rule .* has none for {name};"):
        function(leaf(x).clone())


# What every network computes


@pytest.mark.parametrize("name", NETS)
def test_as_it_is_a_network_gives_its_own_logits_and_gradients(name):
    # A batch norm is one multiplication and addition here, which rounds otherwise.
    tolerance = 1e-15 if name in ("residual", "dense") else 0
    kinds = same_with_rules(drawn_net(name).requires_grad_(False), drawn_images(3), tolerance)
    assert kinds.count(Kind.WEIGHTED) == {"functional": 3, "in place": 3, "reused": 5, "residual": 4, "dense": 4}[name]
    assert kinds.count(Kind.RECTIFIER) == {"functional": 2, "in place": 2, "reused": 4, "residual": 2, "dense": 3}[name]


# Spellings

RECTIFIERS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": Tensor.relu,
    "Tensor.relu_": Tensor.relu_,
    "Tensor.clamp": lambda x: x.clamp(0),
    "torch.clamp": lambda x: torch.clamp(x, min=0),
    "clamp_": lambda x: x.clamp_(min=0, max=1),
    "clip": lambda x: torch.clip(x, 0, 2),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "threshold_": lambda x: F.threshold_(x, 0, 0),
    "nn.Threshold": nn.Threshold(0, 0, inplace=True),
    "F.relu6": F.relu6,
    "nn.ReLU6": nn.ReLU6(inplace=True),
    "hardtanh": lambda x: F.hardtanh(x, 0, 1),
    "nn.Hardtanh": nn.Hardtanh(0.0, 3.0, inplace=True),
}

ACTIVATIONS = {
    **{name: getattr(F, name) for name in ("sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "mish", "selu")},
    **{name: getattr(F, name) for name in ("logsigmoid", "softsign", "tanhshrink", "elu", "celu", "softplus")},
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2, True),
    "sigmoid_": Tensor.sigmoid_,
    "torch.tanh": torch.tanh,
    "silu in place": nn.SiLU(inplace=True),
    "hardtanh": F.hardtanh,
    "clamp": lambda x: x.clamp(max=1),
    "threshold": lambda x: F.threshold(x, 0.1, 0),
}


@pytest.mark.parametrize("spelling", RECTIFIERS)
def test_a_rectifier_is_one_in_every_spelling(spelling):
    assert same_with_rules(RECTIFIERS[spelling]) == [Kind.RECTIFIER]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_other_functions_of_each_value_are_activations(name):
    assert same_with_rules(ACTIVATIONS[name], tolerance=1e-15 if name == "silu in place" else 0) == [Kind.ACTIVATION]


def plus_in_place(x: Tensor) -> Tensor:
    y = 2 * x
    y += x
    y -= 1
    return y.add_(x, alpha=2).sub_(x)


CONSTANT = torch.tensor([2, 0, -1, 3, 1])

SUMS = {
    "number": (lambda x: x + 1, [Kind.SUM]),
    "number first": (lambda x: 1.5 + x, [Kind.SUM]),
    "constant": (lambda x: CONSTANT + x, [Kind.SUM]),
    "single precision": (lambda x: x + torch.tensor(0.3), [Kind.SUM]),
    "difference": (lambda x: x - x.flip(2), [Kind.SCALING, Kind.SUM]),
    "from a number": (lambda x: 1 - x, [Kind.SCALING, Kind.SUM]),
    "constant less": (lambda x: x - 2, [Kind.SUM]),
    "rsub": (lambda x: torch.rsub(x, 2, alpha=4), [Kind.SCALING, Kind.SUM]),
    "alpha": (lambda x: torch.add(x, x.flip(3), alpha=-2), [Kind.SCALING, Kind.SUM]),
    "sub": (lambda x: x.subtract(x.flip(3), alpha=0.5), [Kind.SCALING, Kind.SUM]),
    "in place": (plus_in_place, [Kind.SCALING, Kind.SUM, Kind.SUM, *[Kind.SCALING, Kind.SUM] * 2]),
    "itself": (lambda x: x.add_(x), [Kind.SUM]),
    "broadcast": (lambda x: x + x[:, :1, :1], [Kind.SUM]),
    "Python's sum": (lambda x: sum([x, x.flip(2)]), [Kind.SUM, Kind.SUM]),
}

PRODUCTS = {
    "number": (lambda x: 2 * x, [Kind.SCALING]),
    "integer constant": (lambda x: CONSTANT * x, [Kind.SCALING]),
    "mask": (lambda x: (x > 0) * x, [Kind.SCALING]),
    "single precision": (lambda x: torch.tensor(0.3) * x, [Kind.SCALING]),
    "negation": (lambda x: -x, [Kind.SCALING]),
    "quotient": (lambda x: x / 4, [Kind.SCALING]),
    "in place": (lambda x: x.mul_(2).div_(CONSTANT + 5.0), [Kind.SCALING, Kind.SCALING]),
    "detached": (lambda x: x * x.detach(), [Kind.SCALING]),
    "two": (lambda x: x * x[:, :1], [Kind.PRODUCT]),
    "square": (lambda x: x * x, [Kind.PRODUCT]),
    "gate in place": (lambda x: (2 * x).mul_(x.flip(2)).mul(x), [Kind.SCALING, Kind.PRODUCT, Kind.PRODUCT]),
}


@pytest.mark.parametrize("spelling", SUMS)
def test_sums_are_sums_in_every_spelling_with_their_signs(spelling):
    function, kinds = SUMS[spelling]
    assert same_with_rules(function) == kinds


@pytest.mark.parametrize("spelling", PRODUCTS)
def test_products_are_told_from_factors_without_gradient(spelling):
    function, kinds = PRODUCTS[spelling]
    assert same_with_rules(function, tolerance=1e-15 if spelling == "in place" else 0) == kinds


POOLS = {
    "maximum": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), Kind.MAX_POOL),
    "F.maximum": (lambda x: F.max_pool2d(x, (2, 3), 1), Kind.MAX_POOL),
    "adaptive maximum": (nn.AdaptiveMaxPool2d((2, 3)), Kind.MAX_POOL),
    "one dimension": (lambda x: F.max_pool1d(x.flatten(1, 2), 2), Kind.MAX_POOL),
    "average": (nn.AvgPool2d(3, 2, 1, False, False), Kind.LINEAR),
    "adaptive average": (nn.AdaptiveAvgPool2d(2), Kind.LINEAR),
    "mean": (lambda x: x.mean((2, 3)), Kind.LINEAR),
    "sum": (lambda x: torch.sum(x, dim=1, keepdim=True), Kind.LINEAR),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), Kind.LINEAR),
    "matrix": (lambda x: x.flatten(1)[:, :6] @ SQUARE, Kind.WEIGHTED),
    "linear": (lambda x: F.linear(x.flatten(1)[:, :6], SQUARE), Kind.WEIGHTED),
    "transposed": (lambda x: F.conv_transpose2d(x, SQUARE[:3, :4].reshape(3, 2, 2, 1), None, 2, 0, 1), Kind.WEIGHTED),
    "same": (lambda x: F.conv2d(x, SQUARE[:3, :3].reshape(1, 3, 3, 1), padding="same"), Kind.WEIGHTED),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_averages_and_weights_are_read(name):
    function, kind = POOLS[name]
    assert same_with_rules(function) == [kind]


def test_what_only_moves_numbers_has_no_rule():
    def moved(x: Tensor) -> Tensor:
        x = F.pad(F.dropout(x, 0.5, training=False), (1, 1)).permute(0, 2, 3, 1).flatten(1, 2)
        a, b = torch.cat([x, x.flip(1)], 2).chunk(2, 1)
        y = torch.zeros_like(a)
        y[..., 1:], y[..., :1] = b[..., :5], a[..., 5:]
        return torch.stack([y, a], 1).transpose(1, 3).reshape(len(x), -1).contiguous()

    assert same_with_rules(moved) == []


# Refusals

UNKNOWN = {
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "group_norm": nn.GroupNorm(3, 3, affine=False),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "maximum": lambda x: torch.maximum(x, x.flip(2)),
    "max": lambda x: torch.max(x, dim=1),
    "amax": lambda x: x.amax((2, 3)),
    "clamp": lambda x: x.clamp(min=torch.zeros(5)),
    "__pow__": lambda x: x**2,
    "sort": lambda x: x.sort().values,
    "matmul": lambda x: x @ x.mT,
    "__rtruediv__": lambda x: 1 / x,
    "conv2d": lambda x: F.conv2d(x, x[:, :, :2, :2]),
    "max_pool2d_with_indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "multi_head_attention_forward": lambda x: ATTENTION(x[:, 0], x[:, 0], x[:, 0])[0],
    "lstm": lambda x: LSTM(x[:, 0])[0],
}
LSTM = nn.LSTM(5, 4, batch_first=True).double().requires_grad_(False)
ATTENTION = nn.MultiheadAttention(5, 1).double().requires_grad_(False)


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_function_without_a_kind_is_refused_by_its_name(name):
    refused(UNKNOWN[name], name)


def test_a_kind_without_a_rule_is_refused_by_the_name_of_the_function():
    rules: dict[Kind, Rule] = {Kind.SUM: as_is}
    with Calls(rules, "LRP"), pytest.raises(AttributionError, match=r"LRP needs a rule .* has none for gelu;"):
        F.gelu(leaf() + 1)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_what_is_done_past_torchs_functions_is_refused_where_it_is_used():
    with pytest.warns(FutureWarning, match="deprecated"):
        scripted = torch.jit.script(nn.ReLU())
    for hidden in (Doubled.apply, scripted):
        refused(lambda x, hidden=hidden: hidden(x).flatten(1), "one that is no function of torch's.*")
        refused(lambda x, hidden=hidden: hidden(x).ndim, "one that is no function of torch's.*")


def test_nothing_is_asked_or_refused_where_no_gradient_flows():
    with Record() as record:
        with torch.no_grad():
            F.layer_norm(leaf(), (5,))
        weights = X.softmax(1).sort(-1).values
        assert not F.relu(leaf().detach()).requires_grad
        found = leaf() * weights + leaf().detach().softmax(1)
    assert record.kinds == [Kind.SCALING, Kind.SUM]
    assert found.requires_grad


def test_what_was_written_to_is_what_later_calls_see():
    def function(x: Tensor) -> Tensor:
        y = x.flip(2)
        view = y[:, 1:]
        view *= 3
        y[:, :1] += 1
        return F.relu(y) + x

    same_with_rules(function)


# Folding


def folded(function, x: Tensor = IMAGE) -> tuple[list[Call], list[Kind]]:
    """The weighted calls of a function, and the kinds of all."""
    record = Record()
    with Calls(dict.fromkeys(Kind, record), "The method", fold=True):
        function(leaf(x).clone())
    weighted = [call for call in record.calls if call.kind is Kind.WEIGHTED]
    assert weighted[-1].of.weighted == max(call.position for call in weighted) + 1
    return weighted, record.kinds


def norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels).double().eval().requires_grad_(False)
    for values in (layer.running_mean, layer.weight, layer.bias):
        values.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"groups": 2, "stride": 2, "padding": 1}])
def test_a_batch_norm_on_the_output_of_a_convolution_is_one_weighted_call_with_it(bias, options):
    channels = 4 if options else 5
    x = drawn_images(2, (6, 6))[:, :2] if options else IMAGE
    conv = nn.Conv2d(x.shape[1], channels, 3, bias=bias, **options).double().requires_grad_(False)
    after = norm(channels)
    (plain, call), kinds = folded(lambda z: after(conv(z)), x)
    assert kinds == [Kind.WEIGHTED, Kind.WEIGHTED]
    assert (plain.position, call.position) == (0, 0)
    torch.testing.assert_close(call.known, after(conv(x)), rtol=0, atol=1e-12)
    torch.testing.assert_close(call.run(*call.operands), after(conv(x)), rtol=0, atol=1e-12)
    torch.testing.assert_close(call.operands[0].detach(), x, rtol=0, atol=0)


def test_a_batch_norm_on_the_output_of_a_linear_layer_is_folded():
    linear, after = nn.Linear(5, 4).double().requires_grad_(False), nn.BatchNorm1d(4).double().eval()
    after.requires_grad_(False).running_mean.normal_()
    x = X[:, 0, 0]
    calls, kinds = folded(lambda z: after(linear(z)), x)
    assert kinds == [Kind.WEIGHTED] * 2
    torch.testing.assert_close(calls[1].value(), after(linear(x)), rtol=0, atol=1e-12)


CONV, TRANSPOSED = (kind(3, 3, 3).double().requires_grad_(False) for kind in (nn.Conv2d, nn.ConvTranspose2d))
CHANNELS = nn.Linear(6, 3).double().requires_grad_(False)
NORM = norm(3)


UNFOLDED = {
    "rectified": lambda x: NORM(F.relu(CONV(x))),
    "rectified in place": lambda x: NORM(F.relu(CONV(x), inplace=True)),
    "scaled in place": lambda x: NORM(CONV(x).mul_(2)),
    "part": lambda x: NORM(CONV(x)[:, :]),
    "copy": lambda x: NORM(CONV(x).clone()),
    "transposed": lambda x: NORM(TRANSPOSED(x)),
    "image": lambda x: NORM(x),
    "concatenation": lambda x: NORM(torch.cat([CONV(x), CONV(x)], 2)),
    "other dimension": lambda x: F.batch_norm(CHANNELS(x[:, 0, :3]), NORM.running_mean, NORM.running_var),
}


@pytest.mark.parametrize("name", UNFOLDED)
def test_a_batch_norm_on_anything_else_stays(name):
    record = Record()
    with Calls(dict.fromkeys(Kind, record), "The method", fold=True):
        UNFOLDED[name](leaf(IMAGE).clone())
    assert record.kinds.count(Kind.AFFINE) == 1


def test_without_folding_a_batch_norm_is_one():
    with Record() as record:
        NORM(CONV(leaf(IMAGE).clone()))
    assert record.kinds == [Kind.WEIGHTED, Kind.AFFINE]


def test_a_shared_convolution_is_folded_with_the_norm_of_each_call():
    first, second = norm(3), norm(3)
    calls, kinds = folded(lambda x: first(CONV(x)) + second(CONV(x.flip(2))))
    assert kinds == [Kind.WEIGHTED] * 4 + [Kind.SUM]
    assert [call.position for call in calls] == [0, 0, 1, 1]
    torch.testing.assert_close(calls[1].value(), first(CONV(IMAGE)), rtol=0, atol=1e-12)
    torch.testing.assert_close(calls[3].value(), second(CONV(IMAGE.flip(2))), rtol=0, atol=1e-12)


def test_two_norms_of_one_output_are_folded_each():
    first, second = norm(3), norm(3)

    def function(x: Tensor) -> Tensor:
        x = CONV(x)
        return first(x) + second(x)

    calls, _ = folded(function)
    assert [call.position for call in calls] == [0, 0, 0]
    torch.testing.assert_close(calls[2].value(), second(CONV(IMAGE)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["residual", "dense"])
def test_folded_a_network_gives_its_own_logits_and_gradients(name):
    net, plain, ruled = drawn_net(name).requires_grad_(False), leaf(drawn_images(3)), leaf(drawn_images(3))
    expected = net(plain)
    with Calls(dict.fromkeys(Kind, as_is), "The method", fold=True):
        found = net(ruled)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(y[:, 1].sum(), x)[0] for y, x in ((found, ruled), (expected, plain))]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
