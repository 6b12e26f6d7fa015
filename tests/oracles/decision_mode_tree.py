"""Decision-mode tree and its measures, image by image and pair by pair, straight from the formulas.

Interpreting CNNs via Decision Trees, CVPR 2019: every merge recomputes the whole objective, the mean direction is
searched for by a numerical optimiser, the sparse selection by coordinate descent. Every array is float64: inputs x
(N, D) and gradients g (N, D) of N images and D filters, scores y (N). A partition is a list of lists of image numbers.
"""

import math
from itertools import combinations, pairwise

import numpy
from scipy.optimize import minimize
from scipy.special import logsumexp

TIE = 1e-12  # gains and impurity decreases that differ by rounding alone are equally good


def dot(first, second) -> float:
    """Inner product of two vectors, summed exactly."""
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def norm(vector) -> float:
    """Euclidean length."""
    return math.sqrt(dot(vector, vector))


def cosine(first, second) -> float:
    """Cosine of the angle between two vectors; 0 where one of them is zero."""
    lengths = norm(first) * norm(second)
    return dot(first, second) / lengths if lengths > 0 else 0.0


def vectorise(sums, gradients, scores, cells: int):
    """Inputs, unit gradients, scores and offsets of the images, the filters' scales and the gradients' lengths.

    sums (N, D) are the maps' sums over their cells, gradients (N, D) the means over the cells of ∂y/∂x, scores (N).
    A filter of scale 0 has input and gradient 0; an image whose gradient is zero has no direction and is refused.
    """
    images, filters = numpy.asarray(sums).shape
    s = numpy.zeros(filters)
    x, g = numpy.zeros((images, filters)), numpy.zeros((images, filters))
    y, b, norms = numpy.zeros(images), numpy.zeros(images), numpy.zeros(images)
    for d in range(filters):
        s[d] = math.fsum(float(sums[i][d]) for i in range(images)) / (images * cells)
    for i in range(images):
        for d in range(filters):
            if s[d] != 0:
                x[i, d] = sums[i][d] / s[d]
                g[i, d] = s[d] * gradients[i][d]
        norms[i] = norm(g[i])
        if norms[i] == 0:
            raise ValueError(f"the gradient of image {i} is zero")
        g[i] /= norms[i]
        y[i] = scores[i] / norms[i]
        b[i] = y[i] - dot(g[i], x[i])
    return x, g, y, b, s, norms


