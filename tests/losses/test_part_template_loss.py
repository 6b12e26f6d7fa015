import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from losses.maps import close, double, filters_first, gradient_of, one_hot_maps, random_maps
from oracles import part_template as oracle
from torch import Tensor

from interpretable.errors import InterpretableError
from interpretable.losses import Objective, PartTemplateLoss, authors_loss, mean_peak, mutual_information

# The loss module.


def test_the_mean_peak_is_over_the_maps_that_fire() -> None:
    x = torch.zeros(4, 3, 2, 2)
    x[0, 0, 1, 1], x[1, 0, 0, 1], x[1, 0, 0, 0], x[3, 0, 0, 0] = 2.0, 4.0, 1.0, 9.0
    x[2, 1, 1, 0] = 0.5
    assert mean_peak(x).tolist() == [5.0, 0.5, 0.0]
    y = random_maps(5, 4, 3, 3)
    close(mean_peak(y), double([oracle.mean_peak(maps) for maps in filters_first(y)]), 1e-12)


OBJECTIVES = list(get_args(Objective))


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_number_that_is_none_reaches_the_loss_but_no_running_average(objective: str, number: float) -> None:
    x, labels = random_maps(6, 2, 7, 7), torch.tensor([0, 1, 1, 1, 0, 0])
    spoilt = x.clone()
    spoilt[3, 1, 2, 2] = number
    loss, clean = (PartTemplateLoss(2, objective=objective, num_classes=3).double() for _ in range(2))
    assert objective == "authors" or loss(spoilt, labels).isnan()
    kept = [0, 1, 2, 4, 5]
    loss = PartTemplateLoss(2, objective=objective, num_classes=3).double()
    loss(spoilt, labels)
    clean(x, labels)
    assert torch.equal(loss.running_peak, torch.stack([mean_peak(x)[0], mean_peak(x[kept])[1]]))
    without = PartTemplateLoss(2, objective=objective, num_classes=3).double()
    without(x[kept], labels[kept])
    torch.testing.assert_close(loss.class_response[0], clean.class_response[0], equal_nan=True)
    torch.testing.assert_close(loss.class_response[1], without.class_response[1], equal_nan=True)
    assert loss.slope.isfinite().all()


def test_a_filter_that_hardly_fires_spoils_no_other() -> None:
    x = random_maps(6, 2, 4, 4).float()
    x[:, 1] *= 1e-39
    close(PartTemplateLoss(2)(x), PartTemplateLoss(1)(x[:, :1]) / 2, 1e-6)


def test_maps_of_another_number_of_filters_are_refused() -> None:
    for filters in (1, 4):
        with pytest.raises(InterpretableError, match=f"was made for 3 filters, got maps of {filters}: give it"):
            PartTemplateLoss(3)(random_maps(5, filters, 4, 4))


def test_each_training_call_moves_the_running_peak_of_the_filters_that_fire() -> None:
    loss = PartTemplateLoss(3)
    x = one_hot_maps([0, 1], 2, 2).float().repeat(1, 3, 1, 1) * torch.tensor([2.0, 4.0, 0.0])[:, None, None]
    loss(x)
    assert loss.running_peak.tolist() == [2.0, 4.0, 0.0]
    y = one_hot_maps([0, 1], 2, 2).float().repeat(1, 3, 1, 1) * torch.tensor([3.0, 0.0, 5.0])[:, None, None]
    loss(y)
    torch.testing.assert_close(loss.running_peak, torch.tensor([2.1, 4.0, 5.0]))


def test_evaluation_leaves_the_buffers_alone() -> None:
    loss = PartTemplateLoss(3, objective="class_aware", num_classes=2)
    labels = torch.tensor([0, 1, 0, 1])
    loss(random_maps(4, 3, 3, 3).float(), labels)
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    loss.eval()
    loss(5 * random_maps(4, 3, 3, 3).float(), labels)
    after = loss.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def as_sets(labels: Tensor) -> list[set[int]]:
    if labels.ndim == 1:
        return [{label} for label in labels.tolist()]
    return [{k for k, carried in enumerate(row) if carried} for row in labels.tolist()]


INTEGER_LABELS = [
    torch.tensor([0, 0, 2, 0, 2, 2, 0]),
    torch.tensor([1, 1, 0, 2, 1, 0, 0]),
    torch.tensor([2, 1] * 3 + [1]),
]
MULTI_HOT_LABELS = [torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1]])] * 3


