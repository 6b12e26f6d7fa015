"""Outlines of drawn shapes: unit templates along an axis, bent, turned and moved into place all at once."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STATIONS = 14
"""Places along the axis at which a profile gives its half-width; an outline has twice as many vertices."""

# Half-width of a shape from its base (first number) to its tip (last), as a share of its full width.
PROFILES: dict[str, tuple[float, ...]] = {
    "barrel": (0.14, 0.36, 0.45, 0.49, 0.5, 0.49, 0.45, 0.36, 0.14),
    "wedge": (0.1, 0.26, 0.32, 0.36, 0.41, 0.46, 0.5, 0.45, 0.18),
    "pear": (0.18, 0.45, 0.5, 0.46, 0.41, 0.36, 0.32, 0.26, 0.1),
    "ellipse": (0.0, 0.33, 0.43, 0.48, 0.5, 0.48, 0.43, 0.33, 0.0),
    "neck": (0.5, 0.46, 0.42, 0.38, 0.36, 0.34),
    "snout": (0.5, 0.5, 0.47, 0.43, 0.4, 0.37, 0.34, 0.2),
    "trunk": (0.5, 0.44, 0.38, 0.33, 0.3, 0.28, 0.34, 0.24),
    "bill": (0.46, 0.4, 0.34, 0.28, 0.22, 0.16, 0.1, 0.02),
    "slender leg": (0.5, 0.42, 0.32, 0.26, 0.24, 0.23, 0.23, 0.3, 0.38, 0.3),
    "stout leg": (0.5, 0.48, 0.44, 0.41, 0.4, 0.4, 0.41, 0.44, 0.48, 0.36),
    "round ear": (0.2, 0.4, 0.48, 0.5, 0.48, 0.4, 0.06),
    "pointed ear": (0.44, 0.5, 0.46, 0.38, 0.29, 0.2, 0.1, 0.0),
    "long ear": (0.2, 0.34, 0.42, 0.48, 0.5, 0.48, 0.42, 0.28, 0.02),
    "flap ear": (0.16, 0.26, 0.34, 0.42, 0.48, 0.5, 0.48, 0.38, 0.06),
    "cone horn": (0.5, 0.44, 0.37, 0.3, 0.22, 0.14, 0.07, 0.0),
    "ram horn": (0.5, 0.48, 0.45, 0.41, 0.36, 0.3, 0.22, 0.12, 0.0),
    "tuft tail": (0.14, 0.12, 0.11, 0.1, 0.1, 0.1, 0.12, 0.34, 0.48, 0.42, 0.04),
    "whip tail": (0.5, 0.42, 0.36, 0.31, 0.27, 0.24, 0.2, 0.16, 0.1),
    "brush tail": (0.14, 0.24, 0.36, 0.46, 0.5, 0.5, 0.44, 0.32, 0.14, 0.0),
    "paddle tail": (0.2, 0.18, 0.17, 0.2, 0.32, 0.46, 0.5, 0.46, 0.28),
}

# Antlers branch, so their outline is listed vertex by vertex: along the axis, across it.
ANTLER = (
    (0.0, 0.07), (0.28, 0.07), (0.36, 0.26), (0.5, 0.5), (0.56, 0.46), (0.48, 0.2), (0.47, 0.07),
    (0.64, 0.07), (0.74, 0.2), (0.9, 0.38), (0.95, 0.33), (0.84, 0.1), (0.83, 0.02), (1.0, -0.12),
    (0.97, -0.18), (0.74, -0.06), (0.6, -0.07), (0.68, -0.3), (0.63, -0.35), (0.5, -0.14), (0.44, -0.07),
    (0.25, -0.07), (0.3, -0.22), (0.26, -0.26), (0.16, -0.1), (0.13, -0.07), (0.08, -0.07), (0.0, -0.07),
)  # fmt: skip


def _templates() -> Floats:
    along = (1 - np.cos(np.linspace(0, np.pi, STATIONS))) / 2  # denser at both ends, where outlines are round
    halves = np.stack([np.interp(along, np.linspace(0, 1, len(widths)), widths) for widths in PROFILES.values()])
    there = np.stack(np.broadcast_arrays(along, halves), axis=-1)
    back = np.stack(np.broadcast_arrays(along, -halves), axis=-1)[:, ::-1]
    closed = np.concatenate([np.concatenate([there, back], axis=1), np.array(ANTLER)[None]])
    return np.ascontiguousarray(np.moveaxis(closed, -1, 0))


TEMPLATES = _templates()
"""(2, T, 2·STATIONS): where each template's closed outline runs, 0..1 along its axis and then -0.5..0.5 across it."""

TEMPLATE_INDEX: dict[str, int] = {name: index for index, name in enumerate((*PROFILES, "antler horn"))}


def outlines(strokes: Floats) -> Floats:
    """Bends templates along circular arcs: (R, 8) strokes to (R, 2·STATIONS, 2) vertices in the strokes' own unit.

    Args:
        strokes: One shape a row: index of its template, index of the piece that it paints (not used here), x and y of
            its base, its heading there and the total turn along its axis (radians, clockwise on screen), its length
            and its full width.
    """
    _, _, x, y, angle, curl, length, width = strokes.T[:, :, None]
    template = TEMPLATES[:, strokes[:, 0].astype(np.intp)]
    along, across = template[0], width * template[1]
    turned = curl * along
    normal = angle + turned
    heading = normal - turned / 2
    chord = length * along * np.sinc(turned / (2 * np.pi))  # of an arc: length · sin(turn/2) / (turn/2)
    vertices = np.empty((*along.shape, 2))
    vertices[..., 0] = x + chord * np.cos(heading) - across * np.sin(normal)
    vertices[..., 1] = y + chord * np.sin(heading) + across * np.cos(normal)
    return vertices
