import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from oracles.ek_fac import blocks_of, ek_fac_matrices, exact_influence, fisher, flat_gradients, weight_gradient
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from interpretable.errors import InfluenceError
from interpretable.influence import layer_positions
from interpretable.influence.eigen_factors import (
    EigenFactors,
    eigenbasis_gradients,
    gradient_products,
    preconditioned_gradients,
    self_products,
)
from interpretable.influence.ek_fac import EKFAC
from interpretable.influence.kronecker_factors import eigenvectors
from interpretable.influence.layer_passes import layer_passes
from interpretable.influence.layer_positions import Positions, position_chunks
from interpretable.influence.loss_gradients import cross_entropy_gradients, expected_gradients, sampled_gradients
from interpretable.influence.weight_layers import weight_layers

Batch = tuple[Tensor, Tensor]


def labelled(number: int, *shape: int, classes: int = 3) -> Batch:
    return torch.randn(number, *shape, dtype=torch.float64), torch.randint(0, classes, (number,))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


class Residual(nn.Module):
    """Whatever may go wrong with hooks: in-place ReLU, sums and products, a layer used twice, an input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 3)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(images)))
        for _ in range(2):
            block = self.shared(x).mul_(2)
            block += x
            x = self.relu(block)
        return self.fc(input=x.mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on rows of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 5, bias=False)
        self.mix = nn.Linear(5, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.mix(torch.tanh(self.embed(images)))).mean((1, 2)))


def stack(*convolutions: nn.Module) -> nn.Sequential:
    """Convolutions from 2 channels to 4, a ReLU in place after each."""
    layers = [layer for convolution in convolutions for layer in (convolution, nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "stride_and_padding": (lambda: stack(nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0))), (2, 8, 7)),
    "dilation_without_bias": (lambda: stack(nn.Conv2d(2, 4, 3, dilation=(2, 1), bias=False)), (2, 8, 7)),
    "groups": (lambda: stack(nn.Conv2d(2, 6, 3, groups=2), nn.Conv2d(6, 4, 2, groups=2, bias=False)), (2, 8, 7)),
    "depthwise": (lambda: stack(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4, padding=1)), (2, 8, 7)),
    "same": (lambda: stack(nn.Conv2d(2, 4, (4, 3), padding="same", dilation=(1, 2))), (2, 8, 7)),
    "valid": (lambda: stack(nn.Conv2d(2, 4, 3, padding="valid")), (2, 8, 7)),
    "reflect": (lambda: stack(nn.Conv2d(2, 4, 3, padding=(1, 2), padding_mode="reflect")), (2, 8, 7)),
    "circular": (lambda: stack(nn.Conv2d(2, 4, 3, padding=(2, 1), padding_mode="circular")), (2, 8, 7)),
    "residual": (Residual, (2, 8, 6)),
    "tokens": (Tokens, (3, 2, 4)),
}


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    build, shape = NETWORKS[name]
    return build().double().eval(), shape


def implied_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    layers, _ = weight_layers(model, None)
    with layer_passes(model, layers) as recorder:
        one = recorder(images)
        calls = one.calls(cross_entropy_gradients(one.logits.detach(), labels))
    found = {}
    for name, layer in layers.items():
        found[name] = torch.cat([signals @ inputs.mT for _, (inputs, signals) in position_chunks(layer, calls[name])])
    return found


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_each_image_are_those_of_autograd_image_by_image(name: str) -> None:
    model, shape = network(name)
    images, labels = labelled(4, *shape)
    found = implied_gradients(model, images, labels)
    for layer_name, gradients in found.items():
        layer = model.get_submodule(layer_name)
        expected = [weight_gradient(model, layer, *one) for one in zip(images.clone().unbind(), labels, strict=True)]
        torch.testing.assert_close(gradients, torch.stack(expected), rtol=0, atol=1e-10)
        assert gradients.abs().max() > 1e-3


class Overwriting(nn.Module):
    """Layers that read what is written over later, which autograd minds only where it needs the weights' gradients."""

    def __init__(self, overwrite: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)
        self.overwrite = overwrite

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images)
        if self.overwrite:
            images.zero_()
        logits = self.second(x)
        if self.overwrite:
            x.zero_()
        return logits


