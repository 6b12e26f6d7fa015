import copy

import pytest
import torch
from oracles import influence as oracle
from scipy.stats import spearmanr
from torch import Tensor, nn

from interpretable.errors import InfluenceError
from interpretable.influence import LastLayer, LastLayerInfluence, iterative_hessian, last_layer_features, linear_head
from interpretable.influence import last_layer as last_layer_module
from interpretable.models import InterpretableCNN
from interpretable.precision import full_precision

IMAGES, TESTS, WIDTH = 12, 5, 3


def same(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def problem(classes: int = 3, loss: str = "cross_entropy", images: int = IMAGES) -> tuple[LastLayer, LastLayer, Tensor]:
    """Training and test images of a random head, not at its minimum, and its parameters as one matrix."""
    parameters = torch.randn(classes, WIDTH + 1, dtype=torch.float64)
    sets = []
    for number in (images, TESTS):
        labels = torch.randint(0, max(classes, 2), (number,))
        if loss == "squared":
            labels = torch.randn(number, classes, dtype=torch.float64)
        features = torch.randn(number, WIDTH, dtype=torch.float64)
        sets.append(LastLayer(features, labels, parameters[:, :-1], parameters[:, -1]))
    return sets[0], sets[1], parameters


def at_ridge_minimum(decay: float, images: int = IMAGES) -> tuple[LastLayer, LastLayer]:
    train, test, _ = problem(2, "squared", images)
    parameters = oracle.fitted_ridge(train.features, train.labels, decay)
    return tuple(data._replace(weight=parameters[:, :-1], bias=parameters[:, -1]) for data in (train, test))


@pytest.fixture
def iterative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_layer_module, "LARGEST_FACTOR", 0)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize(
    ("classes", "loss"), [(3, "cross_entropy"), (2, "cross_entropy"), (1, "cross_entropy"), (2, "squared")]
)
def test_influence_is_minus_the_effect_of_upweighting_with_the_explicit_hessian(
    classes: int, loss: str, leave_one_out: bool
) -> None:
    train, test, parameters = problem(classes, loss)
    expected = oracle.influence(parameters, train[:2], test[:2], loss, 0.03, leave_one_out)
    fitted = LastLayerInfluence(loss=loss, weight_decay=0.02, damping=0.01, leave_one_out=leave_one_out).fit(train)
    same(fitted.influence(test), expected)
    same(fitted.influence(train).diagonal(), fitted.self_influence())
    same(fitted.self_influence(), oracle.influence(parameters, train[:2], train[:2], loss, 0.03, leave_one_out).diag())


def test_an_image_is_helpful_to_itself_and_a_wrongly_labelled_twin_harmful() -> None:
    # two logits, h = 1, no bias: p = ½, so g = ±(½, −½); H = ¼ (1 −1; −1 1) over all images, of eigenvalue ½ along g
    features = torch.ones(4, 1, dtype=torch.float64)
    data = LastLayer(features, torch.tensor([0, 1, 0, 1]), torch.zeros(2, 1, dtype=torch.float64), None)
    fitted = LastLayerInfluence(damping=0.5).fit(data)
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    same(fitted.influence(data), 0.5 / (0.5 + 0.5) / 4 * torch.outer(sign, sign))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_the_explicit_hessian_has_the_mean_eigenvalue_that_sets_the_damping(loss: str) -> None:
    train, _, parameters = problem(3, loss)
    hessian = oracle.hessian(parameters, *train[:2], loss, 0.0)
    fitted = LastLayerInfluence(loss=loss).fit(train)
    assert fitted.damping_ == pytest.approx(0.1 * hessian.trace().item() / len(hessian), rel=1e-12)


