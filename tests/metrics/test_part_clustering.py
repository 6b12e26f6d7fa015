import math
from pathlib import Path

import pytest
import torch
from oracles.part_clustering import assign, contingency, scores
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.part_clustering import (
    PartClustering,
    PartClusteringResult,
    assign_keypoints,
    part_clustering,
)

NAN = math.nan


def agrees(result: PartClusteringResult, nmi: float, ari: float) -> None:
    assert result.nmi.item() == pytest.approx(nmi, abs=1e-8, nan_ok=True)
    assert result.ari.item() == pytest.approx(ari, abs=1e-8, nan_ok=True)


@pytest.mark.parametrize(("offset", "stride"), [(8.0, 16), (-3.5, 8), (40.0, 32)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_assignments_equal_the_literal_ones(offset: float, stride: int, dtype: torch.dtype) -> None:
    maps = torch.randn(6, 5, 4, 7).to(dtype)
    keypoints = 180 * torch.rand(6, 40, 2) - 30  # some outside of the image
    keypoints[torch.rand(6, 40) < 0.2] = NAN
    keypoints[0, 0, 1] = NAN  # one coordinate is not enough
    expected = torch.from_numpy(assign(maps.double().numpy(), keypoints.numpy(), offset, stride))
    assert set(expected.unique().tolist()) == {-1, 0, 1, 2, 3, 4}
    assert torch.equal(assign_keypoints(maps, keypoints, offset, stride), expected)


def test_the_winner_changes_half_way_between_two_units() -> None:
    maps = torch.zeros(1, 2, 1, 2)
    maps[0, 0, 0, 0] = maps[0, 1, 0, 1] = 1.0
    # unit centres at x = 4 and 12: the pixel centred on 7.5 is nearer to the first, that on 8.5 to the second
    keypoints = torch.tensor([[[-50.0, 0.0], [7.99, 0.0], [8.0, 0.0], [90.0, 0.0]]])
    assert assign_keypoints(maps, keypoints, offset=4.0, stride=8).tolist() == [[0, 0, 1, 1]]


def test_of_equal_maps_the_lower_one_is_largest() -> None:
    maps = torch.rand(2, 1, 3, 3).expand(2, 4, 3, 3).clone()
    maps[:, 0] -= 0.1
    assert (assign_keypoints(maps, 48 * torch.rand(2, 9, 2), offset=8.0, stride=16) == 1).all()


def test_a_map_of_one_unit_is_constant() -> None:
    maps = torch.tensor([0.2, 0.7, 0.5]).view(1, 3, 1, 1)
    assert (assign_keypoints(maps, 300 * torch.rand(1, 9, 2), offset=112.0, stride=32) == 1).all()


def test_maps_with_nan_are_refused() -> None:
    maps = torch.rand(3, 2, 4, 4)
    maps[2, 1, 0, 0] = NAN
    with pytest.raises(MetricError, match="row 2 of 3"):
        assign_keypoints(maps, torch.zeros(3, 1, 2), offset=8.0, stride=16)


@pytest.mark.parametrize("seed", range(5))
def test_the_scores_equal_their_formulas(seed: int) -> None:
    torch.manual_seed(seed)
    table = torch.randint(0, 6, (5, 7)) * torch.randint(0, 2, (5, 7))
    table[3] = 0  # a keypoint that no image shows
    agrees(part_clustering(table), **scores(table.numpy()))


def test_a_relabelling_scores_hundred() -> None:
    table = torch.zeros(6, 6, dtype=torch.int64)
    table[torch.arange(6), torch.randperm(6)] = torch.randint(1, 50, (6,))
    agrees(part_clustering(table), 100, 100)


def test_the_same_map_at_every_keypoint_scores_zero() -> None:
    table = torch.zeros(6, 4, dtype=torch.int64)
    table[:, 2] = torch.randint(1, 50, (6,))
    agrees(part_clustering(table), 0, 0)


def test_random_maps_score_next_to_nothing() -> None:
    table = torch.randint(0, 15 * 9, (20000,)).bincount(minlength=15 * 9).view(15, 9)
    result = part_clustering(table)
    # chance gives about (14 · 8) / (2 · 20000) nats of 2.45: 0.11 hundredths
    assert 0.05 < result.nmi < 0.2
    assert abs(result.ari) < 0.1


def test_a_case_by_hand() -> None:
    # 4 of 6 pairs of each partition's 2 + 2 grouping disagree: index 0, expected 2·2/6, maximum 2; I(U; V) = 0
    agrees(part_clustering(torch.ones(2, 2, dtype=torch.int64)), 0, 100 * (0 - 2 / 3) / (2 - 2 / 3))


def test_one_keypoint_with_one_map_scores_hundred_and_with_several_zero() -> None:
    agrees(part_clustering(torch.tensor([[7, 0], [0, 0]])), 100, 100)
    agrees(part_clustering(torch.tensor([[4, 3]])), 0, 0)


def test_as_many_clusters_as_keypoints_in_few_images_raise_no_warning() -> None:
    agrees(part_clustering(torch.eye(30, dtype=torch.int64)), 100, 100)


def test_without_keypoints_there_is_no_number() -> None:
    agrees(part_clustering(torch.zeros(3, 4, dtype=torch.int64)), NAN, NAN)


def random_assignments(images: int = 40) -> Tensor:
    assignments = torch.randint(-1, 4, (images, 3))
    return torch.where(torch.rand(images, 3) < 0.5, torch.arange(3), assignments)


def measured(assignments: Tensor, slices: list[slice]) -> PartClusteringResult:
    metric = PartClustering(num_keypoints=3, num_parts=4)
    for part in slices:
        metric.update(assignments[part])
    return metric.compute()


def test_the_metric_counts_visible_keypoints_in_any_order() -> None:
    assignments = random_assignments()
    assert (assignments == -1).any()
    result = measured(assignments, [slice(None)])
    agrees(result, **scores(contingency(assignments.numpy(), 3, 4)))
    assert measured(assignments, [slice(33, 40), slice(0, 33), slice(0, 0)]) == result


def test_the_metric_forgets_after_a_reset() -> None:
    assignments = random_assignments()
    metric = PartClustering(num_keypoints=3, num_parts=4)
    metric.update(random_assignments(7))
    metric.reset()
    metric.update(assignments)
    assert metric.compute() == measured(assignments, [slice(None)])


@pytest.mark.parametrize("bad", [torch.zeros(2, 5, dtype=torch.int64), torch.full((2, 3), 4)])
def test_assignments_of_other_keypoints_or_maps_are_refused(bad: Tensor) -> None:
    metric = PartClustering(num_keypoints=3, num_parts=4)
    with pytest.raises(MetricError, match="3 keypoints a map below 4"):
        metric.update(bad)
    assert metric.contingency.sum() == 0


def one_rank(rank: int, folder: str, assignments: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = measured(assignments, [slice(0, 9), slice(9, 13)] if rank == 0 else [slice(13, 40)])
    torch.save(torch.stack(result), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    assignments = random_assignments()
    alone = torch.stack(measured(assignments, [slice(None)]))
    mp.start_processes(one_rank, args=(str(tmp_path), assignments), nprocs=2, start_method="fork")
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt", weights_only=True), alone)
