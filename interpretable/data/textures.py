"""Coat patterns, lighting and camera noise, computed once for an image size and cut at random for each picture."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PATTERNS = 24  # a third each of plain, stripes and spots
LIGHTS = 12
NOISE_UNIT = 64  # standard deviation of the noise tile in grey levels: integers, so fine steps remain when scaled down
WAVES = 14  # plane waves in a pattern or light: enough that no two cuts look alike


class Textures(NamedTuple):
    """Tiles two canvases wide and high, so that a canvas-sized cut can start anywhere in the first quarter."""

    patterns: NDArray[np.uint8]
    """(PATTERNS, 4S, 4S) at twice the image's resolution: 1 where the second colour shows."""
    lights: NDArray[np.uint16]
    """(LIGHTS, 2S, 2S): brightness times 128."""
    noise: NDArray[np.int16]
    """(3, 2S, 2S): normal noise with a standard deviation of NOISE_UNIT."""


def _waves(frequency: NDArray[np.float64], phase: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Unit-variance sum of plane waves (W, 2), in cycles per canvas, as (side, side) samples over two canvases."""
    position = 2 * np.pi * (np.arange(side) + 0.5) * 2 / side
    x, y = np.multiply.outer(position, frequency[:, 0]), np.multiply.outer(position, frequency[:, 1]) + phase
    field: NDArray[np.float64] = (np.cos(y) @ np.cos(x).T - np.sin(y) @ np.sin(x).T) * np.sqrt(2 / len(phase))
    return field


@cache
def textures(image_size: int) -> Textures:
    """The tiles for an image size: the same functions of place at every size, so that a scene keeps its look."""
    rng = np.random.default_rng(20180618)
    patterns = np.zeros((PATTERNS, 4 * image_size, 4 * image_size), np.uint8)
    for index in range(PATTERNS // 3, PATTERNS):
        striped = index < 2 * PATTERNS // 3
        direction = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.18 if striped else 2, WAVES)
        cycles = rng.uniform(5, 12) * np.exp(rng.normal(0, 0.08 if striped else 0.15, WAVES))
        frequency = np.stack([cycles * np.cos(direction), cycles * np.sin(direction)], axis=1)
        field = _waves(frequency, rng.uniform(0, 2 * np.pi, WAVES), 4 * image_size)
        patterns[index] = field > (0 if striped else 0.7)
    lights = np.empty((LIGHTS, 2 * image_size, 2 * image_size), np.uint16)
    for light in lights:
        field = _waves(rng.normal(0, 0.9, (WAVES, 2)), rng.uniform(0, 2 * np.pi, WAVES), 2 * image_size)
        light[:] = (128 * (1 + 0.16 * field).clip(0.55, 1.5)).astype(np.uint16)
    noise = (NOISE_UNIT * rng.standard_normal((3, 2 * image_size, 2 * image_size))).astype(np.int16)
    return Textures(patterns, lights, noise)