def mean_direction(g):
    """The unit vector with the highest sum of cosines to the rows of g, by SLSQP from several starts."""
    units = numpy.array([row / norm(row) for row in numpy.asarray(g, dtype=numpy.float64)])
    dimensions = units.shape[1]
    random = numpy.random.default_rng(0)
    starts = [units[0], units[-1], *random.normal(size=(6, dimensions))]
    best, highest = None, -math.inf
    for start in starts:
        found = minimize(
            lambda direction: -math.fsum(dot(unit, direction) for unit in units) / len(units),
            start / norm(start),
            jac=lambda direction: -units.sum(axis=0) / len(units),
            method="SLSQP",
            constraints={
                "type": "eq",
                "fun": lambda direction: dot(direction, direction) - 1.0,
                "jac": lambda direction: 2.0 * direction,
            },
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        direction = found.x / norm(found.x)
        value = math.fsum(cosine(unit, direction) for unit in units)
        if value > highest:
            best, highest = direction, value
    return best


def hypothesis(x, y, g, members):
    """Weights and offset of a node without selection: w = Σg/‖Σg‖ and b = mean(y − w·x), both over its images."""
    filters = numpy.asarray(g).shape[1]
    total = [math.fsum(float(g[i][d]) for i in members) for d in range(filters)]
    length = norm(total)
    if length == 0:
        raise ValueError(f"the gradients of images {sorted(members)} cancel")
    w = numpy.array([component / length for component in total])
    b = math.fsum(float(y[i]) - dot(w, x[i]) for i in members) / len(members)
    return w, b


def soft_threshold(value: float, penalty: float) -> float:
    """The value moved towards 0 by the penalty, and no further than 0."""
    return math.copysign(max(abs(value) - penalty, 0.0), value)


def violation(alpha, gram, moments, penalty: float) -> float:
    """How far α is from the optimum of αᵀGα − 2αᵀm + penalty·‖α‖₁, as the largest breach of its conditions."""
    slopes = 2.0 * (moments - gram @ alpha)
    worst = 0.0
    for slope, a in zip(slopes, alpha, strict=True):
        breach = max(abs(slope) - penalty, 0.0) if a == 0 else abs(slope - math.copysign(penalty, a))
        worst = max(worst, breach)
    return worst


def solved_on_support(alpha, gram, moments, penalty: float):
    """The stationary point of the filters that α uses, with α's signs; None where a sign flips."""
    support = numpy.flatnonzero(alpha)
    signs = numpy.sign(alpha[support])
    solution = numpy.zeros_like(alpha)
    if len(support):
        right = moments[support] - 0.5 * penalty * signs
        solution[support] = numpy.linalg.lstsq(gram[numpy.ix_(support, support)], right, rcond=None)[0]
    return solution if numpy.array_equal(numpy.sign(solution[support]), signs) else None


def sparse_selection(x, y, direction, penalty: float):
    """The α and b that minimise (1/n) Σ((α∘direction)·x + b − y)² + penalty·‖α‖₁; b carries no penalty (penalty > 0).

    Cyclic coordinate descent on centred inputs, with the penalty halved from where α = 0 is the optimum down to its
    value. The sweeps only have to find the signs: the answer is accepted by the optimality conditions, which are
    sufficient because the problem is convex. A filter that is constant over the images is left to b.
    """
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    images = len(y)
    inputs = x * numpy.asarray(direction, dtype=numpy.float64)
    constant = numpy.ptp(inputs, axis=0) == 0
    centred, target = inputs - inputs.mean(axis=0), y - y.mean()
    centred[:, constant] = 0.0
    gram, moments = centred.T @ centred / images, centred.T @ target / images
    scale = 2.0 * float(numpy.abs(moments).max(initial=0.0))
    tolerance = 1e-10 * min(max(scale, penalty), 1.0)
    alpha = numpy.zeros(x.shape[1])
    current = max(scale, penalty)
    while True:
        current = max(current / 2.0, penalty)
        for sweep in range(200_000):
            for d in numpy.flatnonzero(~constant):
                slope = 2.0 * float(moments[d] - gram[d] @ alpha + gram[d, d] * alpha[d])
                alpha[d] = soft_threshold(slope, current) / (2.0 * gram[d, d])
            if sweep % 50 == 0:
                exact = solved_on_support(alpha, gram, moments, current)
                if exact is not None and violation(exact, gram, moments, current) <= tolerance:
                    alpha = exact
                    break
                if violation(alpha, gram, moments, current) <= 1e-3 * tolerance:
                    break
        else:
            raise RuntimeError(f"coordinate descent did not converge at penalty {current}")
        if current == penalty:
            break
    b = math.fsum(float(y[i]) - dot(alpha, inputs[i]) for i in range(images)) / images
    return alpha, b


def log_objective(x, y, g, partition, beta: float, gamma: float) -> float:
    """log E = Σ_i [log P_t(x_i) − log P_0(x_i)] − β|V| with P(x_i) = e^{γŷ_i} / Σ_j e^{γŷ_j}; V is the partition.

    ŷ_i of P_t is the hypothesis of the node that holds image i; in P_0 every image is its own leaf, where ŷ_i = y_i.
    """
    images = len(y)
    estimates = [math.nan] * images
    for members in partition:
        w, b = hypothesis(x, y, g, members)
        for i in members:
            estimates[i] = dot(w, x[i]) + b
    normaliser = float(logsumexp([gamma * estimate for estimate in estimates]))
    leaf_normaliser = float(logsumexp([gamma * float(score) for score in y]))
    terms = []
    for i in range(images):
        terms.append((gamma * estimates[i] - normaliser) - (gamma * float(y[i]) - leaf_normaliser))
    return math.fsum(terms) - beta * len(partition)


def grow(x, y, g, beta: float, gamma: float, normalize_gain: bool = False):
    """The merges (members, members, gain in log E), in order, and the final partition.

    Starts with one node per image and merges the pair with the highest gain (divided by the merged node's number of
    images if normalize_gain; the gain returned is not divided) until none is above 0. Nodes are ordered by their first
    image; of equally good pairs the first in that order is merged.
    """
    partition = [[i] for i in range(len(y))]
    merges = []
    while len(partition) > 1:
        before = log_objective(x, y, g, partition, beta, gamma)
        candidates = []
        for first, second in combinations(range(len(partition)), 2):
            merged = sorted(partition[first] + partition[second])
            others = [members for k, members in enumerate(partition) if k not in (first, second)]
            gain = log_objective(x, y, g, [*others, merged], beta, gamma) - before
            criterion = gain / len(merged) if normalize_gain else gain
            candidates.append((criterion, gain, first, second))
        highest = max(criterion for criterion, _, _, _ in candidates)
        if not highest > 0:
            break
        # The pairs come in the order of their nodes, so the first of the equally good ones is the one wanted.
        chosen = next(candidate for candidate in candidates if candidate[0] >= highest - TIE)
        _, gain, first, second = chosen
        merges.append((partition[first], partition[second], gain))
        others = [members for k, members in enumerate(partition) if k not in (first, second)]
        partition = sorted([*others, sorted(partition[first] + partition[second])])
    return merges, partition


def first_most_similar(vector, directions) -> int:
    """Place of the direction with the highest cosine to the vector, the first of equals."""
    best, highest = 0, -math.inf
    for k, direction in enumerate(directions):
        similarity = cosine(vector, direction)
        if similarity > highest:
            best, highest = k, similarity
    return best


def reassigned(g, directions):
    """The direction (K, D) that each image's gradient is most similar to, as image numbers' places (N)."""
    return numpy.array([first_most_similar(row, directions) for row in g])


def parse_path(g_i, children: dict, w: dict) -> list:
    """The nodes from root 0 to a leaf, always to the child whose weights have the highest cosine to g_i."""
    path = [0]
    while children.get(path[-1]):
        below = list(children[path[-1]])
        path.append(below[first_most_similar(g_i, [w[node] for node in below])])
    return path


def part_contribution_error(estimated, ablated, scores):
    """mean_i |ϱ̂_ip − ϱ*_ip| / mean_i y_i for every part: estimated and ablated (N, P), scores (N), result (P)."""
    images, parts = numpy.asarray(estimated).shape
    mean_score = math.fsum(float(score) for score in scores) / images
    errors = []
    for p in range(parts):
        error = math.fsum(abs(float(estimated[i][p]) - float(ablated[i][p])) for i in range(images)) / images
        errors.append(error / mean_score)
    return numpy.array(errors)


def contribution_fitness(rho, t) -> float:
    """mean_i Σ_d min(ρ̂_d, |t_d|) / Σ_d max(ρ̂_d, |t_d|) with ρ̂_d = max(ρ_d·sign t_d, 0); 1 where both are zero."""
    images, filters = numpy.asarray(rho).shape
    fitness = []
    for i in range(images):
        smaller, larger = [], []
        for d in range(filters):
            true = float(t[i][d])
            sign = (true > 0) - (true < 0)
            estimate = max(float(rho[i][d]) * sign, 0.0)
            smaller.append(min(estimate, abs(true)))
            larger.append(max(estimate, abs(true)))
        fitness.append(math.fsum(smaller) / math.fsum(larger) if math.fsum(larger) > 0 else 1.0)
    return math.fsum(fitness) / images


def prediction_error(h, y) -> float:
    """mean_i |h_i − y_i| / (max y − min y)."""
    scores = [float(score) for score in y]
    error = math.fsum(abs(float(estimate) - score) for estimate, score in zip(h, scores, strict=True)) / len(scores)
    return error / (max(scores) - min(scores))


def gini(decisions: list) -> float:
    """1 − Σ_k p_k² over the decisions that occur."""
    return 1.0 - math.fsum((decisions.count(k) / len(decisions)) ** 2 for k in set(decisions))


def best_split(X, decisions) -> tuple[int, float, float]:  # noqa: N803
    """Feature, threshold and decrease of the weighted Gini impurity of the best split into X ≤ threshold and the rest.

    Every feature and every midpoint of two neighbouring values is tried; ties go to the lowest feature, then to the
    lowest threshold. (−1, NaN, 0) where no feature varies.
    """
    labels = numpy.asarray(decisions).tolist()
    columns = numpy.asarray(X, dtype=numpy.float64).T.tolist()
    before = gini(labels)
    best = (-1, math.nan, -math.inf)
    for feature, column in enumerate(columns):
        values = sorted(set(column))
        for low, high in pairwise(values):
            threshold = (low + high) / 2.0
            left = [label for label, value in zip(labels, column, strict=True) if value <= threshold]
            right = [label for label, value in zip(labels, column, strict=True) if value > threshold]
            after = (len(left) * gini(left) + len(right) * gini(right)) / len(labels)
            if before - after > best[2] + TIE:
                best = (feature, threshold, before - after)
    return best if best[0] >= 0 else (-1, math.nan, 0.0)
