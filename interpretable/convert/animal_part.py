"""The ILSVRC-2013 DET Animal-Part set (Zhang et al. 2018) as its authors distribute it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretable.convert.crops import Box, check_size, crop_of_box
from interpretable.convert.layout import split_by_group
from interpretable.convert.matlab import load_matlab, numbers, structs
from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data.images import open_image
from interpretable.data.splits import Split
from interpretable.errors import DataError

# fmt: off
ANIMALS = {
    "n01443537": "goldfish", "n01503061": "bird", "n01639765": "frog", "n01662784": "turtle",
    "n01674464": "lizard", "n01882714": "koala", "n01982650": "lobster", "n02084071": "dog",
    "n02118333": "fox", "n02121808": "cat", "n02129165": "lion", "n02129604": "tiger", "n02131653": "bear",
    "n02324045": "rabbit", "n02342885": "hamster", "n02355227": "squirrel", "n02374451": "horse",
    "n02391049": "zebra", "n02395003": "swine", "n02398521": "hippopotamus", "n02402425": "cattle",
    "n02411705": "sheep", "n02419796": "antelope", "n02437136": "camel", "n02444819": "otter",
    "n02454379": "armadillo", "n02484322": "monkey", "n02503517": "elephant", "n02509815": "red_panda",
    "n02510455": "giant_panda",
}
# fmt: on
"""Classes by the synset that names their folder."""

PARTS = {"head": "truth_part01.mat", "leg": "truth_part02.mat"}
_WITHOUT_LEGS = "n01443537"
_SIDE = 224  # part boxes are distributed in pixels of the object's crop when that is scaled to this side


@dataclass(frozen=True)
class _Object:
    image: Path
    synset: str
    group: str
    box: Box
    parts: dict[str, tuple[float, ...]]
    """x, y, width, height as shares of the sides of the box."""


def convert_animal_part(
    source: Path, target: Path, *, part_boxes: Path | None = None, size: int | None = 224
) -> Conversion[tuple[_Object, Split]]:
    """Crops of animals with the boxes of heads and (not of goldfish) legs; a landmark is the centre of its box.

    Reads ``<synset>_obj/img/data.mat`` (``samples(i).obj.bndbox`` is the object in ``img/img/<i as 00000>.jpg``) of the
    repository detanimalpart, and ``<synset>/truth_part01.mat`` and ``truth_part02.mat`` (``truth(i).pHW_center`` and
    ``pHW_scale``, y before x, empty where not annotated) of the repository interpretableCNN. Objects whose box has
    fewer than 2,500 pixels are left out, as by the authors, and so is a part that was marked more than once. A photo of
    several objects is distributed once for each: equal files are one group. No split is distributed: about a fifth of
    each class is for testing.

    Args:
        source: the folder with the ``<synset>_obj`` folders.
        target: the folder to write.
        part_boxes: the folder with the ``<synset>`` folders; by default the source.
        size: sides of the crops in pixels; None keeps those of the boxes.

    Raises:
        DataError: a sentence with the file for whatever is not as above.
    """
    check_size(size)
    folders = sorted(source.glob("*_obj"))
    if not folders:
        raise DataError(
            f"{source} was expected to hold the folders <synset>_obj of detanimalpart, but has none; clone it there"
        )
    first: dict[str, str] = {}
    objects = [found for folder in folders for found in _objects(folder, part_boxes or source, first)]
    splits = split_by_group([found.synset for found in objects], [found.group for found in objects])

    def read(step: tuple[_Object, Split]) -> Iterator[AnnotatedImage]:
        found, split = step
        image = open_image(found.image, str(found.image.parent.parent / "data.mat"))
        crop = crop_of_box(found.box, image.size, size)
        if crop is None:
            return
        parts = found.parts.items()
        yield AnnotatedImage(
            stem=found.image.stem,
            image=crop.picture(image),
            size=(crop.width, crop.height),
            label=ANIMALS.get(found.synset, found.synset),
            split=split,
            group=found.group,
            landmarks={part: (x * crop.width, y * crop.height) for part, (x, y, _, _) in parts},
            box_sizes={part: (w * crop.width, h * crop.height) for part, (_, _, w, h) in parts},
        )

    return Conversion(source, target, tuple(PARTS), list(zip(objects, splits, strict=True)), read, boxes=True)


def _objects(folder: Path, part_boxes: Path, first: dict[str, str]) -> Iterator[_Object]:
    """The objects of one class; ``first`` maps the digest of each photo seen to where it was first seen."""
    synset = folder.name.removesuffix("_obj")
    data = folder / "img" / "data.mat"
    samples = structs(load_matlab(data, "samples"), data, ("obj",))
    names = [part for part in PARTS if (part, synset) != ("leg", _WITHOUT_LEGS)]
    truths = {part: part_boxes / synset / PARTS[part] for part in names}
    parts = {part: _parts(path, len(samples)) for part, path in truths.items()}
    for row, sample in enumerate(samples):
        image = folder / "img" / "img" / f"{row + 1:05}.jpg"
        if not image.is_file():
            raise DataError(
                f"{image} was expected, as {data} has {len(samples)} samples, but is not there; clone the images again"
            )
        group = first.setdefault(hashlib.sha256(image.read_bytes()).hexdigest(), f"{synset}/{image.stem}")
        annotated = {part: box for part, boxes in parts.items() if (box := boxes[row]) is not None}
        yield _Object(image, synset, group, _box(sample["obj"], data, row), annotated)


def _box(found: Any, path: Path, row: int) -> Box:
    """MATLAB counts pixels from 1 and includes the last one."""
    try:
        sides = [found["bndbox"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
    except (TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"{path}: samples({row + 1}).obj.bndbox was expected to hold xmin, ymin, xmax and ymax, but does not; the "
            "file is of another data set"
        ) from error
    left, top, right, bottom = (numbers(side, path, f"a side of samples({row + 1})'s box", 1)[0] for side in sides)
    return left - 1, top - 1, right, bottom


def _parts(path: Path, count: int) -> list[tuple[float, ...] | None]:
    """x, y, width, height of a part in each object, as shares of its box."""
    truth = structs(load_matlab(path, "truth"), path, ("pHW_center", "pHW_scale"))
    if len(truth) < count:
        raise DataError(
            f"{path} was expected to have an entry for each of {count} samples, found {len(truth)}; it belongs to "
            "another set of images"
        )
    return [_part(element, path, row) for row, element in enumerate(truth, 1)]


def _part(element: dict[str, Any], path: Path, row: int) -> tuple[float, ...] | None:
    # The authors' code, too, takes a part that has more than one centre for not annotated.
    if _count(element["pHW_center"]) != 2:
        return None
    y, x = numbers(element["pHW_center"], path, f"truth({row}).pHW_center", 2)
    height, width = numbers(element["pHW_scale"], path, f"truth({row}).pHW_scale", 2)
    return tuple(value / _SIDE for value in (x, y, width, height))


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(getattr(value, "size", 1))
