"""Rows on which rounding, ranks and types of numbers matter."""

import numpy as np
import pytest
import torch

from interpretable.errors import ExemplarError
from interpretable.exemplars.mmd_critic import MMDCritic
from interpretable.exemplars.nearest_prototype import NearestPrototypeClassifier
from interpretable.precision import full_precision


@pytest.mark.parametrize("width", [256, 3_072, 12_288, 150_528])
@pytest.mark.parametrize("times", [1, 16])
def test_rows_whose_columns_move_together_are_chosen_alike_in_float32_and_float64(width, times):
    levels = np.random.default_rng(width).normal(size=(60, 1)).astype(np.float32)
    rows = np.broadcast_to(levels, (60, width)).copy()
    gamma = times * MMDCritic(1, 0).fit(rows.astype(np.float64)).gamma_
    low, high = (MMDCritic(15, 5, gamma=gamma).fit(rows.astype(kind)) for kind in (np.float32, np.float64))
    assert low.prototype_indices_.tolist() == high.prototype_indices_.tolist()
    assert low.criticism_indices_.tolist() == high.criticism_indices_.tolist()
    np.testing.assert_allclose(low.mmd2_, high.mmd2_, rtol=0, atol=1e-5)


@pytest.mark.parametrize("regularizer_weight", [0.0, 1e-3])
@pytest.mark.parametrize("seed", range(5))
def test_more_criticisms_than_the_kernel_has_rank_are_found(regularizer_weight, seed):
    rows = np.random.default_rng(seed).normal(size=(100, 1))  # on a line a smooth kernel is soon spanned
    critic = MMDCritic(5, 40, regularizer_weight=regularizer_weight).fit(rows)
    assert len(set(critic.criticism_indices_.tolist())) == 40
    assert np.isfinite(critic.criticism_terms_).all()
    assert critic.criticism_terms_[:, 1].min() < np.log(1e-8)  # what is left of them is rounding
    if regularizer_weight == 0:
        left = np.delete(np.abs(critic.witness_), critic.prototype_indices_)
        np.testing.assert_allclose(critic.criticism_terms_[:, 0], np.sort(left)[::-1][:40], rtol=1e-9)


@pytest.mark.parametrize("labels", [["a", "b", "c"], [10, 20, 30], [1, 2, 3]], ids=str)
def test_the_critic_of_a_classifier_speaks_of_its_labels(labels):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    given = np.repeat(labels, 10)
    critic = NearestPrototypeClassifier(6).fit(rows, given).critic_
    np.testing.assert_allclose(critic.witness(rows, given), critic.witness_, rtol=0, atol=1e-12)


def test_labels_of_another_kind_are_refused_and_not_taken_for_unknown_ones():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    critic = MMDCritic(3, 0, local=True).fit(rows, np.repeat(["a", "b"], 15))
    with pytest.raises(
        ExemplarError, match=r"^The witness of a local kernel needs labels as those fitted, .*int64.*\.$"
    ):
        critic.witness(rows, np.repeat([0, 1], 15))


def test_weights_whose_sum_is_beyond_float64_are_weights():
    rows = np.random.default_rng(0).normal(size=(20, 2))
    huge, one = (MMDCritic(3, 2).fit(rows, sample_weight=np.full(20, size)) for size in (1e308, 1.0))
    np.testing.assert_allclose(huge.mmd2_, one.mmd2_, rtol=1e-12)


def test_integers_that_float32_cannot_tell_apart_stay_apart():
    rows = 2**30 + np.arange(20)[:, None]
    assert MMDCritic(20, 0, gamma=1.0).fit(rows).column_means_.max() < 0.1  # each is like its two neighbours at most


def test_groups_that_may_leave_no_criticism_are_refused_before_the_work():
    rows, groups = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 15
    assert len(MMDCritic(10, 15).fit(rows, groups=groups).criticism_indices_) == 15  # each photograph has another crop
    groups[15:] = 14
    with pytest.raises(
        ExemplarError, match="n_criticisms must be at most the number of groups that prototypes leave, 5 "
    ):
        MMDCritic(10, 6).fit(rows, groups=groups, track=lambda items, what: pytest.fail("work has begun"))


def test_full_precision_leaves_a_backend_that_followed_the_others_following():
    matmul, backends = torch.backends.cuda.matmul, torch.backends
    before = backends.fp32_precision
    try:
        backends.fp32_precision = "tf32"
        with full_precision():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
        backends.fp32_precision = "ieee"
        assert matmul.fp32_precision == "ieee"
    finally:
        backends.fp32_precision = before
