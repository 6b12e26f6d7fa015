"""`Creatures`: drawn animals whose species is told by the shape of their parts, with exact annotations, offline."""

import hashlib
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image, KeyPoints, Mask

from interpretable.data.anatomy import PARTS, SPECIES
from interpretable.data.drawing import Drawing, paint
from interpretable.data.samples import Sample
from interpretable.data.scene import compose
from interpretable.errors import DataError

SPLITS = ("train", "validation", "test")
SMALLEST_IMAGE = 16  # a part of an animal is then about two pixels
VISIBLE_SHARE = 0.4
"""A landmark is given where at least this share of the part's pixels is not hidden by clutter in front of it."""

_SPECIES = tuple(SPECIES.values())
_PROBES = 8  # images that a fingerprint looks at; enough to notice any change of the drawing


def annotate(drawing: Drawing) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Measures the parts of a drawing.

    Returns:
        Landmarks (P, 2), the centroid of the visible pixels as x and y, NaN where clutter leaves less than
        ``VISIBLE_SHARE`` of the part visible; boxes (P, 4), cxcywh, tight around the visible pixels, NaN where there
        are none; masks (P, S, S) of the visible pixels, disjoint. Pixel i spans [i, i + 1).
    """
    side = len(drawing.part)
    masks = drawing.part == np.arange(1, len(PARTS) + 1, dtype=np.uint8)[:, None, None]
    pixels = masks.astype(np.float32)
    in_column, in_row = pixels.sum(1), pixels @ np.ones(side, np.float32)
    visible = in_row.sum(1)
    centre = np.arange(side, dtype=np.float64) + 0.5
    landmarks = np.stack([in_column @ centre, in_row @ centre], axis=1) / np.maximum(visible, 1)[:, None]
    whole = np.bincount(drawing.part_unoccluded.ravel(), minlength=len(PARTS) + 1)[1:]
    landmarks[visible < np.maximum(VISIBLE_SHARE * whole, 1)] = np.nan
    columns, rows = in_column > 0, in_row > 0
    low = np.stack([columns.argmax(1), rows.argmax(1)], axis=1)
    high = side - np.stack([columns[:, ::-1].argmax(1), rows[:, ::-1].argmax(1)], axis=1)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    boxes[visible == 0] = np.nan
    return landmarks.astype(np.float32), boxes.astype(np.float32), masks


class Creatures:
    """Drawn side views of eight invented animal species; needs no files, and every image is drawn when it is asked for.

    Species differ in the shape of their parts alone: colour, coat pattern, size, place, tilt and heading are drawn
    alike for all of them. An image depends on ``seed``, ``split`` and its index only, so a larger ``size`` adds images
    to the same ones, and ``image_size`` draws the same scene at another resolution. Of each eight successive images one
    shows each species.

    Samples: image uint8 (3, S, S); landmarks (6, 2), the centroid of the part's visible pixels, NaN where the species
    lacks the part or clutter leaves less than ``VISIBLE_SHARE`` of it visible; boxes (6, 4) tight around the visible
    pixels, NaN where there are none; masks (6, S, S) of the visible pixels, disjoint. Coordinates are continuous: pixel
    i spans [i, i + 1).

    Args:
        split: "train", "validation" or "test": independent images.
        size: Number of images.
        image_size: Side S of the square images in pixels, at least 16.
        seed: Another seed draws other images; 0 or more.

    Raises:
        DataError: An argument is outside these ranges.
    """

    classes: ClassVar[tuple[str, ...]] = tuple(SPECIES)
    parts: ClassVar[tuple[str, ...]] = PARTS

    def __init__(self, split: str = "train", size: int = 2000, image_size: int = 64, seed: int = 0) -> None:
        if split not in SPLITS:
            raise DataError(f"Creatures has the splits {', '.join(SPLITS)}, not '{split}': choose one of these.")
        if size < 1:
            raise DataError(f"Creatures needs a size of at least 1 image, found {size}: ask for more images.")
        if image_size < SMALLEST_IMAGE:
            raise DataError(
                f"Creatures draws images of at least {SMALLEST_IMAGE} pixels a side, found image_size {image_size}: "
                "choose a larger one."
            )
        if seed < 0:
            raise DataError(f"Creatures needs a seed of 0 or more, found {seed}: choose such a number.")
        self.split, self.size, self.image_size, self.seed = split, size, image_size, seed

    def _stream(self, *index: int) -> np.random.Generator:
        """Random numbers of one image, or without an index those of the order of labels."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(SPLITS.index(self.split), *index)))

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64, known without drawing: a random order of the species in each eight successive images."""
        rounds = -(-self.size // len(self.classes))
        order = self._stream().random((rounds, len(self.classes))).argsort(axis=1)
        return torch.from_numpy(order.ravel()[: self.size].astype(np.int64))

    @property
    def groups(self) -> Tensor:
        """(N,) int64: every image is a group of its own."""
        return torch.arange(self.size)

    def fingerprint(self) -> str:
        """Hex digest of the arguments, the labels and the first images as they are drawn."""
        digest = hashlib.sha256(repr((self.split, self.size, self.image_size, self.seed, self.classes, PARTS)).encode())
        digest.update(self.labels.numpy().tobytes())
        for index in range(min(_PROBES, self.size)):
            drawing = self.draw(index)
            digest.update(drawing.image.tobytes() + drawing.part.tobytes())
        return digest.hexdigest()

    def draw(self, index: int) -> Drawing:
        """The drawing at a position from 0 to size - 1: the image and what is on each of its pixels.

        Raises:
            IndexError: There is no such position, as iteration needs.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"Creatures has images 0 to {self.size - 1}, not {index}.")
        rng = self._stream(index)
        return paint(compose(_SPECIES[int(self.labels[index])], rng), self.image_size, rng)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        """The image at a position from 0 to size - 1.

        Raises:
            IndexError: There is no such position, as iteration needs.
        """
        drawing = self.draw(index)
        landmarks, boxes, masks = annotate(drawing)
        canvas = (self.image_size, self.image_size)
        return Sample(
            image=Image(torch.from_numpy(drawing.image)),
            label=self.labels[index],
            landmarks=KeyPoints(torch.from_numpy(landmarks), canvas_size=canvas),
            boxes=BoundingBoxes(torch.from_numpy(boxes), format=BoundingBoxFormat.CXCYWH, canvas_size=canvas),
            masks=Mask(torch.from_numpy(masks)),
            index=index,
        )
