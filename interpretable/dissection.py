"""Network dissection of stored maps: which concept each filter detects (Bau et al. 2017)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from interpretable.activations import StoredLayer
from interpretable.concepts import ConceptDataset
from interpretable.errors import MetricError, RunError
from interpretable.files import write_atomically
from interpretable.metrics import (
    ActivationQuantile,
    NetworkDissection,
    random_rotation,
    rotate,
    shuffled_images,
)
from interpretable.progress import Track

SCHEMA = 1
QUANTILE = 0.005
NULLS = ("random rotation", "shuffled labels")
BATCH = 32


@dataclass(frozen=True)
class Dissection:
    """What the filters of a layer detect; plain values, as in its JSON file."""

    concepts: str
    """Name of the concept set."""
    about: dict[str, Any]
    """Which network, layer, images and settings."""
    concept: list[str]
    """Of each filter, its best concept."""
    category: list[str]
    """Of each filter, that concept's category."""
    iou: list[float]
    """Of each filter, the concept's intersection over union."""
    detector: list[bool]
    """Whether that exceeds the threshold."""
    threshold: list[float]
    """Of each filter, the activation above which a pixel counts as its own."""
    num_detectors: int
    unique_concepts: int
    """Different best concepts of detectors, over all categories."""
    unique_by_category: int
    """The same counted within each category and summed, so that a filter may count in each."""
    detectors_per_category: dict[str, int]
    unique_per_category: dict[str, int]
    nulls: dict[str, dict[str, int]] = field(default_factory=dict)
    """Detectors and unique concepts that chance finds: of a random rotation of the filters, and of shuffled labels."""

    def write(self, path: Path) -> None:
        """Writes JSON, atomically."""
        write_atomically(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            RunError: There is no such file, or it is of another form.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema") != SCHEMA:
                raise RunError(f"{path} is of another schema than {SCHEMA}; dissect the run again.")
            return cls(**content)
        except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(
                f"{path} was expected to hold a dissection, but {error!r}; dissect the run again."
            ) from error


def dissect(
    layer: StoredLayer,
    image_size: tuple[int, int],
    concepts: ConceptDataset,
    name: str,
    track: Track,
    *,
    iou_threshold: float = 0.04,
    nulls: bool = True,
    workers: int = 0,
) -> Dissection:
    """Finds the concept that each filter's region overlaps most, in two passes over its maps, whatever their number.

    Args:
        layer: A layer of a store of the concept set's images, written with maps.
        image_size: (H, W) of those images in pixels.
        concepts: The labelled pixels.
        name: Of the concept set.
        track: Shows how far the work is.
        iou_threshold: Above which a filter is a detector.
        nulls: Whether to dissect a random rotation of the filters, and the filters on other images' labels, as well.
        workers: Processes that load label maps.

    Raises:
        MetricError: The maps are not of the concept set's images, or the places of their units are not known.
    """
    info = layer.info
    field_of_unit = info.receptive_field
    if field_of_unit is None:
        raise MetricError(
            f"Regions in the image need the receptive field of {info.name}, which could not be measured; dissect a "
            "layer of convolutions and pooling."
        )
    maps = layer.maps
    images, filters = len(maps), info.filters
    if images != len(concepts):
        raise MetricError(
            f"Maps and labels must be of the same images, got {images} maps and {len(concepts)} labelled images; "
            "write the store with the concept set."
        )
    turn = random_rotation(filters) if nulls else torch.eye(filters)
    others = shuffled_images(images)
    quantiles = [ActivationQuantile(filters, QUANTILE, images * info.height * info.width) for _ in range(1 + nulls)]
    for start in track(range(0, images, BATCH), "thresholds"):
        batch = maps[start : start + BATCH][:, :filters].float()
        quantiles[0].update(batch)
        if nulls:
            quantiles[1].update(rotate(batch, turn))
    thresholds = [quantile.compute() for quantile in quantiles]
    found, *chance = (
        NetworkDissection(threshold, concepts.concept_category, len(concepts.categories), field_of_unit, iou_threshold)
        for threshold in (thresholds[0], *([thresholds[1], thresholds[0]] if nulls else []))
    )
    labels: DataLoader[Any] = DataLoader(concepts, batch_size=BATCH, num_workers=workers)  # type: ignore[arg-type]
    # Labels are read once for all three: reading them costs more than the regions.
    for number, labelled in enumerate(track(labels, "regions")):
        rows = torch.arange(number * BATCH, min((number + 1) * BATCH, images))
        batch = maps[rows][:, :filters].float()
        label_maps = labelled["label_maps"].as_subclass(Tensor)
        found.update(batch, label_maps, image_size)
        if nulls:
            chance[0].update(rotate(batch, turn), label_maps, image_size)
            chance[1].update(maps[others[rows]][:, :filters].float(), label_maps, image_size)
    report = found.compute().report
    # Torchmetrics makes scalars of the numbers of a single filter or category.
    best = report.concept.flatten().tolist()
    return Dissection(
        concepts=name,
        about={"layer": info.name, "images": len(maps), "iou_threshold": iou_threshold, "quantile": QUANTILE},
        concept=[concepts.concepts[number] for number in best],
        category=[concepts.categories[int(concepts.concept_category[number])] for number in best],
        iou=report.score.flatten().tolist(),
        detector=report.detector.flatten().tolist(),
        threshold=thresholds[0].double().flatten().tolist(),
        num_detectors=int(report.num_detectors),
        unique_concepts=int(report.unique_concepts),
        unique_by_category=int(report.unique_by_category),
        detectors_per_category=_by_name(concepts.categories, report.detectors_per_category),
        unique_per_category=_by_name(concepts.categories, report.unique_per_category),
        nulls={
            name: {"num_detectors": int(null.num_detectors), "unique_concepts": int(null.unique_concepts)}
            for name, null in zip(NULLS, (metric.compute().report for metric in chance), strict=False)
        },
    )


def _by_name(categories: Sequence[str], counts: Tensor) -> dict[str, int]:
    return dict(zip(categories, counts.flatten().tolist(), strict=True))
