"""Regression of a part's position on a filter's peak position, for all filters and parts of a class at once.

Everything comes from sums over images: with z = (1, x, y) where a filter fires and 0 where it is silent, and m the
part's deviation from its mean over the training images, the residual of the prediction Wᵀz is
Σ‖m‖² − 2 tr(Wᵀ Σ z mᵀ) + tr(Wᵀ Σ z zᵀ W). Putting the mean peak in the place of a silent one is what the zeros do.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from interpretable.metrics.peak_table import PeakTable, rows_of_class

RIDGE = 1e-3
"""Penalty on the squared slopes, in image sides, beside the sum of squared residuals over images."""


class PeakRegression(NamedTuple):
    """What predicts the parts of one class from each filter's peak; positions as shares of the image's sides."""

    mean: Float[Tensor, "part 2"]
    """Mean position of each part over the training images that show it."""
    weights: Float[Tensor, "filter part 3 2"]
    """What (1, x, y) of a peak is multiplied with to give the part's deviation from its mean."""
    images: Int64[Tensor, " part"]
    """Number of training images that show the part."""
    train_r2: Float[Tensor, "filter part"]
    """1 − Σ‖L − L̂‖² / Σ‖L − L̄‖² of the training images, NaN where the part never moves."""


class _Sums(NamedTuple):
    squares: Tensor
    """Σ z zᵀ (C, P, 3, 3), as all sums over the images that show the part."""
    products: Tensor
    """Σ z mᵀ (C, P, 3, 2)."""
    spread: Tensor
    """Σ‖m‖² (P,)."""


def fit_peaks(table: PeakTable, label: int) -> PeakRegression:
    """Ridge regression of each part's position on each filter's peak over the images of a class, at least one.

    The intercept is not penalised. Where a filter is silent, its mean peak over the images that show the part and
    excite it takes the peak's place.
    """
    place = _landmarks(table, (table.labels == label).nonzero().squeeze(1))
    # Taken from the lowest position, the mean of equal positions is exactly theirs and their spread exactly 0.
    lowest = torch.where(place.isnan(), torch.inf, place).amin(0)
    mean = lowest + (place - lowest).nanmean(0)
    sums = _sums(table, label, mean)
    number = sums.squares[..., 0, 0, None]
    mean_peak = sums.squares[..., 0, 1:] / number.clamp(min=1)  # (C, P, 2)
    scatter = sums.squares[..., 1:, 1:] - number[..., None] * mean_peak[..., :, None] * mean_peak[..., None, :]
    covariation = sums.products[..., 1:, :] - mean_peak[..., None] * sums.products[..., :1, :]
    slopes = torch.linalg.solve(scatter + RIDGE * torch.eye(2).to(scatter), covariation)
    weights = torch.cat([-mean_peak[..., None, :] @ slopes, slopes], -2)
    return PeakRegression(mean, weights, (~place.isnan().any(-1)).sum(0), _r2(sums, weights))


def r2_on(table: PeakTable, label: int, fit: PeakRegression) -> Float[Tensor, "filter part"]:
    """R² of a fit on the images of a class, against the training mean; NaN where every part lies at that mean."""
    return torch.where(fit.images > 1, _r2(_sums(table, label, fit.mean), fit.weights), torch.nan)


def squares_of_images(
    table: PeakTable, label: int, fit: PeakRegression, filters: Int64[Tensor, " part"]
) -> tuple[Float[Tensor, "image part"], Float[Tensor, "image part"]]:
    """‖L − L̂‖² with one filter per part, and ‖L − L̄‖², of each image of a class; 0 where it does not show the part."""
    rows = (table.labels == label).nonzero().squeeze(1)
    deviation, shown = _deviations(_landmarks(table, rows), fit.mean)
    pairs = rows[:, None], filters
    peaks = _peaks(table.values[pairs], table.positions[pairs], table.sizes[rows])  # (n, P, 3)
    weights = fit.weights[filters, torch.arange(len(filters), device=filters.device)]
    residual = (deviation - torch.einsum("npi,pid->npd", peaks, weights)).square().sum(-1)
    return torch.where(shown, residual, 0), deviation.square().sum(-1)


def _sums(table: PeakTable, label: int, mean: Tensor) -> _Sums:
    filters, parts = table.values.shape[1], table.landmarks.shape[1]
    sums = _Sums(*(mean.new_zeros(shape) for shape in ((filters, parts, 3, 3), (filters, parts, 3, 2), (parts,))))
    for rows in rows_of_class(table, label, 9 * filters):
        peaks = _peaks(table.values[rows], table.positions[rows], table.sizes[rows])
        deviation, shown = _deviations(_landmarks(table, rows), mean)
        sums.squares.add_(torch.einsum("ncij,np->cpij", peaks[..., :, None] * peaks[..., None, :], shown.double()))
        sums.products.add_(torch.einsum("nci,npd->cpid", peaks, deviation))
        sums.spread.add_(deviation.square().sum((0, -1)))
    return sums


def _r2(sums: _Sums, weights: Tensor) -> Tensor:
    """R² (C, P) of the predictions Wᵀz, NaN where there is no spread."""
    gain = (weights * (2 * sums.products - sums.squares @ weights)).sum((-2, -1))
    return torch.where(sums.spread > 0, 1 - (sums.spread - gain) / sums.spread, torch.nan)


def _landmarks(table: PeakTable, rows: Tensor) -> Tensor:
    """Parts (n, P, 2) as shares of the image's sides, NaN in both coordinates where one is missing."""
    place = table.landmarks[rows].double() / table.sizes[rows, None]
    return place.masked_fill(place.isnan().any(-1, keepdim=True), torch.nan)


def _deviations(place: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations m (n, P, 2), 0 where a part is not shown, and whether it is shown (n, P)."""
    shown = ~place.isnan().any(-1)
    return torch.where(shown[..., None], place - mean, 0), shown


def _peaks(values: Tensor, positions: Tensor, sizes: Tensor) -> Tensor:
    """Peaks as z (n, F, 3), positions as shares of the image's sides, 0 where a filter is silent."""
    place = positions.double() / sizes[:, None]
    return torch.where((values > 0)[..., None], torch.cat([torch.ones_like(place[..., :1]), place], -1), 0)
