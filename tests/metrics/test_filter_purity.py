import importlib
import math
from pathlib import Path

import pytest
import torch
from oracles.filter_purity import purity
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics.filter_purity import FilterPurity, FilterPurityResult, filter_purity

NAN = math.nan
CLASSES = 4
module = importlib.import_module("interpretable.metrics.filter_purity")  # its name in the package is the function's


def random_case(images: int = 60, levels: int | None = None) -> tuple[Tensor, Tensor]:
    """Peaks with silent images and a silent filter; with levels, many equal peaks."""
    values = torch.rand(images, 6, dtype=torch.float64) - 0.3
    if levels is not None:
        values = (values * levels).round()
    values[:, 4] = -1
    return values, torch.randint(0, CLASSES - 1, (images,))


def same(result: FilterPurityResult, expected: dict[str, object]) -> None:
    for name, value in result._asdict().items():
        known = torch.as_tensor(expected[name], dtype=value.dtype)
        torch.testing.assert_close(value, known, rtol=0, atol=1e-12, equal_nan=True, msg=name)


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("top", [1, 7, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_function_equals_the_literal_one(seed: int, top: int, levels: int | None) -> None:
    torch.manual_seed(seed)
    values, labels = random_case(levels=levels)
    expected = purity(values, labels, CLASSES, top)
    assert expected["category"].tolist()[4] == -1
    same(filter_purity(values, labels, CLASSES, top), expected)


def test_a_case_by_hand() -> None:
    # the three strongest images of filter 0 are of classes 1, 1 and 0; filter 1 fires on one image, filter 2 on none
    values = torch.tensor([[5.0, 0.0, 0.0], [4.0, 0.1, -1.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    result = filter_purity(values, torch.tensor([1, 0, 1, 2]), 3, top=3)
    entropy = math.log(3) - 2 / 3 * math.log(2)
    expected = {
        "entropy": [entropy, 0.0, NAN],
        "share": [2 / 3, 1.0, NAN],
        "category": [1, 0, -1],
        "mean_entropy": entropy / 2,
        "mean_share": 5 / 6,
    }
    same(result, expected)


def test_of_equal_peaks_the_lower_image_index_counts() -> None:
    labels = torch.tensor([2, 2, 1, 1, 1])
    assert filter_purity(torch.ones(5, 1), labels, 3, top=3).category.tolist() == [2]
    metric = FilterPurity(2, 3, top=3)
    metric.update(torch.ones(3, 2), labels[2:], torch.arange(2, 5))
    metric.update(torch.ones(2, 2), labels[:2], torch.arange(2))
    assert metric.compute().category.tolist() == [2, 2]


def test_equally_frequent_classes_give_the_lowest_and_the_largest_entropy() -> None:
    result = filter_purity(torch.ones(8, 1), torch.tensor([3, 2, 1, 0, 0, 1, 2, 3]), 4)
    assert result.category.tolist() == [0]
    assert result.entropy.item() == pytest.approx(math.log(4), abs=1e-12)
    assert result.share.item() == 0.25


def test_a_filter_of_one_class_is_pure_and_one_of_any_class_is_not() -> None:
    labels = torch.arange(600) % 3
    values = torch.stack([(labels == 1).float() + torch.rand(600), torch.rand(600)], 1)
    result = filter_purity(values, labels, 3)
    assert result.category[0] == 1
    assert result.entropy[0] == 0
    assert result.entropy[1] > 0.98 * math.log(3)


def test_without_a_firing_filter_or_an_image_there_is_no_purity() -> None:
    for images in (0, 5):
        result = filter_purity(torch.zeros(images, 2), torch.zeros(images, dtype=torch.int64), 3)
        same(result, {"entropy": [NAN] * 2, "share": [NAN] * 2, "category": [-1] * 2} | dict.fromkeys(MEANS, NAN))
        metric = FilterPurity(2, 3)
        metric.update(torch.zeros(images, 2), torch.zeros(images, dtype=torch.int64), torch.arange(images))
        same(metric.compute(), result._asdict())


MEANS = ("mean_entropy", "mean_share")


def test_half_precision_peaks_are_ranked_as_they_are() -> None:
    values, labels = random_case()
    values = values.half()
    same(filter_purity(values, labels, CLASSES, 7), purity(values, labels, CLASSES, 7))


def measured(values: Tensor, labels: Tensor, parts: list[Tensor], top: int = 7) -> FilterPurityResult:
    metric = FilterPurity(values.shape[1], CLASSES, top)
    for images in parts:
        metric.update(values[images], labels[images], images)
    return metric.compute()


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("top", [1, 7, 100])
@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
def test_shuffled_batches_equal_the_function(
    levels: int | None, top: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    values, labels = random_case(levels=levels)
    result = measured(values, labels, list(torch.randperm(60).split(17)), top)
    same(result, filter_purity(values, labels, CLASSES, top)._asdict())


def test_forward_gives_the_purity_of_the_batch_and_keeps_all() -> None:
    values, labels = random_case()
    metric = FilterPurity(6, CLASSES, 7)
    for images in torch.randperm(60).split(20):
        same(metric(values[images], labels[images], images), measured(values, labels, [images])._asdict())
    same(metric.compute(), filter_purity(values, labels, CLASSES, 7)._asdict())


def test_memory_does_not_grow_with_the_images() -> None:
    metric = FilterPurity(6, CLASSES, 7)
    for _ in range(3):
        metric.update(*random_case(), torch.arange(60))
    assert {name: tuple(state.shape) for name, state in metric.metric_state.items()} == {"kept": (7, 6, 3)}


def test_the_metric_forgets_after_a_reset() -> None:
    values, labels = random_case()
    metric = FilterPurity(6, CLASSES, 7)
    metric.update(values + 9, labels, torch.arange(60))
    metric.reset()
    metric.update(values, labels, torch.arange(60))
    same(metric.compute(), filter_purity(values, labels, CLASSES, 7)._asdict())


def test_bad_input_is_refused() -> None:
    values, labels = random_case()
    with pytest.raises(MetricError, match="top images must be 1 or more, got 0"):
        filter_purity(values, labels, CLASSES, 0)
    with pytest.raises(MetricError, match="top images must be 1 or more, got 0"):
        FilterPurity(6, CLASSES, 0)
    metric = FilterPurity(6, 2)
    labels[5] = 7
    for refused in (lambda: filter_purity(values, labels, 4), lambda: metric.update(values, labels, torch.arange(60))):
        with pytest.raises(MetricError, match="Labels must be classes"):
            refused()
    values[8, 1] = NAN
    for refused in (lambda: filter_purity(values, labels, 4), lambda: metric.update(values, labels, torch.arange(60))):
        with pytest.raises(MetricError, match="peak activations must be numbers, got NaN in row 8"):
            refused()


def one_rank(rank: int, folder: str, values: Tensor, labels: Tensor) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    images = torch.arange(60)
    parts = [images[1::2][:20], images[1::2][20:], images[40::2]] if rank == 0 else [images[:40:2]]
    torch.save(list(measured(values, labels, parts)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
def test_two_ranks_with_different_numbers_of_images_equal_one_process(levels: int | None, tmp_path: Path) -> None:
    values, labels = random_case(levels=levels)
    alone = filter_purity(values, labels, CLASSES, 7)._asdict()
    mp.start_processes(one_rank, args=(str(tmp_path), values, labels), nprocs=2, start_method="fork")
    for rank in range(2):
        same(FilterPurityResult(*torch.load(tmp_path / f"{rank}.pt", weights_only=True)), alone)