def test_what_layers_read_may_be_written_over_later() -> None:
    model, batch = Overwriting(overwrite=False).double(), labelled(4, 4)
    expected = implied_gradients(model, *batch)
    model.overwrite = True
    found = implied_gradients(model, *batch)
    for name, gradients in found.items():
        assert torch.equal(gradients, expected[name])
        assert gradients.abs().max() > 1e-3


def test_hooks_that_change_what_a_layer_gives_come_after() -> None:
    model, shape = network("groups")
    model[0].register_forward_hook(lambda _, __, output: 3 * output)
    images, labels = labelled(3, *shape)
    found = implied_gradients(model, images, labels)["0"]
    expected = [weight_gradient(model, model[0], *one) for one in zip(images, labels, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-10)


def test_gradients_do_not_need_weights_that_ask_for_them() -> None:
    model, shape = network("residual")
    images, labels = labelled(3, *shape)
    expected = implied_gradients(model, images, labels)
    found = implied_gradients(copy.deepcopy(model).requires_grad_(False), images, labels)
    for name, gradients in found.items():
        assert torch.equal(gradients, expected[name])


@pytest.mark.parametrize("name", ["stride_and_padding", "dilation_without_bias", "groups", "depthwise"])
def test_influence_is_that_of_the_literal_definition(name: str) -> None:
    model, shape = network(name)
    training, queries = labelled(5, *shape), labelled(2, *shape)
    literal = copy.deepcopy(model)
    for index, module in enumerate(literal):
        if isinstance(module, nn.ReLU):
            literal[index] = nn.ReLU()
    estimator = EKFAC(labels="expected").fit(model, [training])
    expected = torch.zeros(2, 5, dtype=torch.float64)
    for layer_name, factors in estimator.factors_.items():
        layer = literal.get_submodule(layer_name)
        matrices = ek_fac_matrices(literal, layer, training[0])
        values = torch.stack([torch.linalg.eigvalsh(matrix) for matrix in matrices])
        damping = 0.1 * float(values.mean())
        assert factors.damping == pytest.approx(damping, rel=1e-8)
        for group, matrix in enumerate(matrices):
            inverse = torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=torch.float64))
            for t, query in enumerate(zip(*queries, strict=True)):
                for z, one in enumerate(zip(*training, strict=True)):
                    g_t, g_z = (weight_gradient(literal, layer, *pair)[group].flatten() for pair in (query, one))
                    expected[t, z] += g_t @ inverse @ g_z / 5
    assert relative(estimator.influence([queries], [training]), expected) < 1e-8


