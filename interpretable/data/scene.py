"""One picture before it is painted: an animal placed on the canvas among clutter, and a colour for every surface."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interpretable.data.anatomy import PIECE_INDEX, Species, individual
from interpretable.data.outlines import TEMPLATE_INDEX, Floats, outlines

# The animal's bounding box before clutter hides any of it. Its sides are drawn and the animal is stretched to fit, so
# that neither size nor aspect says anything about the species.
BOX_AREA = (0.26, 0.48)  # share of the canvas: parts of 4 to 20 pixels at 64
BOX_ASPECT = 0.14  # spread of log(width / height): stretching an animal further spoils its looks
BOX_LONGEST = 0.92  # of the canvas side
TILT = 0.16  # radians, standard deviation: a walking animal on a slope

# Most pictures hold a loose part, and often something hides a bit of the animal. Set by the score of the quickstart's
# plain network, to stay between 85 and 97 %: more clutter keeps it at chance for longer before it learns.
CLUTTER_BEHIND = 6  # shapes behind the animal
LOOSE_SHARE = 0.3  # chance that one of them is a loose part of an animal, so that one part alone is no evidence
OCCLUDERS = 3  # at most this many shapes in front, uniformly many

# Length as a share of the canvas, and width as a share of the length.
SCENERY = {"ellipse": (0.3, 0.6), "whip tail": (0.5, 0.08), "snout": (0.22, 0.5), "neck": (0.45, 0.1)}
LOOSE_PARTS = {
    "round ear": (0.1, 0.9), "pointed ear": (0.1, 0.55), "long ear": (0.16, 0.35), "flap ear": (0.13, 0.7),
    "cone horn": (0.12, 0.4), "ram horn": (0.16, 0.35), "antler horn": (0.17, 0.9), "slender leg": (0.22, 0.24),
    "stout leg": (0.18, 0.38), "whip tail": (0.26, 0.15), "tuft tail": (0.18, 0.4), "brush tail": (0.15, 0.6),
    "paddle tail": (0.18, 0.5), "trunk": (0.16, 0.45), "bill": (0.13, 0.45), "ellipse": (0.13, 0.9),
}  # fmt: skip
FOLIAGE = {"ellipse": (0.26, 0.5), "whip tail": (0.6, 0.07), "pointed ear": (0.26, 0.3), "neck": (0.6, 0.06)}

# Hues as start and extent on the colour circle (0 red, 1/3 green, 2/3 blue), the same for every species. Coats and
# loose parts are warm and all else is cool, which tells where an animal may be and not which. With all hues for both,
# the quickstart's network stayed at chance.
COAT_HUES = (-0.09, 0.22)
SCENE_HUES = (0.2, 0.5)
OWN_COLOUR = 0.2  # chance that a piece of the animal has a colour of its own
PATTERN_CONTRAST = 0.4  # a pattern is lighter or darker than its surface by up to half of this share

# Surfaces are numbered: 0 the background, then the animal's pieces, the clutter behind it and the occluders.
FIRST_CLUTTER = 1 + len(PIECE_INDEX)
FIRST_OCCLUDER = FIRST_CLUTTER + CLUTTER_BEHIND
SURFACES = FIRST_OCCLUDER + OCCLUDERS

_FAR = np.array([1 + PIECE_INDEX[name] for name in ("far legs", "far ear")])
_EYE, _PUPIL = 1 + PIECE_INDEX["eye"], 1 + PIECE_INDEX["pupil"]
_CLUTTER = np.array(
    [(TEMPLATE_INDEX[name], *size) for kinds in (SCENERY, LOOSE_PARTS, FOLIAGE) for name, size in kinds.items()]
)


class Scene(NamedTuple):
    """What to paint, from back to front; lengths in canvas sides."""

    vertices: Floats
    """(R, V, 2) outlines as x, y."""
    surfaces: NDArray[np.int64]
    """(R,) the surface that each outline paints: 1.. the animal's pieces, then clutter, then occluders."""
    colours: Floats
    """(SURFACES, 2, 3) RGB in 0..1 of each surface and of the pattern on it; surface 0 is the background."""


