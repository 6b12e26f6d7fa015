"""Part tracking: how well a filter's peak tells where a part is, by a regression that a constant position fails."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from interpretable.metrics.bootstrap import interval, resampled_mean_r2
from interpretable.metrics.hit_rate import hit_rate
from interpretable.metrics.peak_regression import fit_peaks, r2_on, squares_of_images
from interpretable.metrics.peak_table import PeakTable, most_active_filters, refuse_unusable

MOST_ACTIVE = 10
"""Filters of a class that its parts' filters are chosen from."""

RESAMPLES = 1000
"""Bootstrap resamples: enough for the second decimal of an interval."""

_TIE = 1e-9
"""Training R² that differ by less are equal: sums in another order differ in their last digits."""


class PartTrackingResult(NamedTuple):
    """Scalars and tables in float64, filters in int64; K classes, C filters, P parts, NaN where nothing counts."""

    tracking: Tensor
    """Mean over classes and parts of the test R² of the filter with the highest training R²; at most 1."""
    tracking_low: Tensor
    """2.5 % quantile of that mean over bootstrap resamples of the test images."""
    tracking_high: Tensor
    """97.5 % quantile of the same."""
    hit_rate: Tensor
    """Mean over classes and parts of the hit rate of the filter with the highest training hit rate, in [0, 1]."""
    constant_hit_rate: Tensor
    """The same of the constant position with the highest training hit rate."""
    train_r2: Tensor
    """(K, C, P), 0 for a filter that is silent on the class."""
    test_r2: Tensor
    """(K, C, P), negative where the training mean is the better prediction."""
    tracking_filter: Tensor
    """(K, P) the filter whose test R² counts; −1 where none has a training R²."""
    hit_filter: Tensor
    """(K, P) the filter whose hit rate counts; −1 where the part has no training box."""
    hit_rates: Tensor
    """(K, P) its hit rate on the test images."""
    constant_hit_rates: Tensor
    """(K, P) hit rate on the test images of the constant position."""
    resampled_tracking: Tensor
    """(R,) tracking on the bootstrap resamples of the test images."""


class TrackingDifference(NamedTuple):
    """How much better the first layer's filters track than the second's, float64 scalars."""

    difference: Tensor
    low: Tensor
    """2.5 % quantile over resamples of the test images, which are the same for both."""
    high: Tensor
    """97.5 % quantile of the same."""


def tracking_difference(first: PartTrackingResult, second: PartTrackingResult) -> TrackingDifference:
    """Difference in tracking of two layers on the same images, with the interval of paired bootstrap samples."""
    low, high = interval(first.resampled_tracking - second.resampled_tracking)
    return TrackingDifference(first.tracking - second.tracking, low, high)


