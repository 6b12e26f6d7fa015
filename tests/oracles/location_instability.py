"""Location instability, image by image.

Source: Zhang, Wu, Zhu, "Interpretable Convolutional Neural Networks", CVPR 2018: d_I(p_k, μ̂) =
‖p_k − p(μ̂)‖ / sqrt(w² + h²), and D_{f,k} is the standard deviation of d_I over the (at most) 100 images with the
highest x_μ̂ among those that show part k.
"""

import math

Point = list[float]


def standard_deviation(numbers: list[float]) -> float:
    """Unbiased (n − 1); NaN with fewer than two numbers."""
    if len(numbers) < 2:
        return math.nan
    mean = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1))


def deviations(
    values: list[list[float]],
    positions: list[list[Point]],
    landmarks: list[list[Point]],
    labels: list[int],
    diagonal: list[float],
    num_classes: int,
    top: int,
) -> list[list[list[float]]]:
    """D of filter c, class k and part p as a table [c][k][p]."""
    table = []
    for c in range(len(values[0])):
        of_filter = []
        for k in range(num_classes):
            of_class = []
            for p in range(len(landmarks[0])):
                shown = []
                for n in range(len(values)):
                    visible = not any(math.isnan(coordinate) for coordinate in landmarks[n][p])
                    if labels[n] == k and visible and values[n][c] > 0:
                        shown.append(n)
                shown.sort(key=lambda n, c=c: (-values[n][c], n))
                distances = []
                for n in shown[:top]:
                    across = landmarks[n][p][0] - positions[n][c][0]
                    down = landmarks[n][p][1] - positions[n][c][1]
                    distances.append(math.sqrt(across**2 + down**2) / diagonal[n])
                of_class.append(standard_deviation(distances))
            of_filter.append(of_class)
        table.append(of_filter)
    return table


def mean_of_known(numbers: list[float]) -> float:
    """Mean without the NaNs; NaN where nothing else is left."""
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known) if known else math.nan


def summary(table: list[list[list[float]]]) -> tuple[float, float]:
    """Mean over filters of the mean, and of the minimum, over classes of the mean over parts.

    The second is the paper's multi-category form, mean_f min_c mean_{k∈Part_c} D_{f,k}.
    """
    means, minima = [], []
    for of_filter in table:
        per_class = [mean_of_known(of_class) for of_class in of_filter]
        known = [number for number in per_class if not math.isnan(number)]
        means.append(mean_of_known(per_class))
        minima.append(min(known) if known else math.nan)
    return mean_of_known(means), mean_of_known(minima)
