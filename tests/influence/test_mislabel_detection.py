import math

import pytest
import torch
from oracles import influence as oracle
from sklearn.metrics import roc_auc_score
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence import LastLayer, LastLayerInfluence, mislabel_detection


def flags(*wrong: int) -> Tensor:
    return torch.tensor(wrong, dtype=torch.bool)


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
def test_the_curve_equals_the_literal_count(levels: int | None) -> None:
    scores, wrong = torch.rand(200), torch.rand(200) < 0.2
    if levels is not None:
        scores = (scores * levels).round()
    expected = oracle.detection(scores.tolist(), wrong.tolist())
    torch.testing.assert_close(mislabel_detection(scores, wrong).found, torch.tensor(expected, dtype=torch.float64))


def test_a_case_by_hand() -> None:
    # looked at in the order 2, 0, 1, 3: of equal scores the first
    found, area = mislabel_detection(torch.tensor([1.0, 1.0, 5.0, -2.0]), flags(0, 1, 1, 0))
    assert found.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert area.item() == pytest.approx((0.25 + 0.5 + 0.75 + 1.0) / 4)


def test_the_area_is_known_for_the_best_the_worst_and_the_middle() -> None:
    scores = torch.arange(10.0)
    assert mislabel_detection(scores, scores >= 8).area.item() == pytest.approx(1 - 0.2 / 2)
    assert mislabel_detection(scores, scores < 2).area.item() == pytest.approx(0.2 / 2)
    assert mislabel_detection(scores, scores >= 0).area.item() == pytest.approx(0.5)


def test_the_area_is_that_of_the_roc_curve_mixed_with_the_share_of_wrong_labels() -> None:
    scores, wrong = torch.rand(300, dtype=torch.float64), torch.rand(300) < 0.1
    share = wrong.double().mean().item()
    expected = share / 2 + (1 - share) * roc_auc_score(wrong, scores)
    assert mislabel_detection(scores, wrong).area.item() == pytest.approx(expected, abs=1e-12)


def test_self_influence_finds_flipped_labels_of_separable_classes_first() -> None:
    labels = torch.arange(200) % 4
    wrong = torch.arange(200) % 10 == 0
    features = 3 * torch.eye(4)[labels] + 0.5 * torch.randn(200, 4)
    head = (torch.eye(4), torch.zeros(4))
    scores = LastLayerInfluence().fit(LastLayer(features, (labels + wrong.long()) % 4, *head)).self_influence()
    found, area = mislabel_detection(scores, wrong)
    assert found[39] >= 0.95  # the first fifth
    assert area > 0.93


def test_infinite_scores_are_an_order_like_any_other() -> None:
    found, _ = mislabel_detection(torch.tensor([0.0, math.inf, -math.inf]), flags(0, 1, 0))
    assert found.tolist() == [1.0, 1.0, 1.0]


def test_what_has_no_curve_is_refused_in_a_sentence() -> None:
    with pytest.raises(InfluenceError, match=r"shape \(2, 2\), labels of shape \(2,\) and 1 wrong"):
        mislabel_detection(torch.rand(2, 2), torch.tensor([True, False]))
    with pytest.raises(InfluenceError, match=r"shape \(3,\), labels of shape \(2,\) and 1 wrong"):
        mislabel_detection(torch.rand(3), flags(1, 0))
    with pytest.raises(InfluenceError, match=r"shape \(2,\), labels of shape \(2,\) and 0 wrong"):
        mislabel_detection(torch.rand(2), flags(0, 0))
    with pytest.raises(InfluenceError, match="Scores must be numbers, got NaN in row 1 of 3"):
        mislabel_detection(torch.tensor([1.0, math.nan, 2.0]), flags(1, 0, 0))
