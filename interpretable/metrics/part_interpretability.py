"""Part interpretability: how often a filter's strongest activations cover one object part (Zhang et al. 2018, §5.2)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric

from interpretable.metrics.quantiles import excess, live_maps
from interpretable.receptive_field import ReceptiveField
from interpretable.upsampling import pixel_centres, upsample

_PIXELS_AT_A_TIME = 2**22


class PartCounts(NamedTuple):
    """Images counted; int64, additive over images."""

    hits: Tensor
    """(C, K, P): images of class k on which filter c is associated with part p."""
    images: Tensor
    """(K, P): images of class k that show part p."""


def part_interpretability_counts(
    maps: Float[Tensor, "image filter h w"],
    thresholds: Float[Tensor, " filter"],
    masks: Bool[Tensor, "image part H W"],
    labels: Int64[Tensor, " image"],
    num_classes: int,
    field: ReceptiveField,
    image_size: tuple[int, int],
    radius: float | None,
    iou_threshold: float = 0.2,
) -> PartCounts:
    """On how many images of each class each filter is associated with each part.

    A filter is associated with a part where the intersection over union of its region and the part is above the
    threshold, strictly. Its region is the union of discs round the centres of the units whose activation exceeds
    the filter's threshold strictly, or, without a radius, where the map upsampled bilinearly does (Bau et al. 2017).

    Args:
        maps: Feature maps.
        thresholds: Thresholds T of the filters, as `ActivationQuantile` gives them.
        masks: Pixels of the parts, none where an image does not show the part.
        labels: Classes of the images.
        num_classes: Number of classes K.
        field: Where the units lie in the image.
        image_size: Height and width of the input images in pixels.
        radius: Radius of the discs in image pixels; a pixel of the masks belongs if its centre does. None for
            bilinear upsampling.
        iou_threshold: IoU above which filter and part are associated.

    Raises:
        MetricError: An activation is NaN.
    """
    filters, cells = maps.shape[1], maps.shape[-2:]
    size = (masks.shape[2], masks.shape[3])
    pixels = size[0] * size[1]
    part_area = masks.flatten(2).sum(2)
    # The whole image as one more part, so that one product gives the area of a region with its intersections.
    everywhere = masks.new_ones(len(masks), 1, pixels)
    parts = torch.cat([masks.flatten(2), everywhere], 1).mT.float()  # (N, H·W, P + 1), exact for counts below 2²⁴
    shown = labels.new_zeros(num_classes, masks.shape[1]).index_add_(0, labels, (part_area > 0).long())
    hits = labels.new_zeros(filters, *shown.shape)
    live = live_maps(maps, thresholds)
    discs = None if radius is None else _discs(cells, size, field, image_size, radius).to(maps.device)
    # Each image's live filters first; the others have no region and hit nothing.
    order = live.int().argsort(dim=1, descending=True, stable=True)[:, : max(live.sum(1).tolist(), default=0)]
    images_at_a_time = max(1, _PIXELS_AT_A_TIME // max(1, order.shape[1] * pixels))
    for images in torch.split(torch.arange(len(maps), device=maps.device), images_at_a_time):
        for chosen in torch.split(order[images], max(1, _PIXELS_AT_A_TIME // pixels), dim=1):
            above = excess(maps[images[:, None], chosen], thresholds[chosen])
            if discs is None:
                region = upsample(above, size, field, image_size).flatten(2)
            else:
                region = (above > 0).flatten(2).float() @ discs
            # In place: 0 and 1 as numbers, without a truth value in between.
            intersection, area = (region.gt_(0).float() @ parts[images]).double().tensor_split([-1], dim=2)
            union = area + part_area[images][:, None] - intersection
            hit = intersection / union > iou_threshold  # false where both are empty
            hits.index_put_((chosen, labels[images][:, None]), hit.long(), accumulate=True)
    return PartCounts(hits, shown)


def _discs(
    cells: torch.Size, size: tuple[int, int], field: ReceptiveField, image_size: tuple[int, int], radius: float
) -> Tensor:
    """1 for the pixels whose centres lie within the radius of a unit's centre, (h·w, H·W)."""
    down, across = (
        (pixel_centres(pixels, image_pixels) - field.centres(number).double()[:, None]) ** 2
        for number, pixels, image_pixels in zip(cells, size, image_size, strict=True)
    )
    distance = down[:, None, :, None] + across[None, :, None, :]
    return (distance <= radius**2).float().flatten(2).flatten(0, 1)