@pytest.mark.parametrize(
    "labels",
    [None, INTEGER_LABELS, MULTI_HOT_LABELS, [rows.float() for rows in MULTI_HOT_LABELS]],
    ids=["label-free", "one class", "multi-hot", "multi-hot floats"],
)
def test_value_gradient_and_state_follow_the_literal_loss_over_steps(labels: list[Tensor] | None) -> None:
    options = {} if labels is None else {"objective": "class_aware", "num_classes": 3}
    loss = PartTemplateLoss(4, **options, temperature=0.5, beta=3.0).double()
    literal = oracle.PartTemplateLoss(4, num_classes=0 if labels is None else 3, temperature=0.5, beta=3.0)
    categories = set()
    for step in range(4):
        own = None if labels is None else labels[step % 3]
        x = random_maps(7, 4, 3, 4) * torch.rand(7, 1, 1, 1, dtype=torch.float64) * 5 ** torch.rand(4, 1, 1).double()
        if step == 0 and labels is None:
            x[:, 3] = 0.0  # a filter that wakes up in the second step
        training = step < 3
        if training:
            literal.observe(filters_first(x), None if own is None else as_sets(own))
        expected, gradient = literal.value_and_gradient(filters_first(x), None if own is None else as_sets(own))
        x.requires_grad_()
        value = loss.train(training)(x, own)
        assert value.ndim == 0
        assert value.item() == pytest.approx(expected, abs=1e-8)
        close(torch.autograd.grad(value, x)[0].transpose(0, 1), double(gradient))
        close(loss.running_peak, double([peak or 0.0 for peak in literal.running_peak]), 1e-12)
        if own is not None:
            categories |= {literal.category(c) for c in range(4)}
            responses = [[math.nan if r is None else r for r in row] for row in literal.class_response]
            torch.testing.assert_close(loss.class_response, double(responses), rtol=0, atol=1e-12, equal_nan=True)
    assert labels is None or len(categories) > 1


def test_the_loss_is_minus_the_mean_information_at_the_scale_of_peak_and_temperature() -> None:
    x = random_maps(6, 3, 4, 4)
    loss = PartTemplateLoss(3, temperature=0.3).double()
    close(loss(x), -mutual_information(x, scale=1 / (0.3 * mean_peak(x))).mean(), 1e-12)


def test_no_gradient_flows_through_the_running_peak() -> None:
    x = random_maps(6, 3, 4, 4)
    scale = 1 / (0.2 * mean_peak(x))
    flowing = gradient_of(lambda x: -mutual_information(x, scale=5 / x.amax((2, 3)).mean(0)).mean(), x)
    held = gradient_of(lambda x: -mutual_information(x, scale=scale).mean(), x)
    assert (flowing - held).abs().max() > 1e-3  # or the test could not fail
    loss = PartTemplateLoss(3).double()
    close(gradient_of(loss, x), held, 1e-12)
    assert not loss.running_peak.requires_grad


def test_the_loss_of_the_first_batch_does_not_depend_on_the_scale_of_the_activations() -> None:
    x = random_maps(6, 3, 4, 4)
    close(PartTemplateLoss(3).double()(1000 * x), PartTemplateLoss(3).double()(x), 1e-10)


@pytest.mark.parametrize("objective", ["mutual_information", "class_aware"])
def test_a_dead_filter_counts_zero_and_gets_no_gradient(objective: str) -> None:
    x = random_maps(6, 2, 3, 3)
    x[:, 1] = 0.0
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    one, two = (PartTemplateLoss(n, objective=objective, num_classes=3).double() for n in (1, 2))
    close(2 * two(x, labels), one(x[:, :1], labels), 1e-12)
    assert torch.equal(gradient_of(lambda x: two(x, labels), x)[:, 1], torch.zeros(6, 3, 3).double())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("objective", [objective for objective in OBJECTIVES if objective != "authors"])
def test_before_any_filter_fires_the_loss_is_zero(objective: str, training: bool) -> None:
    x, labels = (torch.zeros if training else random_maps)(4, 2, 3, 3).float(), torch.tensor([0, 1, 0, 1])
    loss = PartTemplateLoss(2, objective=objective, num_classes=3).train(training)
    assert loss(x, labels).item() == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(gradient_of(lambda x: loss(x, labels), x), torch.zeros_like(x))


@pytest.mark.parametrize("classes", [1, 3, 11])
def test_before_any_training_the_authors_push_every_filter_down(classes: int) -> None:
    x, labels = random_maps(4, 2, 7, 7).float(), torch.zeros(4, classes)
    loss = PartTemplateLoss(2, objective="authors", num_classes=classes).eval()
    expected = authors_loss(
        x,
        torch.zeros(4, 2, dtype=torch.bool),
        beta=torch.full((2,), 4.0),
        share=None if classes == 1 else torch.full((2,), 1 / classes),
    )
    close(loss(x, labels), expected.mean(), 1e-5)
    assert expected.isfinite().all()


