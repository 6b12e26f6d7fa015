"""Part purity, filter by filter and peak by peak.

Source: the definition in the manner of Nauta et al., "PIP-Net", CVPR 2023: of the images with a filter's highest
positive peaks, among those that show any part, the share whose peak lies in the mask of one part, for the best part.
"""

import math


def hits(position: list[float], mask: list[list[bool]], image_size: tuple[int, int]) -> bool:
    """Whether the mask has the pixel that holds a position given in image pixels."""
    height, width = image_size
    column, row = math.floor(position[0] * len(mask[0]) / width), math.floor(position[1] * len(mask) / height)
    return 0 <= row < len(mask) and 0 <= column < len(mask[0]) and mask[row][column]


def purity(
    positions: list, values: list[list[float]], masks: list, image_size: tuple[int, int], top: int
) -> tuple[list[float], list[int], float]:
    """Per filter the largest share over parts and its part (ties the lowest, −1 without a hit), and the mean share."""
    shares, parts = [], []
    for c in range(len(values[0])):
        images = []
        for n in range(len(values)):
            shows_a_part = any(pixel for mask in masks[n] for row in mask for pixel in row)
            if shows_a_part and values[n][c] > 0:
                images.append(n)
        images.sort(key=lambda n, c=c: (-values[n][c], n))
        images = images[:top]
        if not images:
            shares.append(math.nan)
            parts.append(-1)
            continue
        best, best_part = 0.0, -1
        for p in range(len(masks[0])):
            share = sum(hits(positions[n][c], masks[n][p], image_size) for n in images) / len(images)
            if share > best:
                best, best_part = share, p
        shares.append(best)
        parts.append(best_part)
    known = [share for share in shares if not math.isnan(share)]
    return shares, parts, math.fsum(known) / len(known) if known else math.nan
