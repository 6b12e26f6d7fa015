"""Equivariance of part filters, cell by cell.

Cell (i, j) of a feature map lies at the pixel (x, y) = (offset + stride · j, offset + stride · i) of its image. An
affine map, six numbers in shares of the image (−1 and 1 are its borders along either axis), takes a point of the moved
image to the point of the original that it shows. What the moved image's map should hold in a cell is the original's
map at that point, bilinear between the cells round it. Cells that show points beyond the outermost cells' centres do
not count; a thousandth of a cell is left to rounding. The cost of an image is 1 − the cosine between what a filter's
map holds and what it should hold; images on which either is zero, or with less than a quarter of the cells, do not
count.
"""

import math

Map = list[list[float]]


def shown_point(
    affine: list[list[float]], x: float, y: float, image_height: int, image_width: int
) -> tuple[float, float]:
    """The pixel of the original that the pixel (x, y) of the moved image shows."""
    across = x / (image_width / 2) - 1
    down = y / (image_height / 2) - 1
    shown_across = affine[0][0] * across + affine[0][1] * down + affine[0][2]
    shown_down = affine[1][0] * across + affine[1][1] * down + affine[1][2]
    return (shown_across + 1) * image_width / 2, (shown_down + 1) * image_height / 2


def bilinear(map_: Map, row: float, column: float) -> float:
    """The value between cells; row and column are within the map."""
    top, left = math.floor(row), math.floor(column)
    value = 0.0
    for i in (top, top + 1):
        for j in (left, left + 1):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            if weight > 0:
                value += weight * map_[i][j]
    return value


def held_and_expected(
    original: Map,
    moved: Map,
    affine: list[list[float]],
    offset: float,
    stride: int,
    image_size: tuple[int, int],
) -> tuple[list[float], list[float]]:
    """What the moved image's map holds in each cell that counts, and what it should hold."""
    height, width = len(original), len(original[0])
    held, expected = [], []
    for i in range(height):
        for j in range(width):
            x, y = shown_point(affine, offset + stride * j, offset + stride * i, *image_size)
            column, row = (x - offset) / stride, (y - offset) / stride
            if not -0.001 <= column <= width - 1 + 0.001:
                continue
            if not -0.001 <= row <= height - 1 + 0.001:
                continue
            held.append(moved[i][j])
            expected.append(bilinear(original, min(max(row, 0.0), height - 1.0), min(max(column, 0.0), width - 1.0)))
    return held, expected


def equivariance_loss(
    x: list[list[Map]],
    moved: list[list[Map]],
    affine_maps: list[list[list[float]]],
    offset: float,
    stride: int,
    image_size: tuple[int, int],
) -> list[float]:
    """The loss of each filter; ``x[b][c]`` is the map of filter c on image b."""
    losses = []
    for c in range(len(x[0])):
        total, images = 0.0, 0
        for b in range(len(x)):
            held, expected = held_and_expected(x[b][c], moved[b][c], affine_maps[b], offset, stride, image_size)
            cells = len(x[b][c]) * len(x[b][c][0])
            if len(held) < cells / 4:
                continue
            if sum(held) == 0 or sum(expected) == 0:
                continue
            product = sum(p * q for p, q in zip(held, expected, strict=True))
            lengths = math.sqrt(sum(p * p for p in held)) * math.sqrt(sum(q * q for q in expected))
            total += 1 - product / lengths
            images += 1
        losses.append(total / images if images else 0.0)
    return losses