def test_the_authors_weights_are_bounded_where_a_batch_shows_one_class_alone() -> None:
    x, loss = random_maps(4, 1, 7, 7), PartTemplateLoss(1, objective="authors", num_classes=3).double()
    loss(x, torch.zeros(4, dtype=torch.int64))
    assert loss.eval()(x, torch.ones(4, dtype=torch.int64)).abs() < 50.1 * x.sum((1, 2, 3)).max()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"running_peak"}),
        ({"objective": "class_aware", "num_classes": 3}, {"running_peak", "class_response"}),
        ({"objective": "paper", "num_classes": 3}, {"running_peak", "class_response"}),
        (
            {"objective": "authors", "num_classes": 3},
            {"running_peak", "class_response", "class_share", "slope"},
        ),
    ],
)
def test_the_state_survives_saving_and_loading(options: dict[str, Any], names: set[str]) -> None:
    x, labels = random_maps(6, 4, 3, 3).float(), torch.tensor([0, 1, 2, 0, 1, 2])
    trained = PartTemplateLoss(4, **options)
    trained(x, labels)
    state = trained.state_dict()
    assert names <= {name for name, tensor in state.items() if tensor.numel()}
    restored = PartTemplateLoss(4, **options)
    restored.load_state_dict(state)
    y = 2 * random_maps(6, 4, 3, 3).float()
    for mode in (False, True):  # the moving averages go on where they stopped
        assert torch.equal(restored.train(mode)(y, labels), trained.train(mode)(y, labels))
    assert torch.equal(restored.running_peak, trained.running_peak)


# The class-aware objective.


def class_aware(**options: Any) -> PartTemplateLoss:
    return PartTemplateLoss(**{"num_filters": 3, "num_classes": 3, "objective": "class_aware"} | options).double()


def test_renaming_the_classes_changes_nothing() -> None:
    x = random_maps(7, 3, 3, 4)
    for labels in (INTEGER_LABELS[1], MULTI_HOT_LABELS[0]):
        names = torch.tensor([2, 0, 1])
        renamed = names[labels] if labels.ndim == 1 else labels[:, names.argsort()]
        one, two = class_aware(), class_aware()
        close(two(x, renamed), one(x, labels), 1e-12)
        close(two.class_response[:, names], one.class_response, 1e-12)


def test_integer_labels_are_one_hot_labels() -> None:
    x, labels = random_maps(7, 3, 3, 4), INTEGER_LABELS[1]
    close(class_aware()(x, torch.nn.functional.one_hot(labels, 3)), class_aware()(x, labels), 1e-12)


def test_a_category_without_images_in_the_batch_counts_zero() -> None:
    x = random_maps(4, 1, 3, 3)
    loss = class_aware(num_filters=1)
    loss(x, torch.tensor([2, 2, 2, 2]))
    labels = torch.tensor([0, 1, 0, 1])
    loss.eval()
    assert loss(x, labels).item() == pytest.approx(0, abs=1e-12)
    close(gradient_of(lambda x: loss(x, labels), x), torch.zeros_like(x), 1e-12)


def test_a_batch_of_members_alone_is_told_apart_by_place_alone() -> None:
    # p(T⁻) = 0: as the temperature falls, h·w templates name h·w images, log hw nats
    x = one_hot_maps(list(range(6)), 2, 3)
    loss = class_aware(num_filters=1, temperature=0.001)
    assert loss(x, torch.ones(6, dtype=torch.int64)).item() == pytest.approx(-math.log(6), abs=1e-9)


def test_a_filter_that_fires_for_its_category_alone_scores_higher_than_one_that_fires_for_all() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    everywhere = one_hot_maps([0, 8, 0, 8], 3, 3)
    selective = everywhere.clone()
    selective[2:] = 0
    assert class_aware(num_filters=1)(selective, labels) < class_aware(num_filters=1)(everywhere, labels) - 0.1


def test_a_class_first_seen_without_activation_is_averaged_from_zero() -> None:
    loss = class_aware(num_filters=1, num_classes=2)
    x = one_hot_maps([0, 1], 2, 2)
    x[1] = 0
    labels = torch.tensor([0, 1])
    loss(x, labels)
    assert loss.class_response.tolist() == [[1.0, 0.0]]
    loss(torch.ones(2, 1, 2, 2).double(), labels)
    close(loss.class_response, torch.tensor([[1.3, 0.4]]).double(), 1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: PartTemplateLoss(2, objective="class_aware"),
        lambda x: PartTemplateLoss(2, objective="class_aware", num_classes=2)(x),
    ],
    ids=["no number of classes", "no labels"],
)
def test_a_wrong_use_of_the_loss_is_refused_in_a_sentence(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(InterpretableError, match=r"\w+ .* \w+"):
        call(torch.rand(3, 2, 4, 4))


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    # In a process of its own: within a test the signature's check of types comes first.
    code = "from interpretable.losses import PartTemplateLoss; PartTemplateLoss(2, 'mutual information')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip().splitlines()[-1] == (
        "interpretable.errors.ConfigurationError: The part-template objective must be one of mutual_information, "
        "class_aware, paper, authors, got 'mutual information'."
    )
