"""PASCAL-Part (Chen et al., "Detect What You Can", CVPR 2014): VOC 2010 photographs with masks of parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interpretable.convert.crops import box_of_mask, check_size, crop_of_box
from interpretable.convert.layout import find_folder, split_by_group
from interpretable.convert.matlab import load_matlab, structs
from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data.images import open_image
from interpretable.data.splits import Split
from interpretable.errors import DataError

# fmt: off
OWN_PARTS = {
    "head": "head", "leye": "left eye", "reye": "right eye", "lear": "left ear", "rear": "right ear", "beak": "beak",
    "nose": "nose", "muzzle": "muzzle", "lhorn": "left horn", "rhorn": "right horn", "torso": "torso", "neck": "neck",
    "lwing": "left wing", "rwing": "right wing", "lleg": "left leg", "rleg": "right leg", "lfoot": "left foot",
    "rfoot": "right foot", "lfleg": "left fore leg", "rfleg": "right fore leg", "lbleg": "left hind leg",
    "rbleg": "right hind leg", "lfpa": "left fore paw", "rfpa": "right fore paw", "lbpa": "left hind paw",
    "rbpa": "right hind paw", "lfuleg": "left fore upper leg", "rfuleg": "right fore upper leg",
    "lflleg": "left fore lower leg", "rflleg": "right fore lower leg", "lbuleg": "left hind upper leg",
    "rbuleg": "right hind upper leg", "lblleg": "left hind lower leg", "rblleg": "right hind lower leg",
    "lfho": "left fore hoof", "rfho": "right fore hoof", "lbho": "left hind hoof", "rbho": "right hind hoof",
    "tail": "tail",
}
"""The animals' parts as the annotations name them, and spelt out, so that a mirror knows left from right."""

_HEAD = ("head", "leye", "reye", "lear", "rear", "nose", "muzzle", "lhorn", "rhorn")
_PAWED = {
    "head": _HEAD, "torso": ("torso", "neck"), "fore leg": ("lfleg", "lfpa", "rfleg", "rfpa"),
    "hind leg": ("lbleg", "lbpa", "rbleg", "rbpa"), "tail": ("tail",),
}
_HOOFED = {
    "head": _HEAD, "torso": ("torso", "neck"),
    "fore leg": ("lfuleg", "lflleg", "rfuleg", "rflleg", "lfho", "rfho"),
    "hind leg": ("lbuleg", "lblleg", "rbuleg", "rblleg", "lbho", "rbho"),
}
_WINGED = {
    "head": ("head", "leye", "reye", "beak"), "torso": ("torso", "neck", "lwing", "rwing"),
    "leg": ("lleg", "lfoot", "rleg", "rfoot"), "tail": ("tail",),
}
MERGED_PARTS = {
    "bird": _WINGED, "cat": _PAWED, "cow": _HOOFED, "dog": _PAWED, "horse": _HOOFED, "sheep": _HOOFED,
}
# fmt: on
"""The parts of each class that part interpretability is measured with (Zhang et al. 2018, section 5.2)."""


