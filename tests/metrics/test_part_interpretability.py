import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import part_interpretability as literal
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.part_interpretability import (
    PartCounts,
    PartInterpretability,
    PartInterpretabilityResult,
    part_interpretability,
    part_interpretability_counts,
)
from interpretable.receptive_field import ReceptiveField

NAN = math.nan
FIELD = ReceptiveField(19, 5, 3.5)
IMAGE_SIZE = (22, 26)
CELLS = ReceptiveField(1, 1, 0.5)
"""Units that are the pixels of the masks; a disc of radius 0 is one pixel."""


def random_case(images: int = 12, filters: int = 4, parts: int = 3) -> dict[str, Tensor]:
    """Maps with a silent filter, parts as rectangles that some images do not show."""
    maps = torch.randn(images, filters, 4, 5).relu()
    maps[:, 1] = 0.0
    rows, columns = torch.arange(11), torch.arange(13)
    top, left = torch.randint(0, 8, (2, images, parts, 1))
    tall, wide = torch.randint(2, 9, (2, images, parts, 1))
    inside = ((rows >= top) & (rows < top + tall))[..., None] & ((columns >= left) & (columns < left + wide))[
        :, :, None
    ]
    inside[torch.rand(images, parts) < 0.3] = False
    return {
        "maps": maps,
        "thresholds": torch.tensor([1.2, 0.0, 0.5, 0.2037]),
        "masks": inside,
        "labels": torch.randint(0, 3, (images,)),
    }


def counted(case: dict[str, Tensor], radius: float | None, iou_threshold: float = 0.2) -> PartCounts:
    return part_interpretability_counts(
        **case,
        num_classes=4,  # class 3 has no image
        field=FIELD,
        image_size=IMAGE_SIZE,
        radius=radius,
        iou_threshold=iou_threshold,
    )


def equal(result: tuple[Tensor, ...], expected: dict[str, object]) -> None:
    for name, value in result._asdict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.4, 3.0, 6.5, None])
