"""Which filters do the work: the accuracy that is lost when they are removed."""

import torch
from torch import Tensor, nn

from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.stored_filters import BATCH, StoredFilters
from interpretable.metrics import class_accuracy, group_accuracy, head_ablation_accuracy, unit_importance
from interpretable.metrics.group_ablation import GROUP_SIZES, balanced_accuracy, linear_group_counts
from interpretable.metrics.unit_importance import importance_ranking
from interpretable.models import InterpretableCNN

MOST_IMAGES = 512
"""Images on which a head that is not linear on pooled maps is run once per filter."""

MOST_CLASSES = 20
"""Classes beyond which such a head is not run for groups, a pass for each class and size."""

EXPLAINED = 0.95
"""Share of the filters' variance that the filters counted as not redundant explain."""


def pooled_linear(head: nn.Module) -> nn.Linear | None:
    """The linear layer of a head that averages each map and does nothing else, None for any other head."""
    layers = [layer for layer in head.modules() if next(layer.children(), None) is None]
    layers = [layer for layer in layers if not isinstance(layer, (nn.Dropout, nn.Identity, nn.Flatten))]
    match layers:
        case [nn.AdaptiveAvgPool2d(output_size=size), nn.Linear() as linear] if size in (1, (1, 1)):
            return linear
    return None


def add_importance(evaluation: Evaluation, filters: StoredFilters, net: InterpretableCNN) -> None:
    """Drop in each class's accuracy without one filter, and without growing groups of those that matter most.

    For a linear head on pooled maps in closed form, ranked on the training images and measured on the test images. Any
    other head is run again and again on at most `MOST_IMAGES` test images, with one filter's map at zero after the
    other; there one half ranks the groups and the other measures them. Heads with one output have no class to lose and
    are skipped, and so is a layer that is not the top one.
    """
    if filters.test.manifest.outputs < 2 or filters.layer not in (None, filters.test.layer().info.name):
        return
    linear = pooled_linear(net.head)
    if linear is None:
        evaluation.about["importance"] = f"head run on {min(MOST_IMAGES, len(filters.test))} test images"
        accuracy, ablated = _through_head(evaluation, filters, net)
    else:
        evaluation.about["importance"] = "closed form, ranked on training images"
        accuracy, ablated = _closed_form(evaluation, filters, linear)
    drop = accuracy - ablated  # (C, K)
    largest = drop.nan_to_num(-torch.inf).max(1)
    evaluation.add_filters(largest_drop=largest.values, class_of_largest_drop=largest.indices)
    evaluation.add_classes(largest_drop=drop.amax(0), most_important_filter=drop.nan_to_num(-torch.inf).argmax(0))
    evaluation.add(largest_drop=largest.values.max(), idle_filters=(drop.nan_to_num(0) <= 0).all(1).double().mean())


def _closed_form(evaluation: Evaluation, filters: StoredFilters, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    info = filters.test.layer(filters.layer).info
    weight = linear.weight.detach().cpu()
    bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().cpu()
    train, test = (store.masked_sums[:] / (info.height * info.width) for store in (filters.train, filters.test))
    on_train = unit_importance(train, weight, bias, filters.train.labels)
    measured = unit_importance(test, weight, bias, filters.test.labels)
    sizes = [size for size in GROUP_SIZES if size <= weight.shape[1]]
    counts = linear_group_counts(test, weight, bias, filters.test.labels, on_train.ranking, sizes)
    _add_groups(evaluation, sizes, *balanced_accuracy(*counts))
    order = on_train.redundancy
    rank = torch.empty_like(order.order)
    rank[order.order] = torch.arange(len(rank))
    part_filters = slice(filters.num_filters)  # the head also reads channels that are none
    evaluation.add_filters(redundancy_rank=rank[part_filters])
    evaluation.add(filters_explaining_95=int((order.explained < EXPLAINED).sum()) + 1)
    return measured.accuracy, (measured.accuracy - measured.drop)[part_filters]


@torch.inference_mode()
def _through_head(evaluation: Evaluation, filters: StoredFilters, net: InterpretableCNN) -> tuple[Tensor, Tensor]:
    """Accuracy (K,) and accuracy without each filter (C, K) on images that do not rank the groups."""
    stored, outputs = filters.test.layer(filters.layer).maps, filters.test.manifest.outputs
    rows = torch.linspace(0, len(stored) - 1, min(MOST_IMAGES, len(stored))).long()
    maps, labels = stored[rows].float(), filters.test.labels[rows]
    chosen = torch.arange(filters.num_filters)
    ablated = head_ablation_accuracy(net.forward_head, maps, labels, outputs, chosen)
    accuracy = class_accuracy(_logits(net, maps), labels, outputs)
    if outputs > MOST_CLASSES:
        evaluation.about["importance"] += f", without groups, which take a pass per class above {MOST_CLASSES} classes"
        return accuracy, ablated
    ranked, measured = maps[::2], maps[1::2]
    of_ranked = head_ablation_accuracy(net.forward_head, ranked, labels[::2], outputs, chosen)
    drop = class_accuracy(_logits(net, ranked), labels[::2], outputs) - of_ranked
    ranking = importance_ranking(drop, ranked[:, : len(chosen)].mean((0, 2, 3))[:, None].expand(-1, outputs))
    sizes = [size for size in GROUP_SIZES if size <= len(chosen)]

    def logits_of(left: Tensor) -> Tensor:
        kept = torch.ones(measured.shape[1], dtype=torch.bool)
        kept[: len(left)] = left
        return _logits(net, measured * kept[:, None, None])

    without, alone = (group_accuracy(logits_of, ranking, labels[1::2], sizes, keep=keep) for keep in (False, True))
    _add_groups(evaluation, sizes, without, alone)
    return accuracy, ablated


def _logits(net: InterpretableCNN, maps: Tensor) -> Tensor:
    return torch.cat([net.forward_head(part) for part in torch.split(maps, BATCH)])


def _add_groups(evaluation: Evaluation, sizes: list[int], without: Tensor, alone: Tensor) -> None:
    for column, size in enumerate(sizes):
        columns = {
            f"accuracy_without_top/{size}": without[:, column],
            f"accuracy_with_top_alone/{size}": alone[:, column],
        }
        evaluation.add_classes(**columns)
        evaluation.add(**{name: accuracy.nanmean() for name, accuracy in columns.items()})
