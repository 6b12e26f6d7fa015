import math
import statistics
from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.bandwidth import cross_validated_gamma, gamma_grid, median_gamma


def literal_median_gamma(rows: np.ndarray) -> float:
    points = rows.tolist()
    distances = [math.dist(points[i], points[j]) for i in range(len(points)) for j in range(i)]
    return 1 / (2 * statistics.median(distances) ** 2)


def normal(rows: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, d)))


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 41])
@pytest.mark.parametrize("d", [1, 6])
def test_the_median_gamma_is_that_of_all_pairs(rows: int, d: int) -> None:
    data = normal(rows, d)
    assert median_gamma(data, 0) == pytest.approx(literal_median_gamma(data.numpy()), rel=1e-12)


@pytest.mark.parametrize("offset", [1e3, 1e7])
def test_float32_far_from_the_origin_loses_nothing(offset: float) -> None:
    data = (1e3 * normal(50) + offset).float()
    assert median_gamma(data, 0) == pytest.approx(literal_median_gamma(data.double().numpy()), rel=1e-11)
    assert median_gamma(data.double(), 0) == median_gamma(data, 0)


def test_rows_that_are_there_three_times_do_not_disturb_the_median() -> None:
    data = normal(15, 50).repeat(3, 1)
    assert median_gamma(data, 0) == pytest.approx(literal_median_gamma(data.numpy()), rel=1e-12)


def test_one_row_that_is_far_away_does_not_hide_the_others() -> None:
    data = torch.cat([1e-3 * normal(40), torch.full((1, 3), 1e9, dtype=torch.float64)])
    assert median_gamma(data, 0) == pytest.approx(literal_median_gamma(data.numpy()), rel=1e-6)


def test_the_median_gamma_is_of_the_scale_of_the_data_and_not_of_their_order_or_place() -> None:
    data = normal(60)
    gamma = median_gamma(data, 0)
    assert median_gamma(4 * data, 0) == pytest.approx(gamma / 16, rel=1e-12)
    assert median_gamma(data[torch.randperm(60)] - 7, 0) == pytest.approx(gamma, rel=1e-12)


def test_of_more_than_two_thousand_rows_as_many_are_drawn() -> None:
    data = normal(2300, 2)
    drawn = np.sort(np.random.default_rng(5).choice(2300, 2000, replace=False))
    expected = 1 / (2 * float(torch.pdist(data[drawn]).quantile(0.5)) ** 2)
    assert median_gamma(data, 5) == pytest.approx(expected, rel=1e-12)
    assert median_gamma(data, 6) != median_gamma(data, 5)
    assert median_gamma(data[:2000], 6) == median_gamma(data[:2000], 5)


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("others", [0, 12])
def test_rows_of_which_most_pairs_are_equal_are_refused(others: int, offset: float) -> None:
    data = torch.cat([normal(1, 50).expand(40, -1), normal(others, 50, seed=1)]) + offset
    with pytest.raises(ExemplarError, match=r"^The median distance of the rows is 0.*pass gamma as a number\.$"):
        median_gamma(data, 0)


def test_one_row_has_no_distance() -> None:
    with pytest.raises(ExemplarError, match=r"^The median distance needs two rows or more, got 1 sample;.*a number\.$"):
        median_gamma(normal(1), 0)


def test_the_grid_doubles_from_a_quarter_to_sixty_four_times() -> None:
    assert gamma_grid(0.5) == (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32)


# Cross-validation; the first column of the rows is their number


class Chooser:
    """Chooses rows that depend on γ alone, and keeps what it was asked."""

    def __init__(self, grid: tuple[float, ...], count: int = 5) -> None:
        self.grid, self.count = grid, count
        self.asked: list[tuple[list[int], float]] = []

    def __call__(self, x: Tensor, y: Tensor, groups: Tensor | None, gamma: float) -> Tensor:
        assert len(x) == len(y) == (len(x) if groups is None else len(groups))
        self.asked.append((x[:, 0].int().tolist(), gamma))
        return torch.from_numpy(self.chosen(len(x), gamma))

    def chosen(self, n: int, gamma: float) -> np.ndarray:
        return np.random.default_rng(self.grid.index(gamma)).permutation(n)[: self.count]


