import importlib
import math
from pathlib import Path

import pytest
import torch
from oracles.location_instability import deviations, summary
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics import LocationInstability, location_instability

NAN = math.nan
MODULE = importlib.import_module("interpretable.metrics.location_instability")  # the package has the function so named


def random_case(images: int = 60, filters: int = 4, parts: int = 3, levels: int | None = None) -> dict[str, Tensor]:
    """Images of random size with invisible parts and silent filters; with levels, many equal strengths."""
    values = torch.rand(images, filters, dtype=torch.float64) - 0.2
    if levels is not None:
        values = (values * levels).round()
    landmarks = 50 * torch.rand(images, parts, 2, dtype=torch.float64)
    landmarks[torch.rand(images, parts) < 0.3] = NAN
    return {
        "values": values,
        "positions": 50 * torch.rand(images, filters, 2, dtype=torch.float64),
        "landmarks": landmarks,
        "labels": torch.randint(0, 4, (images,)),
        "diagonal": 50 + 20 * torch.rand(images, dtype=torch.float64),
    }


def literal(case: dict[str, Tensor], num_classes: int, top: int) -> Tensor:
    table = deviations(**{name: tensor.tolist() for name, tensor in case.items()}, num_classes=num_classes, top=top)
    return torch.tensor(table, dtype=torch.float64)


