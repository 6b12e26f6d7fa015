"""CelebAMask-HQ (Lee et al., "MaskGAN", CVPR 2020) as it is distributed."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from interpretable.convert.crops import Crop, box_of_mask, check_size
from interpretable.convert.layout import find_folder
from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data.images import open_image, open_masks
from interpretable.data.splits import Split
from interpretable.errors import DataError

# fmt: off
PARTS = {
    "skin": "skin", "nose": "nose", "eye_g": "eyeglasses", "l_eye": "left eye", "r_eye": "right eye",
    "l_brow": "left brow", "r_brow": "right brow", "l_ear": "left ear", "r_ear": "right ear", "mouth": "mouth",
    "u_lip": "upper lip", "l_lip": "lower lip", "hair": "hair", "hat": "hat", "ear_r": "earring", "neck_l": "necklace",
    "neck": "neck", "cloth": "cloth",
}
# fmt: on
"""Parts as the files of their masks name them, and spelt out, so that a mirror knows left from right."""

_MASK_SIDE = 512
_MASKS_IN_FOLDER = 2000
# CelebA's own partition: images up to the first number are for training, up to the second for validation.
_LAST_TRAIN, _LAST_VALIDATION = 162770, 182637


@dataclass(frozen=True)
class _Face:
    number: int
    original: int
    """Number of the image in CelebA."""
    label: str


def convert_celeba_mask(
    source: Path, target: Path, *, attribute: str = "Smiling", size: int | None = 224
) -> Conversion[_Face]:
    """Faces with masks of 18 parts; a landmark is the centre of the box around its mask.

    Reads ``CelebA-HQ-img/<n>.jpg``, ``CelebAMask-HQ-mask-anno/<n // 2000>/<n as 00000>_<part>.png`` (no file: no such
    part), ``CelebA-HQ-to-CelebA-mapping.txt`` and ``CelebAMask-HQ-attribute-anno.txt``. The split is CelebA's own, in
    which no person is in two splits; every image is a group.

    Args:
        source: the folder CelebAMask-HQ, or the one that holds it.
        target: the folder to write.
        attribute: one of the 40 attributes; the classes are ``<attribute>`` and ``not <attribute>``.
        size: sides of the images in pixels; None copies the images as they are.

    Raises:
        DataError: a sentence with file and line for whatever is not as above.
    """
    check_size(size)
    images = find_folder(source, ("CelebA-HQ-img", "CelebAMask-HQ/CelebA-HQ-img"), "the images of CelebAMask-HQ")
    masks = find_folder(images.parent, ("CelebAMask-HQ-mask-anno",), "masks")
    mapping = images.parent / "CelebA-HQ-to-CelebA-mapping.txt"
    originals, labels = _originals(mapping), _labels(images.parent / "CelebAMask-HQ-attribute-anno.txt", attribute)
    unlabelled = sorted(originals.keys() - labels.keys())
    if unlabelled:
        raise DataError(
            f"{mapping}: image {unlabelled[0]} is not in CelebAMask-HQ-attribute-anno.txt; unpack both again"
        )
    faces = [_Face(number, original, labels[number]) for number, original in originals.items()]

    def read(face: _Face) -> Iterator[AnnotatedImage]:
        path = images / f"{face.number}.jpg"
        folder = find_folder(masks, (str(face.number // _MASKS_IN_FOLDER),), f"the masks of image {face.number}")
        files = tuple(f"{face.number:05}_{name}" for name in PARTS)
        image = open_image(path, str(mapping))
        width, height = size or image.width, size or image.height
        crop = Crop((0, 0, _MASK_SIDE, _MASK_SIDE), width, height)
        found = dict(zip(PARTS.values(), open_masks(folder, files, (_MASK_SIDE, _MASK_SIDE)), strict=True))
        boxes = {part: crop.box(box) for part, mask in found.items() if (box := box_of_mask(mask)) is not None}
        yield AnnotatedImage(
            stem=str(face.number),
            image=image.resize((width, height), PIL.Image.Resampling.BILINEAR) if size else path,
            size=(width, height),
            label=face.label,
            split=_split(face.original),
            group=str(face.original),
            landmarks={part: centre for part, (centre, _) in boxes.items()},
            box_sizes={part: sides for part, (_, sides) in boxes.items()},
            masks={part: crop.mask(found[part]) for part in boxes},
        )

    return Conversion(source, target, tuple(PARTS.values()), faces, read, boxes=True)


def _split(original: int) -> Split:
    return "train" if original <= _LAST_TRAIN else "validation" if original <= _LAST_VALIDATION else "test"


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise DataError(f"{path} was expected to be there, but is not; unpack the distribution of CelebAMask-HQ again")
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def _originals(path: Path) -> dict[int, int]:
    """Number in CelebA of each image, from lines ``idx orig_idx orig_file`` under a header."""
    originals = {}
    for number, words in enumerate(_lines(path)[1:], 2):
        original = words[2].removesuffix(".jpg") if len(words) == 3 else ""
        if not (original.isdecimal() and words[0].isdecimal()):
            raise DataError(
                f"{path}:{number}: idx, orig_idx and orig_file such as 000001.jpg were expected, found "
                f"{' '.join(words)[:60]!r}; unpack the distribution again"
            )
        originals[int(words[0])] = int(original)
    return originals


def _labels(path: Path, attribute: str) -> dict[int, str]:
    """Class of each image: after the number of images and the names, a line for each with 1 or -1 for each name."""
    lines = _lines(path)
    names = lines[1] if len(lines) > 1 else []
    if attribute not in names:
        close = difflib.get_close_matches(attribute, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}" if close else f"it has {', '.join(names) or 'none'}"
        raise DataError(f"{path}:2: the attribute {attribute!r} was expected, but is not there; {hint}")
    column = names.index(attribute) + 1
    labels = {}
    for number, words in enumerate(lines[2:], 3):
        image = words[0].removesuffix(".jpg") if words else ""
        if len(words) != len(names) + 1 or not image.isdecimal() or words[column] not in ("1", "-1"):
            raise DataError(
                f"{path}:{number}: an image and {len(names)} times 1 or -1 were expected, found "
                f"{' '.join(words)[:60]!r}; unpack the distribution again"
            )
        labels[int(image)] = attribute if words[column] == "1" else f"not {attribute}"
    return labels