@pytest.mark.parametrize("decay", [0.1, 1e-4])
def test_leaving_one_out_of_ridge_regression_equals_refitting(decay: float) -> None:
    train, test = at_ridge_minimum(decay)
    fitted = LastLayerInfluence(loss="squared", damping=0.0, weight_decay=decay, leave_one_out=True).fit(train)
    changes, losses = fitted.parameter_changes(torch.arange(IMAGES)), fitted.loss_changes(test)
    whole = oracle.fitted_ridge(train.features, train.labels, decay)
    for n in range(IMAGES):
        refitted = oracle.fitted_ridge(train.features, train.labels, decay, without=n)
        same(changes[n], refitted - whole, 1e-8)
        for t in range(TESTS):
            image = (test.features[t], test.labels[t], "squared")
            same(losses[t, n], oracle.image_loss(refitted, *image) - oracle.image_loss(whole, *image), 1e-8)


def test_influence_is_the_first_order_of_the_change_of_the_loss() -> None:
    decay = 0.1
    train, test = at_ridge_minimum(decay)
    fitted = LastLayerInfluence(loss="squared", damping=0.0, weight_decay=decay, leave_one_out=True).fit(train)
    by_logits = torch.einsum(
        "nki,ti->tnk",
        fitted.parameter_changes(torch.arange(IMAGES)),
        torch.cat([test.features, torch.ones(TESTS, 1, dtype=torch.float64)], 1),
    )
    same(fitted.loss_changes(test) - fitted.influence(test), by_logits.square().sum(-1) / 2)
    plain = LastLayerInfluence(loss="squared", damping=0.0, weight_decay=decay).fit(train)
    assert (plain.influence(test) - fitted.influence(test)).abs().max() > 0.01 * fitted.influence(test).abs().max()


def logistic(decay: float, images: int) -> tuple[LastLayer, LastLayer, Tensor, Tensor]:
    """A fitted logistic regression of overlapping classes, its minimum, and the true changes (T, N) of test losses."""
    centres = 1.5 * torch.randn(3, 4, dtype=torch.float64)
    labels, test_labels = torch.arange(images) % 3, torch.arange(20) % 3
    labels[::10] = (labels[::10] + 1) % 3
    features = centres[labels] + torch.randn(images, 4, dtype=torch.float64)
    test_features = centres[test_labels] + torch.randn(20, 4, dtype=torch.float64)
    whole = oracle.fitted_logistic(features, labels, 3, decay)

    def losses(parameters: Tensor) -> Tensor:
        seen = test_features @ parameters[:, :-1].T + parameters[:, -1]
        return nn.functional.cross_entropy(seen, test_labels, reduction="none")

    refitted = [losses(oracle.fitted_logistic(features, labels, 3, decay, without=n)) for n in range(images)]
    head = (whole[:, :-1], whole[:, -1])
    changes = torch.stack(refitted, 1) - losses(whole)[:, None]
    return LastLayer(features, labels, *head), LastLayer(test_features, test_labels, *head), whole, changes


def test_leaving_one_out_of_logistic_regression_ranks_images_as_refitting_does() -> None:
    decay = 0.02
    train, test, whole, changes = logistic(decay, images=90)
    slope = torch.stack([oracle.gradient(whole, h, y, "cross_entropy") for h, y in zip(*train[:2], strict=True)]).mean(
        0
    )
    assert (slope + decay * whole.flatten()).abs().max() < 1e-7
    errors = []
    for leave_one_out in (False, True):
        fitted = LastLayerInfluence(damping=0.0, weight_decay=decay, leave_one_out=leave_one_out).fit(train)
        for predicted in (fitted.influence(test), fitted.loss_changes(test)):
            assert min(spearmanr(predicted[t], changes[t]).statistic for t in range(20)) >= 0.95
            errors.append(((predicted - changes).norm() / changes.norm()).item())
    # either correction brings the numbers nearer to the truth, and both together the nearest
    assert errors[3] < min(errors[1], errors[2]) < max(errors[1], errors[2]) < errors[0]
    assert errors[3] < 0.1


@pytest.mark.usefixtures("iterative")
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("damping", [1.0, 0.01, 1e-5])
def test_conjugate_gradients_equal_the_explicit_hessian(damping: float, classes: int) -> None:
    train, test, parameters = problem(classes)
    fitted = LastLayerInfluence(damping=damping).fit(train)
    expected = oracle.influence(parameters, train[:2], test[:2], "cross_entropy", damping)
    assert ((fitted.influence(test) - expected).norm() / expected.norm()).item() < 1e-8
    own = oracle.influence(parameters, train[:2], train[:2], "cross_entropy", damping).diagonal()
    assert ((fitted.self_influence() - own).norm() / own.norm()).item() < 1e-8