def same(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("top", [1, 2, 5, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_function_equals_the_literal_protocol(seed: int, top: int, levels: int | None) -> None:
    torch.manual_seed(seed)
    case = random_case(levels=levels)
    expected = literal(case, num_classes=5, top=top)  # class 4 has no image
    assert expected.isnan().any()
    assert top == 1 or not expected.isnan().all()
    same(location_instability(**case, num_classes=5, top=top), expected)


def hand_case() -> dict[str, Tensor]:
    """Distances 5, 10, 0 on a diagonal of 10, then four images that must not count."""
    landmarks = [[3.0, 4.0], [6.0, 8.0], [0.0, 0.0], [50.0, 0.0], [NAN, NAN], [50.0, 0.0], [0.0, NAN]]
    return {
        "values": torch.tensor([[3.0], [2.0], [1.0], [0.0], [9.0], [9.0], [9.0]]),
        "positions": torch.zeros(7, 1, 2),
        "landmarks": torch.tensor(landmarks)[:, None],
        "labels": torch.tensor([0, 0, 0, 0, 0, 1, 0]),
        "diagonal": torch.full((7,), 10.0),
    }


def test_a_case_by_hand() -> None:
    # 0.5, 1 and 0: mean 0.5, unbiased variance (0 + 0.25 + 0.25) / 2; one image of class 1 is not enough
    result = location_instability(**hand_case(), num_classes=2, top=100)
    same(result, torch.tensor([[[0.5], [NAN]]]), 1e-6)


def test_only_the_strongest_images_count() -> None:
    # the two strongest: 0.5 and 1, half their distance times √2
    result = location_instability(**hand_case(), num_classes=2, top=2)
    same(result[0, 0], torch.tensor([0.25 * math.sqrt(2)]), 1e-6)


def test_of_equal_strengths_the_lower_image_index_counts() -> None:
    case = hand_case() | {"values": torch.ones(7, 1)}
    case["values"][3] = 0
    same(location_instability(**case, num_classes=2, top=2)[0, 0], torch.tensor([0.25 * math.sqrt(2)]), 1e-6)


def test_a_filter_that_fires_at_the_landmark_has_no_instability() -> None:
    case = random_case(parts=1)
    case["positions"] = case["landmarks"].nan_to_num(0.0).expand(-1, 4, -1).clone()
    result = location_instability(**case, num_classes=4, top=100)
    same(result, torch.zeros(4, 4, 1))


def test_the_order_of_the_images_does_not_matter() -> None:
    case = random_case()
    order = torch.randperm(60)
    permuted = {name: tensor[order] for name, tensor in case.items()}
    same(location_instability(**permuted, num_classes=4, top=5), location_instability(**case, num_classes=4, top=5))


def test_enlarging_the_images_with_everything_in_them_changes_nothing() -> None:
    case = random_case()
    larger = case | {name: 3 * case[name] for name in ("positions", "landmarks", "diagonal")}
    same(location_instability(**larger, num_classes=4, top=5), location_instability(**case, num_classes=4, top=5))


def test_memory_bounds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(levels=3)
    whole = location_instability(**case, num_classes=4, top=5)
    for numbers in (1, 100):  # one filter at once, two
        monkeypatch.setattr(MODULE, "_DISTANCES_AT_ONCE", numbers)
        same(location_instability(**case, num_classes=4, top=5), whole, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_low_precision_is_computed_in_double(dtype: torch.dtype) -> None:
    low = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in random_case().items()}
    high = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in low.items()}
    found = location_instability(**low, num_classes=4)
    assert found.dtype == torch.float64
    same(found, location_instability(**high, num_classes=4), 0)


def test_nan_peaks_are_refused() -> None:
    case = random_case()
    case["values"][7, 2] = NAN
    with pytest.raises(MetricError, match="peak activations must be numbers, got NaN in row 7 of 60"):
        location_instability(**case, num_classes=4)
    with pytest.raises(MetricError, match="peak activations must be numbers, got NaN in row 7 of 60"):
        measured(case, WHOLE)


def nothing_counts(case: dict[str, Tensor]) -> None:
    assert location_instability(**case, num_classes=4).isnan().all()
    assert all(number.isnan() for number in measured(case, WHOLE))


def test_one_image_of_each_class_is_not_enough() -> None:
    nothing_counts({name: tensor[:4] for name, tensor in random_case().items()} | {"labels": torch.arange(4)})


def test_silent_filters_have_no_instability() -> None:
    nothing_counts(random_case() | {"values": torch.zeros(60, 4)})


def test_without_a_landmark_nothing_counts() -> None:
    nothing_counts(random_case() | {"landmarks": torch.full((60, 3, 2), NAN)})


def test_images_of_no_class_do_not_count() -> None:
    nothing_counts(random_case() | {"labels": torch.arange(60) % 2 * 8 - 1})


def test_an_absent_part_leaves_the_others_as_they_are() -> None:
    case = random_case()
    whole = location_instability(**case, num_classes=4)
    case["landmarks"][:, 1] = NAN
    found = location_instability(**case, num_classes=4)
    assert found[..., 1].isnan().all()
    same(found[..., [0, 2]], whole[..., [0, 2]])


def test_constant_maps_fire_in_their_first_cell_on_the_first_images() -> None:
    case = random_case() | {"values": torch.ones(60, 4), "positions": torch.full((60, 4, 2), 4.0)}
    same(location_instability(**case, num_classes=5, top=3), literal(case, 5, 3))


HEIGHT, WIDTH = 48, 64


def measured(case: dict[str, Tensor], slices: list[slice], top: int = 100) -> tuple[Tensor, ...]:
    metric = LocationInstability(num_classes=4, top=top)
    for part in slices:
        metric.update(
            case["values"][part],
            case["positions"][part],
            case["landmarks"][part],
            case["labels"][part],
            image_size=(HEIGHT, WIDTH),
        )
    return metric.compute()


WHOLE = [slice(None)]


@pytest.mark.parametrize("top", [3, 100])
def test_the_metric_is_the_literal_mean_and_the_literal_best_class(top: int) -> None:
    case = random_case() | {"diagonal": torch.full((60,), math.hypot(HEIGHT, WIDTH), dtype=torch.float64)}
    case["values"][:, 3] = -1.0  # a filter without any image is left out
    case["landmarks"][case["labels"] == 2, 1] = NAN  # and so is a part that a class does not have
    mean, best = summary(deviations(**{k: v.tolist() for k, v in case.items()}, num_classes=4, top=top))
    result = measured(case, WHOLE, top)
    assert result.instability.ndim == result.best_class.ndim == 0
    assert result.instability.item() == pytest.approx(mean, abs=1e-6)
    assert result.best_class.item() == pytest.approx(best, abs=1e-6)
    assert best < mean


def test_images_of_several_sizes_are_each_measured_by_their_own_diagonal() -> None:
    case = random_case()
    sizes = [(30, 40), (60, 80)]
    case["diagonal"] = torch.tensor([50.0, 100.0], dtype=torch.float64).repeat_interleave(30)
    mean, best = summary(deviations(**{k: v.tolist() for k, v in case.items()}, num_classes=4, top=100))
    metric = LocationInstability(num_classes=4)
    for part, size in zip([slice(0, 30), slice(30, 60)], sizes, strict=True):
        metric.update(*(case[n][part] for n in ("values", "positions", "landmarks", "labels")), image_size=size)
    result = metric.compute()
    assert result.instability.item() == pytest.approx(mean, abs=1e-6)
    assert result.best_class.item() == pytest.approx(best, abs=1e-6)


def test_a_filter_that_always_fires_in_the_centre_has_the_centre_floor() -> None:
    case = random_case()
    case["values"] = torch.ones(60, 4)
    case["positions"] = torch.tensor([WIDTH / 2, HEIGHT / 2]).expand(60, 4, 2).clone()
    result = measured(case, WHOLE)
    assert result.centre.item() == pytest.approx(result.instability.item(), abs=1e-6)
    assert result.centre_best_class.item() == pytest.approx(result.best_class.item(), abs=1e-6)


def test_the_floors_do_not_depend_on_where_the_filters_fire() -> None:
    case = random_case()
    moved = case | {"positions": 50 - case["positions"]}
    one, two = measured(case, WHOLE), measured(moved, WHOLE)
    assert one.instability != two.instability
    for name in ("centre", "centre_best_class", "random", "random_best_class"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_batches_equal_one_update() -> None:
    case = random_case()
    for name, one, two in zip(
        measured(case, WHOLE)._fields,
        measured(case, WHOLE),
        measured(case, [slice(0, 7), slice(7, 8), slice(8, 60)]),
        strict=True,
    ):
        assert one.item() == pytest.approx(two.item(), abs=1e-6), name


def test_batches_in_any_order_equal_one_update() -> None:
    case = random_case()
    one, two = measured(case, WHOLE, 5), measured(case, [slice(40, 60), slice(0, 13), slice(13, 40)], 5)
    for name in ("instability", "best_class"):
        assert getattr(one, name).item() == pytest.approx(getattr(two, name).item(), abs=1e-6), name
    # every image of a class counts: the equal strengths of the centre filter select nothing
    one, two = measured(case, WHOLE), measured(case, [slice(40, 60), slice(0, 13), slice(13, 40)])
    for name in ("centre", "centre_best_class"):
        assert getattr(one, name).item() == pytest.approx(getattr(two, name).item(), abs=1e-6), name


def test_the_index_makes_ties_and_floors_independent_of_the_order_of_images() -> None:
    case = random_case(levels=2)
    alone = measured(case, WHOLE, 3)
    order = torch.randperm(60)
    metric = LocationInstability(num_classes=4, top=3)
    for rows in order.split(13):
        metric.update(
            *(case[name][rows] for name in ("values", "positions", "landmarks", "labels")), (HEIGHT, WIDTH), rows
        )
    assert metric.compute() == alone
    assert measured({name: tensor[order] for name, tensor in case.items()}, WHOLE, 3) != alone


def test_the_random_floor_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    case = random_case()
    state = torch.get_rng_state()
    one = measured(case, WHOLE)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    two = measured(case, WHOLE)
    assert torch.equal(one.random, two.random)
    assert torch.equal(one.random_best_class, two.random_best_class)


def test_the_floors_of_uniform_landmarks_are_the_known_ones() -> None:
    # Unit square: E d² = 1/3 and E d = 0.521405 between two uniform points,
    # E d² = 1/6 and E d = 0.382598 from the centre.
    images, parts = 2400, 4
    side = 1000.0
    metric = LocationInstability(num_classes=4, top=600)
    metric.update(
        torch.rand(images, 6),
        side * torch.rand(images, 6, 2),
        side * torch.rand(images, parts, 2),
        torch.arange(images) % 4,
        image_size=(int(side), int(side)),
    )
    result = metric.compute()
    uniform = math.sqrt(1 / 3 - 0.521405**2) / math.sqrt(2)
    central = math.sqrt(1 / 6 - 0.382598**2) / math.sqrt(2)
    # 16 (class, part) pairs of 600 images: a relative error of about 0.7/√600 · 1/√16 < 1 %
    assert result.random.item() == pytest.approx(uniform, rel=0.03)
    assert result.instability.item() == pytest.approx(uniform, rel=0.03)
    assert result.centre.item() == pytest.approx(central, rel=0.03)
    for best, mean in [("best_class", "instability"), ("centre_best_class", "centre"), ("random_best_class", "random")]:
        assert getattr(result, best) < getattr(result, mean)


def test_the_metric_forgets_after_a_reset() -> None:
    case = random_case()
    metric = LocationInstability(num_classes=4)
    names = ("values", "positions", "landmarks", "labels")
    metric.update(*(case[name].flip(0)[:30] for name in names), image_size=(HEIGHT, WIDTH))
    metric.reset()
    metric.update(*(case[name] for name in names), image_size=(HEIGHT, WIDTH))
    assert metric.compute() == measured(case, WHOLE)


def one_rank(rank: int, folder: str, case: dict[str, Tensor], rows: list[list[Tensor]]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = LocationInstability(num_classes=4, top=3)
    for some in rows[rank]:
        metric.update(
            *(case[name][some] for name in ("values", "positions", "landmarks", "labels")), (HEIGHT, WIDTH), some
        )
    torch.save(torch.stack(metric.compute()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    case = random_case(levels=2)
    alone = measured(case, WHOLE, 3)
    rows = torch.randperm(60).split([20, 17, 23])
    mp.start_processes(one_rank, args=(str(tmp_path), case, [rows[:2], rows[2:]]), nprocs=2, start_method="fork")
    for rank in range(2):
        same(torch.load(tmp_path / f"{rank}.pt", weights_only=True), torch.stack(alone), 0)


def without_index(rank: int, folder: str, case: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(torch.stack(measured(case, [slice(rank, 30, 2), slice(30 + rank, 59, 2)], 3)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_ranks_that_take_turns_need_no_index(tmp_path: Path) -> None:
    case = random_case(levels=2)
    alone = measured(case, [slice(0, 59)], 3)
    mp.start_processes(without_index, args=(str(tmp_path), case), nprocs=2, start_method="fork")
    for rank in range(2):
        same(torch.load(tmp_path / f"{rank}.pt", weights_only=True), torch.stack(alone), 0)
