"""Location instability: how much the distance from a filter's peak to a part varies (Zhang et al. 2018, §5.2)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from interpretable.metrics.finite import refuse_nan
from interpretable.metrics.top_images import TOP_IMAGES

RANDOM_FILTERS = 256
"""Filters drawn at least for the random floor: enough for its third decimal."""

_DISTANCES_AT_ONCE = 2**20
"""Bounds what is computed at once, so that memory does not grow with the number of filters."""


def location_instability(
    values: Float[Tensor, "image filter"],
    positions: Float[Tensor, "image filter 2"],
    landmarks: Float[Tensor, "image part 2"],
    labels: Int64[Tensor, " image"],
    diagonal: Float[Tensor, " image"],
    num_classes: int,
    top: int = TOP_IMAGES,
) -> Float[Tensor, "filter class part"]:
    """Location instability D of each filter, class and part; lower is better (Zhang et al. 2018, §5.2).

    D is the unbiased standard deviation, over the images of the class that show the part and excite the filter
    most, of the distance between the part and the centre of the filter's strongest unit, over the image's diagonal.

    Args:
        values: Peak activations; an image on which a filter is silent (0 or less) does not count for it.
        positions: Image positions (x, y) of the peaks in pixels.
        landmarks: Positions of the parts in pixels, NaN where an image does not show the part.
        labels: Classes of the images.
        diagonal: Diagonals √(w² + h²) of the images in pixels.
        num_classes: Number of classes K.
        top: How many images count at the most; equal activations go to the lower image index.

    Returns:
        (C, K, P) float64, NaN where fewer than two images count.

    Raises:
        MetricError: A peak activation is NaN.
    """
    refuse_nan("peak activations", values)
    filters, parts = values.shape[1], landmarks.shape[1]
    result = values.new_full((filters, num_classes, parts), torch.nan, dtype=torch.float64)
    for label in range(num_classes):  # images of different classes never meet, so the work is that of one pass
        rows = (labels == label).nonzero().squeeze(1)
        if len(rows) == 0:
            continue
        at_once = max(1, _DISTANCES_AT_ONCE // max(1, len(rows) * parts))
        for start in range(0, filters, at_once):
            some = slice(start, start + at_once)
            result[some, label] = _of_one_class(
                values[rows, some], positions[rows, some], landmarks[rows], diagonal[rows], top
            )
    return result


def _of_one_class(values: Tensor, positions: Tensor, landmarks: Tensor, diagonal: Tensor, top: int) -> Tensor:
    shift = landmarks[:, None].double() - positions[:, :, None]  # (N, C, P, 2)
    distance = torch.linalg.vector_norm(shift, dim=-1) / diagonal[:, None, None]
    counts = (values[..., None] > 0) & ~distance.isnan()
    strength = torch.where(counts, values[..., None], -torch.inf)
    order = strength.argsort(dim=0, descending=True, stable=True)[:top]
    chosen, distance = counts.gather(0, order), distance.gather(0, order)
    number = chosen.sum(0)
    mean = torch.where(chosen, distance, 0).sum(0) / number
    variance = torch.where(chosen, (distance - mean) ** 2, 0).sum(0) / (number - 1)
    return torch.where(number > 1, variance.sqrt(), torch.nan)


class LocationInstabilityResult(NamedTuple):
    """Scalars, lower is better, beside what filters that know nothing of the image score by the same protocol.

    ``*best_class`` fields are the paper's multi-category form, mean over filters of the minimum over classes; the
    others average over classes as well. NaN where no filter has two images of a part.
    """

    instability: Tensor
    best_class: Tensor
    centre: Tensor
    """The same filters on the same images, always firing in the centre of the image."""
    centre_best_class: Tensor
    random: Tensor
    """The same filters on the same images, firing at uniformly random places."""
    random_best_class: Tensor


def _summary(table: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over filters of the mean, and of the minimum, over classes of the mean over parts."""
    per_class = table.nanmean(-1)
    lowest = torch.where(per_class.isnan(), torch.inf, per_class).amin(1)
    return per_class.nanmean(1).nanmean(), torch.where(lowest.isinf(), torch.nan, lowest).nanmean()


class LocationInstability(Metric):
    """Location instability of a layer's filters with the floors that make the number readable.

    A constant position scores low where parts hardly move within their class, so the centre and random floors are
    computed from the same images by the same protocol. Feed it the raw maps' peaks (before any mask) of an
    interpretable network and of its plain twin alike.

    Args:
        num_classes: Number of classes K.
        top: Images per filter, class and part.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    values: list[Tensor]
    positions: list[Tensor]
    landmarks: list[Tensor]
    labels: list[Tensor]
    sizes: list[Tensor]
    index: list[Tensor]

    def __init__(self, num_classes: int, top: int = TOP_IMAGES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.top = top
        for state in ("values", "positions", "landmarks", "labels", "sizes", "index"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(
        self,
        values: Float[Tensor, "image filter"],
        positions: Float[Tensor, "image filter 2"],
        landmarks: Float[Tensor, "image part 2"],
        labels: Int64[Tensor, " image"],
        image_size: tuple[int, int],
        index: Int64[Tensor, " image"] | None = None,
    ) -> None:
        """Takes in a batch; arguments as for `location_instability`, ``image_size`` being (H, W) in pixels.

        ``index`` is where the images are in their split: of equal activations the lower one counts, and the random
        floor is drawn in its order. Without it images are numbered as they come on each rank, which is the same order
        where ranks take turns, as distributed samplers that do not shuffle do.
        """
        height, width = image_size
        if index is None:
            seen = sum(len(batch) for batch in self.values)
            index = torch.arange(seen, seen + len(values), device=labels.device)
        self.values.append(values.detach())
        self.positions.append(positions.detach())
        self.landmarks.append(landmarks)
        self.labels.append(labels)
        self.sizes.append(labels.new_tensor([width, height]).repeat(len(values), 1))
        self.index.append(index)

    def compute(self) -> LocationInstabilityResult:
        """The scalars over all images seen, whatever order and ranks they came in."""
        order = dim_zero_cat(self.index).argsort(stable=True)
        values, positions, landmarks, labels, sizes = (
            dim_zero_cat(state)[order]
            for state in (self.values, self.positions, self.landmarks, self.labels, self.sizes)
        )
        # The floors keep when and how strongly each filter fires and move only where: a filter that fires on few
        # images has a lucky class more often, which the floor must share.
        repeated = values.repeat(1, -(-RANDOM_FILTERS // values.shape[1]))
        generator = torch.Generator().manual_seed(0)  # on the CPU, so that the floor is the same on every device
        anywhere = torch.rand(*repeated.shape, 2, generator=generator).to(sizes.device) * sizes[:, None]
        filters = (
            (values, positions),
            (values, (sizes[:, None] / 2).expand(*values.shape, 2)),
            (repeated, anywhere),
        )
        diagonal = torch.linalg.vector_norm(sizes.double(), dim=-1)
        tables = [
            location_instability(strength, place, landmarks, labels, diagonal, self.num_classes, self.top)
            for strength, place in filters
        ]
        return LocationInstabilityResult(*(number for table in tables for number in _summary(table)))
