import math
import pickle
from pathlib import Path

import pytest
import torch
from oracles.part_purity import purity as literal
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.part_purity import PartPurity, PartPurityResult, part_purity

NAN = math.nan
SIZE = (48, 64)
WHOLE = [slice(None)]


def random_case(images: int = 60, filters: int = 5, parts: int = 3, levels: int | None = None) -> dict[str, Tensor]:
    """Overlapping masks at a quarter of the resolution, images without any, silent filters, peaks beyond the edge."""
    masks = torch.rand(images, parts, 12, 16) < 0.3
    masks[torch.rand(images, parts) < 0.3] = False
    masks[::7] = False
    values = torch.rand(images, filters, dtype=torch.float64) - 0.2
    if levels is not None:
        values = (values * levels).round()
    positions = torch.rand(images, filters, 2, dtype=torch.float64) * torch.tensor([80.0, 60.0]) - 6
    return {"positions": positions, "values": values, "masks": masks}


def same(result: PartPurityResult, expected: PartPurityResult) -> None:
    torch.testing.assert_close(tuple(result), tuple(expected), rtol=0, atol=1e-12, equal_nan=True)


def by_the_oracle(case: dict[str, Tensor], top: int) -> PartPurityResult:
    purity, part, mean = literal(**{name: x.tolist() for name, x in case.items()}, image_size=SIZE, top=top)
    return PartPurityResult(
        torch.tensor(purity, dtype=torch.float64), torch.tensor(part), torch.tensor(mean, dtype=torch.float64)
    )


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("top", [1, 4, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_function_equals_the_literal_protocol(seed: int, top: int, levels: int | None) -> None:
    torch.manual_seed(seed)
    case = random_case(levels=levels)
    case["values"][:, 4] = -1.0
    expected = by_the_oracle(case, top)
    assert expected.purity.isnan().tolist() == [False] * 4 + [True]
    same(part_purity(**case, image_size=SIZE, top=top), expected)


def test_more_images_than_are_ranked_at_once_equal_the_literal_protocol() -> None:
    case = random_case(images=600, filters=2, levels=5)
    same(part_purity(**case, image_size=SIZE, top=30), by_the_oracle(case, 30))


def planted_case(images: int = 40) -> dict[str, Tensor]:
    """Part 0 is one pixel anywhere on the left, part 1 one on the right, both somewhere else on each image."""
    masks = torch.zeros(images, 2, 48, 64, dtype=torch.bool)
    row, column = torch.randint(0, 48, (2, images)), torch.randint(0, 32, (2, images))
    image = torch.arange(images)
    masks[image, 0, row[0], column[0]] = True
    masks[image, 1, row[1], column[1] + 32] = True
    left = torch.stack([column[0], row[0]], -1) + torch.rand(images, 2)
    right = torch.stack([column[1] + 32, row[1]], -1) + torch.rand(images, 2)
    mostly_right = torch.where(image[:, None] % 4 == 0, left, right)
    nowhere = (left + 32) % torch.tensor([32.0, 48.0])  # 32 rows further down on the left
    positions = torch.stack([left, right, mostly_right, nowhere], 1)
    return {"positions": positions, "values": torch.ones(images, 4), "masks": masks}


def test_planted_filters_have_their_parts_and_shares() -> None:
    result = part_purity(**planted_case(), image_size=SIZE)
    expected = torch.tensor([1.0, 1.0, 0.75, 0.0], dtype=torch.float64)
    same(result, PartPurityResult(expected, torch.tensor([0, 1, 1, -1]), expected.mean()))


def test_a_filter_that_fires_anywhere_hits_a_part_as_often_as_it_is_large() -> None:
    masks = torch.zeros(4000, 2, 10, 10, dtype=torch.bool)
    masks[:, 0, :2, :5], masks[:, 1, :, 7:] = True, True
    positions = torch.rand(4000, 3, 2) * torch.tensor([64.0, 48.0])
    result = part_purity(positions, torch.rand(4000, 3) + 0.1, masks, SIZE, top=2000)
    assert result.part.tolist() == [1, 1, 1]
    assert result.mean.item() == pytest.approx(0.3, abs=0.03)  # five standard errors of one filter


def test_only_the_strongest_images_count_and_of_equal_ones_the_lower_index() -> None:
    case = planted_case()
    case["values"][20:] = 2.0
    case["positions"][20:30, 0] = case["positions"][20:30, 1]
    results = [part_purity(**case, image_size=SIZE, top=top) for top in (10, 15, 20, 40)]
    assert [result.part[0].item() for result in results] == [1, 1, 0, 0]
    assert [result.purity[0].item() for result in results] == pytest.approx([1, 10 / 15, 10 / 20, 30 / 40])


@pytest.mark.parametrize(
    ("position", "part"),
    [
        ((32.0, 24.0), 0),
        ((63.99, 47.99), 0),
        ((31.99, 24.0), 1),
        ((32.0, 23.99), -1),
        ((64.0, 40.0), -1),
        ((40.0, 48.0), -1),
        ((-0.01, 40.0), -1),
        ((40.0, NAN), -1),
    ],
)
def test_a_pixel_reaches_from_its_corner_to_before_the_next_and_beyond_the_edge_there_is_none(
    position: tuple[float, float], part: int
) -> None:
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    masks[0, 0, 1, 1] = masks[0, 1, 1, 0] = True  # the lower quarters of the image
    result = part_purity(torch.tensor(position).view(1, 1, 2), torch.ones(1, 1), masks, SIZE)
    assert result.part.item() == part
    assert result.purity.item() == (part >= 0)


def test_images_without_a_part_do_not_count() -> None:
    case = planted_case()
    case["masks"][:30] = False
    case["values"][:30] = 5.0
    last = {name: x[30:] for name, x in case.items()}
    same(part_purity(**case, image_size=SIZE), part_purity(**last, image_size=SIZE))


def test_a_silent_filter_and_a_set_without_parts_or_images_have_no_number() -> None:
    case = planted_case()
    silent = part_purity(**case | {"values": -case["values"]}, image_size=SIZE)
    no_masks = part_purity(**case | {"masks": case["masks"] & False}, image_size=SIZE)
    no_parts = part_purity(**case | {"masks": case["masks"][:, :0]}, image_size=SIZE)
    no_images = part_purity(**{name: x[:0] for name, x in case.items()}, image_size=SIZE)
    for result in (silent, no_masks, no_parts, no_images):
        assert result.purity.isnan().all()
        assert result.part.tolist() == [-1] * 4
        assert result.mean.isnan()


def test_half_precision_peaks_are_ranked_as_they_are() -> None:
    case = random_case(levels=4)
    halves = case | {"values": case["values"].half()}
    same(part_purity(**halves, image_size=SIZE, top=9), part_purity(**case, image_size=SIZE, top=9))


def test_nan_activations_and_no_top_images_are_refused() -> None:
    case = planted_case()
    with pytest.raises(MetricError, match="1 or more, got 0"):
        part_purity(**case, image_size=SIZE, top=0)
    with pytest.raises(MetricError, match="1 or more, got 0"):
        PartPurity(num_filters=4, num_parts=2, top=0)
    case["values"][7, 2] = NAN
    with pytest.raises(MetricError, match="row 7 of 40"):
        part_purity(**case, image_size=SIZE)


def fed(metric: PartPurity, case: dict[str, Tensor], slices: list[slice]) -> PartPurity:
    for part in slices:
        batch = [case[name][part] for name in ("positions", "values", "masks")]
        metric.update(*batch, torch.arange(len(case["values"]))[part], image_size=SIZE)
    return metric


@pytest.mark.parametrize("top", [4, 100])
def test_the_metric_is_the_function_in_any_order_of_the_images(top: int) -> None:
    case = random_case(levels=3)
    expected = part_purity(**case, image_size=SIZE, top=top)
    for slices in (WHOLE, [slice(41, 60), slice(0, 1), slice(20, 41), slice(1, 20)]):
        same(fed(PartPurity(num_filters=5, num_parts=3, top=top), case, slices).compute(), expected)


def test_the_state_does_not_grow_and_images_of_several_sizes_are_each_measured_in_their_own() -> None:
    case = random_case()
    metric = PartPurity(num_filters=5, num_parts=3)
    size = metric.kept.shape
    fed(metric, case, [slice(0, 30)])
    rest = {name: x[30:] for name, x in case.items()}
    metric.update(
        2 * rest["positions"],
        rest["values"],
        rest["masks"].repeat_interleave(3, 2).repeat_interleave(3, 3),
        torch.arange(30, 60),
        image_size=(2 * SIZE[0], 2 * SIZE[1]),
    )
    same(metric.compute(), part_purity(**case, image_size=SIZE))
    assert metric.kept.shape == size


def test_the_metric_forgets_after_a_reset_and_survives_pickling() -> None:
    case = random_case()
    metric = fed(PartPurity(num_filters=5, num_parts=3), random_case(), WHOLE)
    metric.reset()
    metric = fed(pickle.loads(pickle.dumps(metric)), case, WHOLE)
    same(metric.compute(), part_purity(**case, image_size=SIZE))


def one_rank(rank: int, folder: str, case: dict[str, Tensor], shares: list[list[slice]]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = fed(PartPurity(num_filters=5, num_parts=3, top=7), case, shares[rank]).compute()
    torch.save(tuple(result), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # of the rank without images
@pytest.mark.parametrize(
    "shares", [[[slice(20, 41)], [slice(41, 60), slice(0, 20)]], [[], WHOLE]], ids=["uneven", "one rank without images"]
)
def test_two_ranks_equal_one_process(tmp_path: Path, shares: list[list[slice]]) -> None:
    case = random_case(levels=3)
    expected = part_purity(**case, image_size=SIZE, top=7)
    mp.start_processes(one_rank, args=(str(tmp_path), case, shares), nprocs=2, start_method="fork")
    for rank in range(2):
        same(PartPurityResult(*torch.load(tmp_path / f"{rank}.pt", weights_only=True)), expected)