class Gated(nn.Module):
    """Two features of four each: a layer reads the first, and its outputs are multiplied by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images[:, :2]) * images[:, 2:]


def test_where_inputs_do_not_depend_on_gradients_influence_is_that_of_the_exact_inverse() -> None:
    # p is uniform while the weights are zero, so that the full factorial design makes the two sides independent.
    first, second = torch.randn(5, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    rows = torch.cat([first.repeat_interleave(4, 0), second.repeat(5, 1)], 1)
    training, queries = (rows, torch.randint(0, 3, (20,))), labelled(3, 5)
    model = Gated().double()
    found = EKFAC(damping=0.01, labels="expected").fit(model, [training]).influence([queries], [training])
    g_t, g_z = (flat_gradients(model, [model.layer], *batch) for batch in (queries, training))
    expected = exact_influence(fisher(model, [model.layer], rows), 0.01, g_t, g_z, 20)
    assert relative(found, expected) < 1e-10


def test_with_one_probability_for_all_images_a_linear_layer_is_exact() -> None:
    model = nn.Linear(4, 3).double()
    nn.init.zeros_(model.weight)
    training, queries = labelled(12, 4), labelled(3, 4)
    estimator = EKFAC(damping=0.02, labels="expected").fit(model, [training])
    g_t, g_z = (flat_gradients(model, [model], *batch) for batch in (queries, training))
    expected = exact_influence(fisher(model, [model], training[0]), 0.02, g_t, g_z, 12)
    assert relative(estimator.influence([queries], [training]), expected) < 1e-10


@pytest.mark.parametrize("labels", ["expected", "sampled"])
def test_a_single_logit_is_the_log_odds_of_two_classes(labels: str) -> None:
    one = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    two, batch = nn.Sequential(*one, nn.ZeroPad1d((1, 0))), labelled(8, 4, classes=2)
    found, expected = (EKFAC(labels=labels).fit(model, [batch]) for model in (one, two))
    assert relative(found.influence([batch], [batch]), expected.influence([batch], [batch])) < 1e-10
    assert found.self_influence([batch]).min() > 0
    with pytest.raises(InfluenceError, match="label must be from 0 to 1, the network's classes, got 2"):
        found.self_influence([(batch[0], batch[1] + 1)])


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Batch, Batch]:
    """A small convolutional network, its training images of three bright places with noisy labels, and others."""
    torch.manual_seed(1)

    def drawn(number: int, noise: float) -> Batch:
        labels = torch.arange(number) % 3
        images = 0.7 * torch.randn(number, 1, 8, 8, dtype=torch.float64)
        for image, label in zip(images, labels, strict=True):
            image[0, 2 * label : 2 * label + 3, 2:5] += 1
        return images, torch.where(torch.rand(number) < noise, torch.randint(0, 3, (number,)), labels)

    training, queries = drawn(100, 0.4), drawn(6, 0.0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 3),
    ).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(training[0]), training[1]).backward()
        optimizer.step()
    optimizer.zero_grad()
    assert sum(parameter.numel() for parameter in model.parameters()) < 2000
    return model, training, queries


@pytest.fixture(scope="module")
def fitted(trained: tuple[nn.Module, Batch, Batch]) -> EKFAC:
    model, training, _ = trained
    return EKFAC(damping=0.1, labels="expected").fit(model, [training])


def test_influence_is_close_to_that_of_the_exact_gauss_newton_matrix(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC
) -> None:
    model, training, queries = trained
    layers = [model.get_submodule(name) for name in fitted.factors_]
    g_t, g_z = (flat_gradients(model, layers, *batch) for batch in (queries, training))
    matrix = fisher(model, layers, training[0])
    whole = exact_influence(matrix, 0.1, g_t, g_z, 100)
    blocks = exact_influence(blocks_of(layers, matrix), 0.1, g_t, g_z, 100)
    plain = torch.stack(g_t) @ torch.stack(g_z).T
    found = fitted.influence([queries], [training])

    def agreement(one: Tensor, other: Tensor) -> float:
        return float(spearmanr(one.flatten(), other.flatten()).statistic)

    assert agreement(found, blocks) >= 0.8
    assert agreement(found, blocks) > agreement(plain, blocks) + 0.1
    assert agreement(found, whole) > agreement(plain, whole) + 0.1


def test_a_helpful_image_is_positive_and_its_wrongly_labelled_twin_is_harmful(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC
) -> None:
    _, _, (images, labels) = trained
    wrong = (labels + 1) % 3
    for image, label, other in zip(images, labels, wrong, strict=True):
        twins = (torch.stack([image, image]), torch.stack([label, other]))
        helpful, harmful = fitted.influence([(image[None], label[None])], [twins])[0]
        assert helpful > 0 > harmful
    assert fitted.self_influence([(images, wrong)]).mean() > fitted.self_influence([(images, labels)]).mean()


def refitted(images: Tensor, labels: Tensor, number: int, decay: float) -> nn.Linear:
    """The minimum of Σ loss / number + decay / 2 · ‖weights‖²."""
    model = nn.Linear(2, 2).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def objective() -> Tensor:
        optimizer.zero_grad()
        squares = sum(parameter.square().sum() for parameter in model.parameters())
        loss = F.cross_entropy(model(images), labels, reduction="sum") / number + decay / 2 * squares
        loss.backward()
        return loss

    optimizer.step(objective)
    return model


def test_without_a_training_image_the_loss_is_higher_by_about_its_influence() -> None:
    (images, labels), queries, decay = labelled(30, 2, classes=2), labelled(4, 2, classes=2), 0.05
    model = refitted(images, labels, 30, decay)
    batches = [(images, labels)]
    found = EKFAC(damping=decay, labels="expected").fit(model, batches).influence([queries], batches)
    without = [refitted(images[keep], labels[keep], 30, decay) for keep in ~torch.eye(30, dtype=torch.bool)]
    with torch.no_grad():
        losses = [F.cross_entropy(one(queries[0]), queries[1], reduction="none") for one in (model, *without)]
    rises = torch.stack(losses[1:], 1) - losses[0][:, None]
    slope = float((found * rises).sum() / found.square().sum())
    correlation = float(torch.corrcoef(torch.stack([found.flatten(), rises.flatten()]))[0, 1])
    assert 0.8 < slope < 1.2
    assert correlation > 0.95


def test_corrected_eigenvalues_are_the_literal_means_in_the_basis_of_the_layer() -> None:
    model, shape = network("stride_and_padding")
    images, labels = labelled(6, *shape)
    estimator = EKFAC(labels="expected").fit(model, [(images, labels)])
    (q_a, q_s, eigenvalues, _), layer = estimator.factors_["0"], model[0]
    expected = torch.zeros_like(eigenvalues)
    for image in images:
        for label, probability in enumerate(model(image[None])[0].softmax(0)):
            gradient = weight_gradient(model, layer, image, label)
            expected += probability.detach() * (q_s[0].T @ gradient[0] @ q_a[0]) ** 2 / 6
    assert relative(eigenvalues, expected) < 1e-10
    for basis in (q_a[0], q_s[0]):
        torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis), dtype=torch.float64), rtol=0, atol=1e-10)


def test_eigenvalues_add_up_to_the_mean_squared_gradient() -> None:
    model, shape = network("groups")
    images, labels = labelled(6, *shape)
    estimator = EKFAC(labels="expected").fit(model, [(images, labels)])
    for name, factors in estimator.factors_.items():
        squares = 0.0
        for image in images:
            for label, probability in enumerate(model(image[None])[0].softmax(0).tolist()):
                squares += probability * float(
                    weight_gradient(model, model.get_submodule(name), image, label).square().sum()
                )
        assert float(factors.eigenvalues.sum()) == pytest.approx(squares / 6, rel=1e-10)


@pytest.mark.parametrize(("outputs", "inputs", "positions"), [(3, 5, 1), (3, 5, 4), (5, 3, 4), (3, 4, 9), (4, 4, 2)])
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_every_order_of_the_products_gives_the_same(outputs: int, inputs: int, positions: int, queries: int) -> None:
    groups = 2

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    def basis(size: int) -> Tensor:
        root = drawn(groups, size, size)
        return eigenvectors(root @ root.mT)

    factors = EigenFactors(basis(inputs), basis(outputs), drawn(groups, outputs, inputs).square(), 0.1)
    images = Positions(drawn(6, groups, inputs, positions), drawn(6, groups, outputs, positions))
    some = Positions(images.inputs[:queries], images.signals[:queries])
    expected = torch.zeros(queries, 6, dtype=torch.float64)
    for group in range(groups):
        q_a, q_s = factors.input_basis[group], factors.output_basis[group]
        gradients = [s @ a.T for a, s in zip(images.inputs[:, group], images.signals[:, group], strict=True)]
        rotated = [q_s.T @ gradient @ q_a for gradient in gradients]
        for z, mine in enumerate(rotated):
            found = eigenbasis_gradients(images, factors.input_basis, factors.output_basis)[z, group]
            torch.testing.assert_close(found, mine, rtol=0, atol=1e-12)
            for t in range(queries):
                expected[t, z] += (rotated[t] * mine / (factors.eigenvalues[group] + 0.1)).sum()
    found = gradient_products(preconditioned_gradients(some, factors), images)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(self_products(some, factors), expected[:, :queries].diagonal(), rtol=1e-10, atol=1e-12)


def test_expected_labels_are_the_limit_of_sampled_ones() -> None:
    model, shape = network("tokens")
    images, labels = labelled(6, *shape)
    many = (images.repeat(300, 1, 1, 1), labels.repeat(300))
    expected = EKFAC(labels="expected", damping=0.1).fit(model, [(images, labels)])
    sampled = EKFAC(labels="sampled", damping=0.1, batch_size=600).fit(model, [many])
    exact = expected.self_influence([(images, labels)]) * 6
    assert relative(sampled.self_influence([(images, labels)]) * 1800, exact) < 0.08


def test_labels_are_sampled_from_the_networks_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=torch.float64)
    logits = probabilities.log().clamp(min=-1e6).expand(20000, 4)
    found = sampled_gradients(logits, torch.Generator().manual_seed(0))
    drawn = (logits.softmax(1) - found).mean(0)  # e_y
    torch.testing.assert_close(drawn, probabilities, rtol=0, atol=0.015)
    assert drawn[1] == 0


def test_expected_gradients_have_the_covariance_of_the_softmax() -> None:
    logits = torch.randn(1, 4, dtype=torch.float64)
    p = logits[0].softmax(0)
    found = sum(torch.outer(row[0], row[0]) for row in expected_gradients(logits))
    torch.testing.assert_close(found, torch.diag(p) - torch.outer(p, p), rtol=0, atol=1e-12)


def test_the_seed_decides_and_how_images_are_batched_does_not() -> None:
    model, shape = network("residual")
    images, labels = labelled(7, *shape)

    def eigenvalues(seed: int, batches: list[Batch], batch_size: int | None = None) -> Tensor:
        estimator = EKFAC(seed=seed, batch_size=batch_size).fit(model, batches)
        return estimator.self_influence([(images, labels)])

    whole = eigenvalues(0, [(images, labels)])
    parts = eigenvalues(0, [(images[:2], labels[:2]), (images[2:], labels[2:])], batch_size=3)
    torch.testing.assert_close(parts, whole, rtol=1e-8, atol=0)
    assert relative(eigenvalues(1, [(images, labels)]), whole) > 1e-3


@pytest.mark.parametrize("numbers", [1, 3000])
def test_how_much_is_computed_at_once_does_not_matter(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, training, queries = trained
    expected = fitted.influence([queries], [training])
    monkeypatch.setattr(layer_positions, "_NUMBERS_AT_ONCE", numbers)
    again = EKFAC(damping=0.1, labels="expected").fit(model, [training])
    torch.testing.assert_close(again.influence([queries], [training]), expected, rtol=1e-8, atol=1e-12)


def test_a_batch_is_its_images_one_by_one_and_columns_follow_the_training_images(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC
) -> None:
    _, (images, labels), (others, classes) = trained
    whole = fitted.influence([(others, classes)], [(images, labels)])
    singles = list(zip(images.split(1), labels.split(1), strict=True))
    rows = [fitted.influence([one], singles) for one in zip(others[:3].split(1), classes[:3].split(1), strict=True)]
    torch.testing.assert_close(torch.cat(rows), whole[:3], rtol=1e-10, atol=1e-14)
    order = torch.randperm(len(images))
    torch.testing.assert_close(
        fitted.influence([(others, classes)], [(images[order], labels[order])]), whole[:, order], rtol=1e-10, atol=1e-14
    )


def test_self_influence_is_the_diagonal_and_not_negative(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC
) -> None:
    _, training, _ = trained
    own = fitted.self_influence(iter([training]))  # once is enough
    torch.testing.assert_close(own, fitted.influence([training], [training]).diagonal(), rtol=1e-8, atol=1e-14)
    assert (own >= 0).all()


def test_influence_of_several_layers_is_the_sum_over_them(
    trained: tuple[nn.Module, Batch, Batch], fitted: EKFAC
) -> None:
    model, training, queries = trained
    parts = []
    for name in fitted.factors_:
        alone = EKFAC(damping=0.1, labels="expected", layers=[name]).fit(model, [training])
        assert list(alone.factors_) == [name]
        assert set(alone.skipped_.values()) == {"not named in layers"}
        parts.append(alone.influence([queries], [training]))
    torch.testing.assert_close(sum(parts), fitted.influence([queries], [training]), rtol=1e-8, atol=1e-14)


def test_parameters_that_are_left_out_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(16, 3)).double()
    estimator = EKFAC().fit(model, [labelled(5, 2, 4, 4)])
    assert list(estimator.factors_) == ["0", "4"]
    assert estimator.skipped_ == {
        "1": "BatchNorm2d is neither Linear nor Conv2d",
        "2": "PReLU is neither Linear nor Conv2d",
    }


class Odd(nn.Module):
    """Layers without a say, and two with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.never, self.ignored, self.dead = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        self.ignored(images)
        with torch.no_grad():
            images = images + self.dead(images)
        return self.head(self.normed(self.other(self.one(images))))


