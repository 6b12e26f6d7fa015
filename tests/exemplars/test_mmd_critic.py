import math
import random
import re
import resource
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from fitted_attributes import FITTED
from oracles import mmd_critic as oracle
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import multiprocessing as mp

from interpretable.errors import ExemplarError
from interpretable.exemplars.mmd_critic import MMDCritic

PICKS = ("prototype_indices_", "criticism_indices_")


def cloud(rows: int = 30, columns: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def clusters(
    rows: int, columns: int, seed: int = 0, clusters: int = 7, spread: float = 0.2, offset: float = 0.0
) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(clusters, columns))
    chosen = generator.integers(0, clusters, rows)
    return offset + centres[chosen] + spread * generator.normal(size=(rows, columns))


def labels_of(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, 1]).integers(0, 3, rows)


def repeated(distinct: int = 40, copies: int = 4, columns: int = 5, seed: int = 0) -> np.ndarray:
    """Every row several times, in any order."""
    generator = np.random.default_rng(seed)
    return generator.permutation(np.repeat(generator.normal(size=(distinct, columns)), copies, axis=0))


def kernel_of(critic: MMDCritic, rows, labels=None) -> np.ndarray:
    """The whole kernel matrix at the γ that was used."""
    kernel = oracle.rbf(rows, rows, critic.gamma_)
    return oracle.block_masked(kernel, labels, labels) if critic.local else kernel


