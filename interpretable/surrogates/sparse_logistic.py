"""Logistic regression with an L1 penalty, solved to its optimum."""

import warnings

import numpy as np
from jaxtyping import Float, Int64
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

TOLERANCE = 1e-5
"""Of the projected gradient of the mean log loss; at most a tenth of the penalty's own gradient."""

_ITERATIONS = 10_000
_CORRECTIONS = 20


def sparse_logistic(
    features: Float[np.ndarray, "row feature"],
    codes: Int64[np.ndarray, " row"],
    num_decisions: int,
    strength: float,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, "row_of_weights feature"], Float[np.ndarray, " row_of_weights"]]:
    """Weights w and free intercepts that minimise C · Σ log loss + ‖w‖₁ for decision numbers 0 to K − 1.

    w = u − v with u, v >= 0 makes the problem smooth within bounds, so L-BFGS-B solves it and its zeros are exact. Of
    the optima of an even number of decisions the sparsest is taken. scikit-learn's SAGA stops at its tolerance far from
    the optimum where C is large and decisions are nearly separable.

    Args:
        features: (N, D), of similar spread.
        codes: (N,) decision numbers.
        num_decisions: K.
        strength: C.
        start: Weights and intercepts to start from, 0 where omitted.

    Returns:
        Log-odds, (K, D) and (K,); for K <= 2 of decision 1 alone, (1, D) and (1,), which are 0 for K = 1.
    """
    shape = (num_decisions if num_decisions > 2 else 1, features.shape[1])
    if num_decisions == 1:
        return np.zeros(shape), np.zeros(1)
    images = len(features)
    binary = num_decisions == 2
    penalty = 1 / (strength * images)
    rows = np.arange(images)

    def split(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        above, below = point[: shape[0] * shape[1]], point[shape[0] * shape[1] : -shape[0]]
        return (above - below).reshape(shape), point[-shape[0] :]

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercepts = split(point)
        odds = features @ weights.T + intercepts
        odds = np.concatenate([np.zeros((images, 1)), odds], 1) if binary else odds
        log_total = logsumexp(odds, 1)
        residual = np.exp(odds - log_total[:, None])
        residual[rows, codes] -= 1
        residual = (residual[:, 1:] if binary else residual) / images
        slope = (residual.T @ features).ravel()
        loss = (log_total - odds[rows, codes]).mean() + penalty * point[: -shape[0]].sum()
        return float(loss), np.concatenate([slope + penalty, penalty - slope, residual.sum(0)])

    weights, intercepts = (np.zeros(shape), np.zeros(shape[0])) if start is None else start
    found = minimize(
        objective,
        np.concatenate([weights.clip(0).ravel(), (-weights).clip(0).ravel(), intercepts]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * shape[0] * shape[1]) + [(None, None)] * shape[0],
        options={
            "gtol": min(TOLERANCE, penalty / 10),
            "ftol": 0.0,
            "maxiter": _ITERATIONS,
            "maxfun": 2 * _ITERATIONS,
            "maxcor": _CORRECTIONS,
        },
    )
    if found.status == 1:
        warnings.warn(
            f"Sparse logistic regression with C = {strength} did not converge in {found.nit} iterations; take a "
            "smaller C.",
            ConvergenceWarning,
            stacklevel=2,
        )
    weights, intercepts = split(found.x)
    return weights if binary else _sparsest(weights), intercepts


def _sparsest(weights: np.ndarray) -> np.ndarray:
    """A constant added to all weights of a feature leaves the probabilities; the one of least ‖w‖₁ and most zeros."""
    ordered = np.sort(weights, 0)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]  # any constant between is as good
    nearest = np.where(abs(low) <= abs(high), low, high)
    shifted: np.ndarray = weights - nearest
    return shifted
