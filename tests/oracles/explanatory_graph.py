"""The explanatory graph, node by node and cell by cell: one layer's learning step, inference and choice of parents.

Maps x are (image, channel, row, column). The nodes of a channel have a mean `mu` (channel, node, 2), as (row, column)
in cells of their own map, and a spread `sigma` (channel, node). In an image a node looks around its centre c = mu +
displacement, both in cells. F is the blurred activation (image, channel, row, column), G the spatial term (image,
channel, node, row, column) and t the weight of the background (image, channel).
"""

import math

import numpy

BACKGROUND = 0.1


def blurred(x, width: float) -> numpy.ndarray:
    """Separable Gaussian of standard deviation `width` cells, cut at ceil(3 width); the map is 0 beyond its edges."""
    x = numpy.asarray(x, dtype=numpy.float64)
    radius = math.ceil(3 * width)
    offsets = range(-radius, radius + 1)
    weights = [math.exp(-(offset**2) / (2 * width**2)) for offset in offsets]
    total = math.fsum(weights)
    weights = [weight / total for weight in weights]
    images, channels, height, columns = x.shape
    result = numpy.zeros(x.shape)
    for i, c, row, column in numpy.ndindex(images, channels, height, columns):
        terms = []
        for weight_of_row, down in zip(weights, offsets, strict=True):
            for weight_of_column, right in zip(weights, offsets, strict=True):
                if 0 <= row + down < height and 0 <= column + right < columns:
                    terms.append(weight_of_row * weight_of_column * float(x[i, c, row + down, column + right]))
        result[i, c, row, column] = math.fsum(terms)
    return result


def blurred_activation(x, width: float) -> numpy.ndarray:
    """F: the map without its negative responses, blurred."""
    return blurred(numpy.maximum(numpy.asarray(x, dtype=numpy.float64), 0.0), width)


def normal_density(distance: float, deviation: float) -> float:
    """Density of a normal variable of mean 0."""
    return math.exp(-(distance**2) / (2 * deviation**2)) / (math.sqrt(2 * math.pi) * deviation)


def overlap(distance: float, reach: float) -> float:
    """How much of an interval of length 1 about `distance` lies between −reach and reach."""
    return max(0.0, min(distance + 0.5, reach) - max(distance - 0.5, -reach))


def spatial_term(mu, sigma, displacement, lam, delta, shape: tuple[int, int], window: float) -> numpy.ndarray:
    """G_V(p) = λ_V n(p_row − c_row; δ_V) n(p_column − c_column; δ_V) a(p), a the share of cell p in the node's window.

    The window is the square of half-side R = max(1, min(window, 3 σ_V)) about the centre, `window` being 0.15
    max(height, width) cells; cell p is the square of side 1 about p.
    """
    images, channels, nodes, _ = numpy.asarray(displacement).shape
    height, width = shape
    result = numpy.zeros((images, channels, nodes, height, width))
    for i, c, v in numpy.ndindex(images, channels, nodes):
        centre_row = float(mu[c][v][0]) + float(displacement[i][c][v][0])
        centre_column = float(mu[c][v][1]) + float(displacement[i][c][v][1])
        reach = max(1.0, min(window, 3 * float(sigma[c][v])))
        for row in range(height):
            for column in range(width):
                down, right = row - centre_row, column - centre_column
                area = overlap(down, reach) * overlap(right, reach)
                density = normal_density(down, float(delta[c][v])) * normal_density(right, float(delta[c][v]))
                result[i, c, v, row, column] = float(lam[i][c][v]) * density * area
    return result


def background(spatial) -> numpy.ndarray:
    """t = 0.1 times the mean over a channel's nodes of Σ_p G_V(p), per image and channel."""
    images, channels, nodes = spatial.shape[:3]
    result = numpy.zeros((images, channels))
    for i, c in numpy.ndindex(images, channels):
        sums = [math.fsum(spatial[i, c, v].flatten().tolist()) for v in range(nodes)]
        result[i, c] = BACKGROUND * math.fsum(sums) / nodes
    return result


def responsibilities(spatial) -> numpy.ndarray:
    """r_V(p) = G_V(p) / (Σ_V' G_V'(p) + t), V' over the nodes of the same channel; 0 where the denominator is 0."""
    images, channels, nodes, height, width = spatial.shape
    none = background(spatial)
    result = numpy.zeros(spatial.shape)
    for i, c, row, column in numpy.ndindex(images, channels, height, width):
        total = math.fsum([*spatial[i, c, :, row, column].tolist(), float(none[i, c])])
        for v in range(nodes):
            if total > 0:
                result[i, c, v, row, column] = float(spatial[i, c, v, row, column]) / total
    return result


