"""Occlusion, window by window and pixel by pixel.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2: a grey square
slides over the image, and the classifier's output is looked at as a function of its place. A pixel's number is the mean
of the output's falls over the squares that cover it.
"""

from collections.abc import Callable

Image = list[list[list[float]]]


def corners(length: int, side: int, stride: int) -> list[int]:
    """First pixels of windows from 0 on, until one reaches the border."""
    found = [0]
    while found[-1] + side < length:
        found.append(found[-1] + stride)
    return found


def attribution(
    score: Callable[[Image], float], image: Image, window: tuple[int, int], stride: tuple[int, int], baseline: Image
) -> list[list[float]]:
    """A number for each pixel of an image [channel][row][column]; a window hides all channels."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    falls: list[list[list[float]]] = [[[] for _ in range(width)] for _ in range(height)]
    for top in corners(height, window[0], stride[0]):
        for left in corners(width, window[1], stride[1]):
            rows = range(top, min(top + window[0], height))
            columns = range(left, min(left + window[1], width))
            hidden = [[list(row) for row in channel] for channel in image]
            for c in range(channels):
                for i in rows:
                    for j in columns:
                        hidden[c][i][j] = baseline[c][i][j]
            fall = score(image) - score(hidden)
            for i in rows:
                for j in columns:
                    falls[i][j].append(fall)
    return [[sum(of_pixel) / len(of_pixel) for of_pixel in row] for row in falls]
