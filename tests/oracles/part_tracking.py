"""Part tracking and hit rate, cell by cell: one ridge regression per class, filter and part, one trial per pixel.

Definition: `PartTracking` in docs/design.md. A table is (values, positions, landmarks, boxes, labels, sizes) of shapes
(N, C), (N, C, 2), (N, P, 2), (N, P, 4), (N), (N, 2): pixels, boxes as centre, width, height, sizes as width, height.
"""

import math
from typing import NamedTuple

import numpy

PENALTY = 1e-3
TIE = 1e-9  # regressions that differ by rounding alone are equally good


class Table(NamedTuple):
    """One set of images as nested lists."""

    values: list
    positions: list
    landmarks: list
    boxes: list
    labels: list
    sizes: list


def as_lists(table) -> Table:
    """The six arrays as nested lists of Python floats."""
    return Table(*(numpy.asarray(array, dtype=numpy.float64).tolist() for array in table))


def mean_of_known(numbers: list[float]) -> float:
    """Mean without the NaNs; NaN where nothing else is left."""
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known) if known else math.nan


def mean_point(points: list[list[float]]) -> list[float]:
    """Mean of x and of y, summed from the first point on so that equal points have exactly that mean."""
    return [start + math.fsum(point[i] - start for point in points) / len(points) for i, start in enumerate(points[0])]


def most_active_filters(table: Table, k: int, count: int) -> list[int]:
    """The filters with the highest mean peak, clipped at 0, over the class's images; ties to the lower index."""
    of_class = [n for n in range(len(table.labels)) if table.labels[n] == k]
    if not of_class:
        return []
    mean_peak = []
    for c in range(len(table.values[0])):
        mean_peak.append(math.fsum(max(table.values[n][c], 0.0) for n in of_class) / len(of_class))
    return sorted(range(len(mean_peak)), key=lambda c: (-mean_peak[c], c))[:count]


def visible(table: Table, k: int, p: int) -> list[int]:
    """The images of class k that show part p."""
    found = []
    for n in range(len(table.labels)):
        if table.labels[n] == k and not any(math.isnan(coordinate) for coordinate in table.landmarks[n][p]):
            found.append(n)
    return found


def in_unit_square(point: list[float], size: list[float]) -> list[float]:
    """Pixels divided by width and height."""
    return [point[0] / size[0], point[1] / size[1]]


def ridge(inputs: list[list[float]], outputs: list[list[float]]) -> list[list[float]]:
    """B with (XᵀX + λ diag(0, 1, 1)) B = XᵀL for X = (1, x, y): the intercept's column is not penalised."""
    rows = [[1.0, x, y] for x, y in inputs]
    matrix = [[math.fsum(row[i] * row[j] for row in rows) for j in range(3)] for i in range(3)]
    matrix[1][1] += PENALTY
    matrix[2][2] += PENALTY
    right = []
    for i in range(3):
        right.append([math.fsum(row[i] * output[d] for row, output in zip(rows, outputs, strict=True)) for d in (0, 1)])
    return numpy.linalg.solve(numpy.array(matrix), numpy.array(right)).tolist()


def r_squared(coefficients, inputs: list[list[float]], landmarks: list[list[float]], mean: list[float]) -> float:
    """1 − Σ‖L − L̂‖² / Σ‖L − L̄_train‖², both coordinates together; NaN where the denominator is 0 or nothing is."""
    unexplained, total = [], []
    for (x, y), landmark in zip(inputs, landmarks, strict=True):
        for d in (0, 1):
            predicted = coefficients[0][d] + coefficients[1][d] * x + coefficients[2][d] * y
            unexplained.append((landmark[d] - predicted) ** 2)
            total.append((landmark[d] - mean[d]) ** 2)
    return 1.0 - math.fsum(unexplained) / math.fsum(total) if math.fsum(total) > 0 else math.nan


def tracking_of_cell(train: Table, test: Table, k: int, c: int, p: int) -> tuple[float, float]:
    """R² on training and on test images of one class, filter and part; NaN with fewer than two training images."""
    train_images, test_images = visible(train, k, p), visible(test, k, p)
    if len(train_images) < 2:
        return math.nan, math.nan
    firing = [n for n in train_images if train.values[n][c] > 0]
    # A filter that is silent everywhere has a constant in the place of its peak; which one does not matter.
    stand_in = [0.0, 0.0]
    if firing:
        stand_in = mean_point([in_unit_square(train.positions[n][c], train.sizes[n]) for n in firing])
    peaks, landmarks = [], []
    for table, images in ((train, train_images), (test, test_images)):
        peaks.append(
            [
                in_unit_square(table.positions[n][c], table.sizes[n]) if table.values[n][c] > 0 else stand_in
                for n in images
            ]
        )
        landmarks.append([in_unit_square(table.landmarks[n][p], table.sizes[n]) for n in images])
    coefficients = ridge(peaks[0], landmarks[0])
    mean = mean_point(landmarks[0])
    return r_squared(coefficients, peaks[0], landmarks[0], mean), r_squared(coefficients, peaks[1], landmarks[1], mean)


