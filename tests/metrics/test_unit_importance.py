import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import unit_importance as oracle
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from interpretable.errors import MetricError
from interpretable.metrics import filter_ablation, group_ablation
from interpretable.metrics.filter_ablation import class_accuracy, head_ablation_accuracy, linear_ablation_accuracy
from interpretable.metrics.group_ablation import GroupAblation, group_accuracy
from interpretable.metrics.unit_importance import UnitImportance, importance_ranking, unit_importance

NAN = math.nan
CLASSES, FILTERS = 4, 7
SIZES = [0, 1, 2, 5, 7]
NAMES = ("features", "weight", "bias", "labels")


def random_case(images: int = 50, whole_numbers: bool = False, seed: int = 0) -> dict[str, Tensor]:
    """Sparse features of a head that is often right; class 3 has no image; with whole numbers, many equal logits."""
    torch.manual_seed(seed)
    weight = torch.randn(CLASSES, FILTERS, dtype=torch.float64)
    features = (torch.randn(images, FILTERS, dtype=torch.float64) + 0.3).clamp(min=0)
    bias = 0.1 * torch.randn(CLASSES, dtype=torch.float64)
    if whole_numbers:
        weight, features, bias = weight.round(), (2 * features).round(), bias.round()
    chance = torch.rand(images) < 0.3
    labels = torch.where(chance, torch.randint(0, 3, (images,)), (features @ weight.T + bias)[:, :3].argmax(1))
    return {"features": features, "weight": weight, "bias": bias, "labels": labels}


def same(a: Tensor, b: Any, tolerance: float = 1e-12) -> None:
    expected = torch.as_tensor(b, dtype=torch.float64, device=a.device)
    torch.testing.assert_close(a.double(), expected, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("whole_numbers", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_equals_really_removing_each_filter(seed: int, whole_numbers: bool) -> None:
    case = random_case(whole_numbers=whole_numbers, seed=seed)
    expected = oracle.ablation_accuracy(**case)
    result = linear_ablation_accuracy(**case)
    assert result[:, 3].isnan().all()
    assert not torch.equal(result[:, 0], result[0, 0].expand(FILTERS))
    same(result, expected)
    same(unit_importance(**case).accuracy, oracle.accuracy(**case))
    same(unit_importance(**case).drop, oracle.accuracy(**case) - expected)


def test_negative_features_are_removed_too() -> None:
    case = random_case()
    case["features"] -= 1
    same(linear_ablation_accuracy(**case), oracle.ablation_accuracy(**case))


@pytest.mark.parametrize("chunk", [1, 5000])
def test_chunks_do_not_change_the_closed_form(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case()
    whole = linear_ablation_accuracy(**case)
    monkeypatch.setattr(filter_ablation, "CHUNK_BYTES", chunk)
    assert torch.equal(linear_ablation_accuracy(**case).nan_to_num(-1), whole.nan_to_num(-1))


def test_a_case_by_hand() -> None:
    # Filter 0 speaks for class 0, filter 1 for class 1 and filter 2 for both. Without filter 0 the first image ties and
    # stays with the lower class, the second goes to class 1; without filter 1 the third ties and is lost to class 0.
    result = unit_importance(
        torch.tensor([[2.0, 0.0, 1.0], [2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]),
        torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0]]),
        torch.zeros(2),
        torch.tensor([0, 0, 1]),
    )
    same(result.accuracy, [1.0, 1.0])
    same(result.drop, [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0]])
    # of the filters that class 0 loses nothing by, filter 2 adds 10/3 to its logit and filter 1 nothing
    assert result.ranking.tolist() == [[0, 2, 1], [1, 2, 0]]


def test_a_filter_without_activation_or_without_weights_loses_exactly_nothing() -> None:
    case = random_case()
    case["features"][:, 2] = 0
    case["weight"][:, 4] = 0
    case["weight"][:, 5] = 1.7  # moves all logits alike
    drop = unit_importance(**case).drop[:, :3]
    assert (drop[[2, 4, 5]] == 0).all()
    assert (drop[[0, 1, 3, 6]] != 0).any()


def test_importance_does_not_depend_on_the_order_of_the_images_nor_on_the_logits_scale() -> None:
    case = random_case()
    order = torch.randperm(50)
    other = case | {"features": case["features"][order], "labels": case["labels"][order]}
    other |= {"weight": 8 * case["weight"], "bias": 8 * case["bias"]}
    one, two = unit_importance(**case), unit_importance(**other)
    same(one.drop, two.drop)
    assert torch.equal(one.ranking, two.ranking)


