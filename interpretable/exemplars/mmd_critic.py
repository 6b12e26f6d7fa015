"""Prototypes and criticisms of a data set."""

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.bandwidth import cross_validated_gamma, median_gamma
from interpretable.exemplars.choice import Choice, choose
from interpretable.exemplars.critic_arguments import Rows, checked_array, checked_rows, one_sentence, reference_weights
from interpretable.exemplars.gaussian_kernel import GaussianKernel
from interpretable.exemplars.greedy_prototypes import nested_objective
from interpretable.exemplars.kernels import Kernel
from interpretable.exemplars.precomputed_kernel import PrecomputedKernel
from interpretable.exemplars.witness import witness_of_others
from interpretable.precision import full_precision
from interpretable.progress import Track, untracked


class MMDCritic(BaseEstimator):  # type: ignore[misc]
    """Rows that represent a data set, and rows that these fail to represent (Kim et al. 2016, MMD-critic).

    Prototypes are the exact greedy maximisation of J_b, the first of any number being those of that number; criticisms
    are where the witness function f is far from 0, and unlike one another. The n × n kernel matrix is never in memory.
    float64 is computed in float64; other types are computed in float32 with sums in float64, and what float32 cannot
    tell apart is decided in float64. Ties go to the lowest row. The choice is therefore the same on every device.

    That greedy reaches 1 − 1/e of the best J_b is proven only where K is nearly diagonal; `off_diagonal_ratio_` says
    how far from it K is.

    Args:
        n_prototypes: m.
        n_criticisms: c, 0 for none.
        kernel: "rbf", k(x, y) = exp(−γ ‖x − y‖²), or "precomputed": what is fitted is the (n, n) matrix itself.
        gamma: γ; "median": 1 / (2 · median distance²); "1/d" of d columns; "cv-1nn": that whose prototypes name
            rows best that they were not chosen from.
        local: Rows of different labels have the kernel 0; means are still over all rows, and the choice is one list.
        regularizer: "logdet", which keeps criticisms apart, or None: the largest |f| alone.
        regularizer_weight: λ of |f| + λ log det, or "auto": the ratio of their spreads among the rows left over by the
            criticisms of λ = 1. On real data log det outweighs |f| by hundreds where λ = 1, the paper's.
        weights: Of prototypes in f: "uniform" (1/m), or "nnls": those ≥ 0 with the smallest MMD².
        colmean_samples: Rows that stand for all in means over the data, drawn at random, of a local kernel one of each
            label at least; all if None. MMD² and f are then estimates, and can be below 0.
        random_state: Seed of what is drawn.
        device: Where it is computed, such as "cpu" or "cuda".

    Attributes:
        prototype_indices_: (m,) rows in the order in which they were chosen.
        criticism_indices_: (c,) likewise.
        gamma_: γ, NaN of a precomputed kernel.
        mmd2_: (m,) MMD² between all rows and the first 1, 2, … prototypes.
        witness_: (n,) f at the fitted rows: positive where there are more data than prototypes.
        criticism_terms_: (c, 2) |f| and log r of each criticism when it was chosen.
        regularizer_weight_: λ.
        prototype_weights_: (m,).
        weighted_mmd2_: MMD² of all prototypes with these weights.
        column_means_: (n,) mean of each column of K.
        kernel_mean_: Mean of K.
        off_diagonal_ratio_: Mean over rows i of Σ_{j≠i} K_ij / K_ii, each j counting n w_j.
        n_features_in_: d.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "n_criticisms": [Interval(Integral, 0, None, closed="left")],
        "kernel": [StrOptions({"rbf", "precomputed"})],
        "gamma": [StrOptions({"median", "1/d", "cv-1nn"}), Interval(Real, 0, None, closed="neither")],
        "local": ["boolean"],
        "regularizer": [StrOptions({"logdet"}), None],
        "regularizer_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "weights": [StrOptions({"uniform", "nnls"})],
        "colmean_samples": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "device": [str],
    }

    prototype_indices_: np.ndarray
    criticism_indices_: np.ndarray
    gamma_: float
    mmd2_: np.ndarray
    witness_: np.ndarray
    criticism_terms_: np.ndarray
    regularizer_weight_: float
    prototype_weights_: np.ndarray
    weighted_mmd2_: float
    column_means_: np.ndarray
    kernel_mean_: float
    off_diagonal_ratio_: float
    n_features_in_: int

    def __init__(
        self,
        n_prototypes: int = 10,
        n_criticisms: int = 10,
        *,
        kernel: Literal["rbf", "precomputed"] = "rbf",
        gamma: float | Literal["median", "1/d", "cv-1nn"] = "median",
        local: bool = False,
        regularizer: Literal["logdet"] | None = "logdet",
        regularizer_weight: float | Literal["auto"] = 1.0,
        weights: Literal["uniform", "nnls"] = "uniform",
        colmean_samples: int | None = None,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.n_prototypes = n_prototypes
        self.n_criticisms = n_criticisms
        self.kernel = kernel
        self.gamma = gamma
        self.local = local
        self.regularizer = regularizer
        self.regularizer_weight = regularizer_weight
        self.weights = weights
        self.colmean_samples = colmean_samples
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        track: Track = untracked,
    ) -> Self:
        """Chooses prototypes and criticisms of the rows X (n, d), or of a kernel matrix (n, n).

        Several ranks of torch.distributed share the work: all must call it, with the same rows, on a device that their
        process group can sum on; all have the same result. Cross-validation of γ counts all rows alike.

        Args:
            X: The rows.
            y: (n,) their labels, which a local kernel and "cv-1nn" need.
            groups: (n,) what each row belongs to, such as the photograph that a crop is of: of a group at most one row
                is a prototype and at most one a criticism.
            sample_weight: (n,) how much each row counts in means over the data, 1 if omitted; a row that counts 0 can
                be chosen.
            track: Shows how far it is.

        Raises:
            ExemplarError: Arguments or rows are not what scikit-learn accepts, labels are missing, or there are fewer
                rows or groups than are to be chosen.
        """
        rows = checked_rows(self, X, y, groups, sample_weight)
        with full_precision():
            gamma = self._chosen_gamma(rows, track)
            labels = rows.labels if self.local else None
            kernel = (
                PrecomputedKernel(rows.x, labels)
                if self.kernel == "precomputed"
                else GaussianKernel(rows.x, gamma, labels)
            )
            reference = reference_weights(rows, self.local, self.colmean_samples, self.random_state)
            weight = 0.0 if self.regularizer is None else self.regularizer_weight
            chosen = choose(
                kernel,
                reference,
                int(self.n_prototypes),
                int(self.n_criticisms),
                regularizer_weight=None if weight == "auto" else float(weight),
                fit_weights=self.weights == "nnls",
                groups=rows.groups,
                track=track,
            )
            self.gamma_ = gamma
            self._keep(kernel, rows, reference, chosen)
        validate_data(self, X, skip_check_array=True)  # keeps the number and names of columns
        self._classes = None if not self.local else np.unique(column_or_1d(y))
        return self

    def witness(self, X: ArrayLike, y: ArrayLike | None = None) -> np.ndarray:  # noqa: N803
        """The witness function f (k,) at rows (k, d), or at kernel values (k, n) between rows and the fitted ones.

        Args:
            X: The rows.
            y: (k,) their labels, which a local kernel needs; those of a label that was not fitted have f = 0.

        Raises:
            ExemplarError: Labels are missing.
        """
        check_is_fitted(self)
        with one_sentence():
            validate_data(self, X, skip_check_array=True, reset=False)
            x = checked_array(X)
            labels = np.zeros(len(x)) if y is None else column_or_1d(y)
            check_consistent_length(x, labels)
        blocks = np.zeros(len(x), np.int64)
        if self._classes is not None:
            if y is None or (labels.dtype.kind in "OSU") != (self._classes.dtype.kind in "OSU"):
                found = "y is missing" if y is None else f"y is of {labels.dtype}, not {self._classes.dtype}"
                raise ExemplarError(
                    f"The witness of a local kernel needs labels as those fitted, but {found}; pass them."
                )
            blocks = np.searchsorted(self._classes, labels)
            blocks[~np.isin(labels, self._classes)] = -1
        with full_precision():
            values = witness_of_others(
                self._kernel, torch.from_numpy(x), torch.from_numpy(blocks), self._witness_weights
            )
        witness: np.ndarray = values.cpu().numpy()
        return witness

    def mmd2_of(self, indices: ArrayLike) -> np.ndarray:
        """MMD² (k,) between all fitted rows and the first 1, 2, … of these, by number.

        Raises:
            ExemplarError: There is no such row.
        """
        check_is_fitted(self)
        with one_sentence():
            chosen = np.asarray(column_or_1d(indices))
        n = len(self.column_means_)
        if chosen.dtype.kind not in "iu" or not len(chosen):
            raise ExemplarError(f"indices must be one or more numbers of rows, got {len(chosen)} of {chosen.dtype}.")
        if len(outside := chosen[(chosen < 0) | (chosen >= n)]):
            raise ExemplarError(f"indices must be numbers of rows, 0 to {n - 1}, got {outside[0]}; choose among them.")
        rows = torch.from_numpy(chosen.astype(np.int64)).to(self._kernel.diagonal.device)
        with full_precision():
            within = self._kernel.exact(rows, rows).cpu()
        means = torch.from_numpy(self.column_means_[chosen])
        objective: np.ndarray = nested_objective(means, within.tril(-1).sum(1), within.diagonal()).numpy()
        return self.kernel_mean_ - objective

    def _chosen_gamma(self, rows: Rows, track: Track) -> float:
        if self.kernel == "precomputed":
            return math.nan
        if self.gamma == "median":
            return median_gamma(rows.x, self.random_state)
        if self.gamma == "cv-1nn" and rows.labels is not None:
            return cross_validated_gamma(rows.x, rows.labels, rows.groups, self._trial, self.random_state, track)[0]
        return 1 / rows.x.shape[1] if self.gamma == "1/d" else float(self.gamma)

    def _trial(self, x: Tensor, labels: Tensor, groups: Tensor | None, gamma: float) -> Tensor:
        """Numbers of the prototypes of some rows."""
        units = len(x) if groups is None else len(torch.unique(groups))
        kernel = GaussianKernel(x, gamma, labels if self.local else None)
        uniform = torch.full_like(kernel.diagonal, 1 / len(x))
        return choose(kernel, uniform, min(self.n_prototypes, units), 0, groups=groups).prototypes.indices

    def _keep(self, kernel: Kernel, rows: Rows, reference: Tensor, chosen: Choice) -> None:
        means, prototypes = chosen.means, chosen.prototypes.indices
        self._kernel = kernel
        self._witness_weights = reference.index_add(0, prototypes, chosen.weights, alpha=-1)
        self.prototype_indices_ = prototypes.cpu().numpy()
        self.criticism_indices_ = chosen.criticisms.indices.cpu().numpy()
        self.criticism_terms_ = chosen.criticisms.terms.cpu().numpy()
        self.regularizer_weight_ = chosen.regularizer_weight
        self.column_means_ = means.cpu().numpy()
        self.kernel_mean_ = float(rows.weights @ means)
        self.mmd2_ = self.kernel_mean_ - chosen.prototypes.objective.cpu().numpy()
        self.witness_ = chosen.witness.cpu().numpy()
        self.prototype_weights_ = chosen.weights.cpu().numpy()
        self.weighted_mmd2_ = self.kernel_mean_ - float(
            2 * chosen.weights @ means[prototypes]
            - chosen.weights @ kernel.exact(prototypes, prototypes) @ chosen.weights
        )
        off_diagonal = means / kernel.diagonal - reference
        self.off_diagonal_ratio_ = len(means) * float(off_diagonal.mean())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags
