import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import part_tracking as literal
from sklearn.linear_model import Ridge
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.data import Creatures
from interpretable.errors import MetricError
from interpretable.metrics import bootstrap, peak_table
from interpretable.metrics.location_instability import LocationInstability
from interpretable.metrics.part_tracking import PartTracking, PartTrackingResult, part_tracking, tracking_difference
from interpretable.metrics.peak_table import PeakTable

NAN = math.nan
CLASSES = 5
SIZES = torch.tensor([[24, 16], [15, 20]])
TABLES = ("train_r2", "test_r2", "tracking_filter", "hit_filter", "hit_rates", "constant_hit_rates")
POINTS = ("tracking", "hit_rate", "constant_hit_rate")


def random_table(images: int, labels: Tensor, levels: int | None = None, filters: int = 6) -> PeakTable:
    """Images of two sizes; filters follow a part the less the higher their index, the last is always silent."""
    sizes = SIZES[torch.randint(0, 2, (images,))]
    places = torch.rand(images, 3, 2, dtype=torch.float64)
    places[..., 1] = 0.5 * places[..., 1] + 0.5 * places[..., 0]
    noise = torch.rand(images, filters, 2, dtype=torch.float64)
    share = torch.linspace(0, 1, filters, dtype=torch.float64)[:, None]
    positions = sizes[:, None] * ((1 - share) * places[:, torch.arange(filters) % 3] + share * noise)
    values = torch.rand(images, filters, dtype=torch.float64) - 0.25
    if levels is not None:
        values = (values * levels).round()
        positions = (positions / 4).round() * 4
    values[:, -1] = -1
    boxes = torch.cat([places * sizes[:, None], (1 + 9 * torch.rand(images, 3, 2)).round()], -1)
    if levels is not None:
        boxes = boxes.round()
    landmarks = sizes[:, None] * places
    landmarks[torch.rand(images, 3) < 0.3] = NAN
    boxes[torch.rand(images, 3) < 0.3] = NAN
    return PeakTable(values, positions, landmarks, boxes, labels, sizes)


def random_case(levels: int | None = None) -> tuple[PeakTable, PeakTable]:
    """Class 2 has one training image, class 3 no test image, class 4 test images alone; label 7 is none of them."""
    train = torch.tensor([0] * 14 + [1] * 14 + [2] + [3] * 6 + [7] * 3)
    test = torch.tensor([0] * 9 + [1] * 12 + [2] * 3 + [4] * 3 + [7] * 3)
    return tuple(random_table(len(labels), labels[torch.randperm(len(labels))], levels) for labels in (train, test))