def inside(point: list[float], box: list[float]) -> bool:
    """Whether the point lies in the box (centre, width, height), its edges included."""
    return abs(point[0] - box[0]) <= box[2] / 2 and abs(point[1] - box[1]) <= box[3] / 2


def boxed(table: Table, k: int, p: int) -> list[int]:
    """The images of class k with a box around part p."""
    found = []
    for n in range(len(table.labels)):
        if table.labels[n] == k and not any(math.isnan(number) for number in table.boxes[n][p]):
            found.append(n)
    return found


def hit_rate_of_cell(table: Table, k: int, c: int, p: int) -> float:
    """Share of the class's boxes of the part that hold the filter's peak; a silent filter misses."""
    images = boxed(table, k, p)
    hits = 0
    for n in images:
        if table.values[n][c] > 0 and inside(table.positions[n][c], table.boxes[n][p]):
            hits += 1
    return hits / len(images) if images else math.nan


def constant_hit_rate_of_cell(train: Table, test: Table, k: int, p: int) -> float:
    """Test hit rate of the pixel centre that lies in most training boxes, the first in row-major order."""
    train_images, test_images = boxed(train, k, p), boxed(test, k, p)
    if not train_images or not test_images:
        return math.nan
    best, most = [0.5, 0.5], -1
    for row in range(int(max(train.sizes[n][1] for n in train_images))):
        for column in range(int(max(train.sizes[n][0] for n in train_images))):
            centre = [column + 0.5, row + 0.5]
            count = sum(inside(centre, train.boxes[n][p]) for n in train_images)
            if count > most:
                best, most = centre, count
    return sum(inside(best, test.boxes[n][p]) for n in test_images) / len(test_images)


def first_highest(candidates: list[int], scores: list[float]) -> int:
    """The candidate with the highest score, ties to the lower index, NaN never; −1 where there is none."""
    best = -1
    for c in sorted(candidates):
        if not math.isnan(scores[c]) and (best < 0 or scores[c] > scores[best] + TIE):
            best = c
    return best


def tables(train, test, num_classes: int, most_active: int = 10) -> dict:
    """Everything but the bootstrap: tables [k][c][p] and [k][p], and their means, where NaN is left out."""
    train, test = as_lists(train), as_lists(test)
    filters, parts = len(train.values[0]), len(train.landmarks[0])
    result = {
        "train_r2": numpy.full((num_classes, filters, parts), math.nan),
        "test_r2": numpy.full((num_classes, filters, parts), math.nan),
        "tracking_filter": numpy.full((num_classes, parts), -1),
        "hit_filter": numpy.full((num_classes, parts), -1),
        "hit_rates": numpy.full((num_classes, parts), math.nan),
        "constant_hit_rates": numpy.full((num_classes, parts), math.nan),
    }
    tracked = []
    for k in range(num_classes):
        active = most_active_filters(train, k, most_active)
        for p in range(parts):
            for c in range(filters):
                cell = tracking_of_cell(train, test, k, c, p)
                result["train_r2"][k, c, p], result["test_r2"][k, c, p] = cell
            chosen = first_highest(active, result["train_r2"][k, :, p].tolist())
            result["tracking_filter"][k, p] = chosen
            if chosen >= 0:
                tracked.append(float(result["test_r2"][k, chosen, p]))
            chosen = first_highest(active, [hit_rate_of_cell(train, k, c, p) for c in range(filters)])
            result["hit_filter"][k, p] = chosen
            if chosen >= 0:
                result["hit_rates"][k, p] = hit_rate_of_cell(test, k, chosen, p)
            result["constant_hit_rates"][k, p] = constant_hit_rate_of_cell(train, test, k, p)
    result["tracking"] = mean_of_known(tracked)
    result["hit_rate"] = mean_of_known(result["hit_rates"].flatten().tolist())
    result["constant_hit_rate"] = mean_of_known(result["constant_hit_rates"].flatten().tolist())
    return result
