"""The invented animals of `Creatures`: what each species looks like, and one individual of it in one pose."""

from math import cos, pi, sin
from typing import NamedTuple

import numpy as np

from interpretable.data.outlines import TEMPLATE_INDEX, Floats

PARTS = ("head", "ear", "horn", "torso", "legs", "tail")

PIECES: dict[str, str] = {
    "far legs": "legs",
    "far ear": "ear",
    "tail": "tail",
    "torso": "torso",
    "near legs": "legs",
    "head": "head",
    "horn": "horn",
    "near ear": "ear",
    "eye": "head",
    "pupil": "head",
}
"""The surfaces of an animal, each painted in one colour and pattern, and the part each belongs to."""

PIECE_INDEX = {name: index for index, name in enumerate(PIECES)}

# Individual variation sets how hard the species are to tell apart: with these the quickstart's plain network reaches
# 93 % on held-out images; with 0.13, 0.16, 0.22 and twice the camera noise, 90 %.
PROPORTION_SPREAD = 0.1  # log-normal, of each proportion by itself: neighbouring species overlap in any one of them
STOUTNESS_SPREAD = 0.12  # log-normal, common to all widths: lean and stout individuals occur in every species
POSE_SPREAD = 0.18  # radians, standard deviation of each joint: limbs swing visibly without leaving the body


class Proportions(NamedTuple):
    """Sizes in torso lengths, angles in radians."""

    torso_height: float
    neck_length: float
    neck_rise: float
    neck_width: float
    head_length: float
    head_height: float
    snout_length: float
    snout_width: float
    snout_droop: float
    ear_length: float
    ear_width: float
    horn_length: float
    horn_width: float
    leg_length: float
    leg_width: float
    tail_length: float
    tail_width: float
    tail_rise: float
    tail_curl: float


_WIDTHS = np.array([name.endswith(("width", "height")) for name in Proportions._fields])


class Species(NamedTuple):
    """Kinds are template names; an empty name is a part the species lacks."""

    torso: str
    snout: str
    ear: str
    horn: str
    leg: str
    leg_pairs: int
    tail: str
    proportions: Proportions


# Where a horn grows (along and above the head: nose or crown), its heading from the head's own, and its curl.
_HORNS: dict[str, tuple[tuple[float, float], float, float]] = {
    "cone horn": ((0.95, 0.2), -1.25, -0.5),
    "ram horn": ((0.5, 0.34), -2.0, -3.6),
    "antler horn": ((0.5, 0.34), -2.0, 0.2),
}

# Most kinds of part are shared by species. Colour, coat, size and place never differ. Widths are chosen so that every
# species fills about a third of its bounding box, or the area that it covers would tell it.
SPECIES: dict[str, Species] = {
    "bogstrider": Species("pear", "bill", "", "", "slender leg", 1, "brush tail", Proportions(
        0.82, 0.5, 1.15, 0.4, 0.45, 0.43, 0.55, 0.27, 0.2, 0, 0, 0, 0, 0.84, 0.36, 0.5, 0.38, 0.2, -0.3)),
    "brackhorn": Species("wedge", "snout", "round ear", "cone horn", "stout leg", 2, "whip tail", Proportions(
        0.63, 0.3, 0.6, 0.4, 0.44, 0.39, 0.34, 0.27, 0.2, 0.22, 0.2, 0.72, 0.27, 0.7, 0.215, 0.55, 0.11, -0.6, 0.7)),
    "dunehopper": Species("pear", "snout", "long ear", "", "stout leg", 2, "whip tail", Proportions(
        0.65, 0.36, 0.9, 0.36, 0.46, 0.43, 0.24, 0.26, 0.1, 0.9, 0.27, 0, 0, 0.55, 0.22, 0.8, 0.2, 0.2, 0.9)),
    "fernhart": Species("wedge", "snout", "pointed ear", "antler horn", "slender leg", 2, "brush tail", Proportions(
        0.64, 0.42, 0.95, 0.41, 0.43, 0.4, 0.32, 0.25, 0.15, 0.28, 0.18, 0.85, 0.85, 0.9, 0.3, 0.4, 0.28, 0.2, 0.5)),
    "gruffle": Species("barrel", "trunk", "flap ear", "", "stout leg", 2, "tuft tail", Proportions(
        0.37, 0.42, 0.95, 0.25, 0.36, 0.3, 0.9, 0.16, 1.2, 0.42, 0.24, 0, 0, 0.86, 0.115, 0.44, 0.2, -0.6, 0.8)),
    "loopkin": Species("barrel", "snout", "round ear", "", "slender leg", 2, "whip tail", Proportions(
        0.41, 0.36, 0.8, 0.25, 0.37, 0.33, 0.2, 0.19, 0.1, 0.38, 0.34, 0, 0, 0.72, 0.15, 1.3, 0.16, 0.2, 4.2)),
    "mossback": Species("barrel", "snout", "", "ram horn", "stout leg", 3, "paddle tail", Proportions(
        0.37, 0.4, 0.9, 0.25, 0.36, 0.31, 0.26, 0.2, 0.2, 0, 0, 0.74, 0.2, 0.8, 0.097, 0.5, 0.28, 0.3, 0.4)),
    "willowneck": Species("barrel", "snout", "pointed ear", "", "slender leg", 2, "paddle tail", Proportions(
        0.76, 1.1, 1.1, 0.48, 0.43, 0.4, 0.28, 0.27, 0.2, 0.32, 0.24, 0, 0, 0.74, 0.4, 0.55, 0.38, -0.1, 0.5)),
}  # fmt: skip


