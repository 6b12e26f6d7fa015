import math

import numpy
import pytest
import torch
from oracles import unit_importance as oracle
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics import redundancy
from interpretable.metrics.redundancy import order_by_moments, redundancy_order

NAN = math.nan


def correlated(images: int = 40, filters: int = 7, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    hidden = torch.randn(images, 4, dtype=torch.float64)
    return 3 + hidden @ torch.randn(4, filters, dtype=torch.float64) + 0.3 * torch.randn(images, filters).double()


def equals_oracle(features: Tensor) -> None:
    order, explained = oracle.redundancy_order(features)
    result = redundancy_order(features)
    assert result.order.tolist() == order.tolist()
    numpy.testing.assert_allclose(result.explained, explained, rtol=0, atol=1e-8)


@pytest.mark.parametrize("compaction", [1, 3, 64])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_that_of_least_squares_at_every_step(
    seed: int, compaction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redundancy, "_COMPACTION", compaction)
    equals_oracle(correlated(seed=seed))


@pytest.mark.parametrize("compaction", [1, 64])
def test_copies_mixtures_and_constants_are_as_in_the_oracle(compaction: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redundancy, "_COMPACTION", compaction)
    features = correlated()
    features[:, 2] = 5.0
    features[:, 4] = -2 * features[:, 1] + 7
    features[:, 6] = features[:, 0] + features[:, 3]
    features[:, 5] = 0.0
    equals_oracle(features)
    assert redundancy_order(features).order[-2:].tolist() == [2, 5]


def test_a_case_by_hand() -> None:
    # Filter 1 is uncorrelated with the two equal ones 0 and 2: 0 explains two thirds, 1 the rest, 2 nothing.
    features = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    result = redundancy_order(features)
    assert result.order.tolist() == [0, 1, 2]
    torch.testing.assert_close(result.explained, torch.tensor([2 / 3, 1.0, 1.0], dtype=torch.float64))


def test_uncorrelated_filters_keep_their_order_and_explain_a_share_each() -> None:
    design = torch.linalg.qr(torch.cat([torch.ones(20, 1), torch.randn(20, 5)], 1).double()).Q[:, 1:]
    result = redundancy_order(design)
    assert result.order.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(result.explained, torch.arange(1, 6).double() / 5)


def test_shifts_and_scales_of_the_filters_do_not_matter() -> None:
    features = correlated()
    one = redundancy_order(features)
    two = redundancy_order(features * (10.0 ** torch.arange(-3, 4)) * torch.tensor([1, -1, 1, -1, 1, 1, 1]) + 2)
    assert torch.equal(one.order, two.order)
    torch.testing.assert_close(one.explained, two.explained)


def test_many_filters_of_few_images_are_ordered_once_each_and_explained_by_as_many_as_vary_freely() -> None:
    features = torch.rand(30, 150)
    result = redundancy_order(features)
    assert result.order.sort().values.tolist() == list(range(150))
    assert (result.explained.diff() >= 0).all()
    assert result.explained[28] == pytest.approx(1, abs=1e-7)
    assert result.explained[27] < 1 - 1e-3
    assert (result.order[29:].diff() > 0).all()  # nothing is left for them
    columns = oracle.standardised_columns(features)
    for taken in (1, 5, 20):
        share = oracle.explained_share(columns, result.order[:taken].tolist())
        assert result.explained[taken - 1].item() == pytest.approx(share, abs=1e-7)


def test_sums_over_batches_give_the_same_order() -> None:
    features = correlated()
    parts = features.split(9)
    total, products = sum(part.sum(0) for part in parts), sum(part.T @ part for part in parts)
    one, two = redundancy_order(features), order_by_moments(40, total, products)
    assert torch.equal(one.order, two.order)
    torch.testing.assert_close(one.explained, two.explained)


def test_constant_filters_alone_explain_nothing_that_is_a_number() -> None:
    values = torch.tensor([0.1, 1 / 3, 1e5 + 0.3], dtype=torch.float64)
    # the sums of such columns leave variances of either sign
    for features in (*(values.expand(images, 3) for images in (1, 5, 7, 100, 999)), torch.zeros(4, 3)):
        result = redundancy_order(features)
        assert result.order.tolist() == [0, 1, 2]
        assert result.explained.isnan().all()


def test_no_image_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(MetricError, match="at least one image, got none"):
        redundancy_order(torch.zeros(0, 3))
    with pytest.raises(MetricError, match="pooled features must be numbers, got NaN in row 1"):
        redundancy_order(torch.tensor([[1.0], [NAN]]))
