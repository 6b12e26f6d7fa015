"""The filter loss that the authors' MATLAB code computes, which is not the paper's, as a value with a gradient.

Filters are lists of maps, a map is a list of rows. Slopes are the authors': of a template on coordinates that run
from −1 to 1 over each axis. Weights and templates are constants of the value.
"""

import math

from oracles.part_template import Map, log_sum_exp

TEMPERATURE = 0.5


def coordinates(cells: int) -> list[float]:
    """linspace(−1, 1, n)."""
    return [-1.0 + 2.0 * i / (cells - 1) if cells > 1 else -1.0 for i in range(cells)]


def position(x: Map) -> tuple[int, int]:
    """μ̂ = round(Σ pos · x / Σ x), half a cell rounded up, counted from 0; the first cell for an empty map."""
    total = math.fsum(math.fsum(row) for row in x)
    if total == 0:
        return 0, 0
    row = math.fsum(i * x[i][j] for i in range(len(x)) for j in range(len(x[0]))) / total
    column = math.fsum(j * x[i][j] for i in range(len(x)) for j in range(len(x[0]))) / total
    return math.floor(row + 0.5), math.floor(column + 0.5)


def unit_template(x: Map, slope: float) -> Map:
    """max(1 − β(|u − u_μ̂| + |v − v_μ̂|), −1) around the map's own position."""
    u, v = coordinates(len(x)), coordinates(len(x[0]))
    row, column = position(x)
    template = []
    for i in range(len(x)):
        line = []
        for j in range(len(x[0])):
            line.append(max(1.0 - slope * (abs(u[i] - u[row]) + abs(v[j] - v[column])), -1.0))
        template.append(line)
    return template


def mean_product(x: Map, template: Map) -> float:
    """mean_hw(x ∘ T)."""
    terms = [x[i][j] * template[i][j] for i in range(len(x)) for j in range(len(x[0]))]
    return math.fsum(terms) / len(terms)


def negative_template(x: Map) -> Map:
    """−1 everywhere."""
    return [[-1.0] * len(row) for row in x]


def log_z(strengths: list[float]) -> float:
    """a · log mean_k exp(s_k / a)."""
    exponents = [strength / TEMPERATURE for strength in strengths]
    return TEMPERATURE * (log_sum_exp(exponents) - math.log(len(strengths)))


def normalised_weights(strengths: list[float], log_partition: float, chosen: list[bool]) -> list[float]:
    """g_k / mean g over the chosen images, g = e^{s/a}(s − log Z + a); 0 where that is not finite, and for the others.

    The largest exponent among the chosen is taken off all of them, which leaves the ratio as it is.
    """
    own = [strength for strength, included in zip(strengths, chosen, strict=True) if included]
    if not own:
        return [0.0] * len(strengths)
    largest = max(own)
    g = []
    for strength, included in zip(strengths, chosen, strict=True):
        if included:
            exponential = math.exp((strength - largest) / TEMPERATURE)
            g.append(exponential * (strength - log_partition + TEMPERATURE))
        else:
            g.append(0.0)
    mean = math.fsum(g) / len(own)
    weights = []
    for value in g:
        weight = value / mean if mean != 0 else math.nan
        weights.append(weight if math.isfinite(weight) else 0.0)
    return weights


def class_weights(density: float | None) -> tuple[float, float]:
    """w_pos = 0.5/density and w_neg = 0.5/(1 − density), 1 and 1 for a single category; 0 where that is not finite."""
    if density is None:
        return 1.0, 1.0
    return (0.5 / density if density > 0 else 0.0), (0.5 / (1.0 - density) if density < 1 else 0.0)


