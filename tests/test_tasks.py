import pytest
import torch
from torch.nn import functional as F

from interpretable.tasks import (
    memberships,
    num_outputs,
    per_class_accuracy,
    probabilities,
    scores,
    task_loss,
    task_metrics,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.3, -2.0], [-1.0, -1.0, 4.0], [1.0, 2.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 0])


def update(task, num_classes, logits, labels):
    metrics = task_metrics(task, num_classes)
    for name, pair in scores(task, logits, labels).items():
        metrics[name].update(*pair)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_multiclass_loss_is_the_softmax_cross_entropy():
    expected = -torch.stack([LOGITS[i].log_softmax(0)[label] for i, label in enumerate(LABELS)]).mean()
    assert task_loss("multiclass", LOGITS, LABELS) == pytest.approx(expected.item())


def test_binary_loss_takes_label_one_as_the_category():
    logits = torch.tensor([[3.0], [-2.0]])
    expected = (F.softplus(torch.tensor(-3.0)) + F.softplus(torch.tensor(-2.0))) / 2
    assert task_loss("binary", logits, torch.tensor([1, 0])) == pytest.approx(expected.item())


def test_multilabel_treats_integer_labels_as_one_hot():
    assert task_loss("multilabel", LOGITS, LABELS) == task_loss("multilabel", LOGITS, F.one_hot(LABELS, 3).float())


@pytest.mark.parametrize(("task", "classes", "outputs"), [("multiclass", 5, 5), ("binary", 2, 1), ("multilabel", 5, 5)])
def test_a_network_has_one_output_per_decision(task, classes, outputs):
    assert num_outputs(task, classes) == outputs


def test_binary_membership_is_one_column_for_the_category():
    assert memberships("binary", torch.tensor([0, 1, 1]), 2).tolist() == [[0.0], [1.0], [1.0]]


def test_multiclass_accuracy_is_the_share_of_right_images():
    assert update("multiclass", 3, LOGITS, LABELS)["accuracy"] == pytest.approx(0.75)


def test_multilabel_accuracy_is_the_share_of_right_decisions():
    decisions = LOGITS > 0  # sigmoid above one half
    expected = (decisions == F.one_hot(LABELS, 3).bool()).float().mean().item()
    assert update("multilabel", 3, LOGITS, LABELS)["accuracy"] == pytest.approx(expected)


def test_binary_accuracy_counts_background_and_category_alike():
    logits = torch.tensor([[3.0], [-2.0], [1.0], [-1.0]])
    assert update("binary", 2, logits, torch.tensor([1, 0, 0, 0]))["accuracy"] == pytest.approx(0.75)


def test_a_certain_and_right_network_is_calibrated_and_a_certain_and_wrong_one_is_not():
    certain = 100.0 * F.one_hot(LABELS, 3).float()
    assert update("multiclass", 3, certain, LABELS)["calibration_error"] == pytest.approx(0, abs=1e-6)
    assert update("multiclass", 3, certain, (LABELS + 1) % 3)["calibration_error"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("task", "expected"), [("multiclass", [0.5, 1.0, 1.0]), ("multilabel", [1.0, 0.75, 0.5])])
def test_per_class_accuracy_by_hand(task, expected):
    logits = torch.tensor([[2.0, -1.0, 0.5], [-0.1, 0.3, -2.0], [-1.0, -1.0, 4.0], [1.0, 2.0, 0.5]])
    metric = per_class_accuracy(task, 3)
    metric.update(*scores(task, logits, LABELS)["accuracy"])
    assert metric.compute().tolist() == pytest.approx(expected)


def test_probabilities_sum_to_one_for_multiclass_alone():
    assert torch.allclose(probabilities("multiclass", LOGITS).sum(1), torch.ones(4))
    assert torch.equal(probabilities("multilabel", LOGITS), LOGITS.sigmoid())
