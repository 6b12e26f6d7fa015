import math
from pathlib import Path

import pytest
import torch
from losses.maps import one_hot_maps, per_filter, random_maps
from oracles import part_template as oracle
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.losses import mean_peak
from interpretable.metrics.map_information import MapInformation, MapInformationResult, map_information

GROUP = 5


def literal(maps: Tensor, peaks: Tensor, temperature: float = 0.2, beta: float = 4.0) -> dict[str, Tensor]:
    """Means over the full groups of `GROUP` images of what the oracle says of each."""
    scale = torch.where(peaks > 0, 1 / (peaks * temperature), 0)
    groups = [maps[start : start + GROUP] for start in range(0, len(maps) - GROUP + 1, GROUP)]
    prior, inter, spatial = torch.stack([per_filter(oracle.decomposition, x, beta, scale) for x in groups]).mean(0).T
    cells = maps.shape[2] * maps.shape[3]
    return {
        "mutual_information": torch.stack([per_filter(oracle.mutual_information, x, beta, scale) for x in groups]).mean(
            0
        ),
        "spatial_entropy": spatial,
        "inter_category_entropy": inter,
        "prior": prior[0],
        "bound": torch.tensor(math.log(min(cells + 1, GROUP)), dtype=torch.float64),
        "effective_images": torch.stack([per_filter(oracle.effective_images, x, beta, scale) for x in groups]).mean(0),
    }


def same(result: MapInformationResult, expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    for name, value in result._asdict().items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected[name].double(), rtol=0, atol=tolerance, equal_nan=True, msg=name)


def measured(maps: Tensor, sizes: list[int], **options: float) -> MapInformationResult:
    metric = MapInformation(mean_peak(maps), GROUP, **options)
    for part in maps.split(sizes):
        metric.update(part)
    return metric.compute()


def random_case() -> Tensor:
    maps = random_maps(18, 3, 4, 3)
    maps[:, 1] = 0  # a dead filter
    return maps


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "beta": 2.0}], ids=["default", "other"])
def test_the_metric_is_the_literal_mean_over_full_groups(options: dict[str, float]) -> None:
    maps = random_case()
    expected = literal(maps, mean_peak(maps), **options)
    assert expected["mutual_information"][[0, 2]].min() > 0.05
    same(measured(maps, [18], **options), expected)


@pytest.mark.parametrize("sizes", [[5, 5, 5, 3], [1] * 18, [2, 11, 0, 5], [7, 3, 8]])
def test_groups_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    maps = random_case()
    same(measured(maps, sizes), measured(maps, [18])._asdict())


def test_an_incomplete_group_is_left_out() -> None:
    maps = random_case()
    peaks = mean_peak(maps)
    changed = maps.clone()
    changed[15:] = 7.0
    one, two = MapInformation(peaks, GROUP), MapInformation(peaks, GROUP)
    one.update(maps)
    two.update(changed)
    same(one.compute(), two.compute()._asdict())


def test_a_dead_filter_has_no_information_on_all_images() -> None:
    result = measured(random_case(), [18])
    assert result.mutual_information[1].item() == pytest.approx(0, abs=1e-12)
    assert result.effective_images[1].item() == pytest.approx(GROUP)


def test_a_filter_that_fires_in_another_cell_of_each_image_reaches_the_bound() -> None:
    maps = one_hot_maps([0, 4, 8, 2, 6], 3, 3)
    metric = MapInformation(mean_peak(maps), GROUP, temperature=0.01, beta=9.0)
    metric.update(maps)
    result = metric.compute()
    assert result.bound.item() == pytest.approx(math.log(5))
    assert result.prior.item() == pytest.approx(math.log(10))
    single = MapInformation(mean_peak(maps), 1)
    single.update(maps)
    assert single.compute().mutual_information.item() == pytest.approx(0, abs=1e-12)
    assert 0.4 * result.bound < result.mutual_information.item() <= result.bound


def test_loud_and_quiet_filters_have_the_same_information() -> None:
    maps = random_case()
    loud = maps * torch.tensor([100.0, 1.0, 0.01]).reshape(1, 3, 1, 1)
    same(measured(loud, [18]), measured(maps, [18])._asdict())


def test_mutual_information_is_the_prior_less_the_two_entropies() -> None:
    result = map_information(random_case().float(), torch.full((3,), 2.0))
    total = result.mutual_information + result.spatial_entropy + result.inter_category_entropy
    torch.testing.assert_close(total, result.prior.expand(3))


def test_without_a_full_group_nothing_is_a_number() -> None:
    maps = random_case()[:4]
    for value in measured(maps, [4]):
        assert value.isnan().all()


def test_the_metric_forgets_waiting_images_too_after_a_reset() -> None:
    maps = random_case()
    metric = MapInformation(mean_peak(maps), GROUP)
    metric.update(maps[:7])
    metric.reset()
    metric.update(maps)
    same(metric.compute(), measured(maps, [18])._asdict())


def test_waiting_images_are_not_changed_by_whoever_fed_them() -> None:
    maps = random_case()
    metric = MapInformation(mean_peak(maps), GROUP)
    batch = maps[:3].clone()
    metric.update(batch)
    batch.fill_(9.0)
    metric.update(maps[3:])
    same(metric.compute(), measured(maps, [18])._asdict())


def test_a_batch_that_is_refused_is_not_taken_in() -> None:
    maps = random_case()
    metric = MapInformation(mean_peak(maps), GROUP)
    metric.update(maps[:7])
    bad = maps[7:].clone()
    bad[8, 2, 1, 1] = math.nan
    with pytest.raises(MetricError, match="feature maps must be numbers, got NaN in row 8 of 11"):
        metric.update(bad)
    metric.update(maps[7:])
    same(metric.compute(), measured(maps, [18])._asdict())


@pytest.mark.parametrize("options", [{"batch": 0}, {"temperature": 0.0}])
def test_groups_without_images_and_no_temperature_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(MetricError, match="at least one image and a temperature above 0"):
        MapInformation(torch.ones(3), **options)


def one_rank(rank: int, folder: str, maps: Tensor, peaks: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = MapInformation(peaks, GROUP)
    # Different numbers of updates and of groups: no rank may wait for the other before compute.
    for part in maps[:10].split(3) if rank == 0 else [maps[10:]]:
        metric.update(part)
    torch.save(list(metric.compute()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_whose_groups_are_those_of_one_process_equal_it(tmp_path: Path) -> None:
    maps = random_case()
    alone = measured(maps, [18])._asdict()
    mp.start_processes(one_rank, args=(str(tmp_path), maps, mean_peak(maps)), nprocs=2, start_method="fork")
    for rank in range(2):
        same(MapInformationResult(*torch.load(tmp_path / f"{rank}.pt", weights_only=True)), alone)
