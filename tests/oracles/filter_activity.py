"""Activity of filters, cell by cell: sparsity, silence, Treves-Rolls sparseness and the spread of the peaks.

Sources: Treves & Rolls, "What determines the capacity of autoassociative memories in the brain?", Network 1991, whose
sparseness is (Σ r/n)² / Σ(r²/n) of the rates r to n stimuli; the rest are plain definitions.
"""

import math
from typing import Any

Map = list[list[float]]


def strongest(x: Map) -> tuple[float, int, int]:
    """Value, row and column of the largest cell, the first one in reading order."""
    best = (x[0][0], 0, 0)
    for i, row in enumerate(x):
        for j, value in enumerate(row):
            if value > best[0]:
                best = (value, i, j)
    return best


def mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def activity(maps: list[list[Map]], offset: float, stride: float, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Of maps [image][filter][row][column] and the images' (height, width); NaN where nothing counts."""
    images, filters = len(maps), len(maps[0])
    peaks = [[strongest(x) for x in of_image] for of_image in maps]
    sparsity, silent, treves_rolls, spread = [], [], [], []
    for c in range(filters):
        cells = [value for n in range(images) for row in maps[n][c] for value in row]
        sparsity.append(sum(value <= 0 for value in cells) / len(cells))
        silent.append(sum(peaks[n][c][0] <= 0 for n in range(images)) / images)
        rates = [max(peaks[n][c][0], 0.0) for n in range(images)]
        energy = mean([rate**2 for rate in rates])
        treves_rolls.append(mean(rates) ** 2 / energy if energy else math.nan)
        places = []
        for n in range(images):
            value, i, j = peaks[n][c]
            if value > 0:
                height, width = sizes[n]
                x, y = offset + stride * j - width / 2, offset + stride * i - height / 2
                diagonal = math.sqrt(height**2 + width**2)
                places.append((x / diagonal, y / diagonal))
        centre = (mean([x for x, _ in places]), mean([y for _, y in places]))
        distances = [(x - centre[0]) ** 2 + (y - centre[1]) ** 2 for x, y in places]
        spread.append(math.sqrt(mean(distances)) if places else math.nan)
    cells_of_peaks = []
    for n in range(images):
        cells_of_peaks.append(len({(i, j) for value, i, j in peaks[n] if value > 0}))
    return {
        "sparsity": sparsity,
        "silent": silent,
        "dead": mean([float(share == 1) for share in silent]),
        "treves_rolls": treves_rolls,
        "spread": spread,
        "mean_spread": mean([value for value in spread if not math.isnan(value)]),
        "distinct_cells": mean([float(count) for count in cells_of_peaks]),
    }
