"""Measures of an explanatory graph's nodes, by a protocol that raw filters go through as well."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.measures import instability_numbers, tracking_numbers
from interpretable.evaluation.part_masks import box_masks
from interpretable.metrics import PartPurity, PartPurityResult, PeakTable, location_instability, part_tracking
from interpretable.metrics.few_shot_localisation import SHOTS, few_shot_localisation

STRONGEST = 167
"""Nodes of a layer whose mean measures count, those with the highest scores (the authors' number)."""

TOP_IMAGES = 20
"""Images of a node that count for its rank, its location instability and its purity (the authors' number)."""


class NodePlaces(NamedTuple):
    """Where the nodes or the filters of a layer are, and how strongly they fire, in images of the same size."""

    train: PeakTable
    test: PeakTable

    def of(self, chosen: Int64[Tensor, " chosen"]) -> "NodePlaces":
        """Some of the nodes."""
        train, test = (
            table._replace(values=table.values[:, chosen], positions=table.positions[:, chosen]) for table in self
        )
        return NodePlaces(train, test)


def peak_table(
    store: ActivationStore,
    rows: Int64[Tensor, " image"],
    scores: Float[Tensor, "image node"],
    positions: Float[Tensor, "image node 2"],
) -> PeakTable:
    """Nodes in some images of a store, with the images' parts.

    Args:
        store: Of the images.
        rows: Which of its images.
        scores: Of the nodes in them.
        positions: Of the nodes, x and y in pixels.
    """
    height, width = store.image_size
    return PeakTable(
        scores,
        positions,
        store.landmarks[rows],
        store.boxes[rows],
        store.labels[rows],
        torch.tensor([width, height]).repeat(len(rows), 1),
    )


def strongest(values: Float[Tensor, "image node"], count: int = STRONGEST) -> Int64[Tensor, " chosen"]:
    """The nodes with the highest mean over their `TOP_IMAGES` best images, strongest first, of equal ones the first."""
    best = values.topk(min(TOP_IMAGES, len(values)), 0).values.double().mean(0)
    return best.argsort(descending=True, stable=True)[:count]


def evaluate_places(
    tables: Mapping[str, NodePlaces], annotated: Iterable[Any], num_classes: int
) -> dict[str, Evaluation]:
    """Whether nodes follow parts: means over the strongest nodes of each table, and columns of all of its nodes.

    The numbers are location instability with its floors, tracking, hit rate and part purity of the `STRONGEST` nodes,
    and few-shot localisation by all nodes, with what ridge regression and the mean position reach. Columns are the part
    that a node is most often on (−1 for none), how often it is, and its location instability. Without parts there are
    none.

    Args:
        tables: Places on the same images, by name.
        annotated: The test images' boxes, and masks where they have any, in batches and in order.
        num_classes: K.
    """
    tests = [places.test for places in tables.values()]
    if not tests[0].landmarks.shape[1] or not len(tests[0].labels):
        return {name: Evaluation() for name in tables}
    pure = _purities(tests, annotated)
    return {
        name: _evaluation(places, found, num_classes)
        for (name, places), found in zip(tables.items(), pure, strict=True)
    }


def _evaluation(places: NodePlaces, pure: PartPurityResult, num_classes: int) -> Evaluation:
    evaluation = Evaluation()
    train, test = places
    chosen = strongest(test.values)
    few = places.of(chosen)
    evaluation.add(**instability_numbers(few.test, num_classes, TOP_IMAGES))
    evaluation.add(**tracking_numbers(part_tracking(few.train, few.test, num_classes)))
    found = few_shot_localisation(train, test, num_classes)
    for place, shots in enumerate(SHOTS):
        for method in ("nodes", "ridge", "mean"):
            evaluation.add(**{f"few_shot_{shots}/{method}": getattr(found, method).error[place]})
    diagonal = torch.linalg.vector_norm(test.sizes.double(), dim=-1)
    table = location_instability(
        test.values, test.positions, test.landmarks, test.labels, diagonal, num_classes, TOP_IMAGES
    )
    purity, part = pure.purity.reshape(-1), pure.part.reshape(-1)  # of one node torchmetrics makes scalars
    evaluation.add(part_purity=purity[chosen].nanmean(), nodes=float(test.values.shape[1]))
    evaluation.add_filters(part=part, part_purity=purity, location_instability=table.nanmean(-1).nanmean(-1))
    return evaluation


def _purities(tests: Sequence[PeakTable], annotated: Iterable[Any]) -> list[PartPurityResult]:
    """How often nodes are on one and the same part in their best images; a part's box where there is no mask."""
    parts = tests[0].landmarks.shape[1]
    width, height = tests[0].sizes[0].tolist()
    purities = [PartPurity(test.values.shape[1], parts, TOP_IMAGES) for test in tests]
    first = 0
    for batch in annotated:
        given = batch.get("masks")
        masks = box_masks(batch["boxes"], (height, width)) if given is None else given.as_subclass(Tensor)
        rows = torch.arange(first, first + len(masks))
        for purity, test in zip(purities, tests, strict=True):
            purity.update(test.positions[rows], test.values[rows], masks.bool(), rows, (height, width))
        first += len(masks)
    return [purity.compute() for purity in purities]