def convert_voc_part(
    source: Path, target: Path, *, size: int | None = 224, merge_parts: bool = True
) -> Conversion[tuple[Path, Split]]:
    """Crops of the six animals with masks of their parts; a landmark is the centre of the box around its mask.

    Reads ``Annotations_Part/*.mat`` (``anno.objects(i)`` with ``class``, ``mask`` and ``parts(j)`` with ``part_name``
    and ``mask``) and VOC 2010's ``JPEGImages`` and ``ImageSets/Main``: its train split is for training and its val
    split for testing; without those lists about a fifth of the photos is. An object's box is the one around its mask;
    objects whose box has fewer than 2,500 pixels are left out. Crops of one photo are a group.

    Args:
        source: the folder with ``Annotations_Part`` (or ``trainval/Annotations_Part``) and ``JPEGImages`` (or
            ``VOCdevkit/VOC2010/JPEGImages``).
        target: the folder to write.
        size: sides of the crops in pixels; None keeps those of the boxes.
        merge_parts: whether an animal has the four or five merged parts of the paper, where of parts that overlap the
            later one in the file owns the pixels, or those that were annotated, eyes and neck among them.

    Raises:
        DataError: a sentence with the file for whatever is not as above.
    """
    check_size(size)
    annotations = find_folder(source, ("Annotations_Part", "trainval/Annotations_Part"), "PASCAL-Part's annotations")
    images = find_folder(
        source, ("JPEGImages", "VOC2010/JPEGImages", "VOCdevkit/VOC2010/JPEGImages"), "VOC 2010's photos"
    )
    files = sorted(annotations.glob("*.mat"))
    steps = list(zip(files, _splits(files, images.parent / "ImageSets" / "Main"), strict=True))
    merged = dict.fromkeys(part for parts in MERGED_PARTS.values() for part in parts)

    def read(step: tuple[Path, Split]) -> Iterator[AnnotatedImage]:
        file, split = step
        animals = [
            (number, found) for number, found in enumerate(_objects(file), 1) if str(found["class"]) in MERGED_PARTS
        ]
        if not animals:
            return
        image = open_image(images / f"{file.stem}.jpg", str(file))
        for number, found in animals:
            box = box_of_mask(_mask(found["mask"], file, image.size))
            crop = None if box is None else crop_of_box(box, image.size, size)
            if crop is None:
                continue
            masks = _part_masks(found, file, image.size, merge_parts)
            boxes = {part: crop.box(box) for part, mask in masks.items() if (box := box_of_mask(mask)) is not None}
            yield AnnotatedImage(
                stem=f"{file.stem}_{number}",
                image=crop.picture(image),
                size=(crop.width, crop.height),
                label=str(found["class"]),
                split=split,
                group=file.stem,
                landmarks={part: centre for part, (centre, _) in boxes.items()},
                box_sizes={part: sides for part, (_, sides) in boxes.items()},
                masks={part: crop.mask(masks[part]) for part in boxes},
            )

    return Conversion(source, target, tuple(merged if merge_parts else OWN_PARTS.values()), steps, read, boxes=True)


def _objects(file: Path) -> list[dict[str, Any]]:
    annotations = structs(load_matlab(file, "anno"), file, ("objects",))
    return [found for entry in annotations for found in structs(entry["objects"], file, ("class", "mask", "parts"))]


def _part_masks(
    found: dict[str, Any], file: Path, image_size: tuple[int, int], merge_parts: bool
) -> dict[str, NDArray[np.bool_]]:
    """(H, W) of the image for each part of one object."""
    kind = str(found["class"])
    merged = {name: part for part, names in MERGED_PARTS[kind].items() for name in names}
    masks: dict[str, NDArray[np.bool_]] = {}
    for element in structs(found["parts"], file, ("part_name", "mask")):
        name = str(element["part_name"])
        if name not in OWN_PARTS:
            raise DataError(f"{file}: a part of a {kind} was expected, found {name!r}; get the annotations again")
        mask = _mask(element["mask"], file, image_size)
        if not merge_parts:
            masks[OWN_PARTS[name]] = mask
            continue
        masks = {part: earlier & ~mask for part, earlier in masks.items()}
        if name in merged:
            masks[merged[name]] = masks.get(merged[name], np.zeros_like(mask)) | mask
    return masks


def _mask(value: Any, file: Path, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.asarray(value)
    if mask.shape != image_size[::-1]:
        raise DataError(
            f"{file}: a mask of the {image_size[0]}x{image_size[1]} pixels of its photo was expected, found one of "
            f"{'x'.join(map(str, mask.shape[::-1]))}; the photos are of another year's distribution"
        )
    return np.asarray(mask != 0, dtype=bool)


def _splits(files: list[Path], lists: Path) -> list[Split]:
    """VOC's train is for training, its val for testing; by a fixed seed where the lists are not there."""
    if not (lists / "train.txt").is_file():
        stems = [file.stem for file in files]
        return split_by_group([""] * len(stems), stems)
    split_of: dict[str, Split] = {}
    names: tuple[tuple[str, Split], ...] = (("train.txt", "train"), ("val.txt", "test"))
    for name, split in names:
        if not (lists / name).is_file():
            raise DataError(f"{lists / name} was expected beside train.txt, but is not there; unpack VOC 2010 again")
        split_of |= dict.fromkeys((lists / name).read_text(encoding="utf-8").split(), split)
    unknown = next((file for file in files if file.stem not in split_of), None)
    if unknown is not None:
        raise DataError(
            f"{unknown}: the photo {unknown.stem} was expected in {lists / 'train.txt'} or val.txt, but is in neither; "
            "the lists are of another year's distribution"
        )
    return [split_of[file.stem] for file in files]
