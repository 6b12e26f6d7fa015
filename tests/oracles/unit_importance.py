"""Unit importance by really removing units: features set to 0, logits computed again, image by image.

Source: Bau et al., "Understanding the role of individual units in a deep neural network", PNAS 2020: the drop of a
class's accuracy without a unit, and balanced single-class accuracy without, or with nothing but, the most important.
"""

import math

import numpy

TIE = 1e-9  # shares of variance that differ by rounding alone are equal


def predictions(features: list[list[float]], weight, bias, kept: list[bool]) -> list[int]:
    """The class with the highest logit, ties the lowest, of each image when only the kept units count."""
    weight = numpy.asarray(weight, dtype=numpy.float64).tolist()
    bias = numpy.asarray(bias, dtype=numpy.float64).tolist()
    predicted = []
    for image in features:
        remaining = [feature if keep else 0.0 for feature, keep in zip(image, kept, strict=True)]
        logits = []
        for k in range(len(bias)):
            logits.append(math.fsum(w * f for w, f in zip(weight[k], remaining, strict=True)) + bias[k])
        predicted.append(logits.index(max(logits)))
    return predicted


def class_accuracy(predicted: list[int], labels: list[int], num_classes: int) -> list[float]:
    """Share of each class's images that are given to it; NaN where the class has none."""
    result = []
    for k in range(num_classes):
        of_class = [guess == k for guess, label in zip(predicted, labels, strict=True) if label == k]
        result.append(sum(of_class) / len(of_class) if of_class else math.nan)
    return result


def accuracy(features, weight, bias, labels) -> numpy.ndarray:
    """(K,): accuracy of each class with all units."""
    features = numpy.asarray(features, dtype=numpy.float64).tolist()
    labels = numpy.asarray(labels, dtype=numpy.int64).tolist()
    everything = [True] * len(features[0])
    return numpy.array(class_accuracy(predictions(features, weight, bias, everything), labels, len(bias)))


def ablation_accuracy(features, weight, bias, labels) -> numpy.ndarray:
    """(C, K): accuracy of each class with unit c set to 0."""
    features = numpy.asarray(features, dtype=numpy.float64).tolist()
    labels = numpy.asarray(labels, dtype=numpy.int64).tolist()
    units = len(features[0])
    result = []
    for c in range(units):
        predicted = predictions(features, weight, bias, [other != c for other in range(units)])
        result.append(class_accuracy(predicted, labels, len(bias)))
    return numpy.array(result)


def ranking(drop, features, weight) -> numpy.ndarray:
    """(K, C): units by falling drop (C, K), ties by falling mean contribution W_kc · f̄_c, then the lowest index.

    f̄ is over all images. For a class without images, whose drops are NaN, all units are tied.
    """
    features = numpy.asarray(features, dtype=numpy.float64).tolist()
    drop = numpy.nan_to_num(numpy.asarray(drop, dtype=numpy.float64)).tolist()
    weight = numpy.asarray(weight, dtype=numpy.float64).tolist()
    units = len(features[0])
    mean = [math.fsum(image[c] for image in features) / len(features) for c in range(units)]
    order = []
    for k in range(len(weight)):
        order.append(sorted(range(units), key=lambda c, k=k: (-drop[c][k], -weight[k][c] * mean[c], c)))
    return numpy.array(order)


def balanced_accuracy(predicted: list[int], labels: list[int], k: int) -> float:
    """Mean of the recall on class k's images and the specificity on the others; NaN where either has no image."""
    positives = [guess == k for guess, label in zip(predicted, labels, strict=True) if label == k]
    negatives = [guess != k for guess, label in zip(predicted, labels, strict=True) if label != k]
    if not positives or not negatives:
        return math.nan
    return (sum(positives) / len(positives) + sum(negatives) / len(negatives)) / 2


def group_accuracy(features, weight, bias, labels, order, sizes, keep: bool = False) -> numpy.ndarray:
    """(K, len(sizes)): balanced accuracy of class k without its m first units, or with nothing but them (`keep`)."""
    features = numpy.asarray(features, dtype=numpy.float64).tolist()
    labels = numpy.asarray(labels, dtype=numpy.int64).tolist()
    order = numpy.asarray(order, dtype=numpy.int64).tolist()
    result = []
    for k in range(len(bias)):
        of_class = []
        for size in sizes:
            first = set(order[k][:size])
            kept = [(c in first) == keep for c in range(len(features[0]))]
            of_class.append(balanced_accuracy(predictions(features, weight, bias, kept), labels, k))
        result.append(of_class)
    return numpy.array(result)


def standardised_columns(features) -> dict[int, list[float]]:
    """Each unit's values with mean 0 and variance 1; a unit whose values are all equal has none."""
    features = numpy.asarray(features, dtype=numpy.float64).tolist()
    columns = {}
    for c in range(len(features[0])):
        column = [image[c] for image in features]
        if max(column) == min(column):
            continue
        mean = math.fsum(column) / len(column)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column))
        columns[c] = [(value - mean) / spread for value in column]
    return columns


def explained_share(columns: dict[int, list[float]], chosen: list[int]) -> float:
    """1 − the share of all columns' variance that least squares on the chosen columns leaves."""
    design = numpy.array([columns[c] for c in chosen]).T
    left, total = [], []
    for column in columns.values():
        target = numpy.array(column)
        slopes = numpy.linalg.lstsq(design, target, rcond=1e-10)[0]
        left.append(float(((target - design @ slopes) ** 2).sum()))
        total.append(float((target**2).sum()))
    return 1.0 - math.fsum(left) / math.fsum(total)


def redundancy_order(features) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Order (C,) and explained (C,): at each step the unit after which the chosen ones explain most, ties the lowest.

    Units that are constant come last, in order, and explain nothing more; where all are, explained is NaN.
    """
    columns = standardised_columns(features)
    units = numpy.asarray(features).shape[1]
    chosen, explained = [], []
    while len(chosen) < len(columns):
        best, most = -1, -math.inf
        for candidate in sorted(columns):
            if candidate in chosen:
                continue
            share = explained_share(columns, [*chosen, candidate])
            if share > most + TIE:
                best, most = candidate, share
        chosen.append(best)
        explained.append(most)
    constant = [c for c in range(units) if c not in columns]
    last = explained[-1] if explained else math.nan
    return numpy.array(chosen + constant), numpy.array(explained + [last] * len(constant))
