"""Overlap of the strongest filters of an image, pair by pair."""

import math
from itertools import combinations

from torch import Tensor


def filter_overlap(x: Tensor, scale: list[float], strongest: int) -> float:
    """Mean over images of the mean over pairs of strongest filters of Σ_u p_f(u) p_g(u), with p the softmax over cells.

    Args:
        x: (B, C, h, w).
        scale: One per filter.
        strongest: Filters of an image whose pairs count, those with the highest scale · max x that is above 0.
    """
    total = 0.0
    for image in x.tolist():
        maps = [
            [scale[number] * value for row in filter_map for value in row] for number, filter_map in enumerate(image)
        ]
        firing = sorted((cells for cells in maps if max(cells) > 0), key=max, reverse=True)[:strongest]
        chances = []
        for cells in firing:
            exponentials = [math.exp(value) for value in cells]
            chances.append([value / sum(exponentials) for value in exponentials])
        pairs = list(combinations(chances, 2))
        if pairs:
            total += sum(sum(a * b for a, b in zip(first, second, strict=True)) for first, second in pairs) / len(pairs)
    return total / len(x)
