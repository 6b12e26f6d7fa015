"""Few-shot localisation: how well the positions of nodes tell where a part is that was pointed out in a few images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.errors import MetricError
from interpretable.metrics.few_shot_predictions import (
    landmark_shares,
    mean_scores,
    node_predictions,
    ridge_predictions,
    similarities,
)
from interpretable.metrics.peak_table import PeakTable, refuse_unusable

SHOTS = (1, 3, 5, 10)
"""Numbers of annotated images."""

DRAWS = 20
"""Choices of these images: by them the standard error is a quarter of what one choice is off by."""


class LocalisationError(NamedTuple):
    """Error of one method in diagonals of the image, float64; S numbers of shots, K classes, P parts, R draws."""

    error: Tensor
    """(S,) mean over classes and parts; NaN where nothing counts."""
    standard_error: Tensor
    """(S,) of that mean, over the draws; NaN with a single draw."""
    table: Tensor
    """(S, K, P) mean over draws and test images; NaN where a class has too few training images that show the part."""
    by_draw: Tensor
    """(S, R) mean over classes and parts; of two methods or two layers the differences of these are paired."""


class FewShotResult(NamedTuple):
    """The three methods on the same images with the same shots; lower is better."""

    nodes: LocalisationError
    """By the nodes that keep their offset to the part."""
    ridge: LocalisationError
    """By ridge regression on the positions of all nodes."""
    mean: LocalisationError
    """By the mean position of the part in the shots."""


def few_shot_localisation(
    train: PeakTable,
    test: PeakTable,
    num_classes: int,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> FewShotResult:
    """Error of a part's position in test images, predicted from nodes after it was annotated in m training images.

    Nodes are those of an explanatory graph or the filters of a layer; values are their scores. For a class and part,
    m training images of the class that show it are drawn, the same for all methods and all layers; with positions as
    shares of the image's diagonal, part ℓ, node position q, score a of a node over its mean score in the training
    images of all classes, and offsets o = ℓ − q over the n shots in which the node fires:

    * nodes: v = (Σ‖o − ō‖² + c (‖ō‖² + r²)) / n, the offset's variance with a prior that counts as one observation: a
      part is tied the more rigidly to a node the nearer it is (c = `RIGIDITY`, r = `REACH`). The `NODES` nodes with
      the highest ā / v, ā the mean over the m shots with 0 where it is silent, predict Σ (a / v)(q + ō) / Σ (a / v) in
      a test image; where none of them fires the prediction is that of the last method.
    * ridge: ridge regression on the 2V coordinates of all nodes, standardised over the training images of the class
      (which needs no annotation), 0 where a node is silent; intercept not penalised, penalty `RIDGE` per coordinate
      that varies. With one shot it is the last method.
    * mean: the mean position ℓ̄ of the m shots.

    The error is ‖ℓ̂ − ℓ‖. There is no torchmetrics class: images of both splits are compared in one process.

    Args:
        train: Images to draw the shots from.
        test: Images to predict in; those that do not show a part are left out for it.
        num_classes: Number of classes K.
        shots: Numbers m of annotated images; a class with fewer that show a part is left out for it.
        draws: How often the shots are drawn; the first of those for a larger m are those for a smaller.
        seed: Of the draws, 0 or more; they depend on it, the class, the part and the order of the images alone.

    Raises:
        MetricError: A peak is NaN, the tables differ in filters or parts, or there is no shot or draw.
    """
    refuse_unusable(train, test)
    if draws < 1 or min(shots, default=0) < 1:
        raise MetricError(
            f"Few-shot localisation needs shots and draws, got {draws} draws of {tuple(shots)} shots; give positive "
            "numbers of both."
        )
    parts = train.landmarks.shape[1]
    errors = train.values.new_full((3, len(shots), num_classes, parts, draws), torch.nan, dtype=torch.float64)
    scale = mean_scores(train)
    for label in range(num_classes):  # images of different classes never meet, so the work is that of one pass
        rows, images = ((table.labels == label).nonzero().squeeze(1) for table in (train, test))
        if len(rows) == 0 or len(images) == 0:
            continue
        known = similarities(train, test, rows, images)
        for part in range(parts):
            showing, seen = (_that_show(table, some, part) for table, some in ((train, rows), (test, images)))
            if len(seen) == 0:
                continue
            truth = landmark_shares(test, images[seen], part)
            order = showing[_drawn(len(showing), draws, (seed, label, part)).to(rows.device)]
            for place, number in enumerate(shots):
                if number > len(showing):
                    continue
                chosen = order[:, :number]
                landmarks = landmark_shares(train, rows[chosen], part)
                predictions = (
                    node_predictions(train, test, part, rows[chosen], images[seen], scale),
                    ridge_predictions(known, landmarks, chosen, seen),
                    landmarks.mean(1, keepdim=True),
                )
                for method, predicted in enumerate(predictions):
                    distances = torch.linalg.vector_norm(predicted - truth, dim=-1)
                    errors[method, place, label, part] = distances.mean(1)
    return FewShotResult(*(_summary(each) for each in errors))


def _that_show(table: PeakTable, rows: Tensor, part: int) -> Int64[Tensor, " shown"]:
    """Which of the rows show a part, as places among them."""
    return (~table.landmarks[rows, part].isnan().any(-1)).nonzero().squeeze(1)


def _drawn(images: int, draws: int, seed: Sequence[int]) -> Int64[Tensor, "draw image"]:
    """Orders of the images of a class that show a part, of which the first are the shots."""
    return torch.from_numpy(numpy.random.default_rng(seed).random((draws, images)).argsort(1))


def _summary(errors: Float[Tensor, "shots class part draw"]) -> LocalisationError:
    by_draw = errors.flatten(1, 2).nanmean(1)
    deviation = by_draw.std(1) if by_draw.shape[1] > 1 else by_draw.new_full(by_draw.shape[:1], torch.nan)
    return LocalisationError(by_draw.mean(1), deviation / by_draw.shape[1] ** 0.5, errors.mean(-1), by_draw)
