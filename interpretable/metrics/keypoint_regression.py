"""Keypoint regression: how well the places of a layer's maps tell where the keypoints of an object are.

The protocol of unsupervised part discovery (Huang and Li, CVPR 2020; van der Klis et al., PDiscoNet, ICCV 2023).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from interpretable.errors import MetricError
from interpretable.metrics.finite import refuse_nan

_CONSTANT = 1e-5
"""Standard deviation in box units up to which a coordinate is constant: the rounding of pixels in float32."""


def soft_centres(maps: Float[Tensor, "image map h w"], offset: float, stride: int) -> Float[Tensor, "image map 2"]:
    """Activation-weighted mean position of the units of each map.

    Args:
        maps: Activations; values below 0 count as 0.
        offset: Centre of unit 0 in pixels, along both axes.
        stride: Distance between neighbouring units in pixels.

    Returns:
        (N, K, 2) float64, x and y in image pixels; NaN where no activation is positive.

    Raises:
        MetricError: A map has NaN or an infinite activation.
    """
    positive = maps.clamp(min=0)
    columns, rows = (positive.sum(axis, dtype=torch.float64) for axis in (-2, -1))
    mass = columns.sum(-1)
    moments = [(line * (offset + stride * torch.arange(line.shape[-1]).to(line))).sum(-1) for line in (columns, rows)]
    centres = torch.stack(moments, -1) / mass[..., None]
    silent = (mass == 0)[..., None]
    refuse_nan("centres of the activation maps", torch.where(silent, 0, centres))
    return torch.where(silent, torch.nan, centres)


class CentreTable(NamedTuple):
    """Where N images have the centres of K maps and P keypoints of one object."""

    centres: Tensor
    """(N, K, 2), x and y in image pixels; one that is NaN counts as inactive."""
    active: Tensor
    """(N, K) bool, whether the map takes part on the image; the protocol's assignments do above a maximum of 0.5."""
    keypoints: Tensor
    """(N, P, 2), x and y in image pixels, NaN where the keypoint is not visible."""
    boxes: Tensor
    """(N, 4), the object's box, cxcywh pixels; an image without one (NaN, or without area) does not count."""


class KeypointRegressionResult(NamedTuple):
    """Scalars, lower is better: 100 × mean Euclidean error in units of the object's box; NaN where no pair counts."""

    error: Tensor
    mean_keypoint: Tensor
    """Predicting each keypoint at its mean over the training images, in box units."""
    fixed_centre: Tensor
    """The same regression on a single centre, the image's corner (0, 0): what knowing the true box alone gives."""


def keypoint_regression(train: CentreTable, test: CentreTable) -> KeypointRegressionResult:
    """Error of a linear regression of the keypoints on the maps' centres (part discovery's Kp).

    Centres and keypoints are taken relative to the corner and size of the object's box. For each keypoint, on the
    training images that show it: coordinates are standardised, a map's with its mean and standard deviation over the
    images on which it is active; those of inactive maps become 0, that mean; ordinary least squares without
    intercept, of minimum norm where it is not unique. The error is the mean over all visible (image, keypoint) pairs
    of the test images whose keypoint has a training image.

    The box is the true one, so any place that is fixed in the image tells the regression where the box lies, and the
    error is to be read beside the two baselines. Coordinates that are constant but for rounding predict nothing.

    Raises:
        MetricError: The two tables have different numbers of maps or keypoints.
    """
    found = [(table.centres.shape[1], table.keypoints.shape[1]) for table in (train, test)]
    if found[0] != found[1]:
        raise MetricError(
            f"Training and test images must have the same maps and keypoints, got {found[0]} "
            f"against {found[1]} of them; measure both with the same network and data set."
        )
    pairs = [(train, test)] + [(_at_the_corner(train, known), _at_the_corner(test, known)) for known in (False, True)]
    return KeypointRegressionResult(*(100 * _distances(*pair).mean() for pair in pairs))


def _at_the_corner(table: CentreTable, known: bool) -> CentreTable:
    """The table with a single centre at (0, 0); one that is not known is inactive and leaves the mean keypoint."""
    images = len(table.centres)
    return table._replace(
        centres=table.centres.new_zeros(images, 1, 2), active=table.active.new_full((images, 1), known)
    )