def same(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    found, expected = (torch.as_tensor(each, dtype=torch.float64) for each in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, equal_nan=True)


def agree(one: PartTrackingResult, two: PartTrackingResult, tolerance: float = 1e-9) -> None:
    for name in one._fields:
        same(getattr(one, name), getattr(two, name), tolerance)


@pytest.mark.parametrize("levels", [None, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("most_active", [1, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_every_table_equals_the_literal_one(seed: int, most_active: int, levels: int | None) -> None:
    torch.manual_seed(seed)
    train, test = random_case(levels)
    expected = literal.tables(train, test, CLASSES, most_active)
    found = part_tracking(train, test, CLASSES, most_active=most_active, resamples=10)
    assert 0 < np.isnan(expected["test_r2"]).mean() < 0.9
    for name in (*TABLES, *POINTS):
        same(getattr(found, name), expected[name])


def ridge_of_cell(train: PeakTable, test: PeakTable, k: int, c: int, p: int) -> tuple[float, float]:
    """Training and test R² of one class, filter and part by scikit-learn; the cell has images enough."""
    shown = [(table.labels == k) & ~table.landmarks[:, p].isnan().any(-1) for table in (train, test)]
    peaks = [
        (table.positions[rows, c] / table.sizes[rows]).numpy() for table, rows in zip((train, test), shown, strict=True)
    ]
    places = [
        (table.landmarks[rows, p] / table.sizes[rows]).numpy() for table, rows in zip((train, test), shown, strict=True)
    ]
    silent = [(table.values[rows, c] <= 0).numpy() for table, rows in zip((train, test), shown, strict=True)]
    stand_in = peaks[0][~silent[0]].mean(0)
    for peak, still in zip(peaks, silent, strict=True):
        peak[still] = stand_in
    fit = Ridge(alpha=1e-3).fit(peaks[0], places[0])
    mean = places[0].mean(0)
    return tuple(
        1 - ((place - fit.predict(peak)) ** 2).sum() / ((place - mean) ** 2).sum()
        for peak, place in zip(peaks, places, strict=True)
    )


def test_the_regression_is_that_of_scikit_learn() -> None:
    train, test = random_case()
    found = part_tracking(train, test, CLASSES, resamples=1)
    for k in (0, 1):
        for c in range(5):
            for p in range(3):
                cell = torch.stack([found.train_r2[k, c, p], found.test_r2[k, c, p]])
                same(cell, ridge_of_cell(train, test, k, c, p))


def hand_case() -> tuple[PeakTable, PeakTable]:
    """One class, one part, images of 10 × 10; filter 0 is at the part, 1 at a fixed cell, 2 silent."""
    places = torch.tensor([[2.0, 5.0], [6.0, 5.0], [4.0, 5.0]])
    tables = []
    for rows in ([0, 1], [2, 0]):
        place = places[rows]
        positions = torch.stack([place, torch.full((2, 2), 3.3), torch.zeros(2, 2)], 1)
        boxes = torch.cat([place, torch.full((2, 2), 2.0)], -1)
        values = torch.tensor([[2.0, 3.0, 0.0]]).repeat(2, 1)
        size = torch.full((2, 2), 10)
        tables.append(PeakTable(values, positions, place[:, None], boxes[:, None], torch.zeros(2).long(), size))
    return tuple(tables)


def test_a_case_by_hand() -> None:
    train, test = hand_case()
    found = part_tracking(train, test, 1, resamples=20)
    # Σ(x − x̄)² = 0.08 shrinks the slope to 0.08 / 0.081, and what it lacks is left of every deviation
    followed = 1 - (0.001 / 0.081) ** 2
    same(found.train_r2[0, :, 0], [followed, 0, 0])
    same(found.test_r2[0, :, 0], [followed, 0, 0])
    assert found.train_r2[0, 1:, 0].tolist() == [0, 0]
    same(found.tracking, followed)
    assert found.tracking_filter.tolist() == found.hit_filter.tolist() == [[0]]
    same(found.hit_rate, 1.0)
    # training boxes span x 1–3 and 5–7, y 4–6: the first pixel in any is (1.5, 4.5), in one of the test boxes
    same(found.constant_hit_rate, 0.5)


def test_a_silent_filter_predicts_as_from_its_mean_training_peak_and_misses() -> None:
    train, test = hand_case()
    test.values[1, 0] = 0
    found = part_tracking(train, test, 1, resamples=20)
    # of the test images one lies at the training mean, the other is now predicted there
    same(found.test_r2[0, 0, 0], 0.0)
    same(found.hit_rate, 0.5)


def test_a_test_part_that_moves_against_the_peak_has_a_negative_r2() -> None:
    train, test = hand_case()
    test.positions[:, 0, 0] = 8 - test.positions[:, 0, 0]
    slope = 0.08 / 0.081
    same(part_tracking(train, test, 1, resamples=1).test_r2[0, 0, 0], 1 - (1 + slope) ** 2)


def test_of_equal_filters_the_lower_index_is_chosen() -> None:
    train, test = random_case()
    double = [
        table._replace(values=table.values.repeat(1, 2), positions=table.positions.repeat(1, 2, 1))
        for table in (train, test)
    ]
    once, twice = (
        part_tracking(train, test, CLASSES, resamples=1),
        part_tracking(*double, CLASSES, most_active=12, resamples=1),
    )
    assert once.tracking_filter.max() > 0
    assert torch.equal(once.tracking_filter, twice.tracking_filter)
    assert torch.equal(once.hit_filter, twice.hit_filter)


def test_of_equally_active_filters_the_lower_indices_compete() -> None:
    train, test = hand_case()
    train.values[:] = test.values[:] = 1
    order = torch.tensor([1, 2, 0])
    train, test = (t._replace(positions=t.positions[:, order]) for t in (train, test))
    assert part_tracking(train, test, 1, most_active=2, resamples=1).tracking_filter.tolist() == [[0]]
    assert part_tracking(train, test, 1, most_active=3, resamples=1).tracking_filter.tolist() == [[2]]


def test_a_filter_is_active_by_its_mean_with_silence_as_zero() -> None:
    train, test = hand_case()
    train.values[:, 0] = torch.tensor([5.0, -9.0])  # mean 2.5 with silence as 0, negative as it is
    train.values[:, 1] = 2
    assert part_tracking(train, test, 1, most_active=1, resamples=1).hit_filter.tolist() == [[0]]


def test_the_edges_of_a_box_belong_to_it() -> None:
    train, test = hand_case()
    for shift, rate in ((1.0, 1.0), (-1.0, 1.0), (1.001, 0.0), (-1.001, 0.0)):
        for axis in (0, 1):
            moved = test.positions.clone()
            moved[:, 0, axis] += shift
            assert part_tracking(train, test._replace(positions=moved), 1, resamples=1).hit_rate.item() == rate


@pytest.mark.parametrize(
    ("boxes", "pixel"),
    [
        ([[5.0, 5.0, 2.0, 2.0]], (4.5, 4.5)),
        ([[5.0, 5.0, 2.0, 2.0], [6.0, 5.6, 2.0, 2.0]], (5.5, 5.5)),
        ([[8.0, 2.0, 2.0, 2.0], [2.0, 8.0, 2.0, 2.0]], (7.5, 1.5)),
        ([[0.0, 0.0, 6.0, 6.0], [9.0, 9.0, 8.0, 8.0], [9.5, 9.5, 1.0, 1.0]], (9.5, 9.5)),
    ],
)
def test_the_constant_position_is_the_first_pixel_in_most_training_boxes(
    boxes: list[list[float]], pixel: tuple[float, float]
) -> None:
    train, test = hand_case()
    number = len(boxes)
    train = PeakTable(
        torch.ones(number, 3),
        torch.zeros(number, 3, 2),
        torch.zeros(number, 1, 2),
        torch.tensor(boxes)[:, None],
        torch.zeros(number).long(),
        torch.full((number, 2), 10),
    )
    for point, rate in ((pixel, 1.0), ((pixel[0] + 1, pixel[1]), 0.0), ((pixel[0], pixel[1] + 1), 0.0)):
        test.boxes[:] = torch.tensor([*point, 0.5, 0.5])
        assert part_tracking(train, test, 1, resamples=1).constant_hit_rate.item() == rate


def test_enlarging_the_images_with_everything_in_them_changes_no_r2_and_no_hit() -> None:
    train, test = random_case()
    larger = (
        table._replace(**{name: 3 * getattr(table, name) for name in ("positions", "landmarks", "boxes", "sizes")})
        for table in (train, test)
    )
    one, two = part_tracking(train, test, CLASSES, resamples=9), part_tracking(*larger, CLASSES, resamples=9)
    for name in (*TABLES[:-1], "tracking", "tracking_low", "tracking_high", "hit_rate"):
        same(getattr(one, name), getattr(two, name))


def test_the_order_of_the_images_changes_nothing_but_the_draws_of_the_bootstrap() -> None:
    train, test = random_case(levels=2)
    order = [torch.randperm(len(table.labels)) for table in (train, test)]
    permuted = (PeakTable(*(field[rows] for field in table)) for table, rows in zip((train, test), order, strict=True))
    one, two = part_tracking(train, test, CLASSES), part_tracking(*permuted, CLASSES)
    for name in (*TABLES, *POINTS):
        same(getattr(one, name), getattr(two, name))


def test_memory_bounds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = random_case()
    whole = part_tracking(train, test, CLASSES, resamples=50)
    monkeypatch.setattr(peak_table, "_NUMBERS_AT_ONCE", 120)  # two images at once in the regression
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 30)  # two resamples
    agree(part_tracking(train, test, CLASSES, resamples=50), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_low_precision_is_computed_in_double(dtype: torch.dtype) -> None:
    low = [PeakTable(*(f.to(dtype) if f.is_floating_point() else f for f in table)) for table in random_case()]
    high = [PeakTable(*(f.double() if f.is_floating_point() else f for f in table)) for table in low]
    found = part_tracking(*low, CLASSES, resamples=20)
    agree(found, part_tracking(*high, CLASSES, resamples=20), 0)
    assert found.tracking.dtype == found.test_r2.dtype == found.constant_hit_rates.dtype == torch.float64


def test_the_interval_is_that_of_the_redrawn_images() -> None:
    train, test = random_case()
    resamples = 20
    found = part_tracking(train, test, CLASSES, resamples=resamples)
    generator = torch.Generator().manual_seed(0)
    drawn = {
        k: (test.labels == k).nonzero().squeeze(1)[torch.randint(n, (resamples, n), generator=generator)]
        for k in range(CLASSES)
        if (n := int((test.labels == k).sum())) and (train.labels == k).any()
    }
    means = []
    for b in range(resamples):
        rows = torch.cat([images[b] for images in drawn.values()])
        again = part_tracking(train, PeakTable(*(field[rows] for field in test)), CLASSES, resamples=1)
        assert torch.equal(again.tracking_filter, found.tracking_filter)
        means.append(again.tracking.item())
    low, high = np.quantile(means, [0.025, 0.975])
    same(torch.stack([found.tracking_low, found.tracking_high]), [low, high])
    assert found.tracking_low < found.tracking < found.tracking_high


def test_the_interval_is_as_wide_as_the_central_limit_says() -> None:
    # The filter's error is 0.3 or 0 of a unit deviation, each in half of the images: R² = 1 − 0.09·Bernoulli(½).
    images = 400
    side = torch.tensor([1.0, -1.0]).repeat(images // 2)
    place = torch.stack([50 + 20 * side, torch.full((images,), 50.0)], -1)[:, None]
    boxes = torch.full((images, 1, 4), NAN)
    train = PeakTable(
        torch.ones(images, 1), place, place, boxes, torch.zeros(images).long(), torch.full((images, 2), 100)
    )
    wrong = torch.arange(images) % 4 < 2
    test = train._replace(positions=torch.where(wrong[:, None, None], 50 + 0.7 * (place - 50), place))
    found = part_tracking(train, test, 1)
    assert found.tracking.item() == pytest.approx(1 - 0.045, abs=1e-3)
    width = 2 * 1.96 * 0.09 * 0.5 / math.sqrt(images)
    assert (found.tracking_high - found.tracking_low).item() == pytest.approx(width, rel=0.1)
    again = part_tracking(train, test, 1)
    assert (found.tracking_low, found.tracking_high) == (again.tracking_low, again.tracking_high)


def test_the_difference_of_two_layers_is_taken_on_the_same_resamples() -> None:
    train, test = random_case()
    turned = torch.tensor([3, 0, 4, 1, 5, 2])
    layer, shuffled = (
        part_tracking(
            *(
                table._replace(values=table.values[:, order], positions=table.positions[:, order])
                for table in (train, test)
            ),
            CLASSES,
            resamples=300,
        )
        for order in (torch.arange(6), turned)
    )
    same(torch.stack(tracking_difference(layer, shuffled)), [0, 0, 0])
    worse = part_tracking(
        train, test._replace(positions=test.positions + 3 * torch.randn(30, 6, 2)), CLASSES, resamples=300
    )
    found = tracking_difference(layer, worse)
    pairs = layer.resampled_tracking - worse.resampled_tracking
    same(torch.stack(found), [layer.tracking - worse.tracking, *np.nanquantile(pairs.numpy(), [0.025, 0.975])])
    assert found.low < found.difference < found.high
    assert layer.tracking_low == np.nanquantile(layer.resampled_tracking.numpy(), 0.025)


def test_the_bootstrap_leaves_the_global_generator_alone() -> None:
    train, test = random_case()
    state = torch.get_rng_state()
    part_tracking(train, test, CLASSES)
    assert torch.equal(torch.get_rng_state(), state)


def nothing_counts(found: PartTrackingResult) -> None:
    for name in (*POINTS, "tracking_low", "tracking_high", "train_r2", "test_r2", "hit_rates", "constant_hit_rates"):
        assert getattr(found, name).isnan().all(), name
    assert (found.tracking_filter == -1).all()
    assert (found.hit_filter == -1).all()


def test_without_a_training_image_nothing_counts() -> None:
    train, test = random_case()
    nothing_counts(part_tracking(PeakTable(*(field[:0] for field in train)), test, CLASSES))


def test_without_an_annotation_nothing_counts() -> None:
    train, test = random_case()
    for table in (train, test):
        table.landmarks[:] = table.boxes[:] = NAN
    nothing_counts(part_tracking(train, test, CLASSES))


def test_without_a_test_image_filters_are_chosen_and_not_scored() -> None:
    train, test = random_case()
    found = part_tracking(train, PeakTable(*(field[:0] for field in test)), CLASSES)
    whole = part_tracking(train, test, CLASSES)
    for name in ("train_r2", "tracking_filter", "hit_filter"):
        same(getattr(found, name), getattr(whole, name))
    for name in ("tracking", "tracking_low", "tracking_high", "hit_rate", "constant_hit_rate", "test_r2"):
        assert getattr(found, name).isnan().all(), name


def test_one_training_image_tells_hits_but_no_r2() -> None:
    train, test = hand_case()
    found = part_tracking(PeakTable(*(field[:1] for field in train)), test, 1)
    assert found.train_r2.isnan().all()
    assert found.test_r2.isnan().all()
    assert found.tracking_filter.item() == -1
    assert found.tracking_low.isnan()
    assert found.hit_rate == 1


def test_a_part_that_never_moves_has_no_r2() -> None:
    train, test = case_of_one_size()
    train.landmarks[:] = test.landmarks[:] = torch.tensor([1.1, 3.3], dtype=torch.float64)
    found = part_tracking(train, test, CLASSES)
    assert found.train_r2.isnan().all()
    assert found.test_r2.isnan().all()
    assert found.tracking.isnan()
    test.landmarks[:, 0] = 2.2  # a part that moves on test images alone is never predicted
    found = part_tracking(train, test, CLASSES)
    assert found.train_r2.isnan().all()
    assert found.test_r2[:2, :, 0].eq(0).all()
    assert found.tracking.isnan()
    assert found.tracking_low.isnan()


def test_a_landmark_or_box_with_one_missing_number_is_absent() -> None:
    train, test = random_case()
    for name, numbers in (("landmarks", 2), ("boxes", 4)):
        whole, broken = (getattr(train, name).clone() for _ in range(2))
        whole[::3] = NAN
        broken[::3, :, numbers - 1] = NAN
        agree(*(part_tracking(train._replace(**{name: each}), test, CLASSES, resamples=5) for each in (whole, broken)))


def test_a_silent_layer_has_r2_zero_and_no_hits() -> None:
    train, test = random_case()
    train.values[:] = test.values[:] = 0
    train.positions[:] = test.positions[:] = NAN  # where a silent filter peaks is never read
    found = part_tracking(train, test, CLASSES)
    assert found.tracking == found.hit_rate == found.tracking_low == found.tracking_high == 0
    assert found.test_r2[found.test_r2.isfinite()].eq(0).all()
    assert found.tracking_filter.max() == 0


def test_maps_without_a_maximum_track_nothing() -> None:
    """A constant positive map peaks in its first cell on every image, as a filter at a fixed cell does."""
    train, test = case_of_one_size()
    train.values[:] = test.values[:] = 1
    train.positions[:] = test.positions[:] = torch.tensor([0.7, 0.3])
    found = part_tracking(train, test, CLASSES)
    same(torch.stack([found.tracking, found.tracking_low, found.tracking_high]), [0, 0, 0])
    assert found.tracking_filter.max() == found.hit_filter.max() == 0


def test_nan_peaks_are_refused() -> None:
    train, test = random_case()
    test.values[2, 1] = NAN
    with pytest.raises(
        MetricError, match=r"peak activations of the test images must be numbers, got NaN in row 2 of 30"
    ):
        part_tracking(train, test, CLASSES)
    test.values[2, 1] = 1
    train.values[5, 0] = 1
    train.positions[5, 0, 1] = NAN
    with pytest.raises(
        MetricError, match=r"peak positions of the training images must be numbers, got NaN in row 5 of 38"
    ):
        part_tracking(train, test, CLASSES)


def test_tables_of_different_layers_are_refused() -> None:
    train, test = random_case()
    fewer = test._replace(values=test.values[:, :4], positions=test.positions[:, :4])
    with pytest.raises(MetricError, match="the same filters and parts, got 6 filters and 3 parts against 4 and 3"):
        part_tracking(train, fewer, CLASSES)


SIZE = (16, 24)  # H, W
Batch = tuple[PeakTable, Tensor, bool]


def batches(train: PeakTable, test: PeakTable, pieces: int) -> list[Batch]:
    """Both tables in pieces of uneven size, each with its images' places."""
    found = []
    for table, is_train in ((train, True), (test, False)):
        for rows in torch.arange(len(table.labels)).tensor_split([1, 5, 12][: pieces - 1]):
            found.append((PeakTable(*(field[rows] for field in table)), rows, is_train))
    return found


def measured(given: list[Batch]) -> PartTrackingResult:
    metric = PartTracking(CLASSES, resamples=50)
    for table, index, is_train in given:
        metric.update(*table[:5], image_size=SIZE, index=index, train=is_train)
    return metric.compute()


def case_of_one_size() -> tuple[PeakTable, PeakTable]:
    """Many ties, so that any dependence on the order of images shows."""
    height, width = SIZE
    train, test = (
        table._replace(sizes=torch.tensor([[width, height]]).repeat(len(table.labels), 1))
        for table in random_case(levels=2)
    )
    return train, test


def test_the_metric_is_the_function_of_all_images() -> None:
    train, test = case_of_one_size()
    agree(measured(batches(train, test, 1)), part_tracking(train, test, CLASSES, resamples=50), 0)


def test_batches_in_any_order_equal_one_update() -> None:
    train, test = case_of_one_size()
    given = batches(train, test, 4)
    mixed = []
    for i in torch.randperm(len(given)).tolist():
        table, index, is_train = given[i]
        order = torch.randperm(len(index))
        mixed.append((PeakTable(*(field[order] for field in table)), index[order], is_train))
    agree(measured(mixed), measured(batches(train, test, 1)), 0)


def test_images_of_several_sizes_are_each_measured_by_their_own() -> None:
    train, test = random_case()
    metric = PartTracking(CLASSES, resamples=50)
    for size in SIZES:
        for table, is_train in ((train, True), (test, False)):
            rows = (table.sizes == size).all(1).nonzero().squeeze(1)
            metric.update(
                *(field[rows] for field in table[:5]),
                image_size=tuple(size.flip(0).tolist()),
                index=rows,
                train=is_train,
            )
    agree(metric.compute(), part_tracking(train, test, CLASSES, resamples=50), 0)


def test_the_metric_forgets_after_a_reset() -> None:
    train, test = case_of_one_size()
    metric = PartTracking(CLASSES, resamples=50)
    for given in (batches(test, train, 2), batches(train, test, 2)):
        metric.reset()
        for table, index, is_train in given:
            metric.update(*table[:5], image_size=SIZE, index=index, train=is_train)
    agree(metric.compute(), measured(batches(train, test, 1)), 0)


def one_rank(rank: int, folder: str, given: list[Batch]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(measured(given[:5] if rank == 1 else given[5:])._asdict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_images_equal_one_process(tmp_path: Path) -> None:
    train, test = case_of_one_size()
    alone = measured(batches(train, test, 1))
    mp.start_processes(one_rank, args=(str(tmp_path), batches(train, test, 4)), nprocs=2, start_method="fork")
    for rank in range(2):
        ranked = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        agree(PartTrackingResult(**ranked), alone, 0)


SIDE = 64


@pytest.fixture(scope="module")
def heads() -> tuple[PeakTable, PeakTable]:
    """Heads of drawn animals; filter 0 is exactly there, 1 always in the centre of the image, 2 anywhere."""
    generator = torch.Generator().manual_seed(0)
    tables = []
    for split, size in (("train", 320), ("test", 160)):
        samples = list(Creatures(split, size=size, image_size=SIDE))
        landmarks, boxes = (
            torch.stack([sample[name][:1] for sample in samples]).as_subclass(Tensor) for name in ("landmarks", "boxes")
        )
        centre = torch.full((size, 1, 2), SIDE / 2)
        positions = torch.cat([landmarks, centre, SIDE * torch.rand(size, 1, 2, generator=generator)], 1)
        values = torch.ones(size, 3)
        values[landmarks[:, 0].isnan().any(-1), 0] = 0
        labels = torch.stack([sample["label"] for sample in samples])
        tables.append(PeakTable(values, positions, landmarks, boxes, labels, torch.full((size, 2), SIDE)))
    return tuple(tables)


def only(table: PeakTable, filter_: int) -> PeakTable:
    return table._replace(values=table.values[:, [filter_]], positions=table.positions[:, [filter_]])


def test_planted_filters_are_told_apart_by_tracking(heads: tuple[PeakTable, PeakTable]) -> None:
    train, test = heads
    at_head, at_centre, anywhere = (part_tracking(only(train, c), only(test, c), 8) for c in range(3))
    assert at_head.tracking > 0.999
    same(at_centre.tracking, 0.0)
    assert -0.2 < anywhere.tracking < 0.02  # two slopes fitted to noise on about 35 images cost some 2 · 2/35
    assert anywhere.tracking_high < at_head.tracking_low
    together = part_tracking(train, test, 8)
    assert (together.tracking_filter == 0).all()
    same(together.tracking, at_head.tracking)


def test_planted_filters_are_told_apart_by_hits(heads: tuple[PeakTable, PeakTable]) -> None:
    train, test = heads
    at_head, at_centre, anywhere = (part_tracking(only(train, c), only(test, c), 8) for c in range(3))
    assert at_head.hit_rate > 0.97
    assert abs(at_centre.hit_rate - at_centre.constant_hit_rate) < 0.05
    assert at_centre.constant_hit_rate < 0.15
    assert anywhere.hit_rate < 0.1
    assert (part_tracking(train, test, 8).hit_filter == 0).all()


def test_planted_filters_are_told_apart_by_location_instability(heads: tuple[PeakTable, PeakTable]) -> None:
    _, test = heads
    results = []
    for c in range(3):
        metric = LocationInstability(8)
        alone = only(test, c)
        metric.update(
            alone.values, alone.positions, alone.landmarks, alone.labels, (SIDE, SIDE), torch.arange(len(alone.labels))
        )
        results.append(metric.compute())
    at_head, at_centre, anywhere = results
    assert at_head.instability < 1e-6
    assert torch.equal(at_centre.instability, at_centre.centre)
    assert torch.equal(at_centre.best_class, at_centre.centre_best_class)
    assert at_centre.instability < 0.6 * anywhere.instability
    assert anywhere.instability.item() == pytest.approx(anywhere.random.item(), rel=0.1)
