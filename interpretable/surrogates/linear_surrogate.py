"""Sparse logistic regression that imitates a network's decisions: the simplest surrogate, which a tree must beat."""

from collections.abc import Callable, Iterable, Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from interpretable.documents import read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.surrogates.imitation import checked, held_out, plain_decisions, plain_parameters, restored
from interpretable.surrogates.records import DocumentRecord, LinearRecord
from interpretable.surrogates.sparse_logistic import sparse_logistic

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""C that are tried, from sparse to dense: per row, and on standardised features."""


class LinearSurrogate(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with an L1 penalty whose classes are the decisions of a black box.

    Multinomial, or binary where there are two decisions. It minimises C · Σ log loss + ‖w‖₁ over standardised features;
    intercepts are free. With ``strength="validation"`` a stratified share of the rows is held out, the C of `STRENGTHS`
    is taken whose model, fitted to the others, agrees with most decisions held out (of equals the one with the fewest
    weights), and all rows are fitted with it. Decisions too rare to share stay among the fitted rows; where nothing
    can be held out, all rows judge. A single decision gets a constant.

    Args:
        strength: "validation", or C itself.
        validation_fraction: Share of the rows held out.
        random_state: Seed of what is held out.

    Attributes:
        classes_: (K,) decisions in ascending order.
        n_features_in_: Number of features D.
        strength_: C that it is fitted with.
        coef_: (K, D), or (1, D) for two decisions, where it is of the second: log-odds per unit of each raw feature.
        intercept_: (K,) or (1,).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "strength": [StrOptions({"validation"}), Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    }

    classes_: np.ndarray
    n_features_in_: int
    strength_: float
    coef_: np.ndarray
    intercept_: np.ndarray

    def __init__(
        self,
        strength: float | Literal["validation"] = "validation",
        validation_fraction: float = 0.2,
        random_state: int = 0,
    ) -> None:
        self.strength = strength
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | Callable[[Any], Any]) -> Self:  # noqa: N803
        """Fits features (N, D) and decisions (N,), or what a black box decides on them (`decisions_of`).

        Raises:
            ValueError: Features or decisions are not what scikit-learn accepts.
            SurrogateError: The black box fails.
        """
        X, self.classes_, codes = checked(self, X, y, np.float64)  # noqa: N806
        self.strength_ = self._validated(X, codes) if self.strength == "validation" else float(self.strength)
        ((self.coef_, self.intercept_),) = self._fitted(X, codes, [self.strength_])
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """The most probable decision (N,), the first of equals."""
        probabilities = self.predict_proba(X)
        decided: np.ndarray = self.classes_[probabilities.argmax(1)]
        return decided

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Probability of each decision, (N, K)."""
        check_is_fitted(self)
        features: np.ndarray = validate_data(self, X, dtype=np.float64, reset=False)
        return _probabilities(features, self.coef_, self.intercept_, len(self.classes_))

    def to_record(self) -> LinearRecord:
        """The fitted model as plain numbers and names.

        Raises:
            SurrogateError: The decisions are neither integers nor strings.
        """
        check_is_fitted(self)
        return LinearRecord(
            parameters=plain_parameters(self),
            decisions=plain_decisions(self.classes_),
            strength=self.strength_,
            weights=tuple(tuple(row) for row in self.coef_.tolist()),
            intercepts=tuple(self.intercept_.tolist()),
        )

    @classmethod
    def from_record(cls, record: LinearRecord) -> Self:
        """The model that a record describes, with the same predictions as when it was written.

        Raises:
            SurrogateError: The record does not describe a model.
        """
        rows = len(record.decisions) if len(record.decisions) > 2 else 1
        widths = {len(row) for row in record.weights}
        if len(record.weights) != rows or len(record.intercepts) != rows or len(widths) != 1:
            raise SurrogateError(
                f"linear.weights and linear.intercepts must have {rows} rows for {len(record.decisions)} decisions, "
                f"all of one width, got {len(record.weights)} and {len(record.intercepts)}; save the surrogate again."
            )
        surrogate = restored(cls, record.parameters, record.decisions, widths.pop())
        surrogate.strength_ = record.strength
        surrogate.coef_ = np.array(record.weights)
        surrogate.intercept_ = np.array(record.intercepts)
        return surrogate

    def save(self, path: str | Path) -> None:
        """Writes a JSON file that holds this surrogate alone, atomically."""
        write_document(Path(path), DocumentRecord(linear=self.to_record()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the linear surrogate of a file.

        Raises:
            SurrogateError: There is no such file, it is damaged or edited, or holds no linear surrogate.
        """
        record = read_document(path, DocumentRecord).linear
        if record is None:
            raise SurrogateError(f"{path} holds no linear surrogate; save one there, or read another file.")
        return cls.from_record(record)

    def _validated(self, features: np.ndarray, codes: np.ndarray) -> float:
        """The C of most agreement on the rows held out, of equals the one with the fewest weights, then the least."""
        fitted, judged = held_out(codes, self.validation_fraction, self.random_state)
        present, own = np.unique(codes[fitted], return_inverse=True)
        found = []
        for weights, intercepts in self._fitted(features[fitted], own, STRENGTHS):
            decided = present[_probabilities(features[judged], weights, intercepts, len(present)).argmax(1)]
            found.append((-(decided == codes[judged]).sum(), np.count_nonzero(weights)))
        return STRENGTHS[found.index(min(found))]

    def _fitted(
        self, features: np.ndarray, codes: np.ndarray, strengths: Iterable[float]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Weights and intercepts for raw features with each C, each solved from the last."""
        mean, spread = features.mean(0), features.std(0)
        spread = np.where(spread > 0, spread, 1)
        standardised = (features - mean) / spread
        solution = None
        for strength in strengths:
            solution = sparse_logistic(standardised, codes, int(codes.max()) + 1, strength, solution)
            weights = solution[0] / spread
            yield weights, solution[1] - weights @ mean


def _probabilities(features: np.ndarray, weights: np.ndarray, intercepts: np.ndarray, num_decisions: int) -> np.ndarray:
    odds = features @ weights.T + intercepts
    if num_decisions == 1:
        return np.ones((len(features), 1))
    if num_decisions == 2:
        return np.concatenate([expit(-odds), expit(odds)], 1)
    probabilities: np.ndarray = softmax(odds, 1)
    return probabilities
