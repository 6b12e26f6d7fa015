"""Keypoint regression, keypoint by keypoint.

Source: the protocol of van der Klis et al., "PDiscoNet", ICCV 2023, after Huang and Li, "Interpretable and Accurate
Fine-grained Recognition via Region Grouping", CVPR 2020: an image's part centres predict each of its keypoints by
ordinary least squares, in coordinates of the object's box. A table is (centres, active, keypoints, boxes) of shapes
(N, K, 2), (N, K), (N, P, 2), (N, 4): pixels, boxes as centre, width, height.
"""

import math
from typing import NamedTuple

import numpy

ROUNDING = 1e-12  # box units: a column that spreads less than this is constant


class Table(NamedTuple):
    """One set of images as nested lists."""

    centres: list
    active: list
    keypoints: list
    boxes: list


def as_lists(table) -> Table:
    """The four arrays as nested lists of Python floats, booleans for active."""
    centres, active, keypoints, boxes = table
    return Table(
        numpy.asarray(centres, dtype=numpy.float64).tolist(),
        numpy.asarray(active, dtype=bool).tolist(),
        numpy.asarray(keypoints, dtype=numpy.float64).tolist(),
        numpy.asarray(boxes, dtype=numpy.float64).tolist(),
    )


def soft_centres(maps, offset: float, stride: float) -> numpy.ndarray:
    """(N, K, 2): mean of the units' centres (x, y) weighted by max(map, 0); NaN for a map without a positive value."""
    maps = numpy.asarray(maps, dtype=numpy.float64).tolist()
    result = []
    for image in maps:
        of_image = []
        for x in image:
            weights, across, down = [], [], []
            for i in range(len(x)):
                for j in range(len(x[0])):
                    weight = max(x[i][j], 0.0)
                    weights.append(weight)
                    across.append(weight * (offset + stride * j))
                    down.append(weight * (offset + stride * i))
            total = math.fsum(weights)
            of_image.append([math.fsum(across) / total, math.fsum(down) / total] if total > 0 else [math.nan, math.nan])
        result.append(of_image)
    return numpy.array(result)


def in_box(point: list[float], box: list[float]) -> list[float]:
    """The point from the box's upper left corner, in widths and heights of the box."""
    return [(point[0] - (box[0] - box[2] / 2)) / box[2], (point[1] - (box[1] - box[3] / 2)) / box[3]]


def visible(table: Table, p: int) -> list[int]:
    """The images that show keypoint p."""
    return [n for n in range(len(table.boxes)) if not any(math.isnan(number) for number in table.keypoints[n][p])]


def mean_and_spread(numbers: list[float]) -> tuple[float, float]:
    """Mean and population standard deviation; 0 and 0 of nothing."""
    if not numbers:
        return 0.0, 0.0
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))


def standardised(number: float, mean: float, spread: float) -> float:
    """(x − mean) / spread, and 0 where nothing spreads."""
    return (number - mean) / spread if spread > ROUNDING else 0.0


def inputs(table: Table, images: list[int], statistics: list[list[tuple[float, float]]]) -> list[list[float]]:
    """The 2K standardised coordinates of each image, 0 where the part is not active."""
    rows = []
    for n in images:
        row = []
        for part in range(len(statistics)):
            centre = in_box(table.centres[n][part], table.boxes[n])
            for d in (0, 1):
                row.append(standardised(centre[d], *statistics[part][d]) if table.active[n][part] else 0.0)
        rows.append(row)
    return rows


def distances_of_keypoint(train: Table, test: Table, p: int) -> tuple[list[float], list[float]]:
    """Per visible test image, in box units, the regression's error and that of the mean training keypoint."""
    train_images, test_images = visible(train, p), visible(test, p)
    if not train_images or not test_images:
        return [], []
    statistics = []
    for part in range(len(train.centres[0])):
        of_part = []
        for d in (0, 1):
            # Over active images alone: the centre of a part that is not active says nothing.
            shown = [n for n in train_images if train.active[n][part]]
            of_part.append(mean_and_spread([in_box(train.centres[n][part], train.boxes[n])[d] for n in shown]))
        statistics.append(of_part)
    targets = [in_box(train.keypoints[n][p], train.boxes[n]) for n in train_images]
    target_statistics = [mean_and_spread([target[d] for target in targets]) for d in (0, 1)]
    outputs = [[standardised(target[d], *target_statistics[d]) for d in (0, 1)] for target in targets]
    design = numpy.array(inputs(train, train_images, statistics))
    slopes = numpy.linalg.lstsq(design, numpy.array(outputs), rcond=None)[0].tolist()
    errors, constant_errors = [], []
    for n, row in zip(test_images, inputs(test, test_images, statistics), strict=True):
        keypoint = in_box(test.keypoints[n][p], test.boxes[n])
        squared, constant_squared = 0.0, 0.0
        for d in (0, 1):
            mean, spread = target_statistics[d]
            predicted = mean + spread * math.fsum(row[i] * slopes[i][d] for i in range(len(row)))
            squared += (keypoint[d] - predicted) ** 2
            constant_squared += (keypoint[d] - mean) ** 2
        errors.append(math.sqrt(squared))
        constant_errors.append(math.sqrt(constant_squared))
    return errors, constant_errors


def fixed(table: Table) -> Table:
    """The table with one always active centre at the image's corner."""
    images = len(table.boxes)
    return Table([[[0.0, 0.0]]] * images, [[True]] * images, table.keypoints, table.boxes)


def hundredfold_mean(numbers: list[float]) -> float:
    """100 × mean; NaN of nothing."""
    return 100 * math.fsum(numbers) / len(numbers) if numbers else math.nan


def regression(train, test) -> dict[str, float]:
    """100 × mean error over all visible test (image, keypoint) pairs; keypoints never seen in training are left out."""
    train, test = as_lists(train), as_lists(test)
    errors, constant_errors, fixed_errors = [], [], []
    for p in range(len(train.keypoints[0])):
        of_keypoint, of_mean = distances_of_keypoint(train, test, p)
        errors += of_keypoint
        constant_errors += of_mean
        fixed_errors += distances_of_keypoint(fixed(train), fixed(test), p)[0]
    return {
        "error": hundredfold_mean(errors),
        "mean_keypoint": hundredfold_mean(constant_errors),
        "fixed_centre": hundredfold_mean(fixed_errors),
    }