def individual(species: Species, rng: np.random.Generator) -> Floats:
    """Draws one animal of a species in one pose.

    Returns:
        (R, 8) strokes from back to front, in torso lengths, the rump at the origin, facing right, y pointing down.
    """
    spread = (
        PROPORTION_SPREAD * rng.standard_normal(len(Proportions._fields))
        + STOUTNESS_SPREAD * rng.standard_normal() * _WIDTHS
    )
    size = Proportions(*(np.array(species.proportions) * np.exp(spread)).tolist())
    joints = iter((POSE_SPREAD * rng.standard_normal(20)).tolist())
    strokes: list[tuple[float, ...]] = []

    def add(
        kind: str, piece: str, base: tuple[float, float], heading: float, curl: float, length: float, width: float
    ) -> None:
        strokes.append((TEMPLATE_INDEX[kind], PIECE_INDEX[piece], *base, heading, curl, length, width))

    neck = -size.neck_rise + next(joints)
    nape = (0.84 + size.neck_length * cos(neck), -0.12 * size.torso_height + size.neck_length * sin(neck))
    nod = 0.15 + 0.8 * next(joints)

    def on_head(along: float, above: float) -> tuple[float, float]:
        """A place on the head: along it from 0 to 1, above its axis in head heights."""
        forward, upward = (along - 0.3) * size.head_length, above * size.head_height
        return nape[0] + forward * cos(nod) + upward * sin(nod), nape[1] + forward * sin(nod) - upward * cos(nod)

    hips = np.linspace(0.16, 0.84, species.leg_pairs).tolist() if species.leg_pairs > 1 else [0.42]
    far_swings, near_swings = ([0.9 * next(joints) for _ in hips] for _ in range(2))

    def add_legs(piece: str, swings: list[float], shift: float, rise: float) -> None:
        for hip, swing in zip(hips, swings, strict=True):
            base = (hip + shift, 0.18 * size.torso_height - rise)
            add(species.leg, piece, base, pi / 2 + swing, -0.5 * swing, size.leg_length, size.leg_width)

    hanging = species.ear == "flap ear"
    ear, ear_curl = nod + (2.0 if hanging else -2.0) + next(joints), 1.5 * next(joints)
    tail, tail_curl = pi + size.tail_rise + next(joints), size.tail_curl + 2 * next(joints)
    tail_base, neck_base = (0.07, -0.12 * size.torso_height), (0.84, -0.1 * size.torso_height)
    snout, snout_curl = nod + 0.5 * size.snout_droop, size.snout_droop + next(joints)
    snout_length = size.snout_length + 0.35 * size.head_length  # the first part of it is inside the head

    add_legs("far legs", far_swings, shift=0.1, rise=0.04)
    if species.ear:
        add(species.ear, "far ear", on_head(0.46, 0.3), ear + 0.4, ear_curl, size.ear_length, size.ear_width)
    add(species.tail, "tail", tail_base, tail, tail_curl, size.tail_length, size.tail_width)
    add("neck", "torso", neck_base, neck, 0, size.neck_length, size.neck_width)
    add(species.torso, "torso", (0, 0), 0, 0, 1, size.torso_height)
    add_legs("near legs", near_swings, shift=0, rise=0)
    add(species.snout, "head", on_head(0.55, -0.08), snout, snout_curl, snout_length, size.snout_width)
    add("ellipse", "head", on_head(0, 0), nod, 0, size.head_length, size.head_height)
    if species.horn:
        base, heading, curl = _HORNS[species.horn]
        add(species.horn, "horn", on_head(*base), nod + heading, curl, size.horn_length, size.horn_width)
    if species.ear:
        base = (0.3, 0.2 if hanging else 0.36)
        add(species.ear, "near ear", on_head(*base), ear, ear_curl, size.ear_length, size.ear_width)
    eye_x, eye_y = on_head(0.66, 0.14)
    add("ellipse", "eye", (eye_x - 0.065, eye_y), 0, 0, 0.13, 0.13)
    add("ellipse", "pupil", (eye_x - 0.0225, eye_y), 0, 0, 0.075, 0.075)
    return np.array(strokes)
