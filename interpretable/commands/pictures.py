"""Which filters are shown, and on which images."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.commands.stores import predict_split
from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.stored_filters import StoredFilters
from interpretable.figures import TopImageRow
from interpretable.runs import Run


class Images(Protocol):
    """A data set whose samples have an image."""

    def __getitem__(self, index: int, /) -> Any: ...


SHOWN_FILTERS = 8
SHOWN_IMAGES = 9


def filter_rows(
    run: Run, filters: StoredFilters, evaluation: Evaluation, count: int = SHOWN_FILTERS
) -> list[TopImageRow]:
    """The best filters of each part in turn, by part purity, or without parts the loudest, on their top test images."""
    columns = evaluation.filters
    mean_peak = columns["mean_peak"]
    parts = columns.get("part", [0.0] * len(mean_peak))
    purity = columns.get("part_purity", mean_peak)
    # A filter that was never in a part comes after all others.
    order = in_turn(parts, [score if part >= 0 else math.nan for score, part in zip(purity, parts, strict=True)])
    dataset, layer = predict_split(run, "test").predict_dataset, filters.test.layer(filters.layer).info.name
    return [
        top_row(filters.test, dataset, layer, number, _name(filters, evaluation, number)) for number in order[:count]
    ]


def in_turn(groups: Sequence[Hashable], scores: Sequence[float]) -> list[int]:
    """Positions by score, best first: the best of each group, then the second best of each, and so on; NaN last."""
    order = sorted(range(len(scores)), key=lambda number: (math.isnan(scores[number]), -scores[number]))
    before: Counter[Hashable] = Counter()
    turns = {}
    for number in order:
        turns[number] = before[groups[number]]
        before[groups[number]] += 1
    return sorted(order, key=lambda number: (math.isnan(scores[number]), turns[number]))


def top_row(
    store: ActivationStore, dataset: Images, layer: str, number: int, name: str, level: float | None = None
) -> TopImageRow:
    """A filter of a layer on the images of a store, and of the data set it is of, on which it fires strongest."""
    peaks = store.layer(layer).peaks[:][:, number]
    best = peaks.argsort(descending=True, stable=True)[:SHOWN_IMAGES]
    images = torch.stack([dataset[int(index)]["image"].as_subclass(Tensor) for index in best])
    return TopImageRow(name, images, store.layer(layer).maps[best][:, number].float(), level)


def _name(filters: StoredFilters, evaluation: Evaluation, number: int) -> str:
    columns = evaluation.filters
    if "part" not in columns or columns["part"][number] < 0:
        return f"filter {number}"
    part = filters.test.parts[int(columns["part"][number])]
    return f"filter {number}\n{part} {columns['part_purity'][number]:.0%}"
