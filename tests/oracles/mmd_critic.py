"""MMD-critic by its definitions: float64, the whole kernel matrix, nothing carried from one step to the next.

Source: Kim, Khanna, Koyejo, "Examples are not Enough, Learn to Criticize! Criticism for Interpretability", NeurIPS
2016. With weights w of the rows (sum 1) and v of the prototypes S: MMD² = Σ w_i w_j K_ij − 2 Σ w_i v_j K_ij +
Σ v_i v_j K_ij, J_b = Σ w_i w_j K_ij − MMD² at v = 1/|S|, f(x) = Σ w_i k(x, x_i) − Σ v_j k(x, x_j), and a criticism's
gain is |f| + λ (log det K_C+j − log det K_C). Of values that are equal up to rounding, the lowest index is taken.
"""

import math
import statistics

import numpy

ROUNDING = 1e-12  # of numbers of the order of 1; what ties by symmetry differ by


def rbf(rows, others, gamma: float) -> numpy.ndarray:
    """exp(−γ ‖x − y‖²) of every row x with every other y."""
    rows, others = numpy.asarray(rows, dtype=numpy.float64), numpy.asarray(others, dtype=numpy.float64)
    kernel = numpy.zeros((len(rows), len(others)))
    for i, row in enumerate(rows):
        kernel[i] = numpy.exp(-gamma * ((row - others) ** 2).sum(axis=1))
    return kernel


def block_masked(kernel, labels, other_labels) -> numpy.ndarray:
    """The kernel where the labels are equal, 0 elsewhere."""
    masked = numpy.zeros_like(kernel)
    for i, label in enumerate(labels):
        for j, other in enumerate(other_labels):
            if label == other:
                masked[i, j] = kernel[i, j]
    return masked


def median_gamma(rows) -> float:
    """1 / (2 m²) of the median m of the distances of all pairs."""
    distances = []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            distances.append(math.dist(rows[i], rows[j]))
    return 1 / (2 * statistics.median(distances) ** 2)


def shares(count: int, sample_weight=None) -> numpy.ndarray:
    """Weights that sum to 1, equal ones without a sample_weight."""
    weights = numpy.ones(count) if sample_weight is None else numpy.asarray(sample_weight, dtype=numpy.float64)
    return weights / weights.sum()


def column_means(kernel, weights) -> numpy.ndarray:
    return numpy.array([math.fsum(weights * kernel[:, j]) for j in range(len(kernel))])


def kernel_mean(kernel, weights) -> float:
    return math.fsum(number for i in range(len(kernel)) for number in weights[i] * weights * kernel[i])


def mmd2(kernel, weights, chosen, prototype_weights=None) -> float:
    """The quadratic form of the difference of the two distributions."""
    difference = numpy.array(weights, dtype=numpy.float64)
    for position, j in enumerate(chosen):
        difference[j] -= 1 / len(chosen) if prototype_weights is None else prototype_weights[position]
    return float(difference @ kernel @ difference)


def objective(kernel, means, chosen) -> float:
    """J_b = (2/|S|) Σ_j c_j − (1/|S|²) Σ_ij K_ij over i, j in S, with the column means c."""
    among_themselves = kernel[numpy.ix_(chosen, chosen)].sum()
    return float(2 * means[chosen].sum() / len(chosen) - among_themselves / len(chosen) ** 2)


def free(count: int, taken, groups, not_again) -> list[int]:
    """Rows that are not taken and whose group has no row in not_again."""
    used = set() if groups is None else {groups[j] for j in not_again}
    return [j for j in range(count) if j not in taken and (groups is None or groups[j] not in used)]


def first_of_the_largest(values: dict[int, float]) -> int:
    """The lowest index whose value is the largest up to rounding."""
    largest = max(values.values())
    return min(j for j, value in values.items() if value == largest or value >= largest - ROUNDING)


def next_objectives(kernel, means, chosen, groups=None) -> dict[int, float]:
    """J_b of the chosen rows with each candidate."""
    return {j: objective(kernel, means, [*chosen, j]) for j in free(len(kernel), set(chosen), groups, not_again=chosen)}


def prototypes(kernel, weights, count: int, groups=None) -> list[int]:
    means = column_means(kernel, weights)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(first_of_the_largest(next_objectives(kernel, means, chosen, groups)))
    return chosen