def test_layers_without_a_say_are_skipped_and_refused_by_name() -> None:
    model, batch = Odd().double(), labelled(5, 3)
    estimator = EKFAC().fit(model, [batch])
    assert list(estimator.factors_) == ["head"]
    assert estimator.skipped_ == {
        "never": "it did not run as a module",
        "ignored": "its gradients are zero on every image",
        "dead": "its gradients are zero on every image",
        "one": "another layer shares its parameters",
        "other": "another layer shares its parameters",
        "normed": "its weight is computed from other parameters",
        "normed.parametrizations.weight": "ParametrizationList is neither Linear nor Conv2d",
    }
    for name, reason in estimator.skipped_.items():
        with pytest.raises(InfluenceError, match=f"'{name}'.*{reason}"):
            EKFAC(layers=["head", name]).fit(model, [batch])


class Standardised(nn.Conv2d):
    """What it computes with is not its weight."""

    def forward(self, images: Tensor) -> Tensor:
        return self._conv_forward(images, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Tripled(nn.Conv2d):
    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(images, 3 * weight, bias)


def test_layers_that_compute_something_else_are_not_taken_for_their_kind() -> None:
    model, shape = network("groups")
    model[0], model[2] = Standardised(2, 6, 3).double(), Tripled(6, 4, 2).double()
    patched = nn.Linear(3, 3).double()
    patched.forward = lambda rows: F.linear(rows, 2 * patched.weight)  # type: ignore[method-assign]
    model.append(patched)
    batch = labelled(4, *shape)
    estimator = EKFAC().fit(model, [batch])
    assert list(estimator.factors_) == ["6"]
    assert estimator.skipped_ == {
        "0": "Standardised has a forward pass of its own",
        "2": "Tripled has a forward pass of its own",
        "7": "Linear has a forward pass of its own",
    }
    with pytest.raises(InfluenceError, match="'2' is not: Tripled has a forward pass of its own"):
        EKFAC(layers=["2"]).fit(model, [batch])


class Checkpointed(nn.Module):
    def __init__(self, saves: bool) -> None:
        super().__init__()
        self.body, self.fc, self.saves = (
            nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5)),
            nn.Linear(5, 3),
            saves,
        )

    def forward(self, images: Tensor) -> Tensor:
        rows = checkpoint(self.body, images, use_reentrant=False) if self.saves else self.body(images)
        return self.fc(torch.tanh(rows))


