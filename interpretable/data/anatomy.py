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

PROPORTION_SPREAD = 0.13  # log-normal, per proportion and individual: enough that neighbouring species overlap in any one of them
STOUTNESS_SPREAD = 0.16  # log-normal, common to all widths of an individual: lean and stout ones occur in every species
POSE_SPREAD = 0.22  # radians, standard deviation of each joint: limbs swing visibly without leaving the body


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


# Every kind of part is shared by several species, so that no part alone tells them apart; colour, coat, size and place never do.
SPECIES: dict[str, Species] = {
    "bogstrider": Species("pear", "bill", "", "", "slender leg", 1, "brush tail", Proportions(
        0.76, 0.5, 1.15, 0.38, 0.45, 0.43, 0.55, 0.27, 0.2, 0, 0, 0, 0, 0.84, 0.36, 0.5, 0.38, 0.2, -0.3)),
    "brackhorn": Species("wedge", "snout", "round ear", "cone horn", "stout leg", 2, "whip tail", Proportions(
        0.6, 0.3, 0.6, 0.38, 0.44, 0.39, 0.34, 0.27, 0.2, 0.22, 0.2, 0.72, 0.27, 0.7, 0.2, 0.55, 0.1, -0.6, 0.7)),
    "dunehopper": Species("pear", "snout", "long ear", "", "stout leg", 2, "whip tail", Proportions(
        0.62, 0.36, 0.9, 0.34, 0.46, 0.42, 0.24, 0.26, 0.1, 0.9, 0.27, 0, 0, 0.55, 0.22, 0.8, 0.2, 0.2, 0.9)),
    "fernhart": Species("wedge", "snout", "pointed ear", "antler horn", "slender leg", 2, "brush tail", Proportions(
        0.6, 0.42, 0.95, 0.4, 0.42, 0.4, 0.32, 0.25, 0.15, 0.28, 0.18, 0.85, 0.85, 0.9, 0.3, 0.4, 0.28, 0.2, 0.5)),
    "gruffle": Species("barrel", "trunk", "flap ear", "", "stout leg", 2, "tuft tail", Proportions(
        0.42, 0.36, 0.95, 0.28, 0.37, 0.32, 0.9, 0.18, 1.2, 0.44, 0.27, 0, 0, 0.84, 0.14, 0.42, 0.22, -0.6, 0.8)),
    "loopkin": Species("barrel", "snout", "round ear", "", "slender leg", 2, "whip tail", Proportions(
        0.43, 0.34, 0.8, 0.26, 0.38, 0.34, 0.2, 0.2, 0.1, 0.38, 0.35, 0, 0, 0.7, 0.165, 1.25, 0.16, 0.2, 4.2)),
    "mossback": Species("barrel", "snout", "", "ram horn", "stout leg", 3, "paddle tail", Proportions(
        0.39, 0.38, 0.9, 0.27, 0.37, 0.32, 0.26, 0.21, 0.2, 0, 0, 0.72, 0.21, 0.8, 0.105, 0.48, 0.28, 0.3, 0.4)),
    "willowneck": Species("barrel", "snout", "pointed ear", "", "slender leg", 2, "paddle tail", Proportions(
        0.7, 1.1, 1.1, 0.44, 0.42, 0.4, 0.28, 0.27, 0.2, 0.32, 0.24, 0, 0, 0.74, 0.36, 0.55, 0.36, -0.1, 0.5)),
}  # fmt: skip