def authors_gradient(
    filters: list[list[Map]], members: list[list[bool]], slopes: list[float], densities: list[float | None]
) -> list[list[Map]]:
    """∂L_f/∂x_f,k,ij: −w_pos · w̄_k · T̃_ij / B for the images of the category, +w_neg · w̄⁻_k / B for the others.

    Args:
        filters: filters[f][k] is the map of filter f on image k.
        members: members[f][k], whether image k is of filter f's category.
        slopes: β_f.
        densities: The share of the filter's category among the images, None where there is but one category.
    """
    images = len(filters[0])
    templates = [[unit_template(x, slopes[f]) for x in maps] for f, maps in enumerate(filters)]
    gradient = []
    for f, maps in enumerate(filters):
        # The template of an unrelated map: filters and images in reversed order.
        unrelated = [templates[len(filters) - 1 - f][images - 1 - k] for k in range(images)]
        log_z_positive = log_z([mean_product(maps[k], unrelated[k]) for k in range(images)])
        positive = [mean_product(maps[k], templates[f][k]) for k in range(images)]
        negative = [mean_product(x, negative_template(x)) for x in maps]
        others = [not member for member in members[f]]
        weights_positive = normalised_weights(positive, log_z_positive, members[f])
        weights_negative = normalised_weights(negative, log_z(negative), others)
        w_pos, w_neg = class_weights(densities[f])
        own = []
        for k, x in enumerate(maps):
            lines = []
            for i in range(len(x)):
                line = []
                for j in range(len(x[0])):
                    if members[f][k]:
                        line.append(-w_pos * weights_positive[k] * templates[f][k][i][j] / images)
                    else:
                        line.append(w_neg * weights_negative[k] / images)
                lines.append(line)
            own.append(lines)
        gradient.append(own)
    return gradient


def authors_value(
    filters: list[list[Map]], members: list[list[bool]], slopes: list[float], densities: list[float | None]
) -> list[float]:
    """L_f = (1/B)[−Σ_{k member} w_pos w̄_k Σ_ij x_ij T̃_ij + Σ_{k other} w_neg w̄⁻_k Σ_ij x_ij] of every filter.

    It is linear in the maps where weights and templates are held, so its gradient is what the maps are multiplied by.
    """
    coefficients = authors_gradient(filters, members, slopes, densities)
    values = []
    for f, maps in enumerate(filters):
        terms = []
        for k, x in enumerate(maps):
            for i in range(len(x)):
                for j in range(len(x[0])):
                    terms.append(coefficients[f][k][i][j] * x[i][j])
        values.append(math.fsum(terms))
    return values


def spread(x: Map) -> float:
    """σ = sqrt(Σ ‖pos − μ̂‖² x / Σ x) in cells, around the rounded position; 0 for an empty map."""
    total = math.fsum(math.fsum(row) for row in x)
    if total == 0:
        return 0.0
    row, column = position(x)
    squares = [((i - row) ** 2 + (j - column) ** 2) * x[i][j] for i in range(len(x)) for j in range(len(x[0]))]
    return math.sqrt(math.fsum(squares) / total)


def slope_target(maps: list[Map], members: list[bool], slope: float) -> float | None:
    """clip(3/σ̄, 1.5, 3) with σ̄ = Σ s σ / Σ s over the category's images; None where there is none of them.

    A spread of 0, and 0/0, give the steepest slope.
    """
    own = [x for x, member in zip(maps, members, strict=True) if member]
    if not own:
        return None
    strengths = [mean_product(x, unit_template(x, slope)) for x in own]
    weighted = math.fsum(strength * spread(x) for strength, x in zip(strengths, own, strict=True))
    total = math.fsum(strengths)
    if weighted == 0:
        return 3.0
    # 3/σ̄ = 3 · Σ s / Σ s σ, which is 0 where the strengths cancel.
    return min(max(3.0 * total / weighted, 1.5), 3.0)


def category_response(
    before: list[list[float | None]], filters: list[list[Map]], labels: list[set[int]]
) -> list[list[float | None]]:
    """Per filter and class 0.9 of what was and 0.1 of the batch's mean of max_hw x over the images of the class.

    A class is None until its first batch, which gives max(mean, 0.1); a batch without the class changes nothing.

    Args:
        before: before[f][c] of the batches so far.
        filters: filters[f][k] is the map of filter f on image k.
        labels: labels[k], the classes of image k.
    """
    after = []
    for f, maps in enumerate(filters):
        row = []
        for category, old in enumerate(before[f]):
            maxima = [max(max(line) for line in x) for x, own in zip(maps, labels, strict=True) if category in own]
            if not maxima:
                row.append(old)
                continue
            mean = math.fsum(maxima) / len(maxima)
            row.append(max(mean, 0.1) if old is None else 0.9 * old + 0.1 * mean)
        after.append(row)
    return after