def close(found, expected, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def same_fit(one: MMDCritic, two: MMDCritic, tolerance: float = 0.0, names: Iterable[str] = FITTED) -> None:
    for name in names:
        np.testing.assert_allclose(
            getattr(one, name), getattr(two, name), rtol=0, atol=tolerance, err_msg=name, equal_nan=True
        )


def assert_defined(critic: MMDCritic, kernel: np.ndarray, sample_weight=None, groups=None, tolerance=1e-10) -> None:
    """Everything that was fitted is what the definitions say of this kernel matrix."""
    weights = oracle.shares(len(kernel), sample_weight)
    chosen = oracle.prototypes(kernel, weights, critic.n_prototypes, groups)
    assert critic.prototype_indices_.tolist() == chosen
    close(critic.column_means_, oracle.column_means(kernel, weights), tolerance)
    close(critic.kernel_mean_, oracle.kernel_mean(kernel, weights), tolerance)
    prefixes = [chosen[: count + 1] for count in range(len(chosen))]
    close(critic.mmd2_, [oracle.mmd2(kernel, weights, prefix) for prefix in prefixes], tolerance)
    of_prototypes = [1 / len(chosen)] * len(chosen)
    if critic.weights == "nnls":
        of_prototypes = oracle.non_negative_weights(kernel, weights, chosen)
    close(critic.prototype_weights_, of_prototypes, max(tolerance, 1e-8))
    close(critic.weighted_mmd2_, oracle.mmd2(kernel, weights, chosen, critic.prototype_weights_), tolerance)
    values = oracle.witness(kernel, weights, chosen, critic.prototype_weights_)
    close(critic.witness_, values, tolerance)
    weight = 0.0 if critic.regularizer is None else critic.regularizer_weight
    if weight == "auto":
        weight = oracle.automatic_weight(kernel, values, chosen, critic.n_criticisms, groups)
        assert critic.regularizer_weight_ == pytest.approx(weight, rel=1e-8)
    elif critic.regularizer is not None:
        assert critic.regularizer_weight_ == weight
    picked, terms = oracle.criticisms(kernel, values, chosen, critic.n_criticisms, weight, groups)
    assert critic.criticism_indices_.tolist() == picked
    close(critic.criticism_terms_, np.array(terms).reshape(-1, 2), tolerance)
    if sample_weight is None:
        close(critic.off_diagonal_ratio_, oracle.off_diagonal_ratio(kernel, weights), tolerance * len(kernel))


# The definitions


def test_two_points_by_hand() -> None:
    critic = MMDCritic(1, 1, gamma=0.5).fit(np.array([[0.0], [1.0]]))
    e = math.exp(-0.5)
    assert critic.prototype_indices_.tolist() == [0]
    assert critic.criticism_indices_.tolist() == [1]
    close(critic.column_means_, [(1 + e) / 2] * 2, 1e-15)
    close(critic.kernel_mean_, (1 + e) / 2, 1e-15)
    close(critic.mmd2_, [(1 - e) / 2], 1e-15)
    close(critic.witness_, [(e - 1) / 2, (1 - e) / 2], 1e-15)
    close(critic.criticism_terms_, [[(1 - e) / 2, 0.0]], 1e-15)
    close(critic.off_diagonal_ratio_, e, 1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_j_b_is_what_is_left_of_the_kernel_mean(seed: int) -> None:
    kernel, weights = oracle.rbf(cloud(seed=seed), cloud(seed=seed), 0.3), oracle.shares(30, np.arange(30))
    means, chosen = oracle.column_means(kernel, weights), [3, 8, 20]
    left = oracle.kernel_mean(kernel, weights) - oracle.mmd2(kernel, weights, chosen)
    assert oracle.objective(kernel, means, chosen) == pytest.approx(left, abs=1e-14)


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("seed", range(8))
def test_every_greedy_step_is_the_brute_force_argmax(seed: int, local: bool) -> None:
    rows, labels = cloud(seed=seed), labels_of(30, seed)
    critic = MMDCritic(4, 0, local=local).fit(rows, labels)
    kernel = kernel_of(critic, rows, labels)
    means = oracle.column_means(kernel, oracle.shares(30))
    chosen = critic.prototype_indices_.tolist()
    assert len(set(chosen)) == 4
    for step in range(4):
        of_all = oracle.next_objectives(kernel, means, chosen[:step])
        assert len(of_all) == 30 - step
        assert of_all[chosen[step]] >= max(of_all.values()) - 1e-12
        assert chosen[step] == oracle.first_of_the_largest(of_all)


CASES = {
    "global": {},
    "local": {"local": True},
    "one column mean per 1/d": {"gamma": "1/d"},
    "narrow": {"gamma": 20.0},
    "wide": {"gamma": 1e-3},
    "non-negative weights": {"weights": "nnls"},
    "local non-negative weights": {"weights": "nnls", "local": True},
    "without a regulariser": {"regularizer": None},
    "half the regulariser": {"regularizer_weight": 0.5},
    "no weight of the regulariser": {"regularizer_weight": 0.0},
    "automatic weight": {"regularizer_weight": "auto"},
    "local automatic weight": {"regularizer_weight": "auto", "local": True},
}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_the_incremental_is_the_naive_to_1e_10(seed: int, case: str, weighted: bool) -> None:
    rows, labels = cloud(seed=seed), labels_of(30, seed)
    sample_weight = np.random.default_rng(seed).random(30) if weighted else None
    critic = MMDCritic(5, 6, **CASES[case]).fit(rows, labels, sample_weight=sample_weight)
    # cancellation among wide kernels' nearly singular determinants costs the logarithms some digits
    assert_defined(critic, kernel_of(critic, rows, labels), sample_weight, tolerance=1e-7 if case == "wide" else 1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_many_steps_drift_no_more_than_few(seed: int) -> None:
    rows, labels = clusters(150, 4, seed), labels_of(150, seed)
    critic = MMDCritic(60, 40, gamma=1.0, local=bool(seed)).fit(rows, labels)
    assert_defined(critic, kernel_of(critic, rows, labels))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", [1300, 3001])
def test_the_tiled_is_the_dense(rows: int, dtype: type) -> None:
    data = clusters(rows, 8, offset=3.0).astype(dtype)
    critic = MMDCritic(6, 4, gamma=0.05).fit(data)
    kernel = oracle.rbf(data, data, 0.05)
    weights = oracle.shares(rows)
    means = kernel.mean(0)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    close(critic.column_means_, means, tolerance)
    close(critic.kernel_mean_, means.mean(), tolerance)
    chosen = critic.prototype_indices_
    values = means - kernel[:, chosen].mean(1)
    close(critic.witness_, values, tolerance)
    close(critic.mmd2_[-1], oracle.mmd2(kernel, weights, chosen), tolerance)
    ratio = (kernel.sum(0) - 1).mean()
    assert critic.off_diagonal_ratio_ == pytest.approx(ratio, rel=1e-12 if dtype == np.float64 else 1e-6)
    if rows == 1300:
        assert chosen.tolist() == oracle.prototypes(kernel, weights, 6)
        picked, terms = oracle.criticisms(kernel, values, chosen, 4)
        assert critic.criticism_indices_.tolist() == picked
        close(critic.criticism_terms_, terms, max(tolerance, 1e-10))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
def test_the_tiled_local_kernel_is_the_dense_block_masked_one(dtype: type, weighted: bool) -> None:
    data, labels = (
        clusters(1300, 8).astype(dtype),
        np.random.default_rng(0).choice([7, -2, 30, 4], 1300, p=[0.7, 0.2, 0.09, 0.01]),
    )
    sample_weight = np.random.default_rng(1).random(1300) if weighted else np.ones(1300)
    critic = MMDCritic(9, 3, gamma=0.05, local=True).fit(
        data, labels, sample_weight=sample_weight if weighted else None
    )
    kernel = oracle.rbf(data, data, 0.05) * (labels[:, None] == labels)
    weights = oracle.shares(1300, sample_weight)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    close(critic.column_means_, weights @ kernel, tolerance)
    close(critic.kernel_mean_, weights @ kernel @ weights, tolerance)
    chosen = critic.prototype_indices_.tolist()
    assert chosen == oracle.prototypes(kernel, weights, 9)
    close(critic.mmd2_[-1], oracle.mmd2(kernel, weights, chosen), tolerance)
    assert (
        critic.criticism_indices_.tolist()
        == oracle.criticisms(kernel, weights @ kernel - kernel[:, chosen].mean(1), chosen, 3)[0]
    )


@pytest.mark.parametrize("regularizer", ["logdet", None])
@pytest.mark.parametrize("gamma", [0.05, 0.5, 5.0])
def test_cholesky_residuals_are_the_differences_of_log_determinants(gamma: float, regularizer: str | None) -> None:
    rows = clusters(200, 3)
    critic = MMDCritic(5, 20, gamma=gamma, regularizer=regularizer).fit(rows)
    kernel = oracle.rbf(rows, rows, gamma)
    picked = critic.criticism_indices_.tolist()
    until = [oracle.log_determinant(kernel, picked[:count]) for count in range(1, 21)]
    logarithms = np.diff(until, prepend=0.0)
    close(np.exp(critic.criticism_terms_[:, 1]), np.exp(logarithms), 1e-11)
    if regularizer:  # without one, criticisms are near one another and determinants near 0
        close(critic.criticism_terms_[:, 1], logarithms, 1e-9)
    close(critic.criticism_terms_[:, 0], abs(critic.witness_[picked]), 1e-12)


def test_without_a_regulariser_the_largest_witnesses_are_the_criticisms() -> None:
    rows = clusters(150, 4)
    critic = MMDCritic(6, 12, regularizer=None).fit(rows)
    left = np.setdiff1d(np.arange(150), critic.prototype_indices_)
    expected = left[np.argsort(-abs(critic.witness_[left]), kind="stable")][:12]
    assert critic.criticism_indices_.tolist() == expected.tolist()


def test_the_automatic_weight_evens_out_the_spread_of_both_terms() -> None:
    rows = clusters(120, 4)
    critic = MMDCritic(6, 8, gamma=0.3, regularizer_weight="auto").fit(rows)
    with_one = MMDCritic(6, 8, gamma=0.3).fit(rows)
    assert with_one.regularizer_weight_ == 1.0
    kernel = kernel_of(critic, rows)
    gone = {*with_one.prototype_indices_.tolist(), *with_one.criticism_indices_.tolist()}
    left = [j for j in range(120) if j not in gone]
    logarithms = oracle.log_gains(kernel, with_one.criticism_indices_.tolist(), left)
    expected = statistics.pstdev(abs(critic.witness_[left]).tolist()) / statistics.pstdev(logarithms.values())
    assert critic.regularizer_weight_ == pytest.approx(expected, rel=1e-9)
    fixed = MMDCritic(6, 8, gamma=0.3, regularizer_weight=critic.regularizer_weight_).fit(rows)
    same_fit(critic, fixed)


def test_criticisms_are_never_prototypes_and_never_twice() -> None:
    critic = MMDCritic(14, 16).fit(cloud())
    assert sorted([*critic.prototype_indices_, *critic.criticism_indices_]) == list(range(30))


def test_the_automatic_weight_is_finite_where_nothing_spreads() -> None:
    for critic, rows in (
        (MMDCritic(20, 10, regularizer_weight="auto"), cloud()),  # no row is left
        (MMDCritic(19, 10, regularizer_weight="auto"), cloud()),  # one row is left
        (MMDCritic(3, 5, regularizer_weight="auto", gamma=1e30), cloud()),  # no row is like another
        (MMDCritic(3, 5, regularizer_weight="auto", gamma=1.0), np.ones((30, 2))),
    ):
        critic.fit(rows)
        assert math.isfinite(critic.regularizer_weight_)
        assert critic.regularizer_weight_ >= 0
        chosen = {*critic.prototype_indices_, *critic.criticism_indices_}
        assert len(chosen) == critic.n_prototypes + critic.n_criticisms


def test_without_criticisms_the_arrays_are_empty() -> None:
    for weight in (1.0, "auto"):
        critic = MMDCritic(3, 0, regularizer_weight=weight).fit(cloud())
        assert critic.criticism_indices_.shape == (0,)
        assert critic.criticism_indices_.dtype == np.int64
        assert critic.criticism_terms_.shape == (0, 2)
        assert math.isfinite(critic.regularizer_weight_)


# Invariants


def test_the_prototypes_of_few_are_the_first_of_many() -> None:
    rows, labels = clusters(200, 4), labels_of(200)
    for local in (False, True):
        many = MMDCritic(25, 5, local=local).fit(rows, labels)
        for count in (1, 2, 9, 24):
            few = MMDCritic(count, 5, local=local).fit(rows, labels)
            assert few.prototype_indices_.tolist() == many.prototype_indices_[:count].tolist()
            close(few.mmd2_, many.mmd2_[:count], 1e-15)


@pytest.mark.parametrize("regularizer_weight", [1.0, "auto"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
def test_permuted_rows_give_the_permuted_result(local: bool, dtype: type, regularizer_weight) -> None:
    rows, labels = clusters(300, 6).astype(dtype), labels_of(300)
    sample_weight = np.random.default_rng(1).random(300)
    order = np.random.default_rng(2).permutation(300)
    critic = MMDCritic(20, 15, local=local, regularizer_weight=regularizer_weight)
    there = clone(critic).fit(rows, labels, sample_weight=sample_weight)
    back = clone(critic).fit(rows[order], labels[order], sample_weight=sample_weight[order])
    for name in PICKS:
        assert order[getattr(back, name)].tolist() == getattr(there, name).tolist()
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    for name in ("column_means_", "witness_"):
        close(getattr(back, name), getattr(there, name)[order], tolerance)
    same_fit(back, there, tolerance, ["mmd2_", "kernel_mean_"])


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
def test_translated_rows_give_the_same_result(local: bool) -> None:
    rows, labels = clusters(200, 5), labels_of(200)
    critic = MMDCritic(20, 10, local=local)
    here, there = clone(critic).fit(rows, labels), clone(critic).fit(rows + 1000.0, labels)
    same_fit(there, here, 0, PICKS)
    same_fit(there, here, 1e-9)


def test_exactly_translated_float32_rows_give_the_same_result() -> None:
    rows = (np.round(clusters(300, 5) * 256) / 256).astype(np.float32)
    here, there = MMDCritic(30, 10).fit(rows), MMDCritic(30, 10).fit(rows + np.float32(4096))
    same_fit(there, here, 0, PICKS)
    same_fit(there, here, 1e-6, ["column_means_", "mmd2_", "witness_"])


def test_the_median_rule_makes_the_scale_irrelevant() -> None:
    rows = clusters(200, 5)
    here, there = MMDCritic(20, 10).fit(rows), MMDCritic(20, 10).fit(rows / 64)
    assert there.gamma_ == pytest.approx(here.gamma_ * 64**2, rel=1e-12)
    same_fit(there, here, 1e-12, [name for name in FITTED if name != "gamma_"])


def test_mirrored_columns_and_columns_in_another_order_change_nothing() -> None:
    rows = clusters(200, 5)
    here, there = MMDCritic(20, 10).fit(rows), MMDCritic(20, 10).fit(-rows[:, ::-1])
    same_fit(there, here, 1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nothing_is_left_between_the_data_and_all_of_them(dtype: type) -> None:
    critic = MMDCritic(30, 0).fit(cloud().astype(dtype))
    assert sorted(critic.prototype_indices_) == list(range(30))
    close(critic.mmd2_[-1], 0.0, 1e-14 if dtype == np.float64 else 1e-7)
    close(critic.witness_, 0.0, 1e-14 if dtype == np.float64 else 1e-7)
    assert critic.mmd2_[0] > 0.1


def test_mmd2_is_never_negative_and_prototypes_are_nearer_than_random_rows() -> None:
    rows = clusters(200, 4)
    critic = MMDCritic(40, 0).fit(rows)
    assert (critic.mmd2_ > -1e-14).all()
    generator = np.random.default_rng(0)
    for _ in range(20):
        others = critic.mmd2_of(generator.choice(200, 40, replace=False))
        assert others[0] >= critic.mmd2_[0]
        assert others[-1] > critic.mmd2_[-1]


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mmd2_of_any_rows_is_the_quadratic_form(dtype: type, local: bool) -> None:
    rows, labels, sample_weight = clusters(90, 4).astype(dtype), labels_of(90), np.random.default_rng(0).random(90)
    critic = MMDCritic(10, 3, local=local).fit(rows, labels, sample_weight=sample_weight)
    kernel = kernel_of(critic, rows, labels)
    some = np.random.default_rng(1).choice(90, 25, replace=False)
    expected = [oracle.mmd2(kernel, oracle.shares(90, sample_weight), some[:count]) for count in range(1, 26)]
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    found = critic.mmd2_of(some)
    assert found.dtype == np.float64
    close(found, expected, tolerance)
    close(critic.mmd2_of(critic.prototype_indices_), critic.mmd2_, tolerance)
    close(critic.mmd2_of(some.tolist()), found, 0)


# Ties


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("seed", range(3))
def test_of_equal_rows_the_lowest_index_is_taken(seed: int, local: bool, dtype: type) -> None:
    rows = repeated(seed=seed).astype(dtype)
    labels = (rows[:, 0] > 0).astype(int)
    critic = MMDCritic(30, 20, local=local).fit(rows, labels)
    for picks in (critic.prototype_indices_, critic.criticism_indices_):
        for position, row in enumerate(picks):
            before = set(picks[:position]) | (
                set(critic.prototype_indices_) if picks is critic.criticism_indices_ else set()
            )
            equals = [j for j in range(len(rows)) if (rows[j] == rows[row]).all() and j not in before]
            assert row == equals[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equal_rows_far_apart_are_equal_in_every_tile(dtype: type) -> None:
    generator = np.random.default_rng(0)
    rows = generator.permutation(np.repeat(clusters(130, 33, offset=100.0), 10, axis=0)).astype(dtype)
    critic = MMDCritic(20, 20, gamma=0.02).fit(rows)
    kernel = oracle.rbf(rows, rows, 0.02)
    assert critic.prototype_indices_.tolist() == oracle.prototypes(kernel, oracle.shares(1300), 20)
    chosen = critic.prototype_indices_.tolist()
    values = kernel.mean(0) - kernel[:, chosen].mean(1)
    assert critic.criticism_indices_[:3].tolist() == oracle.criticisms(kernel, values, chosen, 3)[0]
    of_values = {tuple(rows[j]) for j in critic.criticism_indices_}
    assert len(of_values) == 20  # a copy of a criticism adds nothing to the determinant


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_permuted_equal_rows_are_taken_by_their_new_indices(dtype: type) -> None:
    rows = repeated().astype(dtype)
    order = np.random.default_rng(5).permutation(len(rows))
    there, back = MMDCritic(30, 20).fit(rows), MMDCritic(30, 20).fit(rows[order])
    for name in PICKS:
        np.testing.assert_array_equal(rows[order][getattr(back, name)], rows[getattr(there, name)])
        chosen = getattr(back, name).tolist()
        for position, row in enumerate(chosen):
            before = set(chosen[:position]) | (set(back.prototype_indices_) if name == PICKS[1] else set())
            assert not any((rows[order][j] == rows[order][row]).all() for j in range(row) if j not in before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("step", [1.0, 0.1])
def test_symmetric_rows_tie_and_the_lowest_index_is_taken(step: float, dtype: type) -> None:
    sides = (step * np.arange(9)).astype(dtype)
    rows = np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2)
    critic = MMDCritic(15, 0, gamma=0.3 / step**2).fit(rows)
    kernel = kernel_of(critic, rows)
    assert critic.prototype_indices_.tolist() == oracle.prototypes(kernel, oracle.shares(81), 15)
    assert critic.prototype_indices_[0] == 40  # the centre


@pytest.mark.parametrize("gamma", [1e30, 1e-300], ids=["nothing is similar", "all is similar"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_where_all_rows_tie_they_are_taken_in_order(dtype: type, gamma: float) -> None:
    critic = MMDCritic(5, 4, gamma=gamma).fit(cloud().astype(dtype))
    assert critic.prototype_indices_.tolist() == [0, 1, 2, 3, 4]
    assert critic.criticism_indices_[0] == 5
    close(critic.mmd2_, [1 / t - 1 / 30 if gamma > 1 else 0.0 for t in range(1, 6)], 1e-7)
    assert len({*critic.prototype_indices_, *critic.criticism_indices_}) == 9


@pytest.mark.parametrize("regularizer_weight", [1.0, "auto"])
def test_equal_rows_alone_are_taken_in_order(regularizer_weight) -> None:
    critic = MMDCritic(3, 4, gamma=1.0, regularizer_weight=regularizer_weight).fit(np.ones((8, 2)))
    assert critic.prototype_indices_.tolist() == [0, 1, 2]
    assert critic.criticism_indices_.tolist() == [3, 4, 5, 6]
    close(critic.mmd2_, 0.0, 1e-15)
    assert math.isfinite(critic.regularizer_weight_)


@pytest.mark.parametrize("regularizer_weight", [0.0, 1.0, "auto"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_copy_of_a_criticism_comes_after_every_other_row(dtype: type, regularizer_weight) -> None:
    rows = np.tile(cloud(5), (3, 1)).astype(dtype)
    critic = MMDCritic(1, 9, gamma=0.5, regularizer_weight=regularizer_weight).fit(rows)
    assert len(set(critic.criticism_indices_)) == 9
    assert math.isfinite(critic.regularizer_weight_)
    if regularizer_weight == 1.0:
        assert set(critic.criticism_indices_[:5] % 5) == set(range(5))


def same_data() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    sides = 0.1 * np.arange(18)
    return {
        "in the plane": clusters(600, 2),
        "16 columns at 100": clusters(600, 16, offset=100.0),
        "64 columns at -100 with tight clusters": clusters(1100, 64, spread=0.02, offset=-100.0),
        "256 columns": clusters(400, 256, spread=0.5),
        "256 columns at 100": clusters(400, 256, offset=100.0),
        "of very different scales": clusters(400, 10) * 10.0 ** np.arange(-3, 7),
        "grey levels": generator.integers(0, 256, (400, 49)),
        "copied grey levels": generator.permutation(np.repeat(generator.integers(0, 256, (100, 49)), 4, axis=0)),
        "binary": generator.integers(0, 2, (600, 8)),
        "a grid": np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2),
        "corners of a simplex": np.eye(50)[generator.integers(0, 50, 300)],
    }


@pytest.mark.parametrize("gamma", ["median", "1/d"])
@pytest.mark.parametrize("name", same_data())
def test_float32_and_float64_of_the_same_numbers_give_the_same_picks(name: str, gamma: str) -> None:
    single = same_data()[name].astype(np.float32)
    labels = labels_of(len(single))
    for local in (False, True) if gamma == "median" else (False,):
        critic = MMDCritic(60, 25, gamma=gamma, local=local)
        low, high = clone(critic).fit(single, labels), clone(critic).fit(single.astype(np.float64), labels)
        same_fit(low, high, 0, PICKS)
        same_fit(low, high, 1e-6, ["column_means_", "kernel_mean_", "mmd2_", "witness_"])
        assert low.gamma_ == pytest.approx(high.gamma_, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_is_within_1e_6_of_the_definition(offset: float) -> None:
    rows = clusters(700, 64, offset=offset).astype(np.float32)
    critic = MMDCritic(10, 5).fit(rows)
    assert_defined(critic, oracle.rbf(rows, rows, critic.gamma_), tolerance=1e-6)


@pytest.mark.parametrize("count", [50, 60, 77])
@pytest.mark.parametrize("gamma", [1e-5, 1e-3, 1e-1])
def test_copies_of_large_float32_rows_are_as_similar_as_can_be(gamma: float, count: int) -> None:
    rows = same_data()["copied grey levels"].astype(np.float32)
    critic = MMDCritic(count, 5, gamma=gamma).fit(rows)
    kernel = oracle.rbf(rows, rows, gamma)
    expected = oracle.witness(kernel, oracle.shares(400), critic.prototype_indices_)
    close(critic.witness_, expected, 1e-6)
    close(critic.witness(rows), expected, 1e-6)
    close(critic.column_means_, oracle.column_means(kernel, oracle.shares(400)), 1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there to compare with")
@pytest.mark.parametrize("name", same_data())
def test_a_gpu_gives_the_same_picks(name: str) -> None:
    rows, labels = same_data()[name], labels_of(len(same_data()[name]))
    for dtype in (np.float32, np.float64):
        for local in (False, True):
            one = MMDCritic(60, 30, local=local, device="cpu").fit(rows.astype(dtype), labels)
            two = MMDCritic(60, 30, local=local, device="cuda").fit(rows.astype(dtype), labels)
            same_fit(two, one, 0, PICKS)
            same_fit(two, one, 1e-6 if dtype == np.float32 else 1e-10, ["column_means_", "mmd2_", "witness_"])


# Groups and weights


@pytest.mark.parametrize("case", CASES)
def test_of_a_group_one_row_is_a_prototype_and_one_a_criticism_at_most(case: str) -> None:
    rows, labels = cloud(60), labels_of(60)
    groups = np.random.default_rng(3).integers(0, 12, 60)
    critic = MMDCritic(9, 8, **CASES[case]).fit(rows, labels, groups=groups)
    assert len(set(groups[critic.prototype_indices_])) == 9
    assert len(set(groups[critic.criticism_indices_])) == 8
    assert set(groups[critic.prototype_indices_]) & set(groups[critic.criticism_indices_])  # one of each is allowed
    tolerance = 1e-7 if case == "wide" else 1e-10
    assert_defined(critic, kernel_of(critic, rows, labels), groups=groups, tolerance=tolerance)


def test_names_of_groups_are_as_good_as_numbers_and_groups_of_one_change_nothing() -> None:
    rows, groups = cloud(60), np.random.default_rng(3).integers(0, 12, 60)
    names = [f"photograph {group}" for group in groups]
    same_fit(MMDCritic(9, 8).fit(rows, groups=names), MMDCritic(9, 8).fit(rows, groups=groups))
    same_fit(MMDCritic(9, 8).fit(rows, groups=range(60)), MMDCritic(9, 8).fit(rows))


def test_every_group_can_have_its_prototype() -> None:
    rows, groups = cloud(40), np.arange(40) % 10
    critic = MMDCritic(10, 10).fit(rows, groups=groups)
    assert sorted(groups[critic.prototype_indices_]) == sorted(groups[critic.criticism_indices_]) == list(range(10))


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weights", ["uniform", "nnls"])
def test_whole_weights_are_repeated_rows(weights: str, dtype: type, local: bool) -> None:
    rows, labels = clusters(80, 4).astype(dtype), labels_of(80)
    times = np.random.default_rng(0).integers(1, 5, 80)
    origin = np.random.default_rng(1).permutation(np.repeat(np.arange(80), times))
    critic = MMDCritic(12, 0, gamma=0.4, local=local, weights=weights)
    weighted = clone(critic).fit(rows, labels, sample_weight=times)
    copied = clone(critic).fit(rows[origin], labels[origin], groups=origin)
    assert origin[copied.prototype_indices_].tolist() == weighted.prototype_indices_.tolist()
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    for name in ("column_means_", "witness_"):
        close(getattr(copied, name), getattr(weighted, name)[origin], tolerance if weights == "uniform" else 1e-6)
    same_fit(copied, weighted, tolerance, ["kernel_mean_", "mmd2_"])
    same_fit(copied, weighted, 1e-6, ["prototype_weights_", "weighted_mmd2_"])


def test_only_the_shares_of_the_weights_count() -> None:
    rows, sample_weight = cloud(60), np.random.default_rng(0).random(60)
    same_fit(
        MMDCritic(6, 5).fit(rows, sample_weight=sample_weight),
        MMDCritic(6, 5).fit(rows, sample_weight=1e6 * sample_weight),
        1e-14,
    )
    same_fit(MMDCritic(6, 5).fit(rows, sample_weight=[3] * 60), MMDCritic(6, 5).fit(rows), 1e-14)


def test_rows_without_weight_are_still_candidates() -> None:
    ring = np.array([[math.cos(angle), math.sin(angle)] for angle in 2 * math.pi * np.arange(12) / 12])
    rows = np.concatenate([ring, [[0.0, 0.0], [50.0, 0.0]]])
    sample_weight = np.array([1.0] * 12 + [0.0, 0.0])
    critic = MMDCritic(1, 1, gamma=0.5).fit(rows, sample_weight=sample_weight)
    assert critic.prototype_indices_.tolist() == [12]
    critic = MMDCritic(3, 3, gamma=0.5, regularizer_weight=10.0).fit(rows, sample_weight=sample_weight)
    assert 13 in critic.criticism_indices_
    assert_defined(critic, kernel_of(critic, rows), sample_weight)
    assert critic.witness_[13] == pytest.approx(0.0, abs=1e-15)


def test_rows_without_weight_change_nothing_but_the_candidates() -> None:
    rows = cloud(60)
    sample_weight = (np.arange(60) % 2).astype(float)
    kernel = oracle.rbf(rows, rows, 0.3)
    critic = MMDCritic(5, 3, gamma=0.3).fit(rows, sample_weight=sample_weight)
    close(critic.column_means_, kernel[1::2].mean(0), 1e-14)
    close(critic.kernel_mean_, kernel[1::2, 1::2].mean(), 1e-14)


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
def test_column_means_from_all_rows_are_the_exact_ones(weighted: bool, local: bool) -> None:
    rows, labels = clusters(150, 4), labels_of(150)
    sample_weight = np.random.default_rng(0).random(150) if weighted else None
    exact = MMDCritic(12, 6, local=local).fit(rows, labels, sample_weight=sample_weight)
    sampled = MMDCritic(12, 6, local=local, colmean_samples=150).fit(rows, labels, sample_weight=sample_weight)
    same_fit(sampled, exact, 1e-12)


def test_column_means_from_some_rows_are_near_and_reproducible() -> None:
    rows = clusters(800, 4)
    exact = MMDCritic(12, 6, gamma=0.3).fit(rows)
    kernel = oracle.rbf(rows, rows, 0.3)
    found = [MMDCritic(12, 6, gamma=0.3, colmean_samples=200, random_state=seed).fit(rows) for seed in (0, 0, 1)]
    same_fit(found[0], found[1])
    assert not np.array_equal(found[0].column_means_, found[2].column_means_)
    for critic in (found[0], found[2]):
        off = abs(critic.column_means_ - exact.column_means_)
        assert 0 < off.max() < 0.15  # a standard error of about 0.4 · √(1/200 · 3/4) = 0.024
        # what it picks is nearly as good, and what it says of it nearly right
        true = oracle.mmd2(kernel, oracle.shares(800), critic.prototype_indices_)
        assert true < exact.mmd2_[-1] + 0.01
        assert critic.mmd2_[-1] == pytest.approx(true, abs=0.02)
        assert critic.off_diagonal_ratio_ == pytest.approx(exact.off_diagonal_ratio_, rel=0.2)
        assert critic.kernel_mean_ == pytest.approx(exact.kernel_mean_, rel=0.2)


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
def test_sampled_column_means_are_right_on_average(local: bool) -> None:
    rows, labels, sample_weight = clusters(60, 3), labels_of(60), np.random.default_rng(0).random(60)
    exact = MMDCritic(2, 0, gamma=0.3, local=local).fit(rows, labels, sample_weight=sample_weight)
    means = [
        MMDCritic(2, 0, gamma=0.3, local=local, colmean_samples=20, random_state=seed)
        .fit(rows, labels, sample_weight=sample_weight)
        .column_means_
        for seed in range(100)
    ]
    close(np.mean(means, axis=0), exact.column_means_, 0.04)  # about 0.4 · √(1/20) / √100 = 0.009 of standard error


# Non-negative weights


@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("gamma", [0.1, 0.3, 3.0])
def test_non_negative_weights_are_the_best_there_are(gamma: float, local: bool) -> None:
    rows, labels = clusters(120, 3), labels_of(120)
    sample_weight = np.random.default_rng(0).random(120) ** 6
    critic = MMDCritic(10, 4, gamma=gamma, local=local, weights="nnls").fit(rows, labels, sample_weight=sample_weight)
    kernel, weights = kernel_of(critic, rows, labels), oracle.shares(120, sample_weight)
    chosen, found = critic.prototype_indices_.tolist(), critic.prototype_weights_
    assert (found >= 0).all()
    assert critic.weighted_mmd2_ <= critic.mmd2_[-1]
    best = oracle.mmd2(kernel, weights, chosen, oracle.non_negative_weights(kernel, weights, chosen))
    assert critic.weighted_mmd2_ == pytest.approx(best, abs=1e-12)
    gradient = kernel[np.ix_(chosen, chosen)] @ found - weights @ kernel[:, chosen]  # the conditions of the optimum
    assert (gradient > -1e-10).all()
    close(gradient * found, 0.0, 1e-10)
    uniform = MMDCritic(10, 4, gamma=gamma, local=local).fit(rows, labels, sample_weight=sample_weight)
    same_fit(critic, uniform, 0, ["prototype_indices_", "mmd2_", "column_means_"])
    close(uniform.prototype_weights_, 0.1, 1e-16)
    assert uniform.weighted_mmd2_ == pytest.approx(uniform.mmd2_[-1], abs=1e-14)


def test_a_weight_that_would_be_negative_is_zero() -> None:
    # 1 lies between heaps at 0 and 2.2 and is of use only until both of them have a prototype
    rows = np.array([[0.0]] * 10 + [[2.2]] * 10 + [[1.1]])
    kernel = oracle.rbf(rows, rows, 0.3)
    critic = MMDCritic(3, 0, gamma=0.3, weights="nnls").fit(
        rows, groups=[0] * 10 + [1] * 10 + [2], sample_weight=[1] * 20 + [0]
    )
    chosen = critic.prototype_indices_.tolist()
    unconstrained = np.linalg.solve(
        kernel[np.ix_(chosen, chosen)], oracle.shares(21, [1] * 20 + [0]) @ kernel[:, chosen]
    )
    assert sorted(chosen) == [0, 10, 20]
    close(unconstrained[chosen.index(20)], 0.0, 1e-10)
    close(critic.prototype_weights_[chosen.index(20)], 0.0, 1e-10)
    close(critic.weighted_mmd2_, 0.0, 1e-12)


def test_equal_prototypes_share_a_weight_without_failing() -> None:
    rows = np.repeat(cloud(3), 4, axis=0)
    critic = MMDCritic(9, 0, gamma=0.5, weights="nnls").fit(rows)
    assert (critic.prototype_weights_ >= 0).all()
    close(critic.weighted_mmd2_, 0.0, 1e-12)
    by_origin = np.bincount(critic.prototype_indices_ // 4, critic.prototype_weights_)
    close(by_origin, 1 / 3, 1e-6)


# The witness at new rows


@pytest.mark.parametrize("weights", ["uniform", "nnls"])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize("local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_witness_of_new_rows_is_the_definition(dtype: type, local: bool, weighted: bool, weights: str) -> None:
    rows, labels = clusters(120, 4, offset=10.0).astype(dtype), labels_of(120)
    sample_weight = np.random.default_rng(0).random(120) if weighted else None
    critic = MMDCritic(8, 3, local=local, weights=weights).fit(rows, labels, sample_weight=sample_weight)
    new, new_labels = clusters(37, 4, seed=9, offset=10.0).astype(dtype), labels_of(37, 9)
    kernel = oracle.rbf(new, rows, critic.gamma_)
    if local:
        kernel = oracle.block_masked(kernel, new_labels, labels)
    shares = oracle.shares(120, sample_weight)
    expected = oracle.witness(kernel, shares, critic.prototype_indices_, critic.prototype_weights_)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    close(critic.witness(new, new_labels if local else None), expected, tolerance)
    close(critic.witness(rows, labels if local else None), critic.witness_, tolerance)
    assert abs(expected).max() > 1e-3


def test_the_witness_of_many_rows_is_that_of_each() -> None:
    critic = MMDCritic(8, 3).fit(clusters(120, 4))
    new = clusters(5003, 4, seed=9)
    alone = [critic.witness(new[row : row + 1])[0] for row in (0, 1, 2047, 4096, 5002)]
    close(critic.witness(new)[[0, 1, 2047, 4096, 5002]], alone, 1e-14)


def test_the_witness_is_zero_where_no_row_has_the_label_and_far_from_all_rows() -> None:
    critic = MMDCritic(4, 2, local=True).fit(cloud(), labels_of(30))
    assert critic.witness(cloud(5), [77] * 5).tolist() == [0.0] * 5
    assert np.abs(MMDCritic(4, 2).fit(cloud()).witness(cloud(5) + 1e6)).max() < 1e-300


def test_the_witness_is_positive_where_prototypes_are_missing() -> None:
    rows = np.concatenate([cloud(40) * 0.1, cloud(20, seed=1) * 0.1 + 5])
    critic = MMDCritic(1, 1, gamma=1.0, regularizer=None).fit(rows)
    assert critic.prototype_indices_[0] < 40
    assert critic.witness(rows[40:].mean(0, keepdims=True))[0] > 0.1
    assert critic.witness(rows[:40].mean(0, keepdims=True))[0] < -0.1
    assert critic.witness_[critic.prototype_indices_[0]] < 0


# Kernel matrices


@pytest.mark.parametrize("case", [name for name in CASES if "local" not in name])
def test_the_matrix_of_the_kernel_gives_the_same_result(case: str) -> None:
    rows, sample_weight = cloud(60), np.random.default_rng(0).random(60)
    of_rows = MMDCritic(7, 6, **CASES[case]).fit(rows, sample_weight=sample_weight)
    kernel = kernel_of(of_rows, rows)
    of_matrix = MMDCritic(7, 6, **CASES[case] | {"kernel": "precomputed", "gamma": "median"}).fit(
        kernel, sample_weight=sample_weight
    )
    assert math.isnan(of_matrix.gamma_)
    assert of_matrix.n_features_in_ == 60
    same_fit(
        of_matrix,
        of_rows,
        1e-7 if case == "wide" else 1e-9,
        [n for n in FITTED if n not in ("gamma_", "n_features_in_")],
    )
    new = cloud(11, seed=5)
    close(of_matrix.witness(oracle.rbf(new, rows, of_rows.gamma_)), of_rows.witness(new), 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_local_kernel_is_the_block_masked_matrix(case: str) -> None:
    rows, labels = clusters(90, 3), labels_of(90)
    local = MMDCritic(12, 9, **CASES[case] | {"local": True}).fit(rows, labels)
    masked = kernel_of(local, rows, labels)
    of_matrix = MMDCritic(12, 9, **CASES[case] | {"local": False, "kernel": "precomputed"}).fit(masked)
    names = [name for name in FITTED if name not in ("gamma_", "n_features_in_")]
    same_fit(of_matrix, local, 1e-7 if case == "wide" else 1e-9, names)
    full = oracle.rbf(rows, rows, local.gamma_)
    both = MMDCritic(12, 9, **CASES[case] | {"local": True, "kernel": "precomputed"}).fit(full, labels)
    same_fit(both, of_matrix, 1e-7 if case == "wide" else 1e-9, names)
    close(both.witness(full[:9], labels[:9]), local.witness_[:9], 1e-9)
    assert len(set(labels[local.prototype_indices_])) == 3


@pytest.mark.parametrize("regularizer_weight", [1.0, "auto"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_first_criticism_adds_the_logarithm_of_its_own_diagonal(dtype: type, regularizer_weight) -> None:
    rows = cloud(40)
    scale = np.exp(np.random.default_rng(0).normal(size=40))
    kernel = (oracle.rbf(rows, rows, 0.5) * np.outer(scale, scale)).astype(dtype)
    kernel = (kernel + kernel.T) / 2
    critic = MMDCritic(4, 6, kernel="precomputed", regularizer_weight=regularizer_weight).fit(kernel)
    assert_defined(critic, kernel.astype(np.float64), tolerance=1e-10 if dtype == np.float64 else 1e-5)
    first = critic.criticism_indices_[0]
    assert critic.criticism_terms_[0, 1] == pytest.approx(math.log(kernel[first, first]), abs=1e-6)
    assert critic.criticism_terms_[0, 1] > 0


def test_a_linear_kernel_of_few_dimensions_runs_out_of_directions_without_failing() -> None:
    rows = cloud(30, 3)
    critic = MMDCritic(5, 10, kernel="precomputed").fit(rows @ rows.T)
    assert len({*critic.prototype_indices_, *critic.criticism_indices_}) == 15
    # two terms decide while there are directions left
    assert_defined(MMDCritic(5, 3, kernel="precomputed").fit(rows @ rows.T), rows @ rows.T, tolerance=1e-9)


def test_a_matrix_that_rounding_left_not_quite_symmetric_is_taken() -> None:
    rows = cloud(40)
    kernel = oracle.rbf(rows, rows, 0.5)
    noisy = kernel * (1 + 1e-15 * np.random.default_rng(0).normal(size=(40, 40)))
    same_fit(MMDCritic(5, 4, kernel="precomputed").fit(noisy), MMDCritic(5, 4, kernel="precomputed").fit(kernel), 1e-12)


# γ


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 40], ids="{} rows".format)
def test_the_median_is_of_all_pairs(rows: int) -> None:
    data = cloud(rows, 4)
    assert MMDCritic(1, 1).fit(data).gamma_ == pytest.approx(oracle.median_gamma(data), rel=1e-12)
    single = data.astype(np.float32)
    found = MMDCritic(1, 1, local=True).fit(single, np.arange(rows)).gamma_
    assert found == pytest.approx(oracle.median_gamma(single.astype(np.float64)), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_median_survives_an_offset(dtype: type) -> None:
    data = clusters(90, 4, offset=1000.0).astype(dtype)
    assert MMDCritic(1, 1).fit(data).gamma_ == pytest.approx(oracle.median_gamma(data.astype(np.float64)), rel=1e-6)


def test_the_median_of_many_rows_is_that_of_some_drawn_by_the_seed() -> None:
    data = clusters(2600, 3)
    pairs = np.sqrt(((data[:1300, None] - data[None, 1300:]) ** 2).sum(-1))
    near = 1 / (2 * np.median(pairs) ** 2)
    found = [MMDCritic(1, 0, random_state=seed).fit(data).gamma_ for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    for gamma in found:
        assert gamma == pytest.approx(near, rel=0.05)
    # 2,000 rows are not drawn from but taken
    assert MMDCritic(1, 0, random_state=0).fit(data[:2000]).gamma_ == pytest.approx(
        MMDCritic(1, 0, random_state=1).fit(data[:2000]).gamma_, rel=1e-14
    )


@pytest.mark.parametrize("columns", [1, 3, 256])
def test_one_over_d_is_one_over_the_number_of_columns(columns: int) -> None:
    critic = MMDCritic(2, 1, gamma="1/d").fit(cloud(20, columns))
    assert critic.gamma_ == 1 / columns
    assert critic.n_features_in_ == columns
    same_fit(critic, MMDCritic(2, 1, gamma=1 / columns).fit(cloud(20, columns)))


def checkerboard(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A small, dense board of two labels far from a wide cloud of a third, whose width the median tells."""
    generator = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2).astype(float)
    board = np.repeat(centres, 6, axis=0) + 0.15 * generator.normal(size=(54, 2))
    far = np.stack([3 * generator.normal(size=18) + 8, 3 * generator.normal(size=18) + 8], axis=1)
    labels = np.concatenate([np.repeat(centres.sum(1) % 2, 6), np.full(18, 2)]).astype(int)
    order = generator.permutation(72)
    return np.concatenate([board, far])[order], labels[order]


def grid_of(rows: np.ndarray) -> list[float]:
    return [oracle.median_gamma(rows) * 2.0**power for power in range(-2, 7)]


@pytest.mark.parametrize(("seed", "local", "power"), [(4, False, 3), (1, True, 2)])
def test_cross_validation_chooses_the_planted_gamma(seed: int, local: bool, power: int) -> None:
    rows, labels = checkerboard(seed)
    gammas = grid_of(rows)
    for folds in (StratifiedKFold(3), StratifiedKFold(3, shuffle=True, random_state=0)):  # the best of both ways
        errors = oracle.validation_errors(rows, labels, gammas, 12, list(folds.split(rows, labels)), local)
        assert errors.index(min(errors)) == power + 2
    critic = MMDCritic(12, 4, gamma="cv-1nn", local=local).fit(rows, labels)
    assert critic.gamma_ == pytest.approx(gammas[power + 2], rel=1e-12)
    names = np.array(["owl", "ant", "bee"])[labels]
    same_fit(MMDCritic(12, 4, gamma=critic.gamma_, local=local).fit(rows, names), critic, 1e-14)
    same_fit(MMDCritic(12, 4, gamma="cv-1nn", local=local).fit(rows, names), critic)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
def test_in_the_off_diagonal_ratio_rows_count_by_their_weights(weighted: bool) -> None:
    rows, labels = clusters(70, 3), labels_of(70)
    sample_weight = np.random.default_rng(0).random(70) if weighted else None
    for local in (False, True):
        critic = MMDCritic(3, 2, local=local).fit(rows, labels, sample_weight=sample_weight)
        expected = oracle.off_diagonal_ratio(kernel_of(critic, rows, labels), oracle.shares(70, sample_weight))
        assert critic.off_diagonal_ratio_ == pytest.approx(expected, rel=1e-12)


def test_of_equally_good_gammas_the_smallest_is_chosen() -> None:
    rows = cloud(45)
    critic = MMDCritic(4, 2, gamma="cv-1nn").fit(rows, np.zeros(45))  # one label is never wrong
    assert critic.gamma_ == pytest.approx(grid_of(rows)[0], rel=1e-12)


def test_cross_validation_takes_what_prototypes_a_fold_has() -> None:
    rows, labels = checkerboard(4)
    critic = MMDCritic(70, 0, gamma="cv-1nn").fit(rows, labels)  # 48 rows in a training fold
    # with all rows as prototypes every γ is as good
    assert critic.gamma_ == pytest.approx(grid_of(rows)[0], rel=1e-12)


def test_cross_validation_keeps_groups_together() -> None:
    # Every row has a near copy of its own group, and labels that its group alone tells: without the groups the copy
    # in the other fold answers, with them nothing does.
    rows, labels = checkerboard(0)
    groups = np.arange(72) // 2
    gammas = grid_of(rows)
    found = MMDCritic(12, 4, gamma="cv-1nn").fit(rows, labels, groups=groups).gamma_
    expected = set()
    for folds in (StratifiedGroupKFold(3), StratifiedGroupKFold(3, shuffle=True, random_state=0)):
        split = list(folds.split(rows, labels, groups))
        errors = oracle.validation_errors(rows, labels, gammas, 12, split, groups=groups)
        expected.add(errors.index(min(errors)))
    assert [abs(found / gamma - 1) < 1e-9 for gamma in gammas].index(True) in expected


def test_cross_validation_takes_a_label_that_few_rows_have() -> None:
    rows = cloud(40)
    labels = np.array([0] * 20 + [1] * 19 + [2])
    critic = MMDCritic(4, 2, gamma="cv-1nn").fit(rows, labels)
    assert min(abs(critic.gamma_ / gamma - 1) for gamma in grid_of(rows)) < 1e-9


# What is taken, and what is left as it was


def test_what_is_fitted_has_its_stated_types() -> None:
    critic = MMDCritic(6, 5).fit(cloud())
    for name, shape, kind in (
        ("prototype_indices_", (6,), np.int64),
        ("criticism_indices_", (5,), np.int64),
        ("column_means_", (30,), np.float64),
        ("mmd2_", (6,), np.float64),
        ("witness_", (30,), np.float64),
        ("criticism_terms_", (5, 2), np.float64),
        ("prototype_weights_", (6,), np.float64),
    ):
        array = getattr(critic, name)
        assert type(array) is np.ndarray, name
        assert (array.shape, array.dtype) == (shape, kind), name
    for name in ("gamma_", "kernel_mean_", "regularizer_weight_", "weighted_mmd2_", "off_diagonal_ratio_"):
        assert isinstance(getattr(critic, name), float), name
    assert critic.n_features_in_ == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_array_of_the_same_numbers_gives_the_same_result(dtype: type) -> None:
    rows, labels = cloud().astype(dtype), labels_of(30)
    whole = MMDCritic(6, 5, local=True).fit(rows, labels)
    fixed = rows.copy()
    fixed.flags.writeable = False
    spaced = np.zeros((60, 6), dtype=dtype)[::2, ::2]
    spaced[:] = rows
    for other in (
        np.asfortranarray(rows),
        fixed,
        spaced,
        torch.from_numpy(rows),
        rows[::-1][::-1],
        rows.astype(rows.dtype.newbyteorder()),
    ):
        same_fit(MMDCritic(6, 5, local=True).fit(other, torch.from_numpy(labels)), whole, 1e-15)
    same_fit(MMDCritic(6, 5, local=True).fit(rows, [f"label {label}" for label in labels]), whole)
    same_fit(MMDCritic(6, 5, local=True).fit(rows, (labels - 1).tolist()), whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, bool], ids=lambda dtype: dtype.__name__)
def test_other_numbers_are_computed_in_float32(dtype: type) -> None:
    rows = np.random.default_rng(0).integers(0, 2 if dtype is bool else 200, (80, 5)).astype(dtype)
    same_fit(MMDCritic(6, 5).fit(rows), MMDCritic(6, 5).fit(rows.astype(np.float32)))
    if dtype is not np.float16:  # Python's own fractions are float64
        same_fit(MMDCritic(6, 5).fit(rows.tolist()), MMDCritic(6, 5).fit(rows.astype(np.float32)))


def test_tensors_of_bfloat16_and_of_a_graph_are_arrays_too() -> None:
    rows = torch.from_numpy(cloud(80)).to(torch.bfloat16)
    same_fit(MMDCritic(6, 5).fit(rows), MMDCritic(6, 5).fit(rows.float().numpy()))
    of_graph = torch.from_numpy(cloud(80)).requires_grad_() * 2
    same_fit(MMDCritic(6, 5).fit(of_graph), MMDCritic(6, 5).fit(2 * cloud(80)))


def test_one_row_is_its_own_prototype() -> None:
    critic = MMDCritic(1, 0, gamma=1.0).fit([[3.0, 4.0]])
    assert critic.prototype_indices_.tolist() == [0]
    assert critic.mmd2_.tolist() == [0.0]
    assert critic.off_diagonal_ratio_ == 0.0


def test_the_rows_are_left_as_they_are() -> None:
    rows, labels, sample_weight, groups = cloud(), labels_of(30), np.arange(30.0), np.arange(30) % 20
    kernel = oracle.rbf(rows, rows, 0.5)
    before = [array.copy() for array in (rows, labels, sample_weight, groups, kernel)]
    critic = MMDCritic(6, 5, local=True, weights="nnls").fit(rows, labels, groups=groups, sample_weight=sample_weight)
    critic.witness(rows, labels)
    critic.mmd2_of(critic.prototype_indices_)
    MMDCritic(6, 5, kernel="precomputed", local=True).fit(kernel, labels)
    for array, copy in zip((rows, labels, sample_weight, groups, kernel), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["witness", "mmd2_of"])
def test_rows_that_change_after_the_fit_change_nothing(method: str, dtype: type) -> None:
    rows = cloud().astype(dtype)
    critic = MMDCritic(6, 5).fit(rows)
    asked = cloud(9, seed=4).astype(dtype) if method == "witness" else np.arange(7)
    before = getattr(critic, method)(asked)
    rows += 100
    np.testing.assert_array_equal(getattr(critic, method)(asked), before)


def settings() -> list:
    return [
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        np.geterr(),
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_setting_and_no_generator_is_touched(dtype: type) -> None:
    rows, labels = clusters(90, 3).astype(dtype), labels_of(90)
    before = settings()
    for parameters in ({"gamma": "cv-1nn"}, {"colmean_samples": 30}, {"weights": "nnls", "regularizer_weight": "auto"}):
        critic = MMDCritic(6, 5, **parameters).fit(rows, labels)
        critic.witness(rows)
        critic.mmd2_of([1, 2])
        assert settings() == before
    with pytest.raises(ExemplarError):
        MMDCritic(91, 5).fit(rows)
    assert settings() == before


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_setting_and_no_generator_changes_the_result(dtype: type) -> None:
    rows = clusters(400, 64, offset=100.0).astype(dtype)
    plain = MMDCritic(20, 10, colmean_samples=300).fit(rows)
    precision, default = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    try:
        torch.set_float32_matmul_precision("medium")
        torch.set_default_dtype(torch.float16)
        torch.manual_seed(99)
        np.random.seed(99)
        with torch.inference_mode():
            other = MMDCritic(20, 10, colmean_samples=300).fit(rows)
        other.witness(rows)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(default)
    same_fit(other, plain, 0)


def peak(rank: int, rows: int) -> None:
    data = clusters(rows, 4).astype(np.float32)
    MMDCritic(2, 2, gamma=0.3).fit(data[:500])  # what is loaded at the first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    MMDCritic(20, 10, gamma=0.3, local=bool(rank)).fit(data, np.zeros(rows))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    assert grown < 150, f"{grown} MiB"


def test_the_kernel_matrix_is_never_in_memory() -> None:
    rows = 12_000  # 549 MiB of float32
    mp.start_processes(peak, args=(rows,), nprocs=2, start_method="fork")


def test_a_second_fit_forgets_the_first() -> None:
    critic = MMDCritic(6, 5, local=True).fit(cloud(40, 5), labels_of(40))
    critic.set_params(local=False, n_prototypes=4).fit(cloud())
    same_fit(critic, MMDCritic(4, 5).fit(cloud()))
    close(critic.witness(cloud()), critic.witness_, 1e-14)


def test_a_fit_that_fails_leaves_the_last_one() -> None:
    critic = MMDCritic(6, 5).fit(cloud())
    expected = MMDCritic(6, 5).fit(cloud())
    for rows in (np.full((40, 2), np.nan), np.ones((40, 2)), cloud(7)):
        with pytest.raises(ExemplarError):
            critic.fit(rows)
        same_fit(critic, expected)
        np.testing.assert_array_equal(critic.witness(cloud(5)), expected.witness(cloud(5)))


def test_progress_wraps_the_work_and_changes_nothing() -> None:
    told = []

    def track(steps: Iterable, what: str) -> Iterable:
        done = 0
        for step in steps:
            yield step
            done += 1
        told.append((what, done))

    rows, labels = clusters(300, 3), labels_of(300)
    critic = MMDCritic(6, 5, local=True).fit(rows, labels, track=track)
    same_fit(critic, MMDCritic(6, 5, local=True).fit(rows, labels))
    assert told
    assert all(isinstance(what, str) and what and done for what, done in told)


def test_it_is_a_scikit_learn_estimator() -> None:
    parameters = {
        "n_prototypes": 7,
        "n_criticisms": 3,
        "kernel": "rbf",
        "gamma": 0.25,
        "local": True,
        "regularizer": None,
        "regularizer_weight": "auto",
        "weights": "nnls",
        "colmean_samples": 20,
        "random_state": 5,
        "device": "cpu",
    }
    critic = MMDCritic(**parameters)
    assert critic.get_params() == parameters
    fitted = critic.fit(cloud(), labels_of(30))
    assert fitted is critic
    assert critic.get_params() == parameters
    fresh = clone(critic)
    assert fresh.get_params() == parameters
    assert not hasattr(fresh, "prototype_indices_")
    assert fresh.set_params(gamma="1/d", n_prototypes=2).get_params() == parameters | {
        "gamma": "1/d",
        "n_prototypes": 2,
    }
    assert repr(MMDCritic(7, gamma=0.25)) == "MMDCritic(gamma=0.25, n_prototypes=7)"
    assert MMDCritic().get_params() == parameters | {
        "n_prototypes": 10,
        "n_criticisms": 10,
        "gamma": "median",
        "local": False,
        "regularizer": "logdet",
        "regularizer_weight": 1.0,
        "weights": "uniform",
        "colmean_samples": None,
        "random_state": 0,
    }
    with pytest.raises(TypeError):
        MMDCritic(1, 1, "rbf")  # the rest by name alone


# What cannot be done is said in one sentence


def one_sentence(error: BaseException, *mentioned: str) -> None:
    text = str(error)
    assert isinstance(error, ExemplarError)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[.!?]\s", text), f"more than one sentence: {text}"
    for word in mentioned:
        assert re.search(rf"(?<![\w.-]){re.escape(word)}(?!\w)", text), f"{word} is not mentioned: {text}"


def with_cell(value: float) -> np.ndarray:
    rows = cloud()
    rows[7, 1] = value
    return rows


PARAMETERS = {
    "no prototype": ({"n_prototypes": 0}, ["n_prototypes", "0"]),
    "fewer than no prototypes": ({"n_prototypes": -3}, ["n_prototypes", "-3"]),
    "parts of a prototype": ({"n_prototypes": 2.5}, ["n_prototypes", "2.5"]),
    "a word of prototypes": ({"n_prototypes": "ten"}, ["n_prototypes", "ten"]),
    "more prototypes than rows": ({"n_prototypes": 31, "n_criticisms": 0}, ["31", "30"]),
    "more of both than rows": ({"n_prototypes": 20, "n_criticisms": 11}, ["20", "11", "30"]),
    "fewer than no criticisms": ({"n_criticisms": -1}, ["n_criticisms", "-1"]),
    "parts of a criticism": ({"n_criticisms": 1.5}, ["n_criticisms", "1.5"]),
    "another kernel": ({"kernel": "linear"}, ["kernel", "linear"]),
    "another rule": ({"gamma": "mean"}, ["gamma", "mean"]),
    "no rule": ({"gamma": None}, ["gamma", "None"]),
    "gamma of 0": ({"gamma": 0.0}, ["gamma", "0.0"]),
    "a negative gamma": ({"gamma": -1.5}, ["gamma", "-1.5"]),
    "gamma is NaN": ({"gamma": math.nan}, ["gamma", "nan"]),
    "an infinite gamma": ({"gamma": math.inf}, ["gamma", "inf"]),
    "another regulariser": ({"regularizer": "trace"}, ["regularizer", "trace"]),
    "another weight of the regulariser": ({"regularizer_weight": "big"}, ["regularizer_weight", "big"]),
    "a negative weight of the regulariser": ({"regularizer_weight": -0.5}, ["regularizer_weight", "-0.5"]),
    "weight of the regulariser is NaN": ({"regularizer_weight": math.nan}, ["regularizer_weight", "nan"]),
    "an infinite weight of the regulariser": ({"regularizer_weight": math.inf}, ["regularizer_weight", "inf"]),
    "other weights": ({"weights": "qp"}, ["weights", "qp"]),
    "no sample": ({"colmean_samples": 0}, ["colmean_samples", "0"]),
    "fewer than no samples": ({"colmean_samples": -5}, ["colmean_samples", "-5"]),
    "parts of a sample": ({"colmean_samples": 2.5}, ["colmean_samples", "2.5"]),
    "a negative seed": ({"random_state": -1}, ["random_state", "-1"]),
    "no such device": ({"device": "abacus"}, ["device", "abacus"]),
    "a device without numbers": ({"device": "meta"}, ["device", "meta"]),
    "local is no answer": ({"local": "yes"}, ["local", "yes"]),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_parameter_that_means_nothing_is_refused_when_fitting(case: str) -> None:
    parameters, mentioned = PARAMETERS[case]
    critic = MMDCritic(**{"n_prototypes": 3, "n_criticisms": 2} | parameters)
    with pytest.raises(ExemplarError) as caught:
        critic.fit(cloud(), labels_of(30))
    one_sentence(caught.value, *mentioned)


INPUTS = {
    "NaN": ({}, {"X": with_cell(math.nan)}, ["7"]),
    "infinity": ({}, {"X": with_cell(-math.inf)}, ["7"]),
    "NaN in float32": ({}, {"X": with_cell(math.nan).astype(np.float32)}, ["7"]),
    "too large for float32": ({}, {"X": with_cell(1e300).tolist()}, []),
    "one axis": ({}, {"X": np.arange(30.0)}, []),
    "three axes": ({}, {"X": np.zeros((30, 2, 2))}, []),
    "no row": ({}, {"X": np.zeros((0, 3))}, ["0"]),
    "no column": ({}, {"X": np.zeros((30, 0))}, ["0"]),
    "words": ({}, {"X": np.array([["owl", "ant"]] * 30)}, []),
    "complex numbers": ({}, {"X": cloud() * 1j}, []),
    "a sparse matrix": ({}, {"X": sparse.csr_array(cloud())}, []),
    "rows of several lengths": ({}, {"X": [[1.0], [1.0, 2.0]] * 15}, []),
    "nothing": ({}, {"X": None}, []),
    "equal rows": ({}, {"X": np.full((30, 3), 0.1)}, ["median"]),
    "equal rows of float32": ({}, {"X": np.full((30, 3), 0.1, dtype=np.float32)}, ["median"]),
    "nearly all rows are equal": ({}, {"X": np.concatenate([np.full((29, 3), 0.1), np.ones((1, 3))])}, ["median"]),
    "one row has no median": ({"n_prototypes": 1, "n_criticisms": 0}, {"X": cloud(1)}, ["median"]),
    "local without labels": ({"local": True}, {}, ["y"]),
    "cross-validation without labels": ({"gamma": "cv-1nn"}, {}, ["y"]),
    "cross-validation of two rows": (
        {"gamma": "cv-1nn", "n_prototypes": 1, "n_criticisms": 1},
        {"X": cloud(2), "y": [0, 1]},
        ["2"],
    ),
    "too few labels": ({"local": True}, {"y": labels_of(29)}, ["29", "30"]),
    "labels of several kinds": ({"local": True}, {"y": [1, "owl", None] * 10}, ["y"]),
    "no rule for numbers that are too large": ({}, {"X": 1e200 * cloud()}, []),
    "gamma too high for its rows": ({"gamma": 1e300}, {"X": 1e5 * cloud()}, ["float64"]),
    "labels of two axes": ({"local": True}, {"y": np.zeros((30, 2))}, ["2"]),
    "too few groups": ({}, {"groups": np.arange(29)}, ["29", "30"]),
    "fewer groups than prototypes": ({}, {"groups": np.arange(30) % 2}, ["3", "2"]),
    "fewer groups than criticisms": ({"n_prototypes": 1, "n_criticisms": 5}, {"groups": np.arange(30) % 4}, ["5", "4"]),
    "too few weights": ({}, {"sample_weight": np.ones(29)}, ["29", "30"]),
    "a negative weight": ({}, {"sample_weight": [1.0] * 29 + [-0.5]}, ["-0.5"]),
    "weights of 0": ({}, {"sample_weight": np.zeros(30)}, ["0"]),
    "a weight is NaN": ({}, {"sample_weight": [1.0] * 29 + [math.nan]}, ["nan"]),
    "an infinite weight": ({}, {"sample_weight": [1.0] * 29 + [math.inf]}, ["inf"]),
    "a matrix that is not square": ({"kernel": "precomputed"}, {}, ["30", "3"]),
    "a matrix with NaN": ({"kernel": "precomputed"}, {"X": np.full((30, 30), math.nan)}, []),
    "a matrix that is not symmetric": ({"kernel": "precomputed"}, {"X": cloud(30, 30)}, ["symmetric"]),
}


@pytest.mark.parametrize("case", INPUTS)
def test_input_that_means_nothing_is_refused(case: str) -> None:
    parameters, arguments, mentioned = INPUTS[case]
    critic = MMDCritic(**{"n_prototypes": 3, "n_criticisms": 2} | parameters)
    with pytest.raises(ExemplarError) as caught:
        critic.fit(**{"X": cloud()} | arguments)
    one_sentence(caught.value, *mentioned)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ExemplarError) as caught:
        MMDCritic(3, 2, device="cuda").fit(cloud())
    one_sentence(caught.value, "device", "cuda")


def test_criticisms_that_the_prototypes_leave_no_group_for_are_refused() -> None:
    # each group has its prototype, two groups have no other row, and of the third only one row can be a criticism
    rows = np.array([[0.0], [1.0], [9.0], [9.1], [9.2]])
    with pytest.raises(ExemplarError) as caught:
        MMDCritic(3, 2, gamma=1.0).fit(rows, groups=[0, 1, 2, 2, 2])
    one_sentence(caught.value, "2")


ASKED = {
    "too few columns": ({}, lambda critic: critic.witness(cloud(4, 2)), ["2", "3"]),
    "new NaN": ({}, lambda critic: critic.witness(np.full((4, 3), math.nan)), []),
    "no new row": ({}, lambda critic: critic.witness(np.empty((0, 3))), ["0"]),
    "one new axis": ({}, lambda critic: critic.witness(np.zeros(3)), []),
    "local without new labels": ({"local": True}, lambda critic: critic.witness(cloud(4)), ["y"]),
    "too few new labels": ({"local": True}, lambda critic: critic.witness(cloud(4), [0, 1]), ["2", "4"]),
    "a row past the end": ({}, lambda critic: critic.mmd2_of([3, 30]), ["30"]),
    "a row before the first": ({}, lambda critic: critic.mmd2_of([3, -1]), ["-1"]),
    "half a row": ({}, lambda critic: critic.mmd2_of([0.5]), []),
    "no row at all": ({}, lambda critic: critic.mmd2_of([]), []),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_question_that_means_nothing_is_refused(case: str) -> None:
    parameters, ask, mentioned = ASKED[case]
    critic = MMDCritic(3, 2, **parameters).fit(cloud(), labels_of(30))
    with pytest.raises(ExemplarError) as caught:
        ask(critic)
    one_sentence(caught.value, *mentioned)


def test_a_matrix_of_new_rows_must_have_the_fitted_columns() -> None:
    rows = cloud()
    critic = MMDCritic(3, 2, kernel="precomputed").fit(oracle.rbf(rows, rows, 0.5))
    with pytest.raises(ExemplarError) as caught:
        critic.witness(np.zeros((4, 29)))
    one_sentence(caught.value, "29", "30")


@pytest.mark.parametrize(
    "ask", [lambda critic: critic.witness(cloud()), lambda critic: critic.mmd2_of([0])], ids=["witness", "mmd2_of"]
)
def test_an_unfitted_critic_says_so(ask) -> None:
    with pytest.raises(NotFittedError):
        ask(MMDCritic())