def part_tracking(
    train: PeakTable,
    test: PeakTable,
    num_classes: int,
    *,
    most_active: int = MOST_ACTIVE,
    resamples: int = RESAMPLES,
) -> PartTrackingResult:
    """Part tracking and hit rate of a layer's filters, each chosen on training images and scored on test images.

    For each class, filter and part the part's position L is regressed on the filter's peak (ridge, penalty 1e-3 on
    the slopes, coordinates as shares of the image's sides) over the training images that show the part; where the
    filter is silent its mean peak stands in. R² = 1 − Σ‖L − L̂‖² / Σ‖L − L̄‖² with L̄ the training mean, both coordinates
    together: 1 follows the part exactly, 0 knows no more than its mean place. A hit is a peak inside the part's box,
    edges included; a silent filter misses. The constant position is the pixel that lies in most training boxes.

    Args:
        train: Images to fit and to choose on.
        test: Images to score.
        num_classes: Number of classes K.
        most_active: A class's parts choose among this many filters, those with the highest mean peak on its training
            images; equal ones go to the lower index, here and where a filter is chosen.
        resamples: Bootstrap resamples of the test images.

    Raises:
        MetricError: A peak is NaN, or the tables differ in filters or parts.
    """
    refuse_unusable(train, test)
    parts = train.landmarks.shape[1]
    shape = (num_classes, train.values.shape[1], parts)
    train_r2, test_r2 = train.values.new_full((2, *shape), torch.nan, dtype=torch.float64)
    chosen, hitting = train.labels.new_full((2, num_classes, parts), -1)
    hit_rates, constant_hit_rates = train_r2.new_full((2, num_classes, parts), torch.nan)
    squares = []
    for label in range(num_classes):  # images of different classes never meet, so the work is that of one pass
        if not (train.labels == label).any():
            continue
        active = most_active_filters(train, label, most_active)
        hitting[label], hit_rates[label], constant_hit_rates[label] = hit_rate(train, test, label, active)
        fit = fit_peaks(train, label)
        train_r2[label], test_r2[label] = fit.train_r2, r2_on(test, label, fit)
        best, known = _best(fit.train_r2[active])
        chosen[label] = torch.where(known, active[best], -1)
        residual, spread = squares_of_images(test, label, fit, active[best])
        squares.append((residual.where(known, 0), spread.where(known, 0)))
    reached = test_r2.gather(1, chosen.clamp(min=0)[:, None]).squeeze(1)
    resampled = resampled_mean_r2(squares, resamples).to(test_r2.device)
    low, high = interval(resampled)
    return PartTrackingResult(
        tracking=reached.where(chosen >= 0, torch.nan).nanmean(),
        tracking_low=low,
        tracking_high=high,
        hit_rate=hit_rates.nanmean(),
        constant_hit_rate=constant_hit_rates.nanmean(),
        train_r2=train_r2,
        test_r2=test_r2,
        tracking_filter=chosen,
        hit_filter=hitting,
        hit_rates=hit_rates,
        constant_hit_rates=constant_hit_rates,
        resampled_tracking=resampled,
    )


def _best(train_r2: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate (P,) with the highest R² of each part, of equal ones the first, and whether there is any."""
    highest = train_r2.nan_to_num(nan=-torch.inf).amax(0)
    return (train_r2 >= highest - _TIE).long().argmax(0), highest > -torch.inf


class PartTracking(Metric):
    """Part tracking and hit rate over training and test images, by `part_tracking`.

    Feed it the raw maps' peaks (before any mask) of an interpretable network and of its plain twin alike.

    Args:
        num_classes: Number of classes K.
        most_active: Filters of a class that its parts choose among.
        resamples: Bootstrap resamples of the test images.
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    values: list[Tensor]
    positions: list[Tensor]
    landmarks: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    sizes: list[Tensor]
    index: list[Tensor]
    is_train: list[Tensor]

    def __init__(
        self, num_classes: int, most_active: int = MOST_ACTIVE, resamples: int = RESAMPLES, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.most_active = most_active
        self.resamples = resamples
        for state in (*PeakTable._fields, "index", "is_train"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(
        self,
        values: Float[Tensor, "image filter"],
        positions: Float[Tensor, "image filter 2"],
        landmarks: Float[Tensor, "image part 2"],
        boxes: Float[Tensor, "image part 4"],
        labels: Int64[Tensor, " image"],
        image_size: tuple[int, int],
        index: Int64[Tensor, " image"],
        train: bool,
    ) -> None:
        """Takes in a batch; arguments as in `PeakTable`.

        ``image_size`` is (H, W) in pixels, ``index`` where the images are in their split, each once, ``train`` whether
        they are training images.
        """
        height, width = image_size
        self.values.append(values.detach())
        self.positions.append(positions.detach())
        self.landmarks.append(landmarks)
        self.boxes.append(boxes)
        self.labels.append(labels)
        self.sizes.append(labels.new_tensor([width, height]).repeat(len(values), 1))
        self.index.append(index)
        self.is_train.append(torch.full_like(index, train, dtype=torch.bool))

    def compute(self) -> PartTrackingResult:
        """The measure over all images seen, whatever order and ranks they came in."""
        whole = PeakTable(*(dim_zero_cat(getattr(self, state)) for state in PeakTable._fields))
        order = dim_zero_cat(self.index).argsort(stable=True)  # the bootstrap draws images by their place
        is_train = dim_zero_cat(self.is_train)[order]
        train, test = (PeakTable(*(field[rows] for field in whole)) for rows in (order[is_train], order[~is_train]))
        return part_tracking(train, test, self.num_classes, most_active=self.most_active, resamples=self.resamples)
