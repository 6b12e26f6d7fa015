"""Part interpretability, disc by disc and pixel by pixel.

Source: Zhang, Wu, Zhu, "Interpretable Convolutional Neural Networks", CVPR 2018, §5.2: S_f^I is the union of the round
fields of the units with x > T_f, IoU = |S_f^I ∩ S_k^I| / |S_f^I ∪ S_k^I|, P_{f,k} the share of the images with part k
where IoU > 0.2, P_f = max_k P_{f,k}, and the mean over filters is reported.
"""

import math

import numpy

from oracles.network_dissection import Map, upsample

Pixels = set[tuple[int, int]]


def discs(
    x: Map, cutoff: float, size: tuple[int, int], offset: float, stride: float, image_size, radius: float
) -> Pixels:
    """Pixels of a grid of size (H, W) whose centre is within `radius` image pixels of a unit above the cutoff."""
    inside = set()
    for i in range(size[0]):
        for j in range(size[1]):
            across = (j + 0.5) * image_size[1] / size[1]
            down = (i + 0.5) * image_size[0] / size[0]
            for row in range(len(x)):
                for column in range(len(x[0])):
                    squared = (across - offset - stride * column) ** 2 + (down - offset - stride * row) ** 2
                    if x[row][column] > cutoff and squared <= radius**2:
                        inside.add((i, j))
    return inside


def counts(
    maps,
    cutoffs,
    masks,
    labels,
    num_classes: int,
    offset: float,
    stride: float,
    image_size: tuple[int, int],
    radius: float | None,
    iou_threshold: float = 0.2,
) -> dict[str, numpy.ndarray]:
    """hits (C, K, P) and images (K, P) of masks (N, P, H, W); without a radius the upsampled map > T_f is S_f^I."""
    maps = numpy.asarray(maps, dtype=numpy.float64).tolist()
    cutoffs = numpy.asarray(cutoffs, dtype=numpy.float64).tolist()
    masks = numpy.asarray(masks, dtype=bool).tolist()
    labels = numpy.asarray(labels, dtype=numpy.int64).tolist()
    filters, parts = len(cutoffs), len(masks[0])
    size = (len(masks[0][0]), len(masks[0][0][0]))
    hits = numpy.zeros((filters, num_classes, parts), dtype=numpy.int64)
    images = numpy.zeros((num_classes, parts), dtype=numpy.int64)
    for image, of_parts, k in zip(maps, masks, labels, strict=True):
        shown = []
        for mask in of_parts:
            shown.append({(i, j) for i in range(size[0]) for j in range(size[1]) if mask[i][j]})
        for p in range(parts):
            images[k, p] += bool(shown[p])
        for c in range(filters):
            if radius is None:
                large = upsample(image[c], size, offset, stride, image_size)
                region = {(i, j) for i in range(size[0]) for j in range(size[1]) if large[i, j] > cutoffs[c]}
            else:
                region = discs(image[c], cutoffs[c], size, offset, stride, image_size, radius)
            for p in range(parts):
                if shown[p] and len(region & shown[p]) / len(region | shown[p]) > iou_threshold:
                    hits[c, k, p] += 1
    return {"hits": hits, "images": images}


def summary(counted: dict[str, numpy.ndarray], category=None) -> dict:
    """P_f = max over parts, within the filter's category or over all classes together, its part, and the mean.

    A filter without a category (−1), or whose category shows no part, is NaN with the part −1, and out of the mean.
    """
    hits, images = counted["hits"].tolist(), counted["images"].tolist()
    filters, classes, parts = len(hits), len(images), len(images[0])
    per_filter, part = [], []
    for c in range(filters):
        pooled = range(classes) if category is None else [k for k in range(classes) if k == int(category[c])]
        highest, best = math.nan, -1
        for p in range(parts):
            shown = sum(images[k][p] for k in pooled)
            if shown == 0:
                continue
            share = sum(hits[c][k][p] for k in pooled) / shown
            if best < 0 or share > highest:
                highest, best = share, p
        per_filter.append(highest)
        part.append(best)
    known = [share for share in per_filter if not math.isnan(share)]
    return {
        "mean": math.fsum(known) / len(known) if known else math.nan,
        "per_filter": numpy.array(per_filter),
        "part": numpy.array(part),
    }
