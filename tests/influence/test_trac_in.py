import pytest
import torch
from oracles import influence as oracle
from torch import Tensor, nn

from interpretable.errors import InfluenceError
from interpretable.influence import LastLayer, LastLayerInfluence, TracIn, last_layer_features, linear_head

RATES = [0.1, 0.05, 0.01]
IMAGES, TESTS = 6, 3


def network() -> nn.Sequential:
    """A tiny network in float64 whose head sees what a batch norm and a dropout give."""
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout())
    return nn.Sequential(*layers, nn.Linear(4, 3)).double()


def images(number: int) -> tuple[Tensor, Tensor]:
    return torch.randn(number, 3, 6, 6, dtype=torch.float64), torch.randint(0, 3, (number,))


def seen(networks: list[nn.Sequential], data: tuple[Tensor, Tensor]) -> list[LastLayer]:
    return [last_layer_features(checkpoint, [data]) for checkpoint in networks]


def same(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def case() -> tuple[list[LastLayer], list[LastLayer]]:
    networks = [network() for _ in RATES]
    return seen(networks, images(IMAGES)), seen(networks, images(TESTS))


def test_influence_is_the_sum_over_checkpoints_of_products_of_gradients() -> None:
    networks, train, test = [network() for _ in RATES], images(IMAGES), images(TESTS)
    fitted = TracIn().fit(seen(networks, train), RATES)
    for checkpoint in networks:
        checkpoint.eval()
    heads = [checkpoint[-1] for checkpoint in networks]
    expected = oracle.trac_in(networks, heads, RATES, train, test)
    assert expected.abs().min() > 0
    same(fitted.influence(seen(networks, test)), expected)
    same(fitted.self_influence(), oracle.trac_in(networks, heads, RATES, train, train).diagonal())


def test_influence_is_the_fall_of_the_loss_by_a_small_step_on_the_image() -> None:
    checkpoint, train, test = network().eval(), images(IMAGES), images(TESTS)
    rate = 1e-6
    found = TracIn().fit(seen([checkpoint], train), [rate]).influence(seen([checkpoint], test))
    head = checkpoint[-1]
    start = [parameter.detach().clone() for parameter in head.parameters()]
    for n in range(IMAGES):
        loss = nn.functional.cross_entropy(checkpoint(train[0][n : n + 1]), train[1][n : n + 1])
        slopes = torch.autograd.grad(loss, list(head.parameters()))
        with torch.no_grad():
            before = nn.functional.cross_entropy(checkpoint(test[0]), test[1], reduction="none")
            for parameter, slope in zip(head.parameters(), slopes, strict=True):
                parameter -= rate * slope
            after = nn.functional.cross_entropy(checkpoint(test[0]), test[1], reduction="none")
            for parameter, value in zip(head.parameters(), start, strict=True):
                parameter.copy_(value)
        torch.testing.assert_close(before - after, found[:, n], rtol=1e-3, atol=1e-11)


def test_strongly_damped_influence_points_where_one_checkpoint_does() -> None:
    (train, *_), (test, *_) = case()
    damping = 1e9
    damped = LastLayerInfluence(damping=damping).fit(train).influence(test)
    same(damping * IMAGES * damped, TracIn().fit([train], [1.0]).influence([test]), 1e-7)


def test_a_head_without_a_bias_has_gradients_of_its_weights_alone() -> None:
    (train, *_), (test, *_) = case()
    with_bias, without = (
        TracIn().fit([train._replace(bias=bias)], [1.0]).influence([test._replace(bias=bias)])
        for bias in (torch.zeros_like(train.bias), None)
    )
    overlap = test.features @ train.features.T
    same(without, with_bias * overlap / (overlap + 1))


def test_permuting_the_images_permutes_their_influence() -> None:
    train, test = case()
    order = torch.randperm(IMAGES)
    permuted = [data._replace(features=data.features[order], labels=data.labels[order]) for data in train]
    one, two = TracIn().fit(train, RATES), TracIn().fit(permuted, RATES)
    same(two.influence(test), one.influence(test)[:, order])
    same(two.self_influence(), one.self_influence()[order])


def test_a_batch_of_test_images_equals_them_one_by_one() -> None:
    train, test = case()
    fitted = TracIn().fit(train, RATES)
    one_by_one = [
        fitted.influence(
            [data._replace(features=data.features[t : t + 1], labels=data.labels[t : t + 1]) for data in test]
        )
        for t in range(TESTS)
    ]
    same(fitted.influence(test), torch.cat(one_by_one), 1e-13)


def test_memory_bounds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = case()
    whole = TracIn().fit(train, RATES).influence(test)
    for numbers in (1, 12):  # one training image at once, four
        monkeypatch.setattr(linear_head, "_NUMBERS_AT_ONCE", numbers)
        same(TracIn().fit(train, RATES).influence(test), whole, 1e-13)


def test_the_network_may_go_on_training_after_its_features_were_taken() -> None:
    checkpoint, train = network(), images(IMAGES)
    early = last_layer_features(checkpoint, [train])
    alone = TracIn().fit([early], [1.0]).self_influence()
    with torch.no_grad():
        for parameter in checkpoint.parameters():
            parameter.mul_(2)
    same(TracIn().fit([early], [1.0]).self_influence(), alone, 0)
    assert not torch.allclose(TracIn().fit(seen([checkpoint], train), [1.0]).self_influence(), alone)


def test_checkpoints_that_do_not_fit_together_are_refused_in_a_sentence() -> None:
    train, _ = case()
    with pytest.raises(InfluenceError, match="each of one checkpoint or more, got 3 rates of 2 checkpoints"):
        TracIn().fit(train[:2], RATES)
    with pytest.raises(InfluenceError, match="each of one checkpoint or more, got 0 rates of 0 checkpoints"):
        TracIn().fit([], [])
    for rate in (0.0, -0.1, torch.nan, torch.inf):
        with pytest.raises(InfluenceError, match=f"must be a finite number above 0, got {rate}"):
            TracIn().fit(train, [0.1, rate, 0.1])
    shuffled = train[1]._replace(labels=(train[1].labels + 1) % 3)
    with pytest.raises(InfluenceError, match="same order, but checkpoint 1 has other labels than the first"):
        TracIn().fit([train[0], shuffled, train[2]], RATES)
    features = train[2].features.clone()
    features[2, 0] = torch.inf
    with pytest.raises(InfluenceError, match="features must be finite numbers, got one that is not in row 2 of 6"):
        TracIn().fit([*train[:2], train[2]._replace(features=features)], RATES)
    with pytest.raises(InfluenceError, match="Labels must be classes from 0 to 2, got 7 in row 0 of 6"):
        TracIn().fit([train[0]._replace(labels=train[0].labels + 7 - train[0].labels[0])], [0.1])


def test_test_images_that_do_not_fit_the_checkpoints_are_refused_in_a_sentence() -> None:
    train, test = case()
    fitted = TracIn().fit(train, RATES)
    with pytest.raises(InfluenceError, match="at each of 3 checkpoints, got 2 of 3, 3 images"):
        fitted.influence(test[:2])
    with pytest.raises(InfluenceError, match="at each of 3 checkpoints, got 3 of 3, 3, 6 images"):
        fitted.influence([*test[:2], train[2]])
    with pytest.raises(InfluenceError, match="by the same head"):
        fitted.influence(test[::-1])
    for verb in (lambda: TracIn().influence(test), TracIn().self_influence):
        with pytest.raises(InfluenceError, match="call fit"):
            verb()