def numbered(n: int, seed: int = 0, labels: int = 3) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    rows = np.concatenate([np.arange(n)[:, None], n * random.normal(size=(n, 2))], 1)
    return torch.from_numpy(rows), torch.from_numpy(random.integers(0, labels, n) * 7 - 3)


def literal_error(rows: np.ndarray, labels: np.ndarray, folds: list, chooser: Chooser, gamma: float) -> float:
    wrong = 0
    for train, test in folds:
        prototypes = train[chooser.chosen(len(train), gamma)]
        for row in test:
            distances = [math.dist(rows[row], rows[prototype]) for prototype in prototypes]
            wrong += bool(labels[prototypes[distances.index(min(distances))]] != labels[row])
    return wrong / sum(len(test) for _, test in folds)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_of_each_gamma_is_over_the_rows_of_three_folds(seed: int, grouped: bool) -> None:
    rows, labels = numbered(60, seed)
    groups = torch.arange(60) // 2 * 5 if grouped else None
    chooser = Chooser(gamma_grid(median_gamma(rows, seed)))
    gamma, errors = cross_validated_gamma(rows, labels, groups, chooser, seed)
    if grouped:
        split = StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(rows, labels, groups)
    else:
        split = StratifiedKFold(3, shuffle=True, random_state=seed).split(rows, labels)
    folds = list(split)
    expected = {each: literal_error(rows.numpy(), labels.numpy(), folds, chooser, each) for each in chooser.grid}
    assert errors == pytest.approx(expected, abs=1e-15)
    assert tuple(errors) == chooser.grid
    assert gamma == min(expected, key=expected.__getitem__)
    assert len(set(expected.values())) > 3


def test_prototypes_are_chosen_in_every_fold_with_every_gamma_and_that_is_told() -> None:
    told = []

    def track(items: Iterable, what: str) -> Iterable:
        told.append((len(list(items)), what))
        return items

    rows, labels = numbered(30)
    chooser = Chooser(gamma_grid(median_gamma(rows, 0)))
    cross_validated_gamma(rows, labels, None, chooser, 0, track)
    assert told == [(27, "gamma")]
    assert [gamma for _, gamma in chooser.asked] == [*chooser.grid] * 3
    trained = [seen for seen, _ in chooser.asked[::9]]
    assert sorted(chain(*trained)) == sorted([*range(30)] * 2)  # each row is held out once


def test_of_equally_good_gammas_the_smallest_is_taken() -> None:
    rows, _ = numbered(30)
    grid = gamma_grid(median_gamma(rows, 0))
    gamma, errors = cross_validated_gamma(rows, torch.zeros(30).long(), None, Chooser(grid), 0)
    assert gamma == grid[0]
    assert set(errors.values()) == {0.0}


def test_a_group_is_never_on_both_sides() -> None:
    rows, labels = numbered(60)
    groups = torch.from_numpy(np.random.default_rng(0).integers(0, 20, 60))
    chooser = Chooser(gamma_grid(median_gamma(rows, 0)))
    cross_validated_gamma(rows, labels, groups, chooser, 0)
    for seen, _ in chooser.asked:
        others = sorted(set(range(60)) - set(seen))
        assert others
        assert not set(groups[seen].tolist()) & set(groups[others].tolist())


def test_rows_of_a_label_with_fewer_than_three_are_always_trained_on_and_never_judged() -> None:
    rows, labels = numbered(30)
    labels[[4, 9]], labels[17], labels[[20, 21, 22]] = 100, 101, 102
    chooser = Chooser(gamma_grid(median_gamma(rows, 0)))
    _, errors = cross_validated_gamma(rows, labels, None, chooser, 0)
    trained = [set(seen) for seen, _ in chooser.asked[::9]]
    assert all({4, 9, 17} <= seen for seen in trained)
    assert sum(30 - len(seen) for seen in trained) == 27
    shares = [error * 27 for error in errors.values()]
    assert shares == pytest.approx([round(share) for share in shares], abs=1e-12)


