"""Few-shot localisation, image by image and node by node.

Definition: `few_shot_localisation` in interpretable/metrics. A table is (values, positions, landmarks, boxes, labels,
sizes) of shapes (N, V), (N, V, 2), (N, P, 2), (N, P, 4), (N), (N, 2): pixels, sizes as width, height. The ridge
regression is solved in its primal form, one equation per coordinate.
"""

import math

import numpy

from oracles.part_tracking import Table, as_lists, mean_of_known, visible

NODES = 20
RIGIDITY = 0.1
REACH = 0.1
RIDGE = 0.01
CONSTANT = 1e-6

Point = list[float]


def share(point: Point, size: list[float]) -> Point:
    """Pixels divided by the diagonal of the image."""
    diagonal = math.sqrt(size[0] ** 2 + size[1] ** 2)
    return [point[0] / diagonal, point[1] / diagonal]


def mean_point(points: list[Point]) -> Point:
    """Mean of x and of y."""
    return [math.fsum(point[d] for point in points) / len(points) for d in (0, 1)]


def mean_scores(train: Table) -> list[float]:
    """Mean over all images, those where the node is silent included."""
    found = []
    for v in range(len(train.values[0])):
        found.append(math.fsum(max(values[v], 0.0) for values in train.values) / len(train.values))
    return found


def by_mean(train: Table, p: int, shots: list[int]) -> Point:
    """Mean position of the part in the shots."""
    return mean_point([share(train.landmarks[n][p], train.sizes[n]) for n in shots])


def by_nodes(train: Table, test: Table, p: int, shots: list[int], image: int, scale: list[float]) -> Point:
    """Weighted mean of node position and mean offset over the nodes with the highest mean score over variance."""
    learned = []
    for v in range(len(scale)):
        offsets, scores = [], []
        for n in shots:
            if train.values[n][v] > 0:
                place = share(train.positions[n][v], train.sizes[n])
                landmark = share(train.landmarks[n][p], train.sizes[n])
                offsets.append([landmark[0] - place[0], landmark[1] - place[1]])
                scores.append(train.values[n][v] / scale[v])
            else:
                scores.append(0.0)
        if offsets:
            offset = mean_point(offsets)
            squares = math.fsum((o[0] - offset[0]) ** 2 + (o[1] - offset[1]) ** 2 for o in offsets)
            prior = RIGIDITY * (offset[0] ** 2 + offset[1] ** 2 + REACH**2)
            variance = (squares + prior) / len(offsets)
            learned.append((math.fsum(scores) / len(shots) / variance, v, offset, variance))
    learned.sort(key=lambda node: (-node[0], node[1]))
    weights, predictions = [], []
    for _, v, offset, variance in learned[:NODES]:
        if test.values[image][v] > 0:
            place = share(test.positions[image][v], test.sizes[image])
            weights.append(test.values[image][v] / scale[v] / variance)
            predictions.append([place[0] + offset[0], place[1] + offset[1]])
    if not weights:
        return by_mean(train, p, shots)
    return [
        math.fsum(weight * place[d] for weight, place in zip(weights, predictions, strict=True)) / math.fsum(weights)
        for d in (0, 1)
    ]


def standardisation(train: Table, k: int) -> list[tuple[float, float]]:
    """Mean and deviation of each coordinate over the images of the class in which its node fires; (0, 0) in none."""
    found = []
    for v in range(len(train.values[0])):
        firing = [n for n in range(len(train.labels)) if train.labels[n] == k and train.values[n][v] > 0]
        for d in (0, 1):
            coordinates = [share(train.positions[n][v], train.sizes[n])[d] for n in firing]
            if coordinates:
                mean = math.fsum(coordinates) / len(coordinates)
                square = math.fsum((x - mean) ** 2 for x in coordinates) / len(coordinates)
                found.append((mean, math.sqrt(square)))
            else:
                found.append((0.0, 0.0))
    return found


