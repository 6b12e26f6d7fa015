"""COCO's person keypoints (Lin et al. 2014; the 2017 distribution)."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretable.convert.crops import Box, check_size, crop_of_box
from interpretable.convert.names import checked_name
from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data.images import open_image
from interpretable.data.splits import Split
from interpretable.errors import DataError

_SPLITS: tuple[tuple[str, Split], ...] = (("train2017", "train"), ("val2017", "test"))
_VISIBLE = 2


@dataclass(frozen=True)
class _Person:
    number: int
    """The annotation's id."""
    box: Box
    keypoints: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class _Photo:
    path: Path
    annotations: Path
    number: int
    """The image's id."""
    split: Split
    people: list[_Person]


def convert_coco_keypoints(source: Path, target: Path, *, size: int | None = 224) -> Conversion[_Photo]:
    """Crops of people with their visible keypoints as landmarks, all of the one class ``person``.

    Reads ``annotations/person_keypoints_train2017.json`` and ``..._val2017.json`` (one of them is enough) with the
    folders ``train2017`` and ``val2017`` beside ``annotations``; val is for testing. Crowds, people without a labelled
    keypoint and those whose box has fewer than 2,500 pixels are left out. Keypoints are indices of pixels there: a
    landmark is the centre of that pixel. Crops of one photo are a group. Segmentations are not read.

    Args:
        source: the folder with ``annotations`` and the folders of images.
        target: the folder to write.
        size: sides of the crops in pixels; None keeps those of the boxes.

    Raises:
        DataError: a sentence with the file for whatever is not as above.
    """
    check_size(size)
    found = [
        (source / "annotations" / f"person_keypoints_{folder}.json", source / folder, split)
        for folder, split in _SPLITS
    ]
    files = [entry for entry in found if entry[0].is_file()]
    if not files:
        raise DataError(
            f"{source} was expected to hold annotations/person_keypoints_train2017.json or ..._val2017.json, but has "
            "neither; unpack COCO's annotations_trainval2017.zip there"
        )
    sets = [_read(*entry) for entry in files]
    names = sets[0][0]
    if any(other != names for other, _ in sets):
        raise DataError(f"{files[1][0]} was expected to have the keypoints of {files[0][0].name}, but has others")

    def read(photo: _Photo) -> Iterator[AnnotatedImage]:
        image = open_image(photo.path, str(photo.annotations))
        for person in photo.people:
            crop = crop_of_box(person.box, image.size, size)
            if crop is None:
                continue
            yield AnnotatedImage(
                stem=f"{photo.path.stem}_{person.number}",
                image=crop.picture(image),
                size=(crop.width, crop.height),
                label="person",
                split=photo.split,
                group=str(photo.number),
                landmarks={name: crop.point(*point) for name, point in person.keypoints.items()},
            )

    return Conversion(source, target, names, [photo for _, photos in sets for photo in photos], read, boxes=False)


def _read(file: Path, images: Path, split: Split) -> tuple[tuple[str, ...], list[_Photo]]:
    """Names of the keypoints, and the photos that have people with any, by their ids."""
    try:
        content = json.loads(file.read_bytes())
        category = next(entry for entry in content["categories"] if entry["name"] == "person")
        names = tuple(str(name).replace("_", " ") for name in category["keypoints"])
        people: dict[int, list[_Person]] = {}
        for entry in content["annotations"]:
            if entry["category_id"] == category["id"] and not entry["iscrowd"] and entry["num_keypoints"]:
                people.setdefault(entry["image_id"], []).append(_person(entry, names))
        paths = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        return names, [
            _Photo(images / checked_name(paths[number], "file", file), file, number, split, people[number])
            for number in sorted(people)
        ]
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{file} was expected to hold COCO's images, annotations with bbox and keypoints, and the category person, "
            f"but does not ({type(error).__name__}: {error}); unpack it again"
        ) from error


def _person(entry: dict[str, Any], names: tuple[str, ...]) -> _Person:
    left, top, width, height = map(float, entry["bbox"])
    x, y, visibility = (entry["keypoints"][axis::3] for axis in range(3))
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"annotation {entry['id']} has no finite bbox")
    if not len(x) == len(y) == len(visibility) == len(names):
        raise ValueError(f"annotation {entry['id']} has {len(entry['keypoints'])} numbers, not 3 for each keypoint")
    points = {
        name: (float(x[row]) + 0.5, float(y[row]) + 0.5)
        for row, name in enumerate(names)
        if visibility[row] == _VISIBLE
    }
    return _Person(int(entry["id"]), (left, top, left + width, top + height), points)