def _distances(train: CentreTable, test: CentreTable) -> Tensor:
    """Errors in box units of the test images' visible keypoints, one keypoint after the other."""
    features, targets = _in_box(train)
    test_features, test_targets = _in_box(test)
    visible, test_visible = (~points.isnan().any(-1) for points in (targets, test_targets))  # (N, P)
    distances = [targets.new_empty(0)]
    # One keypoint at a time: each has its own images and so its own standardisation of all centres.
    for keypoint in visible.any(0).nonzero().flatten().tolist():
        inputs, outputs = features[visible[:, keypoint]], targets[visible[:, keypoint], keypoint]
        shown = test_visible[:, keypoint]
        (mean, deviation), (mean_output, output_deviation) = _moments(inputs), _moments(outputs)
        slopes = _least_squares(
            _standardised(inputs, mean, deviation), _standardised(outputs, mean_output, output_deviation)
        )
        predicted = _standardised(test_features[shown], mean, deviation) @ slopes * output_deviation + mean_output
        distances.append(torch.linalg.vector_norm(predicted - test_targets[shown, keypoint], dim=-1))
    return torch.cat(distances)


def _in_box(table: CentreTable) -> tuple[Tensor, Tensor]:
    """Centres (N, 2K), NaN where inactive, and keypoints (N, P, 2) relative to the corner and size of the box."""
    boxes = table.boxes.double()
    middle, size = boxes[:, :2], boxes[:, 2:]
    size = torch.where((size > 0).all(-1, keepdim=True), size, torch.nan)
    centres, keypoints = (
        (points.double() - (middle - size / 2)[:, None]) / size[:, None] for points in (table.centres, table.keypoints)
    )
    return torch.where(table.active[..., None], centres, torch.nan).flatten(1), keypoints


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each column without its NaNs; NaN for a column of nothing else."""
    mean = x.nanmean(0)
    return mean, (x - mean).square().nanmean(0).sqrt()


def _standardised(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Columns less their mean over their deviation, 0 where x is NaN or the column is constant."""
    return torch.where((deviation > _CONSTANT) & ~x.isnan(), (x - mean) / deviation, 0)


def _least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    # On the CPU: the drivers for other devices assume full rank.
    slopes: Tensor = torch.linalg.lstsq(inputs.cpu(), outputs.cpu(), driver="gelsd").solution
    return slopes.to(inputs.device)


class KeypointRegression(Metric):
    """Keypoint regression over training and test images that come in any order, with its two baselines.

    It keeps the centres and keypoints of every image: 16 bytes per image and point in float64.

    Args:
        kwargs: Passed to `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    centres: list[Tensor]
    active: list[Tensor]
    keypoints: list[Tensor]
    boxes: list[Tensor]
    index: list[Tensor]
    of_training: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in ("centres", "active", "keypoints", "boxes", "index", "of_training"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(
        self,
        centres: Float[Tensor, "image map 2"],
        active: Bool[Tensor, "image map"],
        keypoints: Float[Tensor, "image keypoint 2"],
        boxes: Float[Tensor, "image 4"],
        index: Int64[Tensor, " image"],
        train: bool,
    ) -> None:
        """Takes in a batch of training or of test images.

        Args:
            centres: As in `CentreTable`, like active, keypoints and boxes.
            active: See there.
            keypoints: See there.
            boxes: See there.
            index: Positions in the data set, by which the images are ordered before anything is summed.
            train: Whether they are training images.
        """
        self.centres.append(centres.detach())
        self.active.append(active)
        self.keypoints.append(keypoints)
        self.boxes.append(boxes)
        self.index.append(index)
        self.of_training.append(torch.full_like(index, train, dtype=torch.bool))

    def compute(self) -> KeypointRegressionResult:
        """Error and baselines over all images seen; NaN before any."""
        if len(self.index) == 0:
            return KeypointRegressionResult(*torch.full((3,), torch.nan, dtype=torch.float64, device=self.device))
        index, of_training = dim_zero_cat(self.index), dim_zero_cat(self.of_training)
        table = CentreTable(*(dim_zero_cat(x) for x in (self.centres, self.active, self.keypoints, self.boxes)))
        order = index.argsort(stable=True)
        train, test = (order[of_training[order] == chosen] for chosen in (True, False))
        return keypoint_regression(CentreTable(*(x[train] for x in table)), CentreTable(*(x[test] for x in table)))
