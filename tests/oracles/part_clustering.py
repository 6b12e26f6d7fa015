"""Agreement of keypoints with the maps that are largest at them: NMI and ARI from their formulas.

Source: the protocol of van der Klis et al., "PDiscoNet", ICCV 2023. NMI = 2 I(U; V) / (H(U) + H(V)); ARI = (index −
expected) / (maximum − expected), counted in pairs (Hubert and Arabie 1985). Both are 1 where 0 / 0 is two equal
partitions (one cluster each, or all items alone); both times 100.
"""

import math

import numpy

from oracles.network_dissection import interpolate


def assign(maps, keypoints, offset: float, stride: float) -> numpy.ndarray:
    """(N, P): the largest of K maps, ties the lowest, at the centre of the keypoint's pixel; −1 where it is absent."""
    maps = numpy.asarray(maps, dtype=numpy.float64).tolist()
    keypoints = numpy.asarray(keypoints, dtype=numpy.float64).tolist()
    result = []
    for image, points in zip(maps, keypoints, strict=True):
        of_image = []
        for x, y in points:
            if math.isnan(x) or math.isnan(y):
                of_image.append(-1)
                continue
            at = [interpolate(part, math.floor(x) + 0.5, math.floor(y) + 0.5, offset, stride) for part in image]
            of_image.append(at.index(max(at)))
        result.append(of_image)
    return numpy.array(result)


def contingency(assignments, num_keypoints: int, num_parts: int) -> numpy.ndarray:
    """(P, K): how often each keypoint was given to each map."""
    table = numpy.zeros((num_keypoints, num_parts), dtype=numpy.int64)
    for of_image in numpy.asarray(assignments).tolist():
        for p, part in enumerate(of_image):
            if part >= 0:
                table[p, part] += 1
    return table


def entropy(counts: list[int]) -> float:
    """−Σ p log p of a partition, in nats."""
    total = sum(counts)
    return -math.fsum(count / total * math.log(count / total) for count in counts if count > 0)


def scores(table) -> dict[str, float]:
    """nmi and ari of a contingency table; NaN for an empty one."""
    table = numpy.asarray(table, dtype=numpy.int64).tolist()
    rows = [sum(row) for row in table]
    columns = [sum(row[k] for row in table) for k in range(len(table[0]))]
    total = sum(rows)
    if total == 0:
        return {"nmi": math.nan, "ari": math.nan}
    terms = []
    for p in range(len(rows)):
        for k in range(len(columns)):
            if table[p][k] > 0:
                terms.append(table[p][k] / total * math.log(table[p][k] * total / (rows[p] * columns[k])))
    entropies = entropy(rows) + entropy(columns)
    nmi = 2 * math.fsum(terms) / entropies if entropies > 0 else 1.0
    together = sum(math.comb(count, 2) for row in table for count in row)
    in_rows, in_columns = sum(math.comb(count, 2) for count in rows), sum(math.comb(count, 2) for count in columns)
    # Times the number of pairs, so that all are whole numbers and 0 / 0 is seen exactly.
    pairs = math.comb(total, 2)
    above_chance = 2 * (together * pairs - in_rows * in_columns)
    most_above_chance = (in_rows + in_columns) * pairs - 2 * in_rows * in_columns
    ari = above_chance / most_above_chance if most_above_chance > 0 else 1.0
    return {"nmi": 100 * nmi, "ari": 100 * ari}
