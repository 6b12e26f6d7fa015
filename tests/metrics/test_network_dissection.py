import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import network_dissection as literal
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics import (
    DissectionCounts,
    NetworkDissection,
    NetworkDissectionResult,
    dissection_counts,
    dissection_report,
    iou,
)
from interpretable.metrics.dissection_nulls import random_rotation, rotate, shuffled_images
from interpretable.metrics.quantiles import ActivationQuantile
from interpretable.receptive_field import ReceptiveField

CATEGORY = torch.tensor([0, 1, 0, 3, 1, 0])
"""Of six concepts in four categories, of which category 2 has none."""
FIELD = ReceptiveField(19, 5, 3.5)
IMAGE_SIZE = (22, 26)
CELLS = ReceptiveField(1, 1, 0.5)
"""Units that are the pixels of the labels: a mask is read off the map."""


def random_case(images: int = 5, filters: int = 4, levels: int | None = None) -> dict[str, Tensor]:
    """Maps with a silent filter, labels in two layers that never repeat a concept; many pixels have none."""
    maps = torch.randn(images, filters, 4, 5).relu()
    if levels is not None:
        maps = (maps * levels).round() / levels
    maps[:, 1] = 0.0
    lower = torch.randint(-3, 3, (images, 1, 11, 13)).clamp(min=-1)
    upper = torch.randint(0, 6, (images, 1, 11, 13))
    upper = torch.where(upper < 3, -1, upper)
    upper[0], lower[1] = -1, -1  # images without some of the categories
    thresholds = torch.tensor([0.5, 0.0, 1.0, 0.2037])
    return {"maps": maps, "label_maps": torch.cat([lower, upper], 1), "thresholds": thresholds}


def counted(case: dict[str, Tensor]) -> DissectionCounts:
    return dissection_counts(**case, concept_category=CATEGORY, num_categories=4, field=FIELD, image_size=IMAGE_SIZE)


