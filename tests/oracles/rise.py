"""RISE, mask by mask.

Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018: section
3.2 for masks (a grid of h × w cells is interpolated to (h + 1)·C_H × (w + 1)·C_W pixels, C_H × C_W being the cell's
size in the image, and cut at a place from (0, 0) to (C_H, C_W)), equation 6 for the weighted sum. The mean score is
taken off.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def mask(grid: Tensor, place: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A mask (H, W) of a grid (cells, cells)."""
    cells = len(grid)
    cell = [-(-length // cells) for length in size]
    enlarged = F.interpolate(
        grid[None, None], [(cells + 1) * side for side in cell], mode="bilinear", align_corners=False
    )[0, 0]
    return enlarged[place[0] : place[0] + size[0], place[1] : place[1] + size[1]]


def attribution(scores: list[float], masks: list[Tensor], probability: float) -> Tensor:
    """A number for each pixel (H, W) from the scores of one image behind each mask."""
    mean = sum(scores) / len(scores)
    total = torch.zeros_like(masks[0])
    for score, seen in zip(scores, masks, strict=True):
        total = total + (score - mean) * seen
    return total / (len(scores) * probability)