def test_blocks_that_run_again_in_the_backward_pass_do_the_same_again() -> None:
    plain, batch = Checkpointed(saves=False).double().requires_grad_(False), labelled(6, 4)
    saving = Checkpointed(saves=True).double().requires_grad_(False)
    saving.load_state_dict(plain.state_dict())
    found, expected = (EKFAC().fit(model, [batch]).influence([batch], [batch]) for model in (saving, plain))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def state_of(model: nn.Module) -> tuple[list[Tensor], list[object]]:
    """What must be bit for bit as it was, and what must be equal."""
    values = [*model.state_dict().values(), *(value.grad for value in model.parameters() if value.grad is not None)]
    attributes = [sorted(module.__dict__) for module in model.modules()]
    hooks = [
        [len(kind) for kind in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)]
        for module in model.modules()
    ]
    identities = [(name, id(value), value.requires_grad, id(value.grad)) for name, value in model.named_parameters()]
    modes = [module.training for module in model.modules()]
    buffers = [(name, id(buffer)) for name, buffer in model.named_buffers()]
    settings = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    others = [attributes, hooks, identities, buffers, list(model.state_dict()), modes, settings]
    return [*(value.clone() for value in values), torch.get_rng_state()], others


def assert_as_before(model: nn.Module, before: tuple[list[Tensor], list[object]]) -> None:
    values, others = state_of(model)
    assert others == before[1]
    assert all(torch.equal(a, b) for a, b in zip(values, before[0], strict=True))


