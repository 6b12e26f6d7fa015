"""Data sets of concepts by name, as a command takes them: ``creatures``, ``broden:FOLDER``."""

import difflib
from collections.abc import Callable
from typing import Any

from interpretable.concepts.broden import BrodenConcepts
from interpretable.concepts.creatures import CreatureConcepts
from interpretable.concepts.from_parts import PartConcepts
from interpretable.concepts.resizing import Size
from interpretable.concepts.samples import ConceptDataset
from interpretable.concepts.segmentation import PetConcepts, VOCConcepts
from interpretable.data.catalogue import expand
from interpretable.data.creatures import Creatures
from interpretable.data.part_folder import PartAnnotatedFolder
from interpretable.data.splits import Split, check_split
from interpretable.errors import ConfigurationError


def _folder(root: str, image_size: Size, size: Size, split: Split = "test") -> PartConcepts:
    return PartConcepts(PartAnnotatedFolder(root, split), image_size, size)


FOLDERS: dict[str, Callable[..., ConceptDataset]] = {
    "voc": VOCConcepts,
    "pets": PetConcepts,
    "broden": BrodenConcepts,
    "folder": _folder,
}
"""Sets that are read from a folder: ``name:FOLDER``."""

CREATURES = "creatures"


def open_concepts(spec: str, image_size: Size, size: Size, split: Split | None = None) -> ConceptDataset:
    """Opens a data set of concepts by its name.

    Args:
        spec: "creatures", or "voc:FOLDER", "pets:FOLDER", "broden:FOLDER" or "folder:FOLDER" (part-annotated); ~ and
            $VARIABLES in the folder are replaced.
        image_size: (H, W) of the images.
        size: (S, S') of the label maps.
        split: "train", "validation" or "test"; None for what is dissected on as a rule: all of Broden, VOC's val, and
            the test images of the others.

    Raises:
        ConfigurationError: The name is unknown, or a folder is missing or of no use.
        DataError: The folder does not hold the set.
    """
    if split is not None:
        check_split(split)
    name, separator, root = spec.partition(":")
    if name == CREATURES:
        if separator:
            raise ConfigurationError(f"{CREATURES} are drawn, found the folder {root!r}; write {CREATURES} alone")
        return CreatureConcepts(Creatures(split or "test", image_size=max(image_size)), image_size, size)
    if name not in FOLDERS:
        known = [CREATURES, *(f"{known}:FOLDER" for known in FOLDERS)]
        close = difflib.get_close_matches(name, [CREATURES, *FOLDERS], n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]}" if close else "; choose one of them"
        raise ConfigurationError(f"concepts were expected to be {', '.join(known)}, found {spec!r}{hint}")
    if not root:
        raise ConfigurationError(f"{name} is read from files, found {spec!r}; write {name}:FOLDER")
    chosen: dict[str, Any] = {} if split is None else {"split": split}
    return FOLDERS[name](expand(root), image_size, size, **chosen)