class PartInterpretabilityResult(NamedTuple):
    """Shares of images, higher is better, float64; NaN for filters whose category shows no part."""

    mean: Tensor
    """Mean over filters, those with NaN left out: the published number."""
    per_filter: Tensor
    """(C,): the share for the part with the highest, of the images that show it."""
    part: Tensor
    """(C,) int64: that part, the lowest of equals; −1 where the share is NaN."""


def part_interpretability(
    counts: PartCounts, category: Int64[Tensor, " filter"] | None = None
) -> PartInterpretabilityResult:
    """Part interpretability P = max over parts of the share of images on which filter and part are associated.

    Args:
        counts: From `part_interpretability_counts`.
        category: Class of each filter, whose images alone count for it, −1 for a filter without one; None to count the
            images of all classes together.
    """
    if category is None:
        hits, images = counts.hits.sum(1), counts.images.sum(0).expand(len(counts.hits), -1)
    else:
        known = category.clamp(min=0)
        hits = counts.hits[torch.arange(len(known), device=known.device), known]
        images = torch.where(category[:, None] < 0, 0, counts.images[known])
    share = torch.where(images > 0, hits.double() / images, -1)
    highest, part = share.max(1)
    per_filter = torch.where(highest < 0, torch.nan, highest)
    return PartInterpretabilityResult(per_filter.nanmean(), per_filter, torch.where(highest < 0, -1, part))


class PartInterpretability(Metric):
    """Part interpretability of a layer's filters on images with part masks; its memory does not grow with them.

    Args:
        thresholds: Thresholds T of the filters, (C,) or a scalar for one, from a first pass with `ActivationQuantile`.
        num_classes: Number of classes K.
        num_parts: Number of parts P.
        field: Where the units lie in the image.
        radius: Radius of the discs in image pixels, None for bilinear upsampling.
        iou_threshold: IoU above which filter and part are associated.
        category: Class of each filter, as for `part_interpretability`.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    thresholds: Tensor
    category: Tensor | None
    hits: Tensor
    images: Tensor

    def __init__(
        self,
        thresholds: Float[Tensor, "*filter"],
        num_classes: int,
        num_parts: int,
        field: ReceptiveField,
        radius: float | None,
        iou_threshold: float = 0.2,
        category: Int64[Tensor, " filter"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.register_buffer("thresholds", thresholds.flatten(), persistent=False)
        self.register_buffer("category", category, persistent=False)
        self.num_classes = num_classes
        self.field = field
        self.radius = radius
        self.iou_threshold = iou_threshold
        hits = torch.zeros(len(self.thresholds), num_classes, num_parts, dtype=torch.int64)
        self.add_state("hits", hits, dist_reduce_fx="sum")
        self.add_state("images", hits[0].clone(), dist_reduce_fx="sum")

    def update(
        self,
        maps: Float[Tensor, "image filter h w"],
        masks: Bool[Tensor, "image part H W"],
        labels: Int64[Tensor, " image"],
        image_size: tuple[int, int],
    ) -> None:
        """Takes in a batch; arguments as for `part_interpretability_counts`."""
        counts = part_interpretability_counts(
            maps.detach(),
            self.thresholds,
            masks,
            labels,
            self.num_classes,
            self.field,
            image_size,
            self.radius,
            self.iou_threshold,
        )
        self.hits += counts.hits
        self.images += counts.images

    def compute(self) -> PartInterpretabilityResult:
        """Shares over all images seen."""
        return part_interpretability(PartCounts(self.hits, self.images), self.category)