def features(table: Table, image: int, scales: list[tuple[float, float]]) -> list[float]:
    """Standardised coordinates of all nodes, 0 where the node is silent or the coordinate constant."""
    found = []
    for number, (mean, deviation) in enumerate(scales):
        v, d = divmod(number, 2)
        if table.values[image][v] > 0 and deviation > CONSTANT:
            found.append((share(table.positions[image][v], table.sizes[image])[d] - mean) / deviation)
        else:
            found.append(0.0)
    return found


def by_ridge(train: Table, test: Table, p: int, shots: list[int], images: list[int], scales) -> list[Point]:
    """Slopes B with (XᵀX + penalty) B = XᵀL, X and L less their means over the shots."""
    inputs = numpy.array([features(train, n, scales) for n in shots])
    landmarks = numpy.array([share(train.landmarks[n][p], train.sizes[n]) for n in shots])
    centre, mean = inputs.mean(0), landmarks.mean(0)
    varying = sum(deviation > CONSTANT for _, deviation in scales)
    penalty = RIDGE * max(1, varying) * numpy.eye(len(scales))
    slopes = numpy.linalg.solve((inputs - centre).T @ (inputs - centre) + penalty, (inputs - centre).T @ landmarks)
    return [(mean + (numpy.array(features(test, image, scales)) - centre) @ slopes).tolist() for image in images]


def tables(train, test, num_classes: int, shots: tuple[int, ...], draws: int, seed: int) -> dict:
    """For each method: the table [m][k][p], the means of each draw [m][draw], their mean and its standard error [m]."""
    train, test = as_lists(train), as_lists(test)
    scale = mean_scores(train)
    parts = len(train.landmarks[0])
    errors = {
        name: numpy.full((len(shots), num_classes, parts, draws), math.nan) for name in ("nodes", "ridge", "mean")
    }
    for k in range(num_classes):
        scales = standardisation(train, k)
        for p in range(parts):
            known, images = visible(train, k, p), visible(test, k, p)
            if not known or not images:
                continue
            numbers = numpy.random.default_rng((seed, k, p)).random((draws, len(known))).tolist()
            for s, m in enumerate(shots):
                if m > len(known):
                    continue
                for draw in range(draws):
                    order = sorted(range(len(known)), key=lambda i, draw=draw, numbers=numbers: numbers[draw][i])
                    chosen = [known[i] for i in order[:m]]
                    predictions = {
                        "nodes": [by_nodes(train, test, p, chosen, image, scale) for image in images],
                        "ridge": by_ridge(train, test, p, chosen, images, scales),
                        "mean": [by_mean(train, p, chosen) for _ in images],
                    }
                    for name, points in predictions.items():
                        distances = []
                        for image, (x, y) in zip(images, points, strict=True):
                            truth = share(test.landmarks[image][p], test.sizes[image])
                            distances.append(math.sqrt((x - truth[0]) ** 2 + (y - truth[1]) ** 2))
                        errors[name][s, k, p, draw] = math.fsum(distances) / len(distances)
    return {name: summary(each) for name, each in errors.items()}


def summary(errors: numpy.ndarray) -> dict:
    """Means without the NaNs, and the standard error over draws."""
    by_draw = [
        [mean_of_known(errors[s, :, :, draw].flatten().tolist()) for draw in range(errors.shape[3])]
        for s in range(errors.shape[0])
    ]
    error, standard_error = [], []
    for numbers in by_draw:
        mean = math.fsum(numbers) / len(numbers)
        error.append(mean)
        spread = math.fsum((number - mean) ** 2 for number in numbers)
        known = len(numbers) > 1 and not math.isnan(mean)
        standard_error.append(math.sqrt(spread / (len(numbers) - 1) / len(numbers)) if known else math.nan)
    return {"error": error, "standard_error": standard_error, "table": errors.mean(3), "by_draw": by_draw}
