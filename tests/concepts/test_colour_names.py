import math

import numpy as np
import pytest

from interpretable.concepts.colour_names import COLOURS, PROTOTYPES, cielab, colour_names

# sRGB and CIELAB under D65, as tabulated for the corners of the gamut.
KNOWN = {
    (255, 255, 255): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (53.23, 80.11, 67.22),
    (0, 255, 0): (87.74, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.20, -107.86),
    (128, 128, 128): (53.59, 0, 0),
    (2, 2, 2): (0.55, 0, 0),  # on the straight part of the curve
}


def literal(rgb: tuple[int, ...]) -> list[float]:
    """CIELAB of one colour, step by step."""
    light = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    matrix = [(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]
    x, y, z = (sum(m * c for m, c in zip(row, light, strict=True)) / sum(row) for row in matrix)

    def root(t: float) -> float:
        return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    return [116 * root(y) - 16, 500 * (root(x) - root(y)), 200 * (root(y) - root(z))]


@pytest.mark.parametrize(("rgb", "expected"), KNOWN.items(), ids=str)
def test_cielab_of_known_colours(rgb: tuple[int, ...], expected: tuple[float, ...]) -> None:
    assert cielab(np.array([rgb], np.uint8).T)[:, 0] == pytest.approx(expected, abs=0.02)


def test_pixels_are_named_as_by_the_literal_nearest_prototype() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 20, 15), dtype=np.uint8)
    prototypes = [literal(prototype) for prototype in PROTOTYPES.values()]
    named = colour_names(rgb)
    for row, column in np.ndindex(20, 15):
        pixel = literal(tuple(rgb[:, row, column].tolist()))
        distances = [math.dist(pixel, prototype) for prototype in prototypes]
        assert distances[named[row, column]] == pytest.approx(min(distances), abs=1e-3)


def test_every_prototype_has_its_own_name() -> None:
    rgb = np.array(list(PROTOTYPES.values()), np.uint8).T[:, None]
    assert colour_names(rgb).tolist() == [list(range(11))]


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((100, 100, 100), "grey"),
        ((255, 0, 0), "red"),
        ((0, 128, 0), "green"),
        ((70, 130, 180), "blue"),
        ((139, 69, 19), "brown"),
        ((255, 165, 0), "orange"),
        ((255, 192, 203), "pink"),
        ((128, 0, 128), "purple"),
        ((255, 255, 0), "yellow"),
    ],
)
def test_colours_that_everybody_would_name_alike_have_that_name(rgb: tuple[int, ...], name: str) -> None:
    assert COLOURS[colour_names(np.array(rgb, np.uint8).reshape(3, 1, 1)).item()] == name