def individual(species: Species, rng: np.random.Generator) -> Floats:
    """Draws one animal of a species in one pose.

    Returns:
        (R, 8) strokes from back to front, in torso lengths, the rump at the origin, facing right, y pointing down.
    """
    spread = PROPORTION_SPREAD * rng.standard_normal(len(Proportions._fields)) + STOUTNESS_SPREAD * rng.standard_normal() * _WIDTHS
    size = Proportions(*(np.array(species.proportions) * np.exp(spread)).tolist())
    joints = iter((POSE_SPREAD * rng.standard_normal(20)).tolist())
    strokes: list[tuple[float, ...]] = []

    def add(kind: str, piece: str, x: float, y: float, angle: float, curl: float, length: float, width: float) -> None:
        strokes.append((TEMPLATE_INDEX[kind], PIECE_INDEX[piece], x, y, angle, curl, length, width))

    neck_angle = -size.neck_rise + next(joints)
    nape_x = 0.84 + size.neck_length * cos(neck_angle)
    nape_y = -0.12 * size.torso_height + size.neck_length * sin(neck_angle)
    nod = 0.15 + 0.8 * next(joints)
    forward, upward = (cos(nod), sin(nod)), (sin(nod), -cos(nod))

    def on_head(along: float, above: float) -> tuple[float, float]:
        """A place on the head, in head lengths and heights from the nape."""
        a, b = (along - 0.3) * size.head_length, above * size.head_height
        return nape_x + a * forward[0] + b * upward[0], nape_y + a * forward[1] + b * upward[1]

    hips = np.linspace(0.16, 0.84, max(species.leg_pairs, 2)).tolist() if species.leg_pairs > 1 else [0.42]
    hip_y = 0.18 * size.torso_height
    far_swings, near_swings = ([0.9 * next(joints) for _ in hips] for _ in range(2))
    for hip, swing in zip(hips, far_swings, strict=True):
        add(species.leg, "far legs", hip + 0.1, hip_y - 0.04, pi / 2 + swing, -0.5 * swing, size.leg_length, size.leg_width)
    ear_angle = nod - (2.0 if species.ear != "flap ear" else -2.0) + next(joints)
    ear_curl = 1.5 * next(joints)
    if species.ear:
        add(species.ear, "far ear", *on_head(0.46, 0.3), ear_angle + 0.4, ear_curl, size.ear_length, size.ear_width)
    tail_angle = pi + size.tail_rise + next(joints)
    add(species.tail, "tail", 0.07, -0.12 * size.torso_height, tail_angle, size.tail_curl + 2 * next(joints),
        size.tail_length, size.tail_width)
    add("neck", "torso", 0.84, -0.1 * size.torso_height, neck_angle, 0.0, size.neck_length, size.neck_width)
    add(species.torso, "torso", 0, 0, 0, 0, 1.0, size.torso_height)
    for hip, swing in zip(hips, near_swings, strict=True):
        add(species.leg, "near legs", hip, hip_y, pi / 2 + swing, -0.5 * swing, size.leg_length, size.leg_width)
    add(species.snout, "head", *on_head(0.55, -0.08), nod + 0.5 * size.snout_droop, size.snout_droop + next(joints),
        size.snout_length + 0.35 * size.head_length, size.snout_width)
    add("ellipse", "head", *on_head(0, 0), nod, 0, size.head_length, size.head_height)
    if species.horn == "cone horn":
        add(species.horn, "horn", *on_head(0.95, 0.2), nod - 1.25, -0.5, size.horn_length, size.horn_width)
    elif species.horn:
        curl = 3.6 if species.horn == "ram horn" else -0.2
        add(species.horn, "horn", *on_head(0.5, 0.34), nod - 2.0, -curl, size.horn_length, size.horn_width)
    if species.ear:
        above = 0.36 if species.ear != "flap ear" else 0.2
        add(species.ear, "near ear", *on_head(0.3, above), ear_angle, ear_curl, size.ear_length, size.ear_width)
    eye, pupil = 0.13, 0.075
    eye_x, eye_y = on_head(0.66, 0.14)
    add("ellipse", "eye", eye_x - eye / 2, eye_y, 0, 0, eye, eye)
    add("ellipse", "pupil", eye_x - pupil / 2 + 0.015, eye_y, 0, 0, pupil, pupil)
    return np.array(strokes)