def test_permuted_filters_have_permuted_drops() -> None:
    case = random_case()
    order = torch.randperm(FILTERS)
    permuted = case | {"features": case["features"][:, order], "weight": case["weight"][:, order]}
    same(unit_importance(**permuted).drop, unit_importance(**case).drop[order])


def test_a_network_with_a_single_class_is_always_right() -> None:
    result = unit_importance(torch.rand(5, 3), torch.randn(1, 3), torch.zeros(1), torch.zeros(5, dtype=torch.int64))
    assert result.accuracy.tolist() == [1.0]
    assert result.drop.tolist() == [[0.0], [0.0], [0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_also_under_autocast(dtype: torch.dtype) -> None:
    case = random_case()
    half = {name: tensor if name == "labels" else tensor.to(dtype) for name, tensor in case.items()}
    exact = {name: tensor if name == "labels" else tensor.double() for name, tensor in half.items()}
    with torch.autocast("cpu", torch.bfloat16):
        same(linear_ablation_accuracy(**half), oracle.ablation_accuracy(**exact))
        ranking = unit_importance(**half).ranking
        expected = oracle.group_accuracy(*(exact[name] for name in NAMES), ranking, SIZES)
        same(measured_groups(half, ranking, SIZES).group_accuracy, expected)


def test_class_accuracy_by_hand() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    same(class_accuracy(logits, torch.tensor([0, 1, 1, 0]), 3), [1.0, 0.5, NAN])


def drawn_maps(images: int = 12, silent: float = 0.4) -> tuple[Tensor, Tensor]:
    """Maps of filters that are silent on some images, and the images' classes."""
    maps = torch.randn(images, FILTERS, 5, 4, dtype=torch.float64).clamp(min=0)
    maps[torch.rand(images, FILTERS) < silent] = 0
    return maps, torch.randint(0, 3, (images,))


def convolutional_head() -> Callable[[Tensor], Tensor]:
    layers = nn.Sequential(nn.Conv2d(FILTERS, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, CLASSES))
    return layers.double().eval()


def pooled_linear_head(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda maps: maps.mean((-2, -1)) @ weight.T + bias


@pytest.mark.parametrize("chunk", [1, 3000, 2**26])
def test_a_head_is_asked_with_each_filter_really_removed(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head, (maps, labels) = convolutional_head(), drawn_maps()
    expected = torch.stack(
        [
            class_accuracy(head(maps * (torch.arange(FILTERS) != c)[:, None, None]).detach(), labels, CLASSES)
            for c in range(FILTERS)
        ]
    )
    assert len(expected[:, :3].unique(dim=0)) > 1
    monkeypatch.setattr(filter_ablation, "CHUNK_BYTES", chunk)
    same(head_ablation_accuracy(head, maps, labels, CLASSES), expected)
    chosen = torch.tensor([5, 0, 5])
    same(head_ablation_accuracy(head, maps, labels, CLASSES, chosen), expected[chosen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_closed_form_and_the_masked_head_agree_on_a_pooled_linear_head(dtype: torch.dtype) -> None:
    maps, labels = drawn_maps(200)
    maps = maps.to(dtype)
    weight, bias = torch.randn(CLASSES, FILTERS, dtype=dtype), torch.randn(CLASSES, dtype=dtype) / 10
    through_head = head_ablation_accuracy(pooled_linear_head(weight, bias), maps, labels, CLASSES)
    same(linear_ablation_accuracy(maps.mean((-2, -1)), weight, bias, labels), through_head)


def test_a_head_sees_only_images_on_which_the_removed_filter_fires() -> None:
    maps, labels = drawn_maps()
    linear, seen = pooled_linear_head(torch.randn(CLASSES, FILTERS).double(), torch.zeros(CLASSES).double()), []

    def counting_head(z: Tensor) -> Tensor:
        seen.append(len(z))
        return linear(z)

    before = maps.clone()
    head_ablation_accuracy(counting_head, maps, labels, CLASSES)
    assert sum(seen) == len(maps) + int((maps.amax((-2, -1)) > 0).sum())
    assert sum(seen) < len(maps) * FILTERS
    assert torch.equal(maps, before)


def test_a_head_without_any_image_has_no_accuracy() -> None:
    maps, labels = drawn_maps(0)
    assert head_ablation_accuracy(convolutional_head(), maps, labels, CLASSES).isnan().all()


@pytest.mark.parametrize("whole_numbers", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_is_by_drop_then_by_contribution_then_by_index(seed: int, whole_numbers: bool) -> None:
    case = random_case(whole_numbers=whole_numbers, seed=seed)
    case["labels"][0] = 3
    case["weight"][:, 5] = case["weight"][:, 4]
    case["features"][:, 5] = case["features"][:, 4]
    result = unit_importance(**case)
    expected = oracle.ranking(result.drop, case["features"], case["weight"])
    assert result.ranking.tolist() == expected.tolist()


def test_a_class_without_images_is_ranked_by_contribution() -> None:
    assert importance_ranking(torch.full((3, 1), NAN), torch.tensor([[1.0], [3.0], [2.0]])).tolist() == [[1, 2, 0]]


def linear_groups(case: dict[str, Tensor], ranking: Tensor, keep: bool) -> Tensor:
    def logits_of(left: Tensor) -> Tensor:
        return (case["features"] * left) @ case["weight"].T + case["bias"]

    return group_accuracy(logits_of, ranking, case["labels"], SIZES, keep)


def measured_groups(case: dict[str, Tensor], ranking: Tensor, sizes: list[int] | None = None) -> Any:
    metric = GroupAblation(case["weight"], case["bias"], ranking, sizes)
    metric.update(case["features"], case["labels"])
    return metric.compute()


@pytest.mark.parametrize("whole_numbers", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_groups_equal_really_removing_or_keeping_them(seed: int, whole_numbers: bool) -> None:
    case = random_case(whole_numbers=whole_numbers, seed=seed)
    ranking = unit_importance(**case).ranking
    result = measured_groups(case, ranking, SIZES)
    assert result.sizes.tolist() == SIZES
    arguments = (*(case[name] for name in NAMES), ranking, SIZES)
    for keep, closed_form in ((False, result.group_accuracy), (True, result.keep_accuracy)):
        expected = oracle.group_accuracy(*arguments, keep=keep)
        same(closed_form, expected)
        same(linear_groups(case, ranking, keep), expected)
    assert result.group_accuracy[3].isnan().all()


def test_chunks_do_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case()
    ranking = unit_importance(**case).ranking
    whole = measured_groups(case, ranking, SIZES)
    monkeypatch.setattr(group_ablation, "CHUNK_BYTES", 2000)
    for one, two in zip(whole, measured_groups(case, ranking, SIZES), strict=True):
        same(one, two)


def test_removing_nothing_is_keeping_everything_and_the_other_way_round() -> None:
    case = random_case()
    result = measured_groups(case, unit_importance(**case).ranking, [0, FILTERS])
    same(result.group_accuracy, result.keep_accuracy.flip(1))
    # with the bias alone every image goes to one class
    lone = torch.full((3,), 0.5)
    same(result.keep_accuracy[:3, 0], lone)


def planted() -> dict[str, Tensor]:
    """Three filters for each of three classes, each by itself enough, three of noise, a fourth class with none."""
    labels = torch.arange(40) % 4
    features = torch.cat([(torch.arange(9) // 3 == labels[:, None]).float(), 0.01 * torch.rand(40, 3)], 1)
    weight = torch.zeros(4, 12)
    weight[:3, :9] = torch.eye(3).repeat_interleave(3, 1)
    weight[:, 9:] = torch.randn(4, 3)
    return {"features": features, "weight": weight, "bias": torch.tensor([0.0, 0.0, 0.0, 0.5]), "labels": labels}


def test_planted_filters_carry_their_class_and_no_other() -> None:
    case = planted()
    result = unit_importance(**case)
    for label in range(3):
        assert set(result.ranking[label, :3].tolist()) == {3 * label, 3 * label + 1, 3 * label + 2}
    groups = measured_groups(case, result.ranking, [2, 3])
    same(groups.group_accuracy[:3], [[1.0, 0.5]] * 3)  # any one of three is enough, without all the class is lost
    same(groups.keep_accuracy[:3], [[1.0, 1.0]] * 3)


def test_the_paper_s_sizes_are_taken_as_far_as_there_are_filters() -> None:
    case = random_case()
    assert measured_groups(case, unit_importance(**case).ranking).sizes.tolist() == [1, 2, 3, 4, 5]


def measured(case: dict[str, Tensor], slices: list[slice]) -> tuple[Tensor, ...]:
    """Everything that both metrics say, the groups by a ranking of their own."""
    importance = UnitImportance(case["weight"], case["bias"])
    ranking = torch.arange(FILTERS).expand(CLASSES, FILTERS).contiguous()
    groups = GroupAblation(case["weight"], case["bias"], ranking, SIZES)
    for part in slices:
        for metric in (importance, groups):
            metric.update(case["features"][part], case["labels"][part])
    result = importance.compute()
    return *result[:3], *result.redundancy, *groups.compute()


def test_batches_in_any_order_equal_the_function() -> None:
    case = random_case()
    result = unit_importance(**case)
    batched = measured(case, [slice(40, 50), slice(0, 13), slice(13, 13), slice(13, 40)])
    for one, two in zip((*result[:3], *result.redundancy), batched, strict=False):
        same(one, two, 1e-9)
    for one, two in zip(measured(case, [slice(None)]), batched, strict=True):
        same(one, two, 1e-9)


def test_the_metrics_forget_after_a_reset() -> None:
    case = random_case()
    ranking = unit_importance(**case).ranking
    for metric in (UnitImportance(case["weight"], case["bias"]), GroupAblation(case["weight"], case["bias"], ranking)):
        with torch.inference_mode():
            metric.update(case["features"].flip(0), case["labels"])
            metric.reset()
        metric.update(case["features"], case["labels"])
        expected = unit_importance(**case) if isinstance(metric, UnitImportance) else measured_groups(case, ranking)
        same(metric.compute()[1], expected[1])


def one_rank(rank: int, folder: str, case: dict[str, Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    result = measured(case, [slice(0, 20), slice(20, 37)] if rank == 0 else [slice(37, 50)])
    torch.save(list(result), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_ranks_with_different_numbers_of_images_equal_one_process(tmp_path: Path) -> None:
    case = random_case()
    alone = measured(case, [slice(None)])
    mp.start_processes(one_rank, args=(str(tmp_path), case), nprocs=2, start_method="fork")
    for rank in range(2):
        for one, two in zip(torch.load(tmp_path / f"{rank}.pt", weights_only=True), alone, strict=True):
            same(one, two, 1e-9)


def test_labels_that_name_no_class_are_refused_with_their_row() -> None:
    case = random_case()
    for label in (-1, CLASSES):
        case["labels"][6] = label
        with pytest.raises(MetricError, match=f"classes 0 to 3, got {label} in row 6 of 50"):
            unit_importance(**case)
        with pytest.raises(MetricError, match=f"got {label} in row 6"):
            measured_groups(case, torch.zeros(CLASSES, FILTERS, dtype=torch.int64))
        with pytest.raises(MetricError, match=f"got {label} in row 6"):
            class_accuracy(case["features"][:, :CLASSES], case["labels"], CLASSES)


def test_features_maps_and_logits_that_are_no_numbers_are_refused() -> None:
    case = random_case()
    ranking = unit_importance(**case).ranking
    case["features"][9, 2] = NAN
    for measure in (lambda: unit_importance(**case), lambda: measured_groups(case, ranking)):
        with pytest.raises(MetricError, match="pooled features must be numbers, got NaN in row 9 of 50"):
            measure()
    maps, labels = drawn_maps()
    with pytest.raises(MetricError, match="logits must be numbers"):
        head_ablation_accuracy(lambda z: torch.full((len(z), CLASSES), NAN), maps, labels, CLASSES)
    maps[4, 1, 2, 3] = NAN
    with pytest.raises(MetricError, match="feature maps must be numbers, got NaN in row 4"):
        head_ablation_accuracy(convolutional_head(), maps, labels, CLASSES)


def test_a_head_of_another_number_of_classes_is_refused() -> None:
    maps, labels = drawn_maps()
    with pytest.raises(MetricError, match=r"one column for each of 9 classes, got shape \(12, 4\)"):
        head_ablation_accuracy(convolutional_head(), maps, labels, 9)


@pytest.mark.parametrize(("sizes", "found"), [([2, 8], "8"), ([-1], "-1"), ([], "none")])
def test_group_sizes_beyond_the_filters_are_refused(sizes: list[int], found: str) -> None:
    case = random_case()
    ranking = unit_importance(**case).ranking
    with pytest.raises(MetricError, match=f"must be 0 to 7, the number of filters, got {found}"):
        measured_groups(case, ranking, sizes)
    with pytest.raises(MetricError, match=f"got {found}"):
        group_accuracy(lambda left: case["features"][:, :CLASSES], ranking, case["labels"], sizes)


def test_importance_without_images_is_refused() -> None:
    with pytest.raises(MetricError, match="at least one image, got none"):
        unit_importance(**random_case(0))