def update(activation, spatial, mu, sigma, displacement, iteration: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The next `mu` and `sigma` from F and G; `iteration` counts from 1, offsets are taken from the old centres.

    A node without any r F keeps its mean, one without any G F keeps its spread, which is then not clamped either.
    """
    images, channels, nodes, height, width = spatial.shape
    share = responsibilities(spatial)
    largest_spread = math.sqrt(height * width / nodes)
    new_mu = numpy.array(mu, dtype=numpy.float64)
    new_sigma = numpy.array(sigma, dtype=numpy.float64)
    for c, v in numpy.ndindex(channels, nodes):
        mass, moment_row, moment_column, spread_mass, spread_moment = [], [], [], [], []
        for i, row, column in numpy.ndindex(images, height, width):
            down = row - (float(mu[c][v][0]) + float(displacement[i][c][v][0]))
            right = column - (float(mu[c][v][1]) + float(displacement[i][c][v][1]))
            f = float(activation[i, c, row, column])
            rf = float(share[i, c, v, row, column]) * f
            gf = float(spatial[i, c, v, row, column]) * f
            mass.append(rf)
            moment_row.append(rf * down)
            moment_column.append(rf * right)
            spread_mass.append(gf)
            spread_moment.append(gf * (down**2 + right**2))
        if math.fsum(mass) > 0:
            step = 1 / math.sqrt(iteration)
            new_mu[c, v, 0] += step * math.fsum(moment_row) / math.fsum(mass)
            new_mu[c, v, 1] += step * math.fsum(moment_column) / math.fsum(mass)
        if math.fsum(spread_mass) > 0:
            spread = math.sqrt(math.fsum(spread_moment) / math.fsum(spread_mass))
            new_sigma[c, v] = min(max(spread, largest_spread / 10), largest_spread)
    return new_mu, new_sigma


def infer(activation, spatial, mu, displacement) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Per image, channel and node: the cell (row, column) with the largest F G, F G there, and the score Σ_p F G.

    Of equal cells the first in row-major order; where F G is 0 everywhere, the cell nearest to the centre clipped into
    the map.
    """
    images, channels, nodes, height, width = spatial.shape
    positions = numpy.zeros((images, channels, nodes, 2), dtype=numpy.int64)
    values = numpy.zeros((images, channels, nodes))
    scores = numpy.zeros((images, channels, nodes))
    for i, c, v in numpy.ndindex(images, channels, nodes):
        best, best_cell, terms = 0.0, None, []
        for row in range(height):
            for column in range(width):
                term = float(activation[i, c, row, column]) * float(spatial[i, c, v, row, column])
                terms.append(term)
                if term > best:
                    best, best_cell = term, (row, column)
        if best_cell is None:
            centre_row = float(mu[c][v][0]) + float(displacement[i][c][v][0])
            centre_column = float(mu[c][v][1]) + float(displacement[i][c][v][1])
            best_cell = (nearest_cell(centre_row, height), nearest_cell(centre_column, width))
        positions[i, c, v] = best_cell
        values[i, c, v] = best
        scores[i, c, v] = math.fsum(terms)
    return positions, values, scores


def nearest_cell(coordinate: float, length: int) -> int:
    """The index in [0, length) nearest to the coordinate clipped to that range; the lower one half-way between two."""
    clipped = min(max(coordinate, 0.0), length - 1.0)
    return min(range(length), key=lambda index: (abs(index - clipped), index))


def parent_terms(position, mean_position, sigma, ratio: float) -> tuple[numpy.ndarray, float, numpy.ndarray]:
    """A node's displacement (image, 2), δ and λ (image) from its M parents, in cells of the node's own map.

    `position` (image, M, 2), `mean_position` (M, 2) and `sigma` (M) are in cells of the parents' map, whose stride is
    `ratio` times the node's: d = ratio (position − mean), s = ratio σ, w = 1 / (M s²); displacement = Σ w d / Σ w,
    δ = 1/√(Σ w), λ = exp(−Σ_m ‖displacement − d_m‖² / (2 M s_m²)).
    """
    images, parents, _ = numpy.asarray(position).shape
    spreads = [ratio * float(sigma[m]) for m in range(parents)]
    weights = [1 / (parents * spread**2) for spread in spreads]
    displacement = numpy.zeros((images, 2))
    agreement = numpy.zeros(images)
    for i in range(images):
        moves = []
        for m in range(parents):
            moves.append([ratio * (float(position[i][m][k]) - float(mean_position[m][k])) for k in (0, 1)])
        for k in (0, 1):
            weighted = math.fsum(weight * move[k] for weight, move in zip(weights, moves, strict=True))
            displacement[i, k] = weighted / math.fsum(weights)
        exponents = []
        for move, spread in zip(moves, spreads, strict=True):
            squared = (float(displacement[i, 0]) - move[0]) ** 2 + (float(displacement[i, 1]) - move[1]) ** 2
            exponents.append(squared / (2 * parents * spread**2))
        agreement[i] = math.exp(-math.fsum(exponents))
    return displacement, 1 / math.sqrt(math.fsum(weights)), agreement


def mean_place(places: list[list[float]]) -> list[float]:
    """Mean over images, summed from the first place on so that equal places have exactly that mean."""
    return [start + math.fsum(place[k] - start for place in places) / len(places) for k, start in enumerate(places[0])]


def centred(places: list[list[float]]) -> list[list[float]]:
    """The places minus their mean over images."""
    mean = mean_place(places)
    return [[place[0] - mean[0], place[1] - mean[1]] for place in places]


def positional_variance(places: list[list[float]]) -> float:
    """Variance of the row plus that of the column over images."""
    return math.fsum(row**2 + column**2 for row, column in centred(places)) / len(places)


def parent_candidates(scores_upper, place_upper, image_size: tuple[float, float], candidates: int = 600) -> list[int]:
    """The upper nodes that may be parents, highest total score first, ties to the lowest index.

    Left out: the ⌊U/2⌋ nodes of smallest positional variance (of equal ones the higher indices), then those whose mean
    place is at most 10 % of the image's height, or width, from an edge of the image (0 to height, 0 to width).
    """
    images, upper = numpy.asarray(scores_upper).shape
    places = numpy.asarray(place_upper, dtype=numpy.float64)
    variances = [positional_variance(places[:, u].tolist()) for u in range(upper)]
    moving = sorted(range(upper), key=lambda u: (-variances[u], u))[: upper - upper // 2]
    inner = []
    for u in moving:
        mean = mean_place(places[:, u].tolist())
        margins = [min(mean[k], image_size[k] - mean[k]) - 0.1 * image_size[k] for k in (0, 1)]
        if min(margins) > 0:
            inner.append(u)
    totals = {u: math.fsum(float(scores_upper[i][u]) for i in range(images)) for u in inner}
    return sorted(inner, key=lambda u: (-totals[u], u))[:candidates]


def choose_parents(
    scores_child, place_child, scores_upper, place_upper, image_size: tuple[float, float], candidates=600, parents=15
) -> list[int]:
    """The candidates that move most like the child: `parents` of them or all, best first, ties to the lowest index.

    Scores are (image) and (image, U), places (image, 2) and (image, U, 2) in image pixels, `image_size` in the order of
    a place's coordinates. A candidate's value is Σ_I S_child exp(−‖h_child − h_upper‖² / (2 b)), h the place minus its
    mean over images, b the mean of ‖h_child − h_upper‖² over candidates and images; b = 0 leaves every exponent 0.
    """
    chosen = parent_candidates(scores_upper, place_upper, image_size, candidates)
    if not chosen:
        return []
    images = len(scores_child)
    places = numpy.asarray(place_upper, dtype=numpy.float64)
    child = centred(numpy.asarray(place_child, dtype=numpy.float64).tolist())
    distances = {}
    for u in chosen:
        moves = centred(places[:, u].tolist())
        for i in range(images):
            distances[u, i] = (child[i][0] - moves[i][0]) ** 2 + (child[i][1] - moves[i][1]) ** 2
    bandwidth = math.fsum(distances.values()) / len(distances)
    values = {}
    for u in chosen:
        terms = []
        for i in range(images):
            exponent = distances[u, i] / (2 * bandwidth) if bandwidth > 0 else 0.0
            terms.append(float(scores_child[i]) * math.exp(-exponent))
        values[u] = math.fsum(terms)
    return sorted(chosen, key=lambda u: (-values[u], u))[:parents]


def log_objective(activation, spatial, t) -> float:
    """Σ_I Σ_d Σ_p F(p) log((Σ_V G_V(p) + t) / (N + 1)); a cell with F = 0 adds 0, one with F > 0 and no density −∞."""
    images, channels, nodes, height, width = spatial.shape
    terms = []
    for i, c, row, column in numpy.ndindex(images, channels, height, width):
        f = float(activation[i, c, row, column])
        density = math.fsum([*spatial[i, c, :, row, column].tolist(), float(t[i][c])]) / (nodes + 1)
        if f > 0:
            terms.append(f * math.log(density) if density > 0 else -math.inf)
    return math.fsum(terms)
