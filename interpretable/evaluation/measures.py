"""The measures of a layer's filters, from stores alone."""

import torch

from interpretable.evaluation.evaluation import Evaluation
from interpretable.evaluation.stored_filters import BATCH, StoredFilters
from interpretable.metrics import (
    CentreTable,
    FilterActivity,
    LocationInstability,
    MapInformation,
    PartClustering,
    PartTrackingResult,
    PeakTable,
    assign_keypoints,
    filter_purity,
    keypoint_regression,
    location_instability,
    part_tracking,
)
from interpretable.metrics.top_images import TOP_IMAGES
from interpretable.progress import Track


def add_accuracy(evaluation: Evaluation, filters: StoredFilters) -> None:
    """Share of the test images, and of each class's, that the network names rightly."""
    logits, labels = filters.test.logits[:], filters.test.labels
    decided = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
    right = (decided == labels).double()
    evaluation.add(accuracy=right.mean())
    images = labels.bincount(minlength=filters.num_classes)
    evaluation.add_classes(
        images=images, accuracy=labels.bincount(right, minlength=filters.num_classes).double() / images
    )


def add_places(evaluation: Evaluation, filters: StoredFilters) -> None:
    """Whether peaks follow parts: location instability, tracking and hit rate, with what a constant would score."""
    train, test = filters.train_peaks, filters.test_peaks
    if test.landmarks.shape[1] == 0:
        return
    evaluation.add(**instability_numbers(test, filters.num_classes, TOP_IMAGES))
    diagonal = torch.linalg.vector_norm(test.sizes.double(), dim=-1)
    table = location_instability(
        test.values, test.positions, test.landmarks, test.labels, diagonal, filters.num_classes
    )
    evaluation.add_filters(location_instability=table.nanmean(-1).nanmean(-1))
    tracking = part_tracking(train, test, filters.num_classes)
    evaluation.add(**tracking_numbers(tracking))
    chosen = tracking.tracking_filter.clamp(min=0)
    of_chosen = tracking.test_r2.gather(1, chosen[:, None]).squeeze(1)  # (K, P)
    for number, name in enumerate(filters.test.parts):
        evaluation.add_classes(
            **{
                f"tracking/{name}": of_chosen[:, number],
                f"tracking_filter/{name}": tracking.tracking_filter[:, number],
                f"hit_rate/{name}": tracking.hit_rates[:, number],
                f"constant_hit_rate/{name}": tracking.constant_hit_rates[:, number],
            }
        )
    centred = (test.landmarks - test.landmarks.nanmean(0)).double()
    shift = torch.linalg.vector_norm(centred, dim=-1) / diagonal[:, None]
    evaluation.add(landmark_spread=shift.square().nanmean(0).sqrt().nanmean())


def instability_numbers(peaks: PeakTable, num_classes: int, top: int) -> dict[str, torch.Tensor]:
    """Location instability by name, with its floors; images are all of the size of the first."""
    instability = LocationInstability(num_classes, top)
    width, height = peaks.sizes[0].tolist()
    instability.update(peaks.values, peaks.positions, peaks.landmarks, peaks.labels, (height, width))
    return {f"location_{name}": value for name, value in _named(instability.compute()).items()}


def tracking_numbers(found: PartTrackingResult) -> dict[str, torch.Tensor]:
    """Tracking and hit rate by name."""
    names = ("tracking", "tracking_low", "tracking_high", "hit_rate", "constant_hit_rate")
    return {name: getattr(found, name) for name in names}


def add_keypoints(evaluation: Evaluation, filters: StoredFilters) -> None:
    """The part-discovery protocols: keypoints regressed from the filters' places, and filters as clusters of them."""
    train, test = filters.train_peaks, filters.test_peaks
    parts = test.landmarks.shape[1]
    if parts == 0:
        return
    threshold = filters.mean_peak / 2

    def table(peaks: PeakTable) -> CentreTable:
        whole = torch.cat([peaks.sizes / 2, peaks.sizes], -1).to(peaks.positions)
        return CentreTable(peaks.positions, peaks.values > threshold, peaks.landmarks, whole)

    regression = keypoint_regression(table(train), table(test))
    evaluation.add(**{f"keypoint_{name}": value for name, value in _named(regression).items()})
    clustering = PartClustering(parts, filters.num_filters)
    scale = torch.where(filters.mean_peak > 0, 1 / filters.mean_peak, 0)
    for rows, maps in filters.maps():
        normalised = maps * scale[:, None, None]
        clustering.update(
            assign_keypoints(normalised, test.landmarks[rows], filters.field.offset, filters.field.stride)
        )
    evaluation.add(**_named(clustering.compute()))


def add_maps(evaluation: Evaluation, filters: StoredFilters, track: Track) -> None:
    """What the maps themselves say: purity of classes, sparsity, spread of the peaks, mutual information."""
    test = filters.test_peaks
    purity = filter_purity(test.values, test.labels, filters.num_classes)
    evaluation.add(class_share=purity.mean_share, class_entropy=purity.mean_entropy)
    evaluation.add_filters(
        category=purity.category, class_share=purity.share, class_entropy=purity.entropy, mean_peak=filters.mean_peak
    )
    activity = FilterActivity(filters.num_filters)
    information = MapInformation(filters.mean_peak, BATCH)
    batches = -(-len(filters.test) // BATCH)
    for (_, maps), _ in zip(filters.maps(), track(range(batches), "maps"), strict=True):
        activity.update(maps, filters.field.offset, filters.field.stride, filters.test.image_size)
        information.update(maps)
    found = activity.compute()
    evaluation.add(
        dead=found.dead,
        sparsity=found.sparsity.mean(),
        silent=found.silent.mean(),
        spread=found.mean_spread,
        distinct_cells=found.distinct_cells,
    )
    evaluation.add_filters(sparsity=found.sparsity, silent=found.silent, spread=found.spread)
    nats = information.compute()
    alive = filters.mean_peak > 0
    evaluation.add(
        mutual_information=nats.mutual_information.mean(),
        mutual_information_bound=nats.bound,
        spatial_entropy=nats.spatial_entropy.mean(),
        inter_category_entropy=nats.inter_category_entropy.mean(),
        effective_images=nats.effective_images.flatten()[alive].mean(),
    )
    evaluation.add_filters(mutual_information=nats.mutual_information)


def _named(result: object) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = result._asdict()  # type: ignore[attr-defined]
    return named