def witness(kernel_with_rows, weights, chosen, prototype_weights=None) -> numpy.ndarray:
    """f of each row of a (k, n) kernel."""
    if prototype_weights is None:
        prototype_weights = [1 / len(chosen)] * len(chosen)
    values = []
    for row in kernel_with_rows:
        data = math.fsum(weights[i] * row[i] for i in range(len(row)))
        values.append(data - math.fsum(v * row[j] for v, j in zip(prototype_weights, chosen, strict=True)))
    return numpy.array(values)


def log_determinant(kernel, chosen) -> float:
    """−∞ where the matrix is singular or what rounding left of one that is."""
    sign, logarithm = numpy.linalg.slogdet(kernel[numpy.ix_(chosen, chosen)])
    return float(logarithm) if sign > 0 else -math.inf


def log_gains(kernel, chosen, candidates) -> dict[int, float]:
    """What each candidate adds to the log determinant of the chosen rows."""
    before = log_determinant(kernel, list(chosen)) if chosen else 0.0
    return {j: log_determinant(kernel, [*chosen, j]) - before for j in candidates}


def criticisms(
    kernel, values, of_prototypes, count: int, weight: float = 1.0, groups=None
) -> tuple[list[int], list[tuple[float, float]]]:
    """Indices in the order in which they are picked, and (|f|, log r) of each; weight 0 is no regulariser."""
    chosen: list[int] = []
    terms = []
    for _ in range(count):
        candidates = free(len(kernel), {*of_prototypes, *chosen}, groups, not_again=chosen)
        logarithms = log_gains(kernel, chosen, candidates)
        gains = {j: abs(values[j]) + (weight * logarithms[j] if weight else 0.0) for j in candidates}
        best = first_of_the_largest(gains)
        chosen.append(best)
        terms.append((abs(values[best]), logarithms[best]))
    return chosen, terms


def automatic_weight(kernel, values, of_prototypes, count: int, groups=None) -> float:
    """std |f| / std log r over the rows that a run with λ = 1 leaves."""
    chosen, _ = criticisms(kernel, values, of_prototypes, count, 1.0, groups)
    left = [j for j in range(len(kernel)) if j not in {*of_prototypes, *chosen}]
    logarithms = log_gains(kernel, chosen, left)
    return statistics.pstdev(abs(values[j]) for j in left) / statistics.pstdev(logarithms[j] for j in left)


def off_diagonal_ratio(kernel, weights) -> float:
    """Mean over rows of what is beside the diagonal over what is on it; a row beside it counts n times its weight."""
    count, ratios = len(kernel), []
    for i in range(count):
        beside = math.fsum(count * weights[j] * kernel[i, j] for j in range(count) if j != i)
        ratios.append(beside / kernel[i, i])
    return statistics.fmean(ratios)


def non_negative_weights(kernel, weights, chosen) -> numpy.ndarray:
    """The v ≥ 0 that minimise MMD², by exact minimisation along one coordinate after the other until nothing moves."""
    among = kernel[numpy.ix_(chosen, chosen)]
    to_the_data = weights @ kernel[:, chosen]
    solution = numpy.zeros(len(chosen))
    for _ in range(200_000):
        before = solution.copy()
        for j in range(len(chosen)):
            others = among[j] @ solution - among[j, j] * solution[j]
            solution[j] = max(0.0, (to_the_data[j] - others) / among[j, j])
        if abs(solution - before).max() < 1e-15:
            return solution
    raise AssertionError("no convergence")


def nearest_label_errors(references, reference_labels, rows, labels) -> list[float]:
    """Share of rows whose nearest of the first 1..m references, the first of equals, has another label."""
    wrong = numpy.zeros(len(references))
    for row, label in zip(rows, labels, strict=True):
        nearest, at = math.inf, 0
        for position, reference in enumerate(references):
            distance = float(((row - reference) ** 2).sum())
            if distance < nearest:
                nearest, at = distance, position
            wrong[position] += reference_labels[at] != label
    return (wrong / len(rows)).tolist()


def validation_errors(rows, labels, gammas, count: int, folds, local: bool = False, groups=None) -> list[float]:
    """1-NN error over the held-out rows of all folds with each γ."""
    result = []
    for gamma in gammas:
        wrong, seen = 0.0, 0
        for train, test in folds:
            kernel = rbf(rows[train], rows[train], gamma)
            if local:
                kernel = block_masked(kernel, labels[train], labels[train])
            of_fold = None if groups is None else groups[train]
            most = len(train) if groups is None else len(set(of_fold.tolist()))
            found = train[prototypes(kernel, shares(len(train)), min(count, most), of_fold)]
            wrong += nearest_label_errors(rows[found], labels[found], rows[test], labels[test])[-1] * len(test)
            seen += len(test)
        result.append(wrong / seen)
    return result