def test_a_label_in_fewer_than_three_groups_is_not_judged_and_its_groups_stay_whole() -> None:
    rows, labels = numbered(60, labels=2)
    groups = torch.arange(60) // 3
    labels[[0, 1, 2, 3, 4]] = 100  # all of the first group, most of the second
    chooser = Chooser(gamma_grid(median_gamma(rows, 0)))
    cross_validated_gamma(rows, labels, groups, chooser, 0)
    trained = [set(seen) for seen, _ in chooser.asked[::9]]
    assert all({0, 1, 2} <= seen for seen in trained)
    assert [{3, 4, 5} <= seen for seen in trained].count(True) == 2
    assert [{3, 4, 5} & seen == set() for seen in trained].count(True) == 1


@pytest.mark.parametrize("counts", [(8400, 3000, 600), (6000, 5993, 7)])
def test_at_most_five_thousand_rows_are_used_of_each_label_in_proportion(counts: tuple[int, ...]) -> None:
    rows, _ = numbered(12000)
    labels = torch.from_numpy(np.random.default_rng(1).permutation(np.repeat(np.arange(3), counts)))
    used = used_rows(rows, labels, None)
    assert len(used) == 5000
    assert labels[used].bincount().tolist() == pytest.approx([count * 5000 / 12000 for count in counts], abs=2)


def used_rows(rows: Tensor, labels: Tensor, groups: Tensor | None, seed: int = 0) -> list[int]:
    chooser = Chooser(gamma_grid(median_gamma(rows, seed)))
    cross_validated_gamma(rows, labels, groups, chooser, seed)
    return sorted(set(chain(*(seen for seen, _ in chooser.asked[::9]))))


def test_what_is_used_depends_on_the_seed_alone() -> None:
    rows, labels = numbered(5100)
    assert used_rows(rows, labels, None) == used_rows(rows, labels, None) != used_rows(rows, labels, None, 1)
    assert used_rows(rows[:5000], labels[:5000], None) == list(range(5000))


def test_rows_are_drawn_in_whole_groups() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 60, 400)
    groups = np.repeat(random.permutation(400) * 3, sizes)
    rows, labels = numbered(len(groups))
    labels = torch.from_numpy(groups % 4)
    used = used_rows(rows, labels, torch.from_numpy(groups))
    assert 4900 < len(used) <= 5000
    assert not set(groups[used]) & set(np.delete(groups, used))
    assert labels[used].bincount().float() / len(used) == pytest.approx(labels.bincount() / len(groups), abs=0.05)


def test_many_labels_of_few_rows_are_drawn_like_few_labels() -> None:
    rows, _ = numbered(9000)
    labels = torch.arange(9000) // 6  # 1,500 labels
    counts = labels[used_rows(rows, labels, None)].bincount(minlength=1500)
    assert counts.sum() == 5000
    assert set(counts.tolist()) == {3, 4}


def test_labels_of_one_row_are_drawn_in_proportion_too() -> None:
    rows, _ = numbered(9000)
    labels = torch.cat([torch.arange(1, 3001), torch.zeros(6000).long()])
    used = used_rows(rows, labels, None)
    assert len(used) == 5000
    assert int((labels[used] > 0).sum()) == pytest.approx(5000 / 3, rel=0.05)


@pytest.mark.parametrize(
    ("labels", "groups", "said"),
    [
        (torch.arange(40) // 2, None, "3 rows or more of a label, got 2 at the most among the 40 of 40 rows"),
        (torch.zeros(40).long(), torch.arange(40) // 20, "3 groups or more of a label, got 2 at the most"),
        (torch.zeros(6000).long(), torch.zeros(6000).long(), "got 0 at the most among the 0 of 6000 rows"),
    ],
)
def test_labels_that_cannot_be_held_out_are_refused(labels: Tensor, groups: Tensor | None, said: str) -> None:
    rows, _ = numbered(len(labels))
    with pytest.raises(ExemplarError, match=rf"^Cross-validation of gamma.*{said}[^.]*; pass gamma as a number\.$"):
        cross_validated_gamma(rows, labels, groups, Chooser(gamma_grid(median_gamma(rows, 0))), 0)
