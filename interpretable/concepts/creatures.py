"""Concepts of drawn creatures: parts, species, colours and textures, all known from the drawing."""

import hashlib

import numpy as np
import torch

from interpretable.concepts.colour_names import COLOURS, colour_names
from interpretable.concepts.fingerprints import digest
from interpretable.concepts.resizing import Size, check_sizes, make_concept_sample, nearest_pixels
from interpretable.concepts.samples import ConceptSample, concept_table
from interpretable.data.creatures import Creatures
from interpretable.data.drawing import TEXTURES

_PROBES = 4  # samples that a fingerprint looks at: any change of how pixels are named shows in the first


class CreatureConcepts:
    """Four layers for every image of Creatures, one a category.

    * part: the visible part of the animal, as in the samples' masks;
    * object: the species, on all of its visible parts;
    * colour: the name of the image's pixel as it is drawn, with light, outline and noise (``colour_names``);
    * texture: plain, striped or spotted, of animal and scenery alike; what is fainter than the noise is plain.

    Where the label maps' size is another than the drawing's, its nearest pixels are taken.

    Args:
        creatures: The images.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps.
    """

    def __init__(self, creatures: Creatures, image_size: Size, size: Size) -> None:
        check_sizes(image_size, size)
        table = concept_table(
            {"part": creatures.parts, "object": creatures.classes, "colour": COLOURS, "texture": TEXTURES}
        )
        self.concepts, self.categories, self.concept_category, self._first = table
        self.classes = creatures.classes
        self._creatures = creatures
        self._image_size, self._size = image_size, size

    def fingerprint(self) -> str:
        """Hex digest of the creatures, the sizes, the concepts and the first label maps."""
        maps = b"".join(self[index]["label_maps"].numpy().tobytes() for index in range(min(_PROBES, len(self))))
        facts = (self._creatures.fingerprint(), self._image_size, self._size, self.concepts)
        return digest((*facts, hashlib.sha256(maps).hexdigest()))

    def __len__(self) -> int:
        return len(self._creatures)

    def __getitem__(self, index: int) -> ConceptSample:
        drawing = self._creatures.draw(index)
        label = int(self._creatures.labels[index])
        part = nearest_pixels(drawing.part, self._size).astype(np.int64)
        _, species, colours, textures = self._first
        layers = [
            part - 1,
            np.where(part > 0, species + label, -1),
            colours + colour_names(nearest_pixels(drawing.image, self._size)),
            textures + nearest_pixels(drawing.texture(), self._size).astype(np.int64),
        ]
        return make_concept_sample(torch.from_numpy(drawing.image), np.stack(layers), label, index, self._image_size)
