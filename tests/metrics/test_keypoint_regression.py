import math
import pickle
from pathlib import Path

import pytest
import torch
from oracles.keypoint_regression import regression
from oracles.keypoint_regression import soft_centres as literal_centres
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.keypoint_regression import (
    CentreTable,
    KeypointRegression,
    KeypointRegressionResult,
    keypoint_regression,
    soft_centres,
)

NAN = math.nan


def same(a: Tensor, b: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance, equal_nan=True)


def random_boxes(images: int) -> Tensor:
    middle = 100 + 50 * torch.rand(images, 2, dtype=torch.float64)
    return torch.cat([middle, 40 + 40 * torch.rand(images, 2, dtype=torch.float64)], -1)


def in_pixels(points: Tensor, boxes: Tensor) -> Tensor:
    """From box units, (N, M, 2), to pixels."""
    return boxes[:, None, :2] + (points - 0.5) * boxes[:, None, 2:]


def random_table(images: int = 30, maps: int = 4, keypoints: int = 3) -> CentreTable:
    """Keypoints that follow the first map in part, with invisible keypoints and inactive maps."""
    boxes = random_boxes(images)
    centres = torch.rand(images, maps, 2, dtype=torch.float64)
    shown = 0.8 * centres[:, :1] + 0.2 * torch.rand(images, keypoints, 2, dtype=torch.float64)
    shown[torch.rand(images, keypoints) < 0.2] = NAN
    return CentreTable(in_pixels(centres, boxes), torch.rand(images, maps) < 0.7, in_pixels(shown, boxes), boxes)


def first(table: CentreTable, images: int) -> CentreTable:
    return CentreTable(*(x[:images] for x in table))


def agrees(result: KeypointRegressionResult, expected: dict[str, float]) -> None:
    for name, number in expected.items():
        assert getattr(result, name).item() == pytest.approx(number, abs=1e-8, nan_ok=True), name


def test_soft_centres_equal_the_literal_means() -> None:
    maps = torch.randn(3, 4, 5, 7, dtype=torch.float64)
    maps[1, 2] = -1.0
    expected = torch.from_numpy(literal_centres(maps.numpy(), offset=-3.5, stride=8))
    assert expected.isnan().sum() == 2
    same(soft_centres(maps, offset=-3.5, stride=8), expected, 1e-10)


