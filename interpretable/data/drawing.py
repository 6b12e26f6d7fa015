"""Painting a scene: polygons of surface numbers at twice the resolution, coloured by a palette and averaged down."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from interpretable.data.anatomy import PARTS, PIECES
from interpretable.data.scene import FIRST_CLUTTER, FIRST_OCCLUDER, SURFACES, Scene
from interpretable.data.textures import LIGHTS, NOISE_UNIT, PATTERNS, textures

Bytes = NDArray[np.uint8]
Number = TypeVar("Number", bound=np.generic)

SUPERSAMPLING = 2
EDGE_BRIGHTNESS = 0.45  # where two surfaces meet: outlines as in a picture book; fainter ones are learned more slowly
NOISE = (2.0, 6.5)  # camera noise: its standard deviation in grey levels is drawn from this range
TEXTURES = ("plain", "striped", "spotted")  # a third of the patterns each

_PATTERN, _EDGE = np.uint8(1), np.uint8(2)  # the two low bits of a palette index; the surface is above them

# 1 + part of each surface, 0 for anything that is not the animal; indexed by surface · 4 as it is painted.
_PART_OF = np.zeros(256, np.uint8)
_PART_OF[4 : 4 * FIRST_CLUTTER : 4] = [1 + PARTS.index(part) for part in PIECES.values()]


class Drawing(NamedTuple):
    """A painted scene of S × S pixels."""

    image: Bytes
    """(3, S, S)."""
    part: Bytes
    """(S, S): 1 + index of the visible part, 0 elsewhere."""
    part_unoccluded: Bytes
    """(S, S): the same before anything stands in front of the animal."""
    surface: Bytes
    """(S, S): four times the number of the visible surface."""
    colours: NDArray[np.float64]
    """(SURFACES, 2, 3) of each surface, as in the scene."""
    patterns: tuple[int, int]
    """Numbers of the patterns on the animal and on everything else."""

    def texture(self) -> Bytes:
        """(S, S): index in TEXTURES of the visible surface; a pattern fainter than the loudest noise is plain."""
        coat, ground = (pattern * len(TEXTURES) // PATTERNS for pattern in self.patterns)
        texture = np.full(SURFACES, ground, np.uint8)
        texture[1:FIRST_CLUTTER] = coat
        texture[255 * np.abs(self.colours[:, 1] - self.colours[:, 0]).max(1) < NOISE[1]] = 0
        return texture.take(self.surface >> 2)


def _majority(fine: Bytes) -> Bytes:
    """The most frequent value of each 2 × 2 block (a tie goes to any of the tied)."""
    a, b, c, d = fine[::2, ::2], fine[::2, 1::2], fine[1::2, ::2], fine[1::2, 1::2]
    return np.where((b == c) | (b == d), b, np.where(c == d, c, a))


def _edges(surface: Bytes) -> Bytes:
    """1 where a pixel differs from the one to its left or above it."""
    side, flat = len(surface), surface.ravel()
    edge = np.zeros(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=edge[1:])
    edge[::side] = False  # the left neighbour of a row's first pixel is the end of the row above
    edge[side:] |= flat[side:] != flat[:-side]
    return edge.view(np.uint8).reshape(surface.shape)


def _cut(tile: NDArray[Number], corner: NDArray[np.float64], side: int) -> NDArray[Number]:
    top, left = (corner * side).astype(np.intp).tolist()
    return tile[..., top : top + side, left : left + side]


def paint(scene: Scene, image_size: int, rng: np.random.Generator) -> Drawing:
    """Paints a scene; what is random here is the cut of the textures and the strength of the noise."""
    fine = SUPERSAMPLING * image_size
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    polygons = (scene.vertices * fine).reshape(len(scene.vertices), -1).tolist()
    occluders = int(np.count_nonzero(scene.surfaces >= FIRST_OCCLUDER))
    painted = [4 * surface for surface in scene.surfaces.tolist()]
    split = len(polygons) - occluders
    for polygon, ink in zip(polygons[:split], painted[:split], strict=True):
        pen.polygon(polygon, fill=ink)
    unoccluded = np.array(canvas)
    for polygon, ink in zip(polygons[split:], painted[split:], strict=True):
        pen.polygon(polygon, fill=ink)
    surface = np.array(canvas) if occluders else unoccluded
    whole = _majority(unoccluded)
    visible = _majority(surface) if occluders else whole
    part_unoccluded = _PART_OF.take(whole)
    part = _PART_OF.take(visible) if occluders else part_unoccluded

    tiles = textures(image_size)
    coat, ground, light = rng.integers((PATTERNS, PATTERNS, LIGHTS)).tolist()
    corners, loudness = rng.random((4, 2)), rng.random()
    on_animal = (surface - np.uint8(4) < 4 * FIRST_CLUTTER - 4).view(np.uint8)  # surface 0 wraps around to 252
    coat_pattern = _cut(tiles.patterns[coat], corners[0], fine)
    pattern = _cut(tiles.patterns[ground], corners[1], fine)
    pattern = pattern ^ ((pattern ^ coat_pattern) & on_animal)
    index = surface | pattern * _PATTERN | _edges(surface) * _EDGE

    palette = np.concatenate([scene.colours, EDGE_BRIGHTNESS * scene.colours], axis=1) * 255
    coloured = Image.frombuffer("L", (fine, fine), index.tobytes(), "raw", "L", 0, 1)
    coloured.putpalette(palette.astype(np.uint8).tobytes())
    rgb = np.asarray(coloured.convert("RGB").reduce(SUPERSAMPLING)).transpose(2, 0, 1).astype(np.uint16)
    amplitude = int(256 / NOISE_UNIT * (NOISE[0] + (NOISE[1] - NOISE[0]) * loudness))
    noise = (_cut(tiles.noise, corners[3], image_size) * np.int16(amplitude)) >> 8
    lit = ((rgb * _cut(tiles.lights[light], corners[2], image_size)) >> 7).astype(np.int16) + noise
    image = lit.clip(0, 255).astype(np.uint8)
    return Drawing(image, part, part_unoccluded, visible, scene.colours, (coat, ground))