def place(vertices: Floats, rng: np.random.Generator) -> Floats:
    """Mirrors an animal (half of the time), tilts it, stretches it to a drawn bounding box and puts it anywhere."""
    mirror, area, x, y = rng.random(4).tolist()
    tilt, aspect = (rng.standard_normal(2) * (TILT, BOX_ASPECT)).tolist()
    cos, sin = np.cos(tilt), np.sin(tilt)
    facing = 1 if mirror < 0.5 else -1
    vertices = vertices @ np.array([[facing * cos, facing * sin], [-sin, cos]])
    low, high = vertices.min((0, 1)), vertices.max((0, 1))
    side = np.sqrt(BOX_AREA[0] + (BOX_AREA[1] - BOX_AREA[0]) * area)
    box = np.minimum(side * np.exp(np.array([aspect, -aspect]) / 2), BOX_LONGEST)
    corner = (1 - box) * (x, y)
    placed: Floats = (vertices - low) * (box / (high - low)) + corner
    return placed


def _clutter(loose: NDArray[np.bool_], occluders: int, rng: np.random.Generator) -> Floats:
    """Strokes (CLUTTER_BEHIND + occluders, 8) anywhere on the canvas."""
    count = len(loose) + occluders
    first = np.full(count, len(SCENERY) + len(LOOSE_PARTS))
    kinds = np.full(count, len(FOLIAGE))
    first[: len(loose)] = np.where(loose, len(SCENERY), 0)
    kinds[: len(loose)] = np.where(loose, len(LOOSE_PARTS), len(SCENERY))
    even, normal = rng.random((4, count)), rng.standard_normal((3, count))
    strokes = np.zeros((count, 8))
    strokes[:, 0], length, ratio = _CLUTTER[first + (kinds * even[0]).astype(np.intp)].T
    strokes[:, 2:5] = even[1:].T * (1.1, 1.1, 2 * np.pi) - (0.05, 0.05, 0)
    strokes[:, 5] = 0.5 * normal[0]
    strokes[:, 6] = length * np.exp(0.3 * normal[1])
    strokes[:, 7] = strokes[:, 6] * ratio * np.exp(0.15 * normal[2])
    return strokes


def _colours(loose: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Colours of all surfaces, drawn in the same way whatever the species; loose parts have the colours of coats."""
    hue, value, chroma, draw = rng.random((4, SURFACES))
    animal = slice(1, FIRST_CLUTTER)
    own_colour = draw[animal] < OWN_COLOUR
    coated = np.zeros(SURFACES, bool)
    coated[animal] = True
    coated[FIRST_CLUTTER:FIRST_OCCLUDER] = loose
    hue = np.where(coated, COAT_HUES[0], SCENE_HUES[0]) + hue * np.where(coated, COAT_HUES[1], SCENE_HUES[1])
    value = 0.22 + 0.6 * value
    # The coat is never as light as the background, or the animal would be lost rather than hard to see.
    coat_value = (value[0] - 0.22 + 0.6 * (0.3 + 0.4 * draw[0])) % 0.6 + 0.22
    hue[animal] = np.where(own_colour, hue[animal], hue[1])
    value[animal] = np.where(own_colour, value[animal], coat_value)
    chroma[animal] = np.where(own_colour, chroma[animal], chroma[1])
    value[_FAR] *= 0.75
    phase = 2 * np.pi * (hue[:, None] - np.array([0, 1 / 3, 2 / 3]))
    plain = value[:, None] * (1 + (0.25 + 0.3 * chroma[:, None]) * np.cos(phase))
    plain[_EYE], plain[_PUPIL] = 0.97, 0.06
    contrast = PATTERN_CONTRAST * (rng.random((SURFACES, 1)) - 0.5)
    contrast[animal] = contrast[1]
    contrast[[_EYE, _PUPIL]] = 0
    return np.stack([plain, plain * (1 + contrast)], axis=1).clip(0, 1)


def compose(species: Species, rng: np.random.Generator) -> Scene:
    """Draws a scene with one animal of the species."""
    animal = individual(species, rng)
    loose = rng.random(CLUTTER_BEHIND) < LOOSE_SHARE
    occluders = int(rng.integers(OCCLUDERS + 1))
    clutter = _clutter(loose, occluders, rng)
    vertices = outlines(np.concatenate([clutter[:CLUTTER_BEHIND], animal, clutter[CLUTTER_BEHIND:]]))
    middle = slice(CLUTTER_BEHIND, CLUTTER_BEHIND + len(animal))
    vertices[middle] = place(vertices[middle], rng)
    surfaces = np.empty(len(vertices), np.int64)
    surfaces[:CLUTTER_BEHIND] = np.arange(FIRST_CLUTTER, FIRST_OCCLUDER)
    surfaces[middle] = 1 + animal[:, 1]
    surfaces[middle.stop :] = np.arange(FIRST_OCCLUDER, FIRST_OCCLUDER + occluders)
    return Scene(vertices, surfaces, _colours(loose, rng))
