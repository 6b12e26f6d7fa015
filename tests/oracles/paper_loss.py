"""The paper's approximate gradient of the filter loss, which keeps the assigned template T̂ alone, term by term.

Source: Zhang, Wu, Zhu, "Interpretable Convolutional Neural Networks", CVPR 2018, the gradient's approximation with the
sign of −MI. Maps are lists of rows.
"""

import math

from oracles.part_template import Map, log_evidence, uniform_model


def first_maximum(x: Map) -> tuple[int, int]:
    """μ̂ = argmax_ij x_ij, the first in row-major order where several cells share the maximum."""
    best = (0, 0)
    for i in range(len(x)):
        for j in range(len(x[0])):
            if x[i][j] > x[best[0]][best[1]]:
                best = (i, j)
    return best


def paper_gradient(maps: list[Map], members: list[bool], beta: float, scale: float) -> list[Map]:
    """∂Loss/∂x_k,ij ≈ −(p(T̂) t̂_ij / Z_T̂) e^{s(x_k, T̂)} {s(x_k, T̂) − log Z_T̂ − log p(x_k)} of one filter.

    T̂ is T_μ̂ for the images of the filter's category and T⁻ for the others, t = scale · unit template; Z_T runs over all
    images and p(x) = Σ_T p(T) p(x|T) over all templates, p(T) = 1/(h·w + 1).
    """
    height, width = len(maps[0]), len(maps[0][0])
    templates, priors, likelihoods = uniform_model(maps, beta, scale)
    gradient = []
    for k in range(len(maps)):
        assigned = len(templates) - 1
        if members[k]:
            row, column = first_maximum(maps[k])
            assigned = row * width + column
        log_p_given_template = likelihoods[assigned][k]  # s − log Z
        braces = log_p_given_template - log_evidence(priors, likelihoods, k)
        lines = []
        for i in range(height):
            line = []
            for j in range(width):
                t = scale * templates[assigned][i][j]
                line.append(-priors[assigned] * t * math.exp(log_p_given_template) * braces)
            lines.append(line)
        gradient.append(lines)
    return gradient
