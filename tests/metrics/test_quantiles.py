import math
import re
from pathlib import Path

import pytest
import torch
from oracles import network_dissection as literal
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.quantiles import (
    BINS,
    ActivationQuantile,
    add_to_histogram,
    excess,
    histogram_order_statistic,
    live_maps,
    merge_topk,
)

EXACT, COUNTED = 10_000, None
"""Values of ``count`` that select the two ways."""


def maps_of(images: int = 40, filters: int = 3, levels: int | None = None) -> Tensor:
    """Maps after ReLU of which a float16 holds every activation; with levels, many are equal."""
    maps = torch.randn(images, filters, 4, 5).relu()
    if levels is not None:
        maps = (maps * levels).round() / levels
    return maps.half().float()


def measured(batches: list[Tensor], quantile: float, count: int | None) -> Tensor:
    metric = ActivationQuantile(batches[0].shape[1], quantile, count)
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def expected(maps: Tensor, quantile: float) -> Tensor:
    return torch.from_numpy(literal.thresholds(maps.double().numpy(), quantile))


@pytest.mark.parametrize("count", [EXACT, COUNTED])
@pytest.mark.parametrize("levels", [None, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("quantile", [0.001, 0.005, 0.02, 0.29, 0.5, 0.999])
def test_the_threshold_is_that_of_a_full_sort(quantile: float, levels: int | None, count: int | None) -> None:
    maps = maps_of(levels=levels)
    threshold = measured([maps], quantile, count)
    assert threshold.dtype == torch.float64
    assert torch.equal(threshold, expected(maps, quantile))
    above = (maps.movedim(1, 0).flatten(1) > threshold[:, None]).sum(1)
    assert (above <= math.floor(quantile * 800 + 1e-9)).all()


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_the_share_is_taken_as_it_is_written(count: int | None) -> None:
    maps = torch.arange(100.0).view(1, 1, 10, 10)  # in binary, 0.29 · 100 is less than 29
    assert measured([maps], 0.29, count).item() == 70.0


@pytest.mark.parametrize("count", [EXACT, COUNTED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_batches_of_any_size_in_any_order_equal_one_sort(dtype: torch.dtype, count: int | None) -> None:
    maps = maps_of(images=200, levels=50).to(dtype)
    whole = expected(maps, 0.01)
    assert torch.equal(measured(list(maps.split(7)), 0.01, count), whole)
    assert torch.equal(measured(list(maps[torch.randperm(200)].split(33)), 0.01, count), whole)
    assert torch.equal(measured([*maps.sort(0).values.split(20)], 0.01, count), whole)


def test_kept_activations_are_exact_in_float64() -> None:
    maps = 1 + 1e-12 * torch.rand(50, 2, 4, 5, dtype=torch.float64)
    assert torch.equal(measured(list(maps.split(11)), 0.05, EXACT), expected(maps, 0.05))


def test_kept_activations_of_different_precisions_can_follow_each_other() -> None:
    fine = 1 + 1e-3 * torch.rand(50, 2, 4, 5, dtype=torch.float64)
    coarse = (1 + 1e-3 * torch.rand(50, 2, 4, 5)).half()
    for batches in ([fine, coarse], [coarse, fine], [fine[:25], coarse, fine[25:]]):
        assert torch.equal(measured(batches, 0.3, EXACT), expected(torch.cat([fine, coarse.double()]), 0.3))


def test_an_activation_that_the_least_kept_one_rounds_to_is_still_larger() -> None:
    fine = torch.full((1, 1, 4, 5), 1 - 1e-10, dtype=torch.float64)  # in float32 it is 1
    assert measured([fine, torch.ones(1, 1, 4, 5)], 0.1, 40).item() == 1.0


def test_the_largest_are_merged_by_filter() -> None:
    kept = torch.tensor([[3.0, -math.inf], [1.0, -math.inf]], dtype=torch.float64)
    maps = torch.tensor([[[[2.0, 0.0]], [[-1.0, -7.0]]], [[[9.0, 1.0]], [[-5.0, -2.0]]]])
    merged = merge_topk(kept, maps).sort(0, descending=True).values
    assert merged.tolist() == [[9.0, -1.0], [3.0, -2.0]]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e4])
def test_a_counted_threshold_is_the_exact_one_rounded_to_float16(scale: float) -> None:
    maps = scale * torch.randn(500, 2, 4, 5).sigmoid() * 2
    exact = expected(maps, 0.01)
    counted = measured(list(maps.split(100)), 0.01, COUNTED)
    assert torch.equal(counted, exact.half().double())
    assert (exact > 6.1e-5).all()
    assert ((counted - exact).abs() <= 4.9e-4 * exact).all()
    assert not torch.equal(counted, exact)


def test_the_bins_are_in_the_order_of_the_numbers_and_each_gives_its_number_back() -> None:
    finite = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16)
    finite = finite[finite.isfinite()].sort(descending=True).values
    histogram = add_to_histogram(torch.zeros(1, BINS, dtype=torch.int64), finite.view(1, 1, 1, -1))
    assert histogram.sum() == len(finite)
    assert histogram.max() == 1
    ranks = [0, 1, 1000, 31742, 31743, 31744, 50_000, len(finite) - 1]  # both zeros are in the middle
    for rank in ranks:
        assert histogram_order_statistic(histogram, rank).item() == finite[rank].item()


@pytest.mark.parametrize(("value", "counted"), [(1e9, 65504.0), (math.inf, 65504.0), (-1e9, -65504.0)])
def test_activations_beyond_float16_are_counted_at_its_ends(value: float, counted: float) -> None:
    assert measured([torch.full((2, 1, 2, 2), value)], 0.005, COUNTED).item() == counted


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_constant_maps_have_their_value_as_threshold_and_nothing_above_it(count: int | None) -> None:
    for value in (0.0, -2.0, 5.0):
        maps = torch.full((30, 2, 4, 5), value)
        threshold = measured([maps], 0.005, count)
        assert threshold.tolist() == [value] * 2
        assert not live_maps(maps, threshold).any()


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_a_filter_with_fewer_positives_than_the_share_has_threshold_0(count: int | None) -> None:
    maps = torch.zeros(100, 1, 4, 5)
    maps[3, 0, 1, 1] = 2.0
    threshold = measured([maps], 0.005, count)
    assert threshold.item() == 0.0
    assert live_maps(maps, threshold.view(1)).nonzero().tolist() == [[3, 0]]  # torchmetrics squeezes one number


def test_the_way_is_chosen_by_how_many_would_have_to_be_kept() -> None:
    assert ActivationQuantile(1, 0.5, count=131_068).exact  # 65,535
    assert not ActivationQuantile(1, 0.5, count=131_070).exact  # 65,536
    assert not ActivationQuantile(1, 0.5).exact


def test_fewer_activations_than_expected_are_fine() -> None:
    maps = maps_of()
    assert torch.equal(measured([maps], 0.05, 80_000), expected(maps, 0.05))


def test_more_activations_than_could_be_kept_are_said() -> None:
    metric = ActivationQuantile(1, 0.1, count=100)
    metric.update(torch.rand(1, 1, 10, 20))
    with pytest.raises(MetricError, match=re.escape("needs the 21 largest, got 11 kept; give the number")):
        metric.compute()


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_without_images_thresholds_are_nan(count: int | None) -> None:
    metric = ActivationQuantile(3, count=count)
    metric.update(torch.zeros(0, 3, 4, 5))
    assert metric.compute().isnan().tolist() == [True] * 3


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_nan_is_refused_and_nothing_of_its_batch_is_counted(count: int | None) -> None:
    maps = maps_of()
    bad = maps.clone()
    bad[11, 1, 2, 2] = torch.nan
    metric = ActivationQuantile(3, 0.05, count)
    metric.update(maps)
    with pytest.raises(MetricError, match="activations must be numbers, got NaN in row 11 of 40"):
        metric.update(bad)
    assert torch.equal(metric.compute(), expected(maps, 0.05))


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_a_quantile_that_is_no_share_is_refused(quantile: float) -> None:
    with pytest.raises(MetricError, match=f"between 0 and 1, got {quantile}"):
        ActivationQuantile(1, quantile)


@pytest.mark.parametrize("count", [EXACT, COUNTED])
def test_the_metric_forgets_after_a_reset(count: int | None) -> None:
    maps = maps_of()
    metric = ActivationQuantile(3, 0.05, count)
    metric.update(100 + maps)
    metric.reset()
    metric.update(maps)
    assert torch.equal(metric.compute(), expected(maps, 0.05))


def test_an_excess_has_the_sign_of_the_exact_difference() -> None:
    below, above = torch.tensor([0.1]), torch.tensor([0.7])  # float32: 0.1 is rounded up, 0.7 down
    thresholds = torch.tensor([0.1, 0.7], dtype=torch.float64)
    result = excess(torch.stack([below, above]).unsqueeze(-1), thresholds)
    assert result.sign().flatten().tolist() == [1.0, -1.0]
    assert result.dtype == torch.float32
    assert live_maps(torch.stack([below, above]).view(1, 2, 1, 1), thresholds).tolist() == [[True, False]]


def one_rank(rank: int, folder: str, maps: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    batches = [maps[:20], maps[20:37]] if rank == 0 else [maps[37:]]
    torch.save([measured(batches, 0.05, count) for count in (EXACT, COUNTED)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    maps = maps_of(images=41)
    mp.start_processes(one_rank, args=(str(tmp_path), maps), nprocs=2, start_method="fork")
    for rank in range(2):
        for ranked in torch.load(tmp_path / f"{rank}.pt", weights_only=True):
            assert torch.equal(ranked, expected(maps, 0.05))
