"""Network dissection, pixel by pixel: image, filter and label loops.

Source: Bau, Zhou, Khosla, Oliva, Torralba, "Network Dissection", CVPR 2017, §2: T_c with P(a_c > T_c) = 0.005 on the
layer's own maps, M_c(x) = [upsampled map > T_c], IoU_{c,l} = Σ|M_c ∩ L_l| / Σ|M_c ∪ L_l|, the union over the images
that carry any label of the concept's category. Maps are lists of rows; unit (i, j) is centred on offset + stride · j
pixels across and offset + stride · i down.
"""

import math
from fractions import Fraction

import numpy

Map = list[list[float]]


def thresholds(maps, quantile: float) -> numpy.ndarray:
    """T_c, the (⌊q·n⌋ + 1)-th largest of the filter's n activations; maps (N, C, h, w)."""
    maps = numpy.asarray(maps, dtype=numpy.float64).tolist()
    result = []
    for c in range(len(maps[0])):
        activations = sorted((x for image in maps for row in image[c] for x in row), reverse=True)
        # As a decimal fraction: 0.29 · 100 in binary is less than 29.
        result.append(activations[math.floor(Fraction(str(quantile)) * len(activations))])
    return numpy.array(result)


def bracket(position: float, cells: int, offset: float, stride: float) -> tuple[int, int, float]:
    """The unit centres before and after a position in pixels, and the weight of the second; none beyond the last."""
    place = min(max((position - offset) / stride, 0.0), cells - 1.0)
    before = min(math.floor(place), cells - 1)
    return before, min(before + 1, cells - 1), place - before


def interpolate(x: Map, across: float, down: float, offset: float, stride: float) -> float:
    """Bilinear between the four surrounding unit centres, at one point in image pixels."""
    top, bottom, below = bracket(down, len(x), offset, stride)
    left, right, beside = bracket(across, len(x[0]), offset, stride)
    # Written so that equal neighbours give exactly their value, which is then not above itself as a threshold.
    upper = x[top][left] + (x[top][right] - x[top][left]) * beside
    lower = x[bottom][left] + (x[bottom][right] - x[bottom][left]) * beside
    return upper + (lower - upper) * below


def upsample(x, size: tuple[int, int], offset: float, stride: float, image_size: tuple[int, int]) -> numpy.ndarray:
    """One map (h, w) at the centres of size = (H, W) equal pixels that cover an image of image_size = (H, W) pixels."""
    x = numpy.asarray(x, dtype=numpy.float64).tolist()
    result = numpy.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            across = (j + 0.5) * image_size[1] / size[1]
            down = (i + 0.5) * image_size[0] / size[0]
            result[i, j] = interpolate(x, across, down, offset, stride)
    return result


def has_label(label_map: list[Map], i: int, j: int, label: int) -> bool:
    """Whether any of the image's layers holds the label at the pixel."""
    return any(layer[i][j] == label for layer in label_map)


def counts(
    maps,
    cutoffs,
    label_maps,
    concept_category,
    num_categories: int,
    offset: float,
    stride: float,
    image_size: tuple[int, int],
) -> dict[str, numpy.ndarray]:
    """Pixels: intersection (C, L), unit_area (C, Q) over images with any label of the category, concept_area (L,)."""
    maps = numpy.asarray(maps, dtype=numpy.float64).tolist()
    cutoffs = numpy.asarray(cutoffs, dtype=numpy.float64).tolist()
    label_maps = numpy.asarray(label_maps, dtype=numpy.int64).tolist()
    category_of = numpy.asarray(concept_category, dtype=numpy.int64).tolist()
    filters, concepts = len(cutoffs), len(category_of)
    size = (len(label_maps[0][0]), len(label_maps[0][0][0]))
    pixels = [(i, j) for i in range(size[0]) for j in range(size[1])]
    intersection = numpy.zeros((filters, concepts), dtype=numpy.int64)
    unit_area = numpy.zeros((filters, num_categories), dtype=numpy.int64)
    concept_area = numpy.zeros(concepts, dtype=numpy.int64)
    for image, label_map in zip(maps, label_maps, strict=True):
        regions = []
        for label in range(concepts):
            regions.append({(i, j) for i, j in pixels if has_label(label_map, i, j, label)})
            concept_area[label] += len(regions[label])
        for c in range(filters):
            large = upsample(image[c], size, offset, stride, image_size)
            mask = {(i, j) for i, j in pixels if large[i, j] > cutoffs[c]}
            for label in range(concepts):
                intersection[c, label] += len(mask & regions[label])
            for q in range(num_categories):
                if any(regions[label] for label in range(concepts) if category_of[label] == q):
                    unit_area[c, q] += len(mask)
    return {"intersection": intersection, "unit_area": unit_area, "concept_area": concept_area}


def iou(counted: dict[str, numpy.ndarray], concept_category) -> numpy.ndarray:
    """(C, L): intersection over the union within the category's images, 0 where the union is empty."""
    category_of = numpy.asarray(concept_category, dtype=numpy.int64).tolist()
    result = numpy.zeros(counted["intersection"].shape)
    for c in range(result.shape[0]):
        for label, q in enumerate(category_of):
            shared = int(counted["intersection"][c, label])
            union = int(counted["unit_area"][c, q]) + int(counted["concept_area"][label]) - shared
            result[c, label] = shared / union if union > 0 else 0.0
    return result


def report(scores, concept_category, num_categories: int, threshold: float = 0.04) -> dict:
    """Best concept of each filter over all and within each category, detectors, unique concepts counted both ways.

    Overall, a filter counts for its best concept alone; by category, it may count once in every category. A category
    without concepts has the best concept −1 and the score NaN.
    """
    scores = numpy.asarray(scores, dtype=numpy.float64).tolist()
    category_of = numpy.asarray(concept_category, dtype=numpy.int64).tolist()
    concept, score, detector = [], [], []
    category_concept, category_score = [], []
    named: set[int] = set()
    detectors_per_category = [0] * num_categories
    named_in_category: list[set[int]] = [set() for _ in range(num_categories)]
    for of_filter in scores:
        best = of_filter.index(max(of_filter))
        concept.append(best)
        score.append(of_filter[best])
        detector.append(of_filter[best] > threshold)
        if of_filter[best] > threshold:
            named.add(best)
        best_per_category, score_per_category = [], []
        for q in range(num_categories):
            best, highest = -1, math.nan
            for label in range(len(category_of)):
                if category_of[label] == q and (best < 0 or of_filter[label] > highest):
                    best, highest = label, of_filter[label]
            best_per_category.append(best)
            score_per_category.append(highest)
            if highest > threshold:
                detectors_per_category[q] += 1
                named_in_category[q].add(best)
        category_concept.append(best_per_category)
        category_score.append(score_per_category)
    unique_per_category = [len(concepts) for concepts in named_in_category]
    return {
        "concept": numpy.array(concept),
        "score": numpy.array(score),
        "detector": numpy.array(detector),
        "num_detectors": sum(detector),
        "unique_concepts": len(named),
        "category_concept": numpy.array(category_concept),
        "category_score": numpy.array(category_score),
        "detectors_per_category": numpy.array(detectors_per_category),
        "unique_per_category": numpy.array(unique_per_category),
        "unique_by_category": sum(unique_per_category),
    }