def test_nothing_is_left_behind() -> None:
    model, shape = network("residual")
    model.train()
    model.norm.eval()
    model.stem.weight.requires_grad_(False)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    model.fc.register_forward_hook(lambda _, __, output: output)
    batch = labelled(4, *shape)
    images = batch[0].clone()
    before = state_of(model)
    estimator = EKFAC().fit(model, [batch])
    estimator.influence([batch], [batch])
    estimator.self_influence([batch])
    assert_as_before(model, before)
    assert torch.equal(batch[0], images)
    assert not estimator.influence([batch], [batch]).requires_grad


class Failing(Residual):
    def forward(self, images: Tensor) -> Tensor:
        super().forward(images)
        raise ZeroDivisionError


def test_nothing_is_left_behind_by_an_exception() -> None:
    model, batch = Failing().double(), labelled(4, 2, 8, 6)
    before = state_of(model)
    with pytest.raises(ZeroDivisionError):
        EKFAC().fit(model, [batch])
    assert_as_before(model, before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_the_callers_mode_does_not_matter(mode: Callable[[], object]) -> None:
    model, shape = network("residual")
    model.float()  # float64 is left alone by autocast
    images, labels = labelled(4, *shape)
    batch = (images.float(), labels)
    expected = EKFAC().fit(model, [batch]).influence([batch], [batch])
    with mode():  # type: ignore[attr-defined]
        inside = (batch[0] + 0, batch[1] + 0)
        found = EKFAC().fit(model.train(), [inside]).influence([inside], [inside])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_a_compiled_network_is_read_uncompiled() -> None:
    model, shape = network("groups")
    batch = labelled(4, *shape)
    expected = EKFAC().fit(model, [batch]).influence([batch], [batch])
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(EKFAC().fit(compiled, [batch]).influence([batch], [batch]), expected, rtol=0, atol=0)


def test_a_network_of_halves_is_computed_in_float32() -> None:
    model, shape = network("groups")
    half = model.half()
    images, labels = labelled(4, *shape)
    batch = (images.half(), labels)
    found = EKFAC().fit(half, [batch]).influence([batch], [batch])
    expected = EKFAC().fit(copy.deepcopy(half).float(), [batch]).influence([batch], [batch])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_progress_is_shown_by_stages() -> None:
    stages = []

    def track(items: object, what: str) -> object:
        stages.append(what)
        return items

    model, batch = nn.Linear(3, 3).double(), labelled(4, 3)
    estimator = EKFAC().fit(model, [batch], track)  # type: ignore[arg-type]
    estimator.influence([batch], [batch], track)  # type: ignore[arg-type]
    estimator.self_influence([batch], track)  # type: ignore[arg-type]
    assert stages == ["covariances", "eigenvectors", "eigenvalues", "influence", "self-influence"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, "damping must be a positive number, got 0.0"),
        ({"damping": math.nan}, "damping must be a positive number, got nan"),
        ({"labels": "true"}, "labels must be 'sampled' or 'expected', got 'true'"),
        ({"layers": "fc"}, "layers must be a list of names, one at least, got 'fc'"),
        ({"layers": []}, "layers must be a list of names, one at least"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InfluenceError, match=message):
        EKFAC(**options)  # type: ignore[arg-type]


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.reshape(-1, 2)).reshape(len(images), -1, 3).mean(1)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).detach()