def test_a_soft_centre_by_hand_and_values_below_zero_do_not_count() -> None:
    maps = torch.zeros(1, 1, 3, 4)
    maps[0, 0, 2, 3], maps[0, 0, 0, 1], maps[0, 0, 1, 0] = 3.0, 1.0, -5.0
    # x: (3·3 + 1·1)/4 units, y: (3·2 + 1·0)/4 units
    same(soft_centres(maps, offset=8.0, stride=16), torch.tensor([[[8 + 16 * 2.5, 8 + 16 * 1.5]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_centres_of_half_precision_are_summed_in_double(dtype: torch.dtype) -> None:
    maps = (200 * torch.rand(2, 3, 40, 40)).to(dtype)  # their sum is beyond float16
    same(soft_centres(maps, offset=8.0, stride=16), soft_centres(maps.double(), offset=8.0, stride=16), 1e-9)


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_maps_with_values_that_are_no_numbers_are_refused(bad: float) -> None:
    maps = torch.rand(3, 2, 4, 4)
    maps[1, 1, 0, 0] = bad
    with pytest.raises(MetricError, match="row 1 of 3"):
        soft_centres(maps, offset=8.0, stride=16)


@pytest.mark.parametrize("images", [40, 5], ids=["overdetermined", "fewer images than coordinates"])
@pytest.mark.parametrize("seed", range(3))
def test_the_function_equals_the_literal_protocol(seed: int, images: int) -> None:
    torch.manual_seed(seed)
    train, test = random_table(images), random_table(20)
    result, expected = keypoint_regression(train, test), regression(train, test)
    agrees(result, expected)
    if images == 40:
        assert expected["error"] < expected["mean_keypoint"]


def test_two_equal_maps_count_like_one() -> None:
    train, test = random_table(), random_table()
    doubled = [t._replace(centres=t.centres.repeat(1, 2, 1), active=t.active.repeat(1, 2)) for t in (train, test)]
    agrees(keypoint_regression(*doubled), regression(*doubled))
    same(keypoint_regression(*doubled).error, keypoint_regression(train, test).error)


def test_centres_that_follow_the_keypoints_by_an_affine_map_in_the_box_have_no_error() -> None:
    tables = []
    for images in (30, 20):
        boxes = random_boxes(images)
        keypoints = torch.rand(images, 3, 2, dtype=torch.float64)
        affine = torch.tensor([[0.5, 0.3], [-0.2, 0.8]], dtype=torch.float64)
        centres = keypoints @ affine + torch.tensor([0.4, -0.1])
        shown = torch.where(torch.rand(images, 3, 1) < 0.2, NAN, keypoints)
        active = torch.ones(images, 3, dtype=torch.bool)
        tables.append(CentreTable(in_pixels(centres, boxes), active, in_pixels(shown, boxes), boxes))
    result = keypoint_regression(*tables)
    same(result.error, torch.tensor(0.0))
    assert result.mean_keypoint > 10


def distance_to_the_mean_keypoint(train: CentreTable, test: CentreTable) -> float:
    def in_box(table: CentreTable) -> Tensor:
        return (table.keypoints.double() - table.boxes[:, None, :2].double()) / table.boxes[:, None, 2:].double()

    difference = in_box(test) - in_box(train).nanmean(0)
    return 100 * torch.linalg.vector_norm(difference, dim=-1).nanmean().item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_centres_constant_in_the_box_have_the_mean_keypoints_error_whatever_the_rounding(dtype: torch.dtype) -> None:
    tables = []
    for table in (random_table(), random_table()):
        constant = torch.rand(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        centres = in_pixels(constant.expand(len(table.boxes), 4, 2), table.boxes)
        active = torch.ones_like(table.active)
        tables.append(CentreTable(centres.to(dtype), active, table.keypoints.to(dtype), table.boxes.to(dtype)))
    result = keypoint_regression(*tables)
    same(result.error, result.mean_keypoint)
    assert result.error.item() == pytest.approx(distance_to_the_mean_keypoint(*tables), abs=1e-9)


def test_keypoints_fixed_in_the_image_are_known_from_the_box_alone() -> None:
    tables = []
    for images in (30, 20):
        table = random_table(images)
        boxes = torch.cat([table.boxes[:, :2], torch.tensor([50.0, 60.0]).expand(images, 2)], -1)
        keypoints = torch.tensor([[90.0, 110.0], [120.0, 100.0], [80.0, 130.0]], dtype=torch.float64)
        tables.append(table._replace(keypoints=keypoints.expand(images, 3, 2), boxes=boxes))
    result = keypoint_regression(*tables)
    same(result.fixed_centre, torch.tensor(0.0))
    assert result.mean_keypoint > 10


def test_where_an_inactive_map_lies_does_not_matter() -> None:
    train, test = random_table(), random_table()
    assert not train.active.all()
    assert not test.active.all()
    moved = [t._replace(centres=torch.where(t.active[..., None], t.centres, NAN)) for t in (train, test)]
    same(keypoint_regression(*moved).error, keypoint_regression(train, test).error)


def test_an_active_centre_that_is_nan_counts_as_inactive() -> None:
    train, test = random_table(), random_table()
    unknown = [t._replace(centres=t.centres.clone(), active=t.active.clone()) for t in (train, test)]
    inactive = [t._replace(active=t.active.clone()) for t in (train, test)]
    for one, other in zip(unknown, inactive, strict=True):
        one.active[:5, 0], one.centres[:5, 0] = True, NAN
        other.active[:5, 0] = False
    same(keypoint_regression(*unknown).error, keypoint_regression(*inactive).error)


def test_a_map_that_is_active_on_test_images_alone_predicts_nothing() -> None:
    train, test = random_table(), random_table()
    train.active[:, 0], test.active[:, 0] = False, True
    without = [t._replace(centres=t.centres[:, 1:], active=t.active[:, 1:]) for t in (train, test)]
    same(keypoint_regression(train, test).error, keypoint_regression(*without).error)


def test_the_result_does_not_change_when_images_are_enlarged_moved_or_reordered() -> None:
    train, test = random_table(), random_table()
    expected = keypoint_regression(train, test)
    scale, shift = torch.tensor([2.0, 3.0]), torch.tensor([10.0, -20.0])
    order = torch.randperm(30)
    changed = []
    for table in (train, test):
        boxes = torch.cat([table.boxes[:, :2] * scale + shift, table.boxes[:, 2:] * scale], -1)
        larger = table._replace(
            centres=table.centres * scale + shift, keypoints=table.keypoints * scale + shift, boxes=boxes
        )
        changed.append(CentreTable(*(x[order] for x in larger)))
    result = keypoint_regression(*changed)
    same(result.error, expected.error)
    same(result.mean_keypoint, expected.mean_keypoint)


def test_a_keypoint_without_a_training_image_is_left_out() -> None:
    train, test = random_table(), random_table()
    train.keypoints[:, 1] = NAN
    without = [t._replace(keypoints=t.keypoints[:, [0, 2]]) for t in (train, test)]
    result = keypoint_regression(train, test)
    same(torch.stack(result), torch.stack(keypoint_regression(*without)))
    agrees(result, regression(train, test))


def test_from_one_training_image_its_keypoints_are_predicted() -> None:
    train, test = random_table(1), random_table()
    train.keypoints.nan_to_num_(110.0)
    result = keypoint_regression(train, test)
    expected = distance_to_the_mean_keypoint(train, test)
    agrees(result, {"error": expected, "mean_keypoint": expected, "fixed_centre": expected})


@pytest.mark.parametrize("images", [(0, 5), (5, 0), (0, 0)])
def test_without_training_or_test_images_there_is_no_number(images: tuple[int, int]) -> None:
    result = keypoint_regression(random_table(images[0]), random_table(images[1]))
    assert all(number.isnan() for number in result)


def test_where_no_keypoint_is_visible_there_is_no_number() -> None:
    test = random_table()
    assert all(n.isnan() for n in keypoint_regression(random_table(), test._replace(keypoints=test.keypoints * NAN)))


@pytest.mark.parametrize("box", [[NAN] * 4, [50.0, 50.0, 0.0, 10.0], [50.0, 50.0, 10.0, -1.0]])
def test_an_image_without_a_box_or_with_one_without_area_does_not_count(box: list[float]) -> None:
    train, test = random_table(), random_table()
    expected = keypoint_regression(first(train, 28), first(test, 28))
    for table in (train, test):
        table.boxes[28:] = torch.tensor(box)
    same(torch.stack(keypoint_regression(train, test)), torch.stack(expected))


def test_tables_of_different_networks_are_refused() -> None:
    with pytest.raises(MetricError, match=r"got \(4, 3\) against \(5, 3\)"):
        keypoint_regression(random_table(), random_table(maps=5))
    with pytest.raises(MetricError, match=r"got \(4, 3\) against \(4, 2\)"):
        keypoint_regression(random_table(), random_table(keypoints=2))


def measured(train: CentreTable, test: CentreTable, slices: list[tuple[bool, slice]]) -> KeypointRegressionResult:
    metric = KeypointRegression()
    for of_training, part in slices:
        table = train if of_training else test
        metric.update(*(x[part] for x in table), index=torch.arange(len(table.boxes))[part], train=of_training)
    return metric.compute()


WHOLE = [(True, slice(None)), (False, slice(None))]


def test_the_metric_is_the_function_in_any_order_of_the_images() -> None:
    train, test = random_table(), random_table()
    expected = keypoint_regression(train, test)
    parts = [(False, slice(20, 30)), (True, slice(11, 30)), (False, slice(0, 20)), (True, slice(0, 11))]
    assert measured(train, test, WHOLE) == expected
    assert measured(train, test, parts) == expected  # bit for bit: sorted before anything is summed


def test_the_metric_forgets_after_a_reset_and_survives_pickling() -> None:
    train, test = random_table(), random_table()
    metric = KeypointRegression()
    metric.update(*test, index=torch.arange(30), train=True)
    metric.reset()
    metric.update(*train, index=torch.arange(30), train=True)
    metric = pickle.loads(pickle.dumps(metric))
    metric.update(*test, index=torch.arange(30), train=False)
    assert metric.compute() == keypoint_regression(train, test)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_before_any_image_there_is_no_number() -> None:
    assert all(number.isnan() for number in KeypointRegression().compute())


def one_rank(rank: int, folder: str, train: CentreTable, test: CentreTable) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    shares = [(True, slice(0, 8)), (False, slice(19, 30)), (False, slice(0, 13))], [(True, slice(8, 30))]
    rest = [(False, slice(13, 19))]
    result = measured(train, test, shares[0] if rank == 0 else shares[1] + rest)
    torch.save(torch.stack(result), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    train, test = random_table(), random_table()
    alone = torch.stack(measured(train, test, WHOLE))
    mp.start_processes(one_rank, args=(str(tmp_path), train, test), nprocs=2, start_method="fork")
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt", weights_only=True), alone)
