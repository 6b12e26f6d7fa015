"""What the surrogates that imitate decisions share: reading what they are fitted to, and their files' plain values."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int64
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from interpretable.documents import Value
from interpretable.errors import SurrogateError
from interpretable.surrogates.black_box import decisions_of

Estimator = TypeVar("Estimator", bound=BaseEstimator)


def checked(
    estimator: BaseEstimator, features: ArrayLike, target: ArrayLike | Callable[[Any], Any], dtype: DTypeLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D) of a type, the K decisions in ascending order, and which of them each row's is, (N,) int64.

    The target is the decisions, or a black box as `decisions_of` takes it.

    Raises:
        ValueError: The arguments of the estimator, the features or the decisions are not what scikit-learn accepts.
        SurrogateError: The black box fails.
    """
    estimator._validate_params()
    if callable(target):
        target = decisions_of(target, validate_data(estimator, features, dtype=np.float64))
    rows, decisions = validate_data(estimator, features, target, dtype=dtype)
    check_classification_targets(decisions)
    classes, codes = np.unique(decisions, return_inverse=True)
    return rows, classes, codes.astype(np.int64)


def held_out(codes: Int64[np.ndarray, " row"], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows to fit on and which to judge on, (N₁,) and (N₂,) in ascending order.

    Of each decision the rounded share of its rows is held out, never all of them, so that a rare decision stays among
    the fitted; where all are that rare, the share is taken of all rows alike; where even that is no row, all rows
    are both.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(codes))
    order = order[codes[order].argsort(kind="stable")]
    images = np.bincount(codes)
    place = np.arange(len(codes)) - (images.cumsum() - images)[codes[order]]  # among those of its decision
    chosen = place < np.minimum(np.floor(fraction * images + 0.5), images - 1)[codes[order]]
    if not chosen.any():
        chosen = generator.permutation(len(codes)) < int(fraction * len(codes) + 0.5)
    if not chosen.any() or chosen.all():
        return np.arange(len(codes)), np.arange(len(codes))
    return np.sort(order[~chosen]), np.sort(order[chosen])


def plain_parameters(estimator: BaseEstimator) -> dict[str, Value]:
    """An estimator's arguments as its file holds them."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in estimator.get_params(deep=False).items()
    }


def plain_decisions(classes: np.ndarray) -> tuple[int | str, ...]:
    """Decisions as a file holds them.

    Raises:
        SurrogateError: They are neither integers nor strings.
    """
    decisions: list[Any] = classes.tolist()
    if {type(decision) for decision in decisions} not in ({int}, {str}):
        raise SurrogateError(
            f"A surrogate that is saved must imitate integers or strings, got {decisions[0]!r}; name the "
            "decisions so before fitting."
        )
    return tuple(decisions)


def restored(
    kind: type[Estimator], parameters: Mapping[str, Value], decisions: tuple[int | str, ...], num_features: int
) -> Estimator:
    """An estimator with what a file says of its arguments, decisions and features.

    Raises:
        SurrogateError: It takes no argument of such a name, or the decisions are not in ascending order or of one type.
    """
    unknown = sorted(set(parameters) - set(kind._get_param_names()))
    if unknown:
        raise SurrogateError(
            f"{kind.__name__} takes no argument {unknown[0]}; fit and save it again with this version."
        )
    classes = np.asarray(decisions)
    if len({type(decision) for decision in decisions}) != 1 or not np.array_equal(classes, np.unique(classes)):
        raise SurrogateError(
            f"decisions of {kind.__name__} must be integers or strings in ascending order, got {list(decisions)}; fit "
            "and save it again."
        )
    estimator: Estimator = kind(**parameters)
    estimator.classes_ = classes
    estimator.n_features_in_ = num_features
    return estimator