def infinite() -> nn.Linear:
    model = nn.Linear(3, 3)
    nn.init.constant_(model.weight, math.inf)
    return model


def steep() -> nn.Sequential:
    """Finite logits, and gradients whose squares are not."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    nn.init.constant_(model[0].weight, 0)
    model[1].weight.data = 1e25 * torch.eye(3)
    nn.init.zeros_(model[0].bias)
    nn.init.zeros_(model[1].bias)
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Linear(3, 3), {"layers": ["head"]}, "named as in Linear.named_modules.., got 'head'"),
        (nn.Sequential(nn.Linear(3, 3), nn.ReLU()), {"layers": ["1"]}, "'1' is not: ReLU is neither Linear nor Conv2d"),
        (nn.Sequential(nn.BatchNorm1d(3)), {}, "must have Linear or Conv2d layers to be used, Sequential has none"),
        (Windows(), {}, "'layer' read a tensor of shape .*; leave it out with layers="),
        (Constant(), {}, "must depend on the layers by operations that have gradients"),
        (nn.Sequential(nn.Linear(3, 3), nn.Unflatten(1, (3, 1))), {}, r"must give logits .*got shape \(4, 3, 1\)"),
        (infinite(), {}, "logits must be finite"),
        (steep(), {}, "gradients of every layer must be finite, those of '0' are not"),
    ],
)
def test_networks_and_layers_that_cannot_be_used_are_refused(
    model: nn.Module, options: dict[str, list[str]], message: str
) -> None:
    columns = 6 if isinstance(model, Windows) else 3
    with pytest.raises(InfluenceError, match=message):
        EKFAC(**options).fit(model.float(), [(torch.randn(4, columns), torch.zeros(4, dtype=torch.int64))])  # type: ignore[arg-type]


IMAGES, LABELS = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ((IMAGES, LABELS), "must be pairs of tensors"),
        ([{"image": IMAGES, "label": LABELS}], "must be pairs of tensors .*, got dict"),
        ([(IMAGES, LABELS.float())], r"classes .N,. in int64, got .* torch.float32 labels of"),
        ([(IMAGES, LABELS[:3])], r"labels of shape \(3,\)"),
        ([(IMAGES.int(), LABELS)], "finite real numbers.*got torch.int32"),
        ([(IMAGES / 0, LABELS)], "finite real numbers.*got NaN"),
        ([(IMAGES, LABELS + 3)], "label must be from 0 to 2, the network's classes, got 3"),
        ([(IMAGES, LABELS - 1)], "label must be from 0 to 2, the network's classes, got -1"),
        ([], "got none; give batches with images"),
        ([(IMAGES[:0], LABELS[:0])], "got none; give batches with images"),
    ],
)
def test_batches_that_cannot_be_used_are_refused(batches: object, message: str) -> None:
    model, good = nn.Linear(3, 3), (torch.randn(4, 3), LABELS)
    estimator = EKFAC().fit(model, [good])
    for call in (
        lambda: estimator.influence(batches, [good]),  # type: ignore[arg-type]
        lambda: estimator.influence([good], batches),  # type: ignore[arg-type]
        lambda: estimator.self_influence(batches),  # type: ignore[arg-type]
    ):
        with pytest.raises(InfluenceError, match=message):
            call()
    if "label must be from" not in message:  # those fitted to need no labels
        with pytest.raises(InfluenceError, match=message):
            EKFAC().fit(model, batches)  # type: ignore[arg-type]


def test_batches_that_end_after_once_are_refused() -> None:
    def batches() -> Iterator[Batch]:
        yield torch.randn(4, 3), LABELS

    with pytest.raises(InfluenceError, match="gone through twice, got generator"):
        EKFAC().fit(nn.Linear(3, 3), batches())


def test_a_loader_is_begun_once_for_each_sweep_and_the_random_state_is_left() -> None:
    begun = []

    class Loader(DataLoader[Batch]):
        def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
            begun.append(self)  # workers would be started here
            return super().__iter__()

    images, labels = torch.randn(6, 3), torch.arange(6) % 3
    loader = Loader(TensorDataset(images, labels), batch_size=4)  # type: ignore[arg-type]
    model, random = nn.Linear(3, 3), torch.get_rng_state()
    estimator = EKFAC().fit(model, loader)
    assert len(begun) == 2
    found = estimator.influence(loader, loader)
    assert torch.equal(torch.get_rng_state(), random)
    expected = EKFAC().fit(model, [(images, labels)]).influence([(images, labels)], [(images, labels)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_sweeps_over_different_images_are_refused() -> None:
    class Shrinking:
        sweeps = 0

        def __iter__(self) -> Iterator[Batch]:
            self.sweeps += 1
            return iter([(torch.randn(4, 3), LABELS)] * (3 - self.sweeps))

    with pytest.raises(InfluenceError, match="in both sweeps, got 8 through 1 layers and then 4 through 1"):
        EKFAC().fit(nn.Linear(3, 3), Shrinking())


class Later(nn.Module):
    """Its second layer runs from the second pass on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.passes = nn.Linear(3, 3), nn.Linear(3, 3), 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return self.one(images) if self.passes == 1 else self.other(self.one(images))


