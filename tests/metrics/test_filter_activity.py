import math
from pathlib import Path

import pytest
import torch
from oracles import filter_activity as oracle
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.filter_activity import FilterActivity, FilterActivityResult, activity, filter_activity

NAN = math.nan
OFFSET, STRIDE, SIZE = 3.5, 8, (48, 64)


def random_maps(images: int = 20, filters: int = 5, levels: int | None = None) -> Tensor:
    """Sparse maps with silent images, a dead filter, negative cells and, with levels, many equal maxima."""
    maps = torch.randn(images, filters, 6, 8, dtype=torch.float64) - 1
    if levels is not None:
        maps = (maps * levels).round()
    maps[torch.rand(images, filters) < 0.3] *= 0
    maps[:, 3] = maps[:, 3].clamp(max=0)
    return maps


def same(result: FilterActivityResult, expected: dict[str, object], tolerance: float = 1e-12) -> None:
    for name, value in result._asdict().items():
        known = torch.as_tensor(expected[name], dtype=torch.float64)
        torch.testing.assert_close(value, known, rtol=0, atol=tolerance, equal_nan=True, msg=name)


@pytest.mark.parametrize("levels", [None, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_the_function_equals_the_literal_definitions(seed: int, levels: int | None) -> None:
    torch.manual_seed(seed)
    maps = random_maps(levels=levels)
    expected = oracle.activity(maps.tolist(), OFFSET, STRIDE, [SIZE] * 20)
    assert expected["dead"] == 0.2
    same(activity(filter_activity(maps, OFFSET, STRIDE, SIZE)), expected)


def test_a_case_by_hand() -> None:
    maps = torch.zeros(2, 3, 2, 2)
    maps[0, 0, 0, 0], maps[1, 0, 0, 1] = 1.0, 3.0  # moves by one cell
    maps[0, 1, 0, 0] = 2.0  # fires once, in the same cell as filter 0
    result = activity(filter_activity(maps, offset=0.0, stride=10, image_size=(30, 40)))
    expected = {
        "sparsity": [0.75, 0.875, 1.0],
        "silent": [0.0, 0.5, 1.0],
        "dead": 1 / 3,
        "treves_rolls": [4 / 5, 1 / 2, NAN],
        "spread": [5 / 50, 0.0, NAN],
        "mean_spread": 0.05,
        "distinct_cells": 1.0,
    }
    same(result, expected)


@pytest.mark.parametrize("images", [1, 3, 1000])
def test_a_filter_that_always_fires_in_one_cell_has_exactly_no_spread(images: int) -> None:
    maps = torch.zeros(images, 48, 6, 8)
    maps.flatten(2)[:, torch.arange(48), torch.arange(48)] = torch.rand(images, 48) + 0.1
    result = activity(filter_activity(maps, 0.3, 7, (48, 64)))
    assert (result.spread == 0).all()
    assert result.distinct_cells == 48


def test_a_filter_that_fires_anywhere_spreads_as_a_uniform_point() -> None:
    maps = torch.zeros(4000, 4, 400).scatter_(2, torch.randint(400, (4000, 4, 1)), 1.0).unflatten(2, (20, 20))
    result = activity(filter_activity(maps, 0.5, 1, (20, 20)))
    uniform = math.sqrt(2 * (20**2 - 1) / 12) / (20 * math.sqrt(2))
    assert result.mean_spread.item() == pytest.approx(uniform, rel=0.01)


def test_treves_rolls_is_one_for_equal_responses_and_one_in_n_for_a_single_one() -> None:
    maps = torch.zeros(10, 2, 3, 3)
    maps[:, 0, 1, 1] = 0.7
    maps[4, 1, 2, 2] = 5.0
    result = activity(filter_activity(maps, 0.0, 1, (3, 3)))
    torch.testing.assert_close(result.treves_rolls, torch.tensor([1.0, 0.1], dtype=torch.float64))


def test_scaling_the_maps_or_the_images_with_their_units_changes_nothing() -> None:
    maps = random_maps()
    one = activity(filter_activity(maps, OFFSET, STRIDE, SIZE))
    same(activity(filter_activity(3 * maps, OFFSET, STRIDE, SIZE)), one._asdict())
    same(activity(filter_activity(maps, 2 * OFFSET, 2 * STRIDE, (96, 128))), one._asdict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_is_summed_in_float64(dtype: torch.dtype) -> None:
    maps = random_maps().to(dtype)
    expected = oracle.activity(maps.double().tolist(), OFFSET, STRIDE, [SIZE] * 20)
    same(activity(filter_activity(maps, OFFSET, STRIDE, SIZE)), expected)
    channels_last = maps.contiguous(memory_format=torch.channels_last)
    same(activity(filter_activity(channels_last, OFFSET, STRIDE, SIZE)), expected)


def measured(maps: Tensor, slices: list[slice]) -> FilterActivityResult:
    metric = FilterActivity(maps.shape[1])
    for part in slices:
        metric.update(maps[part], OFFSET, STRIDE, SIZE)
    return metric.compute()


def test_batches_in_any_order_equal_the_function() -> None:
    maps = random_maps()
    result = measured(maps, [slice(13, 20), slice(0, 1), slice(1, 1), slice(1, 13)])
    same(result, activity(filter_activity(maps, OFFSET, STRIDE, SIZE))._asdict())


def test_images_of_several_sizes_are_each_measured_by_their_own_diagonal() -> None:
    maps, sizes = random_maps(), [(48, 64), (96, 100)]
    metric = FilterActivity(5)
    for part, size in zip(maps.split(10), sizes, strict=True):
        metric.update(part, OFFSET, STRIDE, size)
    each = [size for size in sizes for _ in range(10)]
    same(metric.compute(), oracle.activity(maps.tolist(), OFFSET, STRIDE, each))


def test_without_images_nothing_is_a_number() -> None:
    for value in activity(filter_activity(torch.zeros(0, 3, 2, 2), 0.0, 1, (2, 2))):
        assert value.isnan().all()


def test_the_metric_forgets_after_a_reset() -> None:
    maps = random_maps()
    metric = FilterActivity(5)
    with torch.inference_mode():
        metric.update(maps.flip(0)[:7], OFFSET, STRIDE, SIZE)
        metric.reset()
    metric.update(maps, OFFSET, STRIDE, SIZE)
    same(metric.compute(), measured(maps, [slice(None)])._asdict())


def test_activations_that_are_no_numbers_are_refused() -> None:
    maps = random_maps()
    maps[7, 2, 3, 3] = NAN
    with pytest.raises(MetricError, match="feature maps must be numbers, got NaN in row 7 of 20"):
        filter_activity(maps, OFFSET, STRIDE, SIZE)


def one_rank(rank: int, folder: str, maps: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = measured(maps, [slice(0, 5), slice(5, 13)] if rank == 0 else [slice(13, 20)])
    torch.save(list(result), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    maps = random_maps()
    alone = measured(maps, [slice(None)])._asdict()
    mp.start_processes(one_rank, args=(str(tmp_path), maps), nprocs=2, start_method="fork")
    for rank in range(2):
        same(FilterActivityResult(*torch.load(tmp_path / f"{rank}.pt", weights_only=True)), alone)