@pytest.mark.parametrize("seed", range(2))
def test_counts_and_shares_are_the_literal_protocol(seed: int, radius: float | None, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    case = random_case()
    case["maps"] = case["maps"].to(dtype)
    geometry = (FIELD.offset, FIELD.stride, IMAGE_SIZE, radius)
    arrays = [case[name].double().numpy() for name in ("maps", "thresholds")]
    expected = literal.counts(*arrays, case["masks"].numpy(), case["labels"].numpy(), 4, *geometry)
    counts = counted(case, radius)
    for name, table in counts._asdict().items():
        assert table.dtype == torch.int64
        assert np.array_equal(table.numpy(), expected[name]), name
    assert radius == 0.4 or counts.hits.sum() > 5
    for category in (None, torch.tensor([2, 0, 3, -1])):
        equal(part_interpretability(counts, category), literal.summary(expected, category))


def hand_case() -> dict[str, Tensor]:
    """Two images of four pixels. The parts: 0 is the left half of both, 1 the last pixel of the first.

    Above the thresholds of 1: filter 0 on the first pixel of both; filter 1 on the last of the first.
    """
    maps = [[[5.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.5, 2.0]], [[1.5, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]]
    masks = [[[1, 1, 0, 0], [0, 0, 0, 1]], [[1, 1, 0, 0], [0, 0, 0, 0]]]
    return {
        "maps": torch.tensor(maps)[:, :, None],
        "thresholds": torch.tensor([1.0, 1.0]),
        "masks": torch.tensor(masks)[:, :, None] > 0,
        "labels": torch.tensor([0, 1]),
    }


def of_pixels(case: dict[str, Tensor], iou_threshold: float, radius: float | None = 0.0) -> PartCounts:
    return part_interpretability_counts(
        **case, num_classes=2, field=CELLS, image_size=(1, 4), radius=radius, iou_threshold=iou_threshold
    )


@pytest.mark.parametrize("radius", [0.0, None])  # the same where the units are the pixels
def test_two_images_by_hand(radius: float | None) -> None:
    # IoU of filter 0 and part 0 is 1/2 on both images, that of filter 1 and part 1 is 1 on the one that shows it.
    counts = of_pixels(hand_case(), 0.2, radius)
    assert counts.hits.tolist() == [[[1, 0], [1, 0]], [[0, 1], [0, 0]]]
    assert counts.images.tolist() == [[1, 1], [1, 0]]
    pooled = part_interpretability(counts)
    assert pooled.per_filter.tolist() == [1.0, 1.0]
    assert pooled.part.tolist() == [0, 1]
    # In class 1, which does not show part 1, filter 1 is left with part 0.
    of_category = part_interpretability(counts, torch.tensor([0, 1]))
    assert of_category.per_filter.tolist() == [1.0, 0.0]
    assert of_category.part.tolist() == [0, 0]
    assert of_category.mean.item() == 0.5


def test_an_iou_of_the_threshold_is_no_hit() -> None:
    assert of_pixels(hand_case(), 0.5).hits[0, 0, 0] == 0  # 1/2
    assert of_pixels(hand_case(), 0.4999).hits[0, 0, 0] == 1
    fifth = {
        "maps": torch.ones(1, 1, 1, 1),
        "thresholds": torch.zeros(1),
        "masks": torch.ones(1, 1, 1, 5, dtype=torch.bool),
        "labels": torch.zeros(1, dtype=torch.int64),
    }
    for threshold, hits in ((0.2, 0), (0.19, 1)):
        counts = part_interpretability_counts(
            **fifth, num_classes=1, field=CELLS, image_size=(1, 5), radius=0.0, iou_threshold=threshold
        )
        assert counts.hits.item() == hits


def test_a_disc_is_round_and_measured_in_image_pixels() -> None:
    # One unit in the middle of an image of 40 × 40 pixels, masks at half that resolution.
    where = torch.arange(20) * 2 + 1 - 20.0
    round_mask = where[:, None] ** 2 + where**2 <= 10.0**2
    square = (where.abs()[:, None] <= 10) & (where.abs() <= 10)
    for mask, iou in ((round_mask, 1.0), (square, round_mask.sum().item() / 100)):
        for threshold, hit in ((iou - 1e-9, 1), (iou, 0)):
            counts = part_interpretability_counts(
                torch.ones(1, 1, 1, 1),
                torch.zeros(1),
                mask[None, None],
                torch.zeros(1, dtype=torch.int64),
                num_classes=1,
                field=ReceptiveField(40, 8, 20.0),
                image_size=(40, 40),
                radius=10.0,
                iou_threshold=threshold,
            )
            assert counts.hits.item() == hit
    assert 76 <= round_mask.sum().item() <= 82  # π · 5²


def test_a_filter_on_its_part_scores_1_one_elsewhere_0_and_one_on_every_other_image_a_half() -> None:
    case = random_case(images=40, filters=3, parts=1)
    case["masks"] = torch.zeros(40, 1, 22, 26, dtype=torch.bool)
    rows, columns = torch.randint(0, 4, (40,)), torch.randint(0, 5, (40,))
    maps = torch.zeros(40, 3, 4, 5)
    for image, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        case["masks"][image, 0, 5 * row : 5 * row + 7, 5 * column : 5 * column + 7] = True
        maps[image, 0, row, column] = 1.0
        maps[image, 1, (row + 2) % 4, (column + 2) % 5] = 1.0
        maps[image, 2, row, column] = image % 2
    case |= {"maps": maps, "thresholds": torch.zeros(3)}
    for radius in (3.5, None):
        result = part_interpretability(counted(case, radius, 0.3))
        assert result.per_filter.tolist() == [1.0, 0.0, 0.5], radius
        assert result.mean.item() == 0.5


def test_a_constant_map_has_no_region() -> None:
    case = random_case()
    for value in (0.0, 3.0, -1.0):
        case |= {"maps": torch.full((12, 4, 4, 5), value), "thresholds": torch.full((4,), value)}
        for radius in (5.0, None):
            counts = counted(case, radius)
            assert counts.hits.sum() == 0
            assert counts.images.sum() > 0
            assert part_interpretability(counts).per_filter.tolist() == [0.0] * 4


def test_between_cells_that_equal_the_threshold_no_rounding_makes_a_region() -> None:
    maps = torch.full((1, 1, 9, 9), 0.1)  # in float32, interpolating 0.1 with itself may give more
    maps[..., 8, 8] = 0.2
    mask = torch.zeros(1, 1, 100, 100, dtype=torch.bool)
    mask[..., 83:, 83:] = True  # beyond the last but one unit, at 75 px
    counts = part_interpretability_counts(
        maps,
        maps[0, :, 0, 0],
        mask,
        torch.tensor([0]),
        num_classes=1,
        field=ReceptiveField(1, 10, 5.0),
        image_size=(90, 90),
        radius=None,
        iou_threshold=0.9999,
    )
    assert counts.hits.item() == 1


def test_without_parts_every_share_is_nan() -> None:
    case = random_case()
    counts = counted(case | {"masks": torch.zeros_like(case["masks"])}, 5.0)
    for category in (None, torch.tensor([0, 1, 2, 3])):
        result = part_interpretability(counts, category)
        assert result.mean.isnan()
        assert result.per_filter.isnan().all()
        assert result.part.tolist() == [-1] * 4


def test_filters_without_a_category_or_with_one_that_shows_no_part_are_left_out_of_the_mean() -> None:
    counts = PartCounts(torch.tensor([[[3, 1], [0, 0]]]).expand(3, -1, -1), torch.tensor([[4, 4], [0, 0]]))
    result = part_interpretability(counts, torch.tensor([0, 1, -1]))
    torch.testing.assert_close(
        result.per_filter, torch.tensor([0.75, NAN, NAN], dtype=torch.float64), rtol=0, atol=0, equal_nan=True
    )
    assert result.part.tolist() == [0, -1, -1]
    assert result.mean.item() == 0.75


def test_of_equal_parts_the_lowest_is_taken() -> None:
    counts = PartCounts(torch.tensor([[[0, 2, 4, 2]]]), torch.tensor([[0, 4, 8, 4]]))
    assert part_interpretability(counts).part.tolist() == [1]


def test_classes_are_pooled_by_their_images() -> None:
    counts = PartCounts(torch.tensor([[[1], [0]]]), torch.tensor([[1], [9]]))
    assert part_interpretability(counts).per_filter.tolist() == [0.1]


def test_no_images_count_nothing() -> None:
    case = {name: table if name == "thresholds" else table[:0] for name, table in random_case().items()}
    counts = counted(case, 5.0)
    assert counts.hits.shape == (4, 4, 3)
    assert counts.hits.sum() == counts.images.sum() == 0


@pytest.mark.parametrize("radius", [6.5, None])
def test_the_size_of_the_chunks_does_not_matter(radius: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case()
    whole = counted(case, radius)
    module = sys.modules[part_interpretability_counts.__module__]  # the package has a function of the same name
    for pixels in (1, 2 * 143, 7 * 143):
        monkeypatch.setattr(module, "_PIXELS_AT_A_TIME", pixels)
        chunked = counted(case, radius)
        assert torch.equal(chunked.hits, whole.hits)
        assert torch.equal(chunked.images, whole.images)


def test_nan_is_refused() -> None:
    case = random_case()
    case["maps"][7, 2, 1, 1] = NAN
    with pytest.raises(MetricError, match="activations must be numbers, got NaN in row 7 of 12"):
        counted(case, 5.0)


def measured(
    case: dict[str, Tensor], slices: list[slice], category: Tensor | None = None
) -> PartInterpretabilityResult:
    metric = PartInterpretability(case["thresholds"], 4, 3, FIELD, radius=6.5, category=category)
    for part in slices:
        metric.update(case["maps"][part], case["masks"][part], case["labels"][part], IMAGE_SIZE)
    return metric.compute()


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for one, two in zip(a, b, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("category", [None, torch.tensor([2, 0, 3, 1])])
def test_batches_in_any_order_equal_one_pass(category: Tensor | None) -> None:
    case = random_case(images=20)
    expected = part_interpretability(counted(case, 6.5), category)
    same(measured(case, [slice(None)], category), expected)
    same(measured(case, [slice(13, 20), slice(0, 1), slice(1, 13)], category), expected)


def test_the_metric_forgets_after_a_reset() -> None:
    case = random_case()
    metric = PartInterpretability(case["thresholds"], 4, 3, FIELD, radius=None)
    metric.update(case["maps"] + 1, case["masks"].flip(0), case["labels"], IMAGE_SIZE)
    metric.reset()
    metric.update(case["maps"], case["masks"], case["labels"], IMAGE_SIZE)
    same(metric.compute(), part_interpretability(counted(case, None)))


def one_rank(rank: int, folder: str, case: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = measured(case, [slice(0, 8), slice(8, 13)] if rank == 0 else [slice(13, 20)], torch.tensor([2, 0, 3, 1]))
    torch.save([*result], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    case = random_case(images=20)
    alone = measured(case, [slice(None)], torch.tensor([2, 0, 3, 1]))
    mp.start_processes(one_rank, args=(str(tmp_path), case), nprocs=2, start_method="fork")
    for rank in range(2):
        same(torch.load(tmp_path / f"{rank}.pt", weights_only=True), alone)