def literal_counts(case: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return literal.counts(
        case["maps"].double().numpy(),
        case["thresholds"].double().numpy(),
        case["label_maps"].numpy(),
        CATEGORY.numpy(),
        4,
        FIELD.offset,
        FIELD.stride,
        IMAGE_SIZE,
    )


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for one, two in zip(a, b, strict=True):
        assert one.dtype == two.dtype
        torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [None, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_counts_iou_and_report_are_the_literal_protocol(seed: int, levels: int | None, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    case = random_case(levels=levels)
    case["maps"] = case["maps"].to(dtype)
    expected = literal_counts(case)
    counts = counted(case)
    for name, table in counts._asdict().items():
        assert table.dtype == torch.int64
        assert np.array_equal(table.numpy(), expected[name]), name
    assert counts.intersection.sum() > 100
    overlap = iou(counts, CATEGORY)
    scores = literal.iou(expected, CATEGORY.numpy())
    assert np.array_equal(overlap.numpy(), scores)
    report = dissection_report(overlap, CATEGORY, 0.1, 4)
    for name, value in literal.report(scores, CATEGORY.numpy(), 4, 0.1).items():
        assert np.array_equal(getattr(report, name).numpy(), value, equal_nan=name == "category_score"), name
    assert 0 < report.num_detectors < 4


def two_images() -> dict[str, Tensor]:
    """Concepts 0 and 2 on the first image, 3 on the second; what is above the threshold of 1 is marked.

    Labels of the first: 0 0 2 -, of the second: - 3 3 3.  Filter 0: x x x . and x x . x; filter 1: . . x x and . . . .
    """
    maps = torch.tensor(
        [[[[5.0, 2.0, 2.0, 1.0]], [[0.0, 1.0, 2.0, 9.0]]], [[[2.0, 2.0, 0.0, 3.0]], [[1.0, 1.0, 0.0, 0.0]]]]
    )
    labels = torch.tensor([[[[0, 0, 2, -1]]], [[[-1, 3, 3, 3]]]])
    return {"maps": maps, "label_maps": labels, "thresholds": torch.tensor([1.0, 1.0])}


def test_two_images_by_hand() -> None:
    counts = dissection_counts(
        **two_images(), concept_category=CATEGORY, num_categories=4, field=CELLS, image_size=(1, 4)
    )
    assert counts.intersection.tolist() == [[2, 0, 1, 2, 0, 0], [0, 0, 1, 0, 0, 0]]
    # Category 0 is on the first image alone and category 3 on the second: the masks of the other do not count.
    assert counts.unit_area.tolist() == [[3, 0, 0, 3], [2, 0, 0, 0]]
    assert counts.concept_area.tolist() == [2, 0, 1, 3, 0, 0]
    overlap = iou(counts, CATEGORY)
    expected = [[2 / 3, 0, 1 / 3, 2 / 4, 0, 0], [0 / 4, 0, 1 / 2, 0 / 3, 0, 0]]
    assert overlap.tolist() == expected  # and not 2/6, 1/6 and 2/7 of filter 0 over all images
    report = dissection_report(overlap, CATEGORY, num_categories=4)
    assert report.concept.tolist() == [0, 2]
    assert report.score.tolist() == [2 / 3, 1 / 2]


def test_an_image_without_the_category_does_not_enter_the_union() -> None:
    case = random_case()
    counts = counted(case)
    loud = torch.full((3, 4, 4, 5), 9.0)
    only = torch.full((3, 2, 11, 13), -1)
    only[:, 0, 0, 0] = 3  # category 3
    more = counted(
        {name: torch.cat([case[name], extra]) for name, extra in (("maps", loud), ("label_maps", only))}
        | {"thresholds": case["thresholds"]}
    )
    before, after = iou(counts, CATEGORY), iou(more, CATEGORY)
    assert torch.equal(before[:, CATEGORY != 3], after[:, CATEGORY != 3])
    assert (before[:, 3] != after[:, 3]).all()


def planted(images: int = 60, noise: float = 0.05) -> dict[str, Tensor]:
    """Unit k fires where concept k is, with noise; six concepts on 8×8 cells, each in a third of the images."""
    concept = torch.randint(0, 6, (images, 1, 2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    concept[torch.rand(images, 1, 8, 8) < 0.8] = -1
    maps = torch.zeros(images, 7, 8, 8).scatter_(1, concept + 1, 1.0)[:, 1:]
    return {"maps": maps + noise * torch.randn(maps.shape), "label_maps": concept}


def dissected(case: dict[str, Tensor], quantile: float) -> NetworkDissectionResult:
    thresholds = ActivationQuantile(6, quantile, count=case["maps"][:, 0].numel())
    thresholds.update(case["maps"])
    metric = NetworkDissection(thresholds.compute(), CATEGORY, 4, CELLS)
    metric.update(**case, image_size=(8, 8))
    return metric.compute()


def share_of_concepts(case: dict[str, Tensor]) -> float:
    return (case["label_maps"] >= 0).double().mean().item() / 6


def test_a_unit_that_marks_a_concept_is_named_after_it() -> None:
    case = planted()
    result = dissected(case, share_of_concepts(case))
    assert result.report.concept.tolist() == list(range(6))
    assert (result.report.score > 0.7).all()
    assert (result.iou.fill_diagonal_(0) < 0.1).all()
    assert result.report.unique_concepts == result.report.num_detectors == 6
    result = dissected(planted(noise=0.0), 0.5)  # the threshold is then 0, and the masks are the concepts
    torch.testing.assert_close(result.iou, torch.eye(6, dtype=torch.float64), rtol=0, atol=0)


def test_a_random_rotation_of_aligned_units_loses_unique_detectors_the_more_the_further() -> None:
    case = planted(images=300)
    unique = []
    for alpha in (0.0, 0.5, 1.0):
        scores = []
        for seed in range(20):
            turned = case | {"maps": rotate(case["maps"], random_rotation(6, alpha, seed))}
            result = dissected(turned, share_of_concepts(case))
            report = dissection_report(result.iou, CATEGORY, threshold=0.5)
            scores.append(report.unique_concepts.item())
        unique.append(sum(scores) / 20)
    assert unique[0] == 6
    assert unique[0] > unique[1] > unique[2]
    assert unique[2] < 4.5


def test_labels_of_other_images_have_lower_iou() -> None:
    case = planted()
    shuffled = case | {"label_maps": case["label_maps"][shuffled_images(60)]}
    true, null = (dissected(labels, share_of_concepts(case)).report.score for labels in (case, shuffled))
    assert (null < 0.25 * true).all()


@pytest.mark.parametrize("number", [1, 2, 3, 17])
def test_every_image_takes_the_labels_of_another(number: int) -> None:
    partners = [shuffled_images(number, seed).tolist() for seed in range(20)]
    for partner in partners:
        assert sorted(partner) == list(range(number))
        assert number == 1 or all(image != other for image, other in enumerate(partner))
    assert number < 3 or len({tuple(partner) for partner in partners}) > 1
    assert shuffled_images(number, 3).tolist() == partners[3]


@pytest.mark.parametrize("filters", [1, 2, 5, 40])
def test_powers_of_a_rotation_are_rotations_and_add_up(filters: int) -> None:
    whole, half, none = (random_rotation(filters, alpha, seed=3) for alpha in (1.0, 0.5, 0.0))
    identity = torch.eye(filters, dtype=torch.float64)
    for rotation in (whole, half):
        torch.testing.assert_close(rotation @ rotation.T, identity, rtol=0, atol=1e-9)
        assert rotation.det().item() == pytest.approx(1.0)
    torch.testing.assert_close(half @ half, whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(none, identity, rtol=0, atol=1e-9)
    assert filters == 1 or not torch.allclose(whole, random_rotation(filters, 1.0, seed=4))


def test_rotations_are_uniform() -> None:
    # Of the uniform distribution on SO(3): E Q = 0 and E Q_ij² = 1/3
    drawn = torch.stack([random_rotation(3, 1.0, seed) for seed in range(1000)])
    assert drawn.mean(0).abs().max() < 0.085  # 4.6 standard errors of √(1/3/1000)
    assert (drawn.square().mean(0) - 1 / 3).abs().max() < 0.045


def test_rotating_maps_mixes_filters_at_each_place() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[10.0, 20.0]]]], dtype=torch.float16)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert rotate(maps, quarter).tolist() == [[[[-10.0, -20.0]], [[1.0, 2.0]]]]
    assert rotate(maps, quarter).dtype == torch.float32


def test_a_constant_map_is_never_above_its_own_value() -> None:
    case = random_case()
    for value in (0.0, 0.1, -3.7):
        case["maps"] = torch.full((5, 4, 4, 5), value)
        case["maps"][2, :, 1, 1] = value - 1.0
        counts = counted(case | {"thresholds": case["maps"][0, :, 0, 0]})
        assert counts.intersection.sum() == counts.unit_area.sum() == 0
        assert iou(counts, CATEGORY).max() == 0


def test_between_cells_that_equal_the_threshold_no_rounding_lifts_the_mask() -> None:
    # 0.1 in float32 interpolated with itself may round to more than 0.1; one cell is above, so the map is looked at
    maps = torch.full((1, 1, 9, 9), 0.1)
    maps[..., 8, 8] = 0.2
    labels = torch.zeros(1, 1, 100, 100, dtype=torch.int64)
    field = ReceptiveField(1, 10, 5.0)
    counts = dissection_counts(maps, maps[0, :, 0, 0], labels, torch.tensor([0]), 1, field, (90, 90))
    # Above are the pixels beyond the last but one unit, at 75 px; pixel 83 has its centre at 75.15.
    assert counts.intersection.item() == 17**2


def test_a_threshold_of_0_masks_whatever_is_positive() -> None:
    maps = torch.tensor([[[[0.0, 1e-7, 0.0, 3.0]]]])
    labels = torch.tensor([[[[0, 0, 0, 1]]]])
    counts = dissection_counts(maps, torch.zeros(1), labels, torch.tensor([0, 0]), 1, CELLS, (1, 4))
    assert counts.intersection.tolist() == [[1, 1]]
    assert iou(counts, torch.tensor([0, 0])).tolist() == [[1 / 4, 1 / 2]]


def test_a_threshold_of_nan_masks_nothing() -> None:
    counts = counted(random_case() | {"thresholds": torch.full((4,), math.nan)})
    assert counts.intersection.sum() == counts.unit_area.sum() == 0
    assert counts.concept_area.sum() > 0


def test_images_without_labels_count_for_nothing() -> None:
    case = random_case()
    counts = counted(case | {"label_maps": torch.full_like(case["label_maps"], -1)})
    assert all(table.sum() == 0 for table in counts)
    assert iou(counts, CATEGORY).tolist() == [[0.0] * 6] * 4


def test_no_images_count_nothing() -> None:
    case = {name: table if name == "thresholds" else table[:0] for name, table in random_case().items()}
    assert all(table.sum() == 0 for table in counted(case))


def test_labels_may_be_int32() -> None:
    case = random_case()
    same(counted(case | {"label_maps": case["label_maps"].int()}), counted(case))


def test_the_size_of_the_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case()
    whole = counted(case)
    for pixels in (1, 143, 3 * 143):
        monkeypatch.setattr(sys.modules["interpretable.metrics.dissection_counts"], "_PIXELS_AT_A_TIME", pixels)
        same(counted(case), whole)


@pytest.mark.parametrize("label", [6, -2, 1000])
def test_a_label_that_is_no_concept_is_refused(label: int) -> None:
    case = random_case()
    case["label_maps"][3, 1, 4, 4] = label
    with pytest.raises(MetricError, match=re.escape(f"concepts from 0 to 5, or -1 for none, got {label};")):
        counted(case)


def test_nan_is_refused() -> None:
    case = random_case()
    case["maps"][3, 2, 1, 1] = math.nan
    with pytest.raises(MetricError, match="activations must be numbers, got NaN in row 3 of 5"):
        counted(case)


def test_detectors_and_unique_concepts_by_hand() -> None:
    #       category: 0    1     0     3    1    0
    scores = [
        [0.30, 0.20, 0.00, 0.00, 0.0, 0.0],  # best 0; also 1 of category 1
        [0.30, 0.30, 0.30, 0.05, 0.0, 0.0],  # equal: the lowest
        [0.01, 0.50, 0.04, 0.00, 0.5, 0.0],  # 0.04 is not above 0.04
        [0.00, 0.00, 0.00, 0.04, 0.0, 0.0],
    ]  # no detector
    report = dissection_report(torch.tensor(scores, dtype=torch.float64), CATEGORY, num_categories=4)
    assert report.concept.tolist() == [0, 0, 1, 3]
    assert report.detector.tolist() == [True, True, True, False]
    assert (report.num_detectors.item(), report.unique_concepts.item()) == (3, 2)
    assert report.category_concept.tolist() == [[0, 1, -1, 3], [0, 1, -1, 3], [2, 1, -1, 3], [0, 1, -1, 3]]
    assert report.category_score[:, 2].isnan().all()
    assert report.category_score[2].tolist()[:2] == [0.04, 0.5]
    assert report.detectors_per_category.tolist() == [2, 3, 0, 1]
    assert report.unique_per_category.tolist() == [1, 1, 0, 1]
    assert report.unique_by_category.item() == 3
    assert dissection_report(torch.tensor(scores), CATEGORY[:6]).category_concept.shape == (4, 4)


def test_without_concepts_there_is_no_dissection() -> None:
    with pytest.raises(MetricError, match="must have a concept at least, got none"):
        dissection_report(torch.zeros(3, 0), torch.zeros(0, dtype=torch.int64))


def measured(case: dict[str, Tensor], slices: list[slice]) -> NetworkDissectionResult:
    metric = NetworkDissection(case["thresholds"], CATEGORY, 4, FIELD, iou_threshold=0.1)
    for part in slices:
        metric.update(case["maps"][part], case["label_maps"][part], IMAGE_SIZE)
    return metric.compute()


def test_batches_in_any_order_equal_one_pass() -> None:
    case = random_case(images=20)
    whole = measured(case, [slice(None)])
    overlap = iou(counted(case), CATEGORY)
    assert torch.equal(whole.iou, overlap)
    same(whole.report, dissection_report(overlap, CATEGORY, 0.1, 4))
    again = measured(case, [slice(13, 20), slice(0, 1), slice(1, 13)])
    assert torch.equal(again.iou, whole.iou)
    same(again.report, whole.report)


def test_a_layer_of_one_filter_goes_through_both_passes() -> None:
    case = two_images()
    quantile = ActivationQuantile(1, 0.3, count=8)
    quantile.update(case["maps"][:, :1])
    metric = NetworkDissection(quantile.compute(), CATEGORY, 4, CELLS)
    metric.update(case["maps"][:, :1], case["label_maps"], (1, 4))
    # Of 5 2 2 1 and 2 2 0 3 two are above the third largest, 2: one on concept 0 of two pixels, one on 3 of three.
    assert metric.compute().iou.tolist() == [[1 / 2, 0, 0, 1 / 3, 0, 0]]


def test_the_metric_forgets_after_a_reset() -> None:
    case = random_case()
    metric = NetworkDissection(case["thresholds"], CATEGORY, 4, FIELD)
    metric.update(case["maps"].flip(0) + 1, case["label_maps"], IMAGE_SIZE)
    metric.reset()
    metric.update(case["maps"], case["label_maps"], IMAGE_SIZE)
    assert torch.equal(metric.compute().iou, iou(counted(case), CATEGORY))


def one_rank(rank: int, folder: str, case: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = measured(case, [slice(0, 8), slice(8, 13)] if rank == 0 else [slice(13, 20)])
    torch.save([result.iou, *result.report], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    case = random_case(images=20)
    alone = measured(case, [slice(None)])
    mp.start_processes(one_rank, args=(str(tmp_path), case), nprocs=2, start_method="fork")
    for rank in range(2):
        same(torch.load(tmp_path / f"{rank}.pt", weights_only=True), (alone.iou, *alone.report))