def test_layers_that_run_in_one_sweep_alone_are_refused() -> None:
    with pytest.raises(InfluenceError, match="in both sweeps, got 4 through 1 layers and then 4 through 2"):
        EKFAC().fit(Later(), [(torch.randn(4, 3), LABELS)])


def test_influence_beyond_what_numbers_can_be_is_refused() -> None:
    model, rows = nn.Linear(3, 3), torch.randn(4, 3)
    model.bias.data = torch.tensor([95.0, 0.0, 0.0])  # probabilities of 1e-41: certain of every image
    estimator = EKFAC(labels="expected").fit(model, [(rows, LABELS)])
    surprising = [(rows, LABELS + 1)]
    for call in (lambda: estimator.influence(surprising, surprising), lambda: estimator.self_influence(surprising)):
        with pytest.raises(InfluenceError, match=r"number of torch.float32, got some too large; give a larger damping"):
            call()
    assert EKFAC(labels="expected", damping=0.1).fit(model, [(rows, LABELS)]).self_influence(surprising).min() > 0


def test_influence_before_a_fit_is_refused() -> None:
    with pytest.raises(InfluenceError, match="call fit first"):
        EKFAC().self_influence([(IMAGES, LABELS)])


def test_a_layer_that_does_not_run_for_an_image_is_refused() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.extra = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.extra(images) if images.mean() > 0 else images)

    batch = (torch.ones(4, 3), LABELS)
    estimator = EKFAC().fit(Sometimes(), [batch])
    with pytest.raises(InfluenceError, match="'extra' did not; leave it out"):
        estimator.influence([batch], [(-batch[0], LABELS)])
