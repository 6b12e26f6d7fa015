"""The classifier that names rows after the nearest prototype, and its error with the first 1..m of them."""

from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from interpretable.errors import ExemplarError
from interpretable.exemplars.mmd_critic import MMDCritic
from interpretable.exemplars.nearest import first_prototype_errors, nearest_prototypes


def nearest_prototype_errors(
    prototypes: ArrayLike,
    prototype_labels: ArrayLike,
    X: ArrayLike,  # noqa: N803
    y: ArrayLike,
) -> np.ndarray:
    """Error (m,) float64, 0 to 1, of the classifiers that know the first 1..m prototypes.

    It is the share of rows whose nearest prototype (Euclidean distance in float64, the first of equals) has another
    label. All m take one matrix product of the rows with the prototypes, in bounded memory.

    Args:
        prototypes: (m, d) numbers, in the order in which they are added.
        prototype_labels: (m,) integers or strings.
        X: (k, d) rows.
        y: (k,) their labels.

    Raises:
        ExemplarError: There is no prototype or no row, lengths differ, or a number is not finite or its square beyond
            float64.
    """
    known, rows = np.asarray(prototypes), np.asarray(X)
    own, others = column_or_1d(prototype_labels), column_or_1d(y)
    if (len(known), len(rows)) != (len(own), len(others)) or len(rows) == 0:
        raise ExemplarError(
            "Errors of prototypes need a label for each prototype and for each of one row or more, got "
            f"{len(own)} labels of {len(known)} prototypes and {len(others)} of {len(rows)} rows; pass labels and rows "
            "of the same data."
        )
    codes = torch.from_numpy(np.unique(np.concatenate([own, others]), return_inverse=True)[1])
    errors = first_prototype_errors(_tensor(known), codes[: len(own)], _tensor(rows), codes[len(own) :])
    return errors.numpy()


def _tensor(values: np.ndarray) -> Tensor:
    """A copy: torch takes neither arrays that are read only nor all strides."""
    return torch.from_numpy(np.array(values))


class NearestPrototypeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Names a row after the nearest of some prototypes, which are all that it knows (Kim et al. 2016, §5.1).

    Prototypes are those of `MMDCritic`; there are as many as rows, or groups, where these are fewer than asked for.
    Distances are Euclidean, in float64; the first chosen of equally near prototypes counts.

    Args:
        n_prototypes: m.
        gamma: γ of the kernel, as `MMDCritic` takes it.
        local: Whether rows of different labels have the kernel 0, so that prototypes represent each label.
        colmean_samples: Rows that stand for all in means over the data; all if None.
        random_state: Seed of what is drawn.
        device: Where prototypes are chosen, such as "cpu" or "cuda".

    Attributes:
        prototypes_: (m, d) in the order in which they were chosen.
        prototype_labels_: (m,) their labels.
        prototype_indices_: (m,) which of the fitted rows they are.
        classes_: (K,) labels in ascending order.
        critic_: The fitted `MMDCritic`.
        n_features_in_: d.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "gamma": [StrOptions({"median", "1/d", "cv-1nn"}), Interval(Real, 0, None, closed="neither")],
        "local": ["boolean"],
        "colmean_samples": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "device": [str],
    }

    prototypes_: np.ndarray
    prototype_labels_: np.ndarray
    prototype_indices_: np.ndarray
    classes_: np.ndarray
    critic_: MMDCritic
    n_features_in_: int

    def __init__(
        self,
        n_prototypes: int = 100,
        *,
        gamma: float | Literal["median", "1/d", "cv-1nn"] = "median",
        local: bool = True,
        colmean_samples: int | None = None,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.n_prototypes = n_prototypes
        self.gamma = gamma
        self.local = local
        self.colmean_samples = colmean_samples
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:  # noqa: N803
        """Chooses prototypes among rows X (n, d) with labels y (n,), at most one of each group (n,) if there are any.

        Raises:
            ValueError: Arguments, rows or labels are not what scikit-learn or `MMDCritic` accepts.
        """
        self._validate_params()
        rows, labels = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(labels)
        check_consistent_length(rows, groups)
        self.classes_ = np.unique(labels)
        most = len(rows) if groups is None else len(np.unique(column_or_1d(groups)))
        critic = MMDCritic(
            min(self.n_prototypes, most),
            0,
            gamma=self.gamma,
            local=self.local,
            colmean_samples=self.colmean_samples,
            random_state=self.random_state,
            device=self.device,
        )
        self.critic_ = critic.fit(rows, labels, groups=groups)
        self.prototype_indices_ = critic.prototype_indices_
        self.prototypes_ = rows[self.prototype_indices_]
        self.prototype_labels_ = labels[self.prototype_indices_]
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The label (k,) of the prototype nearest to each row."""
        rows = self._checked(X)
        nearest = nearest_prototypes(_tensor(self.prototypes_), _tensor(rows))
        labels: np.ndarray = self.prototype_labels_[nearest.numpy()]
        return labels

    def error_curve(self, X: ArrayLike, y: ArrayLike) -> np.ndarray:  # noqa: N803
        """Error (m,) on rows X (k, d) with labels y (k,) if only the first 1..m prototypes are known; last, 1 − score.

        Raises:
            ValueError: Rows or labels are not what scikit-learn accepts.
        """
        rows = self._checked(X)
        return nearest_prototype_errors(self.prototypes_, self.prototype_labels_, rows, y)

    def _checked(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        check_is_fitted(self)
        rows: np.ndarray = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return rows
