import pytest
import torch

from interpretable.errors import ConfigurationError
from interpretable.filter_weight import MEASURE_EVERY, FilterWeight

PEAKS = torch.tensor([2.0, 5.0])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.6, 0.6]),
        ("inverse_epoch", [0.2, 0.2]),
        ("mean_peak", [1.2, 3.0]),
        ("paper", [0.4, 1.0]),
    ],
)
def test_a_schedule_is_its_formula_in_the_third_epoch(schedule, expected):
    weight = FilterWeight(0.6, schedule, warmup=0.0, layers=2)
    assert weight(step=7, epoch=2, mean_peaks=PEAKS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.6, 0.6]), ("inverse_epoch", [0.6, 0.6]), ("paper", [1.2, 3.0]), ("gradient_ratio", [1.8, 1.2])],
)
def test_evaluation_has_neither_rise_nor_decay(schedule, expected):
    weight = FilterWeight(0.6, schedule, warmup=0.5, layers=2)
    weight.lay_out(steps=8)
    weight.gradient_ratio.copy_(torch.tensor([3.0, 2.0]))
    for step, epoch in ((0, 0), (7, 3)):
        assert weight.eval()(step, epoch, PEAKS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "paper"])
def test_every_schedule_rises_from_zero_first(schedule):
    rising, risen = (FilterWeight(0.6, schedule, warmup, layers=2) for warmup in (0.5, 0.0))
    for weight in (rising, risen):
        weight.lay_out(steps=8)
    shares = [(rising(step, 1, PEAKS) / risen(step, 1, PEAKS)).tolist() for step in range(6)]
    assert shares == [pytest.approx([share] * 2) for share in (0.2, 0.4, 0.6, 0.8, 1.0, 1.0)]


def losses(x):
    """Losses with gradients of norms 6 and 2, 3 by the first two filters of one layer, of norm 8 and 4 by the other."""
    first, second = x
    task = 6 * first[0, 0, 0, 0] + 100 * first[0, 2, 0, 0] + 8 * second[0, 1, 0, 0]
    return task, [2 * first[0, 1, 0, 0], 4 * second[0, 0, 0, 0]]


def test_the_ratio_of_gradients_is_measured_by_part_filters_and_averaged():
    weight = FilterWeight(0.5, "gradient_ratio", warmup=0.0, layers=2)
    maps = [torch.ones(1, 3, 2, 2, requires_grad=True) for _ in range(2)]
    assert weight(0, 0, PEAKS).tolist() == [0, 0]
    task, filters = losses(maps)
    weight.observe(0, task, filters, maps, num_filters=2)
    assert weight(0, 0, PEAKS).tolist() == pytest.approx([0.5 * 3, 0.5 * 2])
    weight.observe(10, 3 * task, filters, maps, num_filters=2)
    assert weight(1, 0, PEAKS).tolist() == pytest.approx([0.5 * (0.9 * 3 + 0.1 * 9), 0.5 * (0.9 * 2 + 0.1 * 6)])
    assert all(layer.grad is None for layer in maps)


def test_a_loss_without_gradient_does_not_spoil_the_ratio():
    weight = FilterWeight(0.5, "gradient_ratio", warmup=0.0, layers=2)
    maps = [torch.ones(1, 3, 2, 2, requires_grad=True) for _ in range(2)]
    task, filters = losses(maps)
    weight.observe(0, task, [0 * filters[0], filters[1]], maps, num_filters=2)
    assert weight(0, 0, PEAKS).tolist() == pytest.approx([0, 1.0])


def test_gradients_are_measured_once_in_every_tenth_step_where_they_are_needed():
    weight = FilterWeight(0.5, "gradient_ratio", 0.0, layers=2)
    maps = [torch.ones(1, 3, 2, 2, requires_grad=True) for _ in range(2)]
    due = []
    for batch in range(50):  # two batches accumulate to a step
        if weight.measures(batch // 2):
            due.append(batch)
            weight.observe(batch // 2, *losses(maps), maps, num_filters=2)
    assert due == [0, 2 * MEASURE_EVERY, 4 * MEASURE_EVERY]
    assert not weight.eval().measures(30)
    assert not FilterWeight(0.5, "paper", 0.0, 1).measures(0)
    assert not FilterWeight(0.0, "gradient_ratio", 0.0, 1).measures(0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0.5, "cosine", 0.0, 1), "must be one of constant, inverse_epoch, mean_peak, paper, gradient_ratio, got"),
        ((-0.5, "constant", 0.0, 1), "filter_weight must be 0 or more, got -0.5"),
        ((0.5, "constant", 1.0, 1), r"must be a share of the run in \[0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        FilterWeight(*arguments)