def test_conjugate_gradients_equal_cholesky_on_badly_conditioned_features(monkeypatch: pytest.MonkeyPatch) -> None:
    features = 10.0 ** torch.linspace(-3, 2, 20) * torch.randn(200, 20).relu()
    data = LastLayer(features, torch.arange(200) % 8, 0.1 * torch.randn(8, 20), torch.randn(8))
    by_cholesky = LastLayerInfluence(damping=1e-4).fit(data).influence(data)
    monkeypatch.setattr(last_layer_module, "LARGEST_FACTOR", 8 * 21 - 1)
    product, calls = iterative_hessian.IterativeHessian._product, []

    def counted(hessian: iterative_hessian.IterativeHessian, vectors: Tensor) -> Tensor:
        calls.append(vectors)
        return product(hessian, vectors)

    monkeypatch.setattr(iterative_hessian.IterativeHessian, "_product", counted)
    by_iteration = LastLayerInfluence(damping=1e-4).fit(data).influence(data)
    assert ((by_iteration - by_cholesky).norm() / by_cholesky.norm()).item() < 1e-8
    assert 2 < len(calls) < 168  # the parameters: steps that exact arithmetic would need


@pytest.mark.usefixtures("iterative")
def test_an_image_without_a_gradient_has_no_influence_and_disturbs_no_other() -> None:
    train, test, _ = problem()
    features, labels = test.features.clone(), test.labels.clone()
    features[0] = 1000 * test.weight[0]
    logits = features[0] @ test.weight.T + test.bias
    labels[0] = logits.argmax()
    assert logits.softmax(0).amax() == 1
    fitted = LastLayerInfluence(damping=0.01).fit(train)
    found = fitted.influence(test._replace(features=features, labels=labels))
    same(found[0], torch.zeros(IMAGES, dtype=torch.float64), 0)
    same(found[1:], fitted.influence(test)[1:], 1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_permuting_the_images_permutes_their_influence(loss: str) -> None:
    train, test, _ = problem(3, loss)
    order = torch.randperm(IMAGES)
    permuted = train._replace(features=train.features[order], labels=train.labels[order])
    one, two = (LastLayerInfluence(loss=loss, leave_one_out=True).fit(data) for data in (train, permuted))
    same(two.influence(test), one.influence(test)[:, order])
    same(two.self_influence(), one.self_influence()[order])
    same(two.loss_changes(test), one.loss_changes(test)[:, order])


def test_strong_damping_leaves_the_products_of_gradients() -> None:
    train, test, parameters = problem()
    damping = 1e9
    found = damping * IMAGES * LastLayerInfluence(damping=damping).fit(train).influence(test)
    for t in range(TESTS):
        for n in range(IMAGES):
            g, own = (
                oracle.gradient(parameters, data.features[i], data.labels[i], "cross_entropy")
                for data, i in ((train, n), (test, t))
            )
            same(found[t, n], own @ g, 1e-7)


@pytest.mark.parametrize("how", ["factorised", "iterative"])
def test_a_batch_of_test_images_equals_them_one_by_one(how: str, request: pytest.FixtureRequest) -> None:
    if how == "iterative":
        request.getfixturevalue("iterative")
    train, test, _ = problem()
    fitted = LastLayerInfluence(damping=0.01).fit(train)
    one_by_one = [
        fitted.influence(test._replace(features=test.features[t : t + 1], labels=test.labels[t : t + 1]))
        for t in range(TESTS)
    ]
    same(fitted.influence(test), torch.cat(one_by_one), 1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_memory_bounds_change_nothing(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, _ = problem(3, loss)

    def results() -> list[Tensor]:
        fitted = LastLayerInfluence(loss=loss, leave_one_out=True).fit(train)
        return [fitted.influence(test), fitted.self_influence(), fitted.loss_changes(test)]

    whole = results()
    for numbers in (1, 60):
        monkeypatch.setattr(linear_head, "_NUMBERS_AT_ONCE", numbers)
        for some, expected in zip(results(), whole, strict=True):
            same(some, expected, 1e-12)


@pytest.mark.usefixtures("iterative")
def test_memory_bounds_change_nothing_by_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, _ = problem()
    whole = LastLayerInfluence(damping=0.01).fit(train).influence(test)
    monkeypatch.setattr(linear_head, "_NUMBERS_AT_ONCE", 60)
    same(LastLayerInfluence(damping=0.01).fit(train).influence(test), whole, 1e-9)


def test_a_head_without_a_bias_is_one_whose_inputs_have_no_constant() -> None:
    train, test, parameters = problem()
    ones = torch.ones(IMAGES + TESTS, 1, dtype=torch.float64)
    without = [
        LastLayer(torch.cat([data.features, ones[: len(data.features)]], 1), data.labels, parameters, None)
        for data in (train, test)
    ]
    expected = LastLayerInfluence(damping=0.01).fit(train).influence(test)
    same(LastLayerInfluence(damping=0.01).fit(without[0]).influence(without[1]), expected, 1e-12)


def test_classes_of_the_squared_loss_are_its_one_hot_targets() -> None:
    train, test, _ = problem()
    hot = [data._replace(labels=nn.functional.one_hot(data.labels, 3).double()) for data in (train, test)]
    one, two = (LastLayerInfluence(loss="squared").fit(a).influence(b) for a, b in ((train, test), hot))
    same(one, two, 0)


def test_single_precision_is_computed_in_double() -> None:
    train, test, _ = problem()
    low = [LastLayer(*(t.float() if t.is_floating_point() else t for t in data)) for data in (train, test)]
    high = [LastLayer(*(t.double() if t.is_floating_point() else t for t in data)) for data in low]
    found = LastLayerInfluence().fit(low[0]).influence(low[1])
    assert found.dtype == torch.float64
    same(found, LastLayerInfluence().fit(high[0]).influence(high[1]), 0)


def test_self_influence_is_never_negative() -> None:
    train, _, _ = problem(images=40)
    for leave_one_out in (False, True):
        assert (LastLayerInfluence(leave_one_out=leave_one_out).fit(train).self_influence() > 0).all()


def refused(match: str, train: LastLayer, **options: object) -> None:
    with pytest.raises(InfluenceError, match=match) as caught:
        LastLayerInfluence(**options).fit(train)
    assert "\n" not in str(caught.value)


def test_what_is_no_head_or_no_data_is_refused_in_a_sentence() -> None:
    train, test, _ = problem()
    fits = "A linear head needs features"
    refused(fits, train._replace(features=train.features[:, :2]))
    refused(fits, train._replace(features=train.features[0]))
    refused(fits, train._replace(features=train.features[:0], labels=train.labels[:0]))
    refused(fits, train._replace(bias=train.bias[:2]))
    refused(r"Each of 12 images needs a label, got labels of shape \(5,\)", train._replace(labels=test.labels))
    refused("Each of 12 images needs a label", train._replace(labels=torch.tensor(1)))
    features = train.features.clone()
    features[7, 1] = torch.nan
    refused(
        "The features must be finite numbers, got one that is not in row 7 of 12", train._replace(features=features)
    )
    refused("The biases must be finite", train._replace(bias=train.bias / 0))
    labels = train.labels.clone()
    labels[4] = 3
    refused("Labels must be classes from 0 to 2, got 3 in row 4 of 12", train._replace(labels=labels))
    labels[4] = -1
    refused("Labels must be classes from 0 to 2, got -1 in row 4 of 12", train._replace(labels=labels))
    refused("must be integers", train._replace(labels=train.labels.double()))
    squared = torch.randn(IMAGES, 3)
    refused("must be integers", train._replace(labels=squared))
    refused(r"or numbers \(12, 3\), got shape \(12, 2\)", train._replace(labels=squared[:, :2]), loss="squared")
    with pytest.raises(InfluenceError, match="by the same head"):
        LastLayerInfluence().fit(train).influence(test._replace(weight=test.weight + 1))
    with pytest.raises(InfluenceError, match="by the same head"):
        LastLayerInfluence().fit(train).influence(test._replace(bias=None))


def test_options_that_mean_nothing_are_refused_in_a_sentence() -> None:
    with pytest.raises(InfluenceError, match="The damping must be a finite number of 0 or more, got -1"):
        LastLayerInfluence(damping=-1)
    with pytest.raises(InfluenceError, match="The weight decay must be a finite number of 0 or more, got nan"):
        LastLayerInfluence(weight_decay=torch.nan)
    with pytest.raises(InfluenceError, match="one of cross_entropy, squared, got 'hinge'"):
        LastLayerInfluence(loss="hinge")
    with pytest.raises(InfluenceError, match="call fit"):
        LastLayerInfluence().self_influence()
    with pytest.raises(InfluenceError, match="call fit"):
        LastLayerInfluence().influence(problem()[1])


def test_a_singular_hessian_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, _ = problem()
    # a constant added to the logits of all classes changes nothing
    refused("that of 12 images by 12 parameters .* of 0 is singular; give a larger damping", train, damping=0.0)
    few, _, _ = problem(2, "squared", images=3)
    refused("is singular", few, damping=0.0, loss="squared")
    sure = train._replace(bias=torch.tensor([0.0, 5000.0, 0.0], dtype=torch.float64))
    refused("of 0 is singular", sure)  # nothing to take a tenth of
    monkeypatch.setattr(last_layer_module, "LARGEST_FACTOR", 11)
    refused("needs weight decay or damping", train, damping=0.0)
    refused("leave_one_out needs a Hessian of at most 11 rows, logits times inputs, got 12", train, leave_one_out=True)
    monkeypatch.setattr(iterative_hessian, "_MOST_ITERATIONS", 2)
    with pytest.raises(
        InfluenceError, match=r"did not converge in 2 iterations with weight decay and damping of 0.001"
    ):
        LastLayerInfluence(damping=0.001).fit(train).self_influence()


def test_an_image_that_alone_determines_a_direction_cannot_be_left_out() -> None:
    train, _, _ = problem(2, "squared")
    features = torch.cat([train.features, torch.zeros(IMAGES, 1, dtype=torch.float64)], 1)
    features[9, 3] = 1.0
    weight = torch.cat([train.weight, torch.zeros(2, 1, dtype=torch.float64)], 1)
    alone = train._replace(features=features, weight=weight)
    refused("but without image 9 of 12 it is singular", alone, loss="squared", damping=0.0, leave_one_out=True)
    LastLayerInfluence(loss="squared", damping=1e-3, leave_one_out=True).fit(alone)


class Tiny(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)  # registered before a layer that runs before it
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.gate, self.dropout, self.scale = nn.Linear(4, 4), nn.Dropout(), scale

    def forward(self, images: Tensor) -> Tensor:
        seen = self.conv(images).mean((2, 3))
        return self.scale * self.fc(self.dropout(seen * self.gate(seen).sigmoid()))


def batches(images: int = 7, size: int = 16, classes: int = 3, at_once: int = 3) -> list[tuple[Tensor, Tensor]]:
    drawn, labels = torch.randn(images, 3, size, size), torch.randint(0, classes, (images,))
    return list(zip(drawn.split(at_once), labels.split(at_once), strict=True))


def test_a_network_is_split_at_the_linear_layer_that_runs_last() -> None:
    network, data = Tiny().train(), batches()
    found = last_layer_features(network, data)
    network.eval()
    images, labels = (torch.cat(part) for part in zip(*data, strict=True))
    same(found.features @ found.weight.T + found.bias, network(images).detach(), 1e-5)
    assert torch.equal(found.labels, labels)
    assert torch.equal(found.weight, network.fc.weight)
    assert not any(tensor.requires_grad for tensor in found)
    network.fc.weight.data.zero_()
    assert found.weight.abs().sum() > 0  # a copy, so that the network may go on to its next checkpoint


@pytest.mark.parametrize("part_layers", [0, 2])
def test_the_head_of_an_interpretable_network_is_its_last_linear_layer(part_layers: int) -> None:
    network = InterpretableCNN("small", 8, part_layers=part_layers)
    data = batches(3, 64, 8)
    found = last_layer_features(network, data)
    assert found.features.shape == (3, 96)
    same(found.features @ found.weight.T + found.bias, network.eval()(data[0][0]).detach(), 1e-4)
    scores = LastLayerInfluence().fit(found).self_influence()
    assert (scores > 0).all()


def test_nothing_is_left_on_the_network() -> None:
    network = Tiny().train()
    network.gate.eval()
    before = copy.deepcopy(network.state_dict())
    data, modes = batches(), {name: layer.training for name, layer in network.named_modules()}
    random = torch.get_rng_state()
    last_layer_features(network, data)
    with pytest.raises(InfluenceError):
        last_layer_features(network, [*data, "no batch"])
    assert {name: layer.training for name, layer in network.named_modules()} == modes
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_that_writes_into_its_input_leaves_the_images_alone() -> None:
    (images, labels), *_ = batches()
    before = images.clone()
    last_layer_features(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(768, 3)), [(images, labels)])
    assert torch.equal(images, before)


class Meddling(nn.Module):
    """Counts its calls, draws random numbers, names its layer's input and writes over it."""

    def __init__(self, meddles: bool) -> None:
        super().__init__()
        self.fc, self.meddles = nn.Linear(768, 3), meddles
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        rows = images.flatten(1)
        logits = self.fc(input=rows)
        if self.meddles:
            self.calls += torch.rand(())
            rows.zero_()
        return logits


def test_a_network_that_draws_counts_and_overwrites_is_read_and_left_as_it_was() -> None:
    network, data = Meddling(meddles=True), batches()
    random = torch.get_rng_state()
    found = last_layer_features(network, data)
    assert network.calls == 0
    assert torch.equal(torch.get_rng_state(), random)
    network.meddles = False
    assert torch.equal(found.features, last_layer_features(network, data).features)
    assert torch.equal(found.features, torch.cat([images.flatten(1) for images, _ in data]))


def test_a_network_of_halves_is_read_in_float32() -> None:
    half, data = Tiny().half(), batches()
    found = last_layer_features(half, data)
    expected = last_layer_features(copy.deepcopy(half).float(), data)
    for tensor, other in zip(found, expected, strict=True):
        assert torch.equal(tensor, other)
    assert found.features.dtype == found.weight.dtype == found.bias.dtype == torch.float32
    assert half.fc.weight.dtype == torch.float16


def test_autocast_inference_mode_and_compilation_do_not_change_the_features() -> None:
    network, data = Tiny(), batches()
    alone = last_layer_features(network, data)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(last_layer_features(network, data).features, alone.features)
        scores = LastLayerInfluence().fit(last_layer_features(network, data)).self_influence()
    same(scores, LastLayerInfluence().fit(alone).self_influence(), 0)
    assert torch.equal(last_layer_features(torch.compile(network), data).features, alone.features)
    network.eval().compile(backend="eager")
    with full_precision():
        network(data[0][0])  # compiled without hooks, for what follows
    assert torch.equal(last_layer_features(network, data).features, alone.features)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(768, 3), nn.Linear(768, 3)])

    def forward(self, images: Tensor) -> Tensor:
        return self.heads[len(images) % 2](images.flatten(1))


def test_networks_that_do_not_end_in_one_linear_layer_are_refused() -> None:
    differ = "must be logits .* that its last torch.nn.Linear makes .* but they differ"
    with pytest.raises(InfluenceError, match=differ):
        last_layer_features(Tiny(scale=0.5), batches())
    with pytest.raises(InfluenceError, match=differ):
        last_layer_features(nn.Linear(16, 3), batches())  # a layer over maps
    with pytest.raises(InfluenceError, match=differ):
        last_layer_features(TwoHeads(), batches(7, at_once=4))
    convolution = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InfluenceError, match=r"must be made by a torch\.nn\.Linear, but Sequential has none"):
        last_layer_features(convolution, batches())
    with pytest.raises(InfluenceError, match="at least one batch of images, got none"):
        last_layer_features(Tiny(), [])
