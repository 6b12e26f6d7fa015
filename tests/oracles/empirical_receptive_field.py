"""Empirical receptive field, filter by filter, image by image and place by place of the occluder, in float64.

Source: Zhou, Khosla, Lapedriza, Oliva, Torralba, "Object Detectors Emerge in Deep Scene CNNs", ICLR 2015, §3.2: a
square of random noise slides over an image; the discrepancy of a place is the change of the unit's activation; the
discrepancy maps of a unit's top images are centred on its position in each of them and averaged; what exceeds a
threshold is the field, and the root of its area its size. The places lie on a grid of ``stride`` pixels, so each stands
for the stride × stride pixels about the occluder's central one.
"""

import math
from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]
"""From an image (C, H, W) to maps (C', h, w)."""


def mean_discrepancy(
    network: Network,
    images: list[np.ndarray],
    channel: int,
    unit_offset: float,
    unit_stride: int,
    side: int,
    stride: int,
    noise: np.ndarray,
) -> dict[tuple[int, int], float]:
    """Mean discrepancy of a filter by the pixel's displacement (rows, columns) from the pixel of the peak's centre.

    ``noise`` has a square (C, side, side) in [0, 1) for each place, row by row.
    """
    found: dict[tuple[int, int], list[float]] = {}
    for image in images:
        channels, height, width = image.shape
        activation = network(image)[channel]
        row, column = divmod(int(activation.argmax()), activation.shape[1])
        if activation[row, column] <= 0:
            continue
        y = math.floor(unit_offset + unit_stride * row)
        x = math.floor(unit_offset + unit_stride * column)
        place = 0
        for top in range(0, height - side + 1, stride):
            for left in range(0, width - side + 1, stride):
                occluded = image.copy()
                for c in range(channels):
                    low, high = image[c].min(), image[c].max()
                    for i in range(side):
                        for j in range(side):
                            occluded[c, top + i, left + j] = low + (high - low) * noise[place, c, i, j]
                change = abs(activation[row, column] - network(occluded)[channel, row, column])
                for i in range(stride):
                    for j in range(stride):
                        central = (side - stride) // 2
                        key = top + central + i - y, left + central + j - x
                        found.setdefault(key, []).append(float(change))
                place += 1
    return {key: math.fsum(changes) / len(changes) for key, changes in found.items()}


def size(discrepancy: dict[tuple[int, int], float], threshold: float) -> float:
    """Root of the number of pixels above a share of the largest discrepancy; NaN without an image."""
    if not discrepancy:
        return math.nan
    largest = max(discrepancy.values())
    return math.sqrt(sum(value > threshold * largest for value in discrepancy.values()))
