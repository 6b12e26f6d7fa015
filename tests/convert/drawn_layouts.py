"""Tiny copies of published layouts, drawn into a folder in the very form in which the real ones are distributed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

Rectangle = tuple[int, int, int, int]
"""First and one past the last column, first and one past the last row."""


def slope(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture that rises to the right in red and downwards in green: JPEG and scaling keep it nearly as it is."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    planes = 255 * columns / width, 255 * rows / height, np.full((height, width), 20 * seed % 256)
    return Image.fromarray(np.stack(planes, axis=-1).round().astype(np.uint8))


def rectangle(width: int, height: int, *sides: Rectangle) -> np.ndarray:
    """(H, W) uint8, 1 in the rectangles."""
    mask = np.zeros((height, width), dtype=np.uint8)
    for left, right, top, bottom in sides:
        mask[top:bottom, left:right] = 1
    return mask


def struct_array(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """A 1 x N array of structs as savemat writes it; MATLAB's empty array for none."""
    if not rows:
        return np.zeros((0, 0))
    array = np.zeros((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for column, row in enumerate(rows):
        array[0, column] = tuple(row.values())
    return array


def save_matlab_7_3(path: Path, variable: str, rows: Sequence[dict[str, Any]]) -> None:
    """An array of structs as MATLAB's ``save -v7.3`` lays it out in HDF5: references to the fields of each element."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")

        def put(parent: Any, name: str, value: Any) -> Any:
            if isinstance(value, dict):
                group = parent.create_group(name)
                group.attrs["MATLAB_class"] = np.bytes_("struct")
                for key, inner in value.items():
                    put(group, key, inner)
                return group
            if isinstance(value, str):
                node = parent.create_dataset(name, data=np.array([[ord(letter)] for letter in value], dtype=np.uint16))
                node.attrs["MATLAB_class"] = np.bytes_("char")
                return node
            array = np.atleast_2d(np.asarray(value, dtype=np.float64))
            node = parent.create_dataset(name, data=array.T if array.size else np.array(array.shape, dtype=np.uint64))
            node.attrs["MATLAB_class"] = np.bytes_("double")
            if not array.size:
                node.attrs["MATLAB_empty"] = np.uint8(1)
            return node

        group = file.create_group(variable)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field in rows[0]:
            column = [put(references, f"{field}{number}", row[field]).ref for number, row in enumerate(rows)]
            group.create_dataset(field, data=np.array(column, dtype=h5py.ref_dtype)[:, None], dtype=h5py.ref_dtype)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(header)


def save_matlab(path: Path, variable: str, rows: Sequence[dict[str, Any]], version: str) -> None:
    """An array of structs in a file of version 5 or 7.3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == "7.3":
        save_matlab_7_3(path, variable, rows)
    else:
        savemat(path, {variable: struct_array(rows)})


EMPTY = np.zeros((0, 0))


def column(y: float, x: float) -> np.ndarray:
    """A point as the authors of Animal-Part write it."""
    return np.array([[y], [x]])


def draw_animal_part(root: Path, version: str = "7.3") -> Path:
    """Five goldfish and six foxes in 120 x 90 (width x height); foxes 1 and 2 are in one photo, fox 3 is too small.

    Fox 1 has a head and legs, the head of fox 2 was marked twice; every goldfish but the last has a head.
    """
    boxes = {"n01443537": [(1, 1, 120, 90)] * 5, "n02118333": [(11, 21, 80, 90), *[(31, 1, 120, 80)] * 5]}
    boxes["n02118333"][2] = (1, 1, 40, 60)
    for synset, sides in boxes.items():
        folder = root / f"{synset}_obj" / "img"
        (folder / "img").mkdir(parents=True)
        for number in range(1, len(sides) + 1):
            seed = 1 if (synset, number) == ("n02118333", 2) else number
            slope(120, 90, seed + 6 * (synset == "n02118333")).save(folder / "img" / f"{number:05}.jpg", quality=95)
        names = ("xmin", "ymin", "xmax", "ymax")
        samples = [{"obj": {"bndbox": dict(zip(names, map(float, box), strict=True))}} for box in sides]
        save_matlab(folder / "data.mat", "samples", samples, version)
    nothing = {"pHW_center": EMPTY, "pHW_scale": EMPTY}
    head, leg = (
        {"pHW_center": column(*c), "pHW_scale": column(*s)} for c, s in (((56, 112), (28, 56)), ((196, 28), (42, 14)))
    )
    twice = {"pHW_center": np.array([[10.0, 90.0], [20.0, 80.0]]), "pHW_scale": np.ones((2, 2))}
    save_matlab(root / "n01443537" / "truth_part01.mat", "truth", [head] * 4 + [nothing], version)
    save_matlab(root / "n02118333" / "truth_part01.mat", "truth", [head, twice, head, *[nothing] * 3], version)
    save_matlab(root / "n02118333" / "truth_part02.mat", "truth", [leg, nothing, nothing, *[leg] * 3], version)
    return root


CAT: dict[str, Rectangle] = {
    "head": (20, 50, 10, 40),
    "leye": (25, 30, 15, 20),
    "torso": (40, 80, 30, 60),
    "neck": (40, 50, 40, 45),
    "lfleg": (45, 55, 50, 70),
    "rbpa": (70, 80, 60, 70),
    "tail": (78, 80, 30, 40),
}
COW: dict[str, Rectangle] = {
    "head": (0, 20, 0, 20),
    "lhorn": (0, 4, 0, 4),
    "torso": (10, 60, 10, 50),
    "tail": (55, 60, 10, 50),
}


def animal(
    kind: str, number: int, size: tuple[int, int], whole: Sequence[Rectangle], parts: dict[str, Rectangle]
) -> dict[str, Any]:
    """One element of ``anno.objects``."""
    masks = [{"part_name": name, "mask": rectangle(*size, sides)} for name, sides in parts.items()]
    return {"class": kind, "class_ind": number, "mask": rectangle(*size, *whole), "parts": struct_array(masks)}


def draw_voc_part(root: Path) -> Path:
    """Four photos: two cats, a person and a kitten that is too small; a cow; a sofa and a cow; a sofa.

    The first and the third are in VOC's train, the others in its val.
    """
    annotations, voc = root / "Annotations_Part", root / "VOCdevkit" / "VOC2010"
    photos = {
        "2008_000001": (
            (100, 80),
            [
                animal("cat", 8, (100, 80), [(20, 80, 10, 70)], CAT),
                animal("person", 15, (100, 80), [(0, 60, 0, 60)], {"hair": (0, 5, 0, 5)}),
                animal("cat", 8, (100, 80), [(0, 100, 0, 40), (0, 50, 40, 80)], {}),
                animal("cat", 8, (100, 80), [(0, 20, 0, 20)], {"head": (0, 9, 0, 9)}),
            ],
        ),
        "2008_000002": ((60, 50), [animal("cow", 10, (60, 50), [(0, 60, 0, 50)], COW)]),
        "2008_000004": (
            (60, 50),
            [
                animal("sofa", 18, (60, 50), [(0, 60, 0, 50)], {}),
                animal("cow", 10, (60, 50), [(0, 60, 0, 50)], {"head": (30, 60, 0, 20)}),
            ],
        ),
        "2009_000003": ((60, 50), [animal("sofa", 18, (60, 50), [(0, 60, 0, 50)], {})]),
    }
    annotations.mkdir(parents=True)
    for folder in ("JPEGImages", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    for seed, (name, (size, objects)) in enumerate(photos.items()):
        slope(*size, seed).save(voc / "JPEGImages" / f"{name}.jpg", quality=95)
        savemat(annotations / f"{name}.mat", {"anno": {"imname": name, "objects": struct_array(objects)}})
    (voc / "ImageSets" / "Main" / "train.txt").write_text("2008_000001\n2008_000004\n")
    (voc / "ImageSets" / "Main" / "val.txt").write_text("2008_000002\n2009_000003\n")
    return root


def draw_celeba_mask(root: Path) -> Path:
    """Five faces of 256 x 256: 0, 3 for training, 1, 2000 for validation, 2001 for testing; all but 0 with hats."""
    folder = root / "CelebAMask-HQ"
    originals = {0: 162770, 3: 1, 1: 162771, 2000: 182637, 2001: 182638}
    (folder / "CelebA-HQ-img").mkdir(parents=True)
    lines = ["idx\torig_idx\torig_file"]
    attributes = ["5", "Male Smiling Young "]
    for number, original in originals.items():
        slope(256, 256, number).save(folder / "CelebA-HQ-img" / f"{number}.jpg", quality=95)
        lines.append(f"{number}\t\t{original - 1}\t\t{original:06}.jpg")
        attributes.append(f"{number}.jpg  1 {1 if number % 2 else -1} -1")
        masks = folder / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        masks.mkdir(parents=True, exist_ok=True)
        parts = {"l_eye": (100, 140, 200, 220), "l_lip": (200, 300, 400, 420)} | (
            {"hat": (0, 512, 0, 51)} if number else {}
        )
        for part, sides in parts.items():
            mask = Image.fromarray(255 * rectangle(512, 512, sides))
            mask.convert("RGB" if part == "l_lip" else "L").save(masks / f"{number:05}_{part}.png")
    (folder / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    (folder / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(attributes) + "\n")
    return folder


KEYPOINTS = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
]


def person(
    number: int, photo: int, box: Sequence[float], points: dict[str, tuple[int, int, int]], crowd: int = 0
) -> dict[str, Any]:
    """One element of COCO's annotations."""
    keypoints = [value for name in KEYPOINTS for value in points.get(name, (0, 0, 0))]
    labelled = sum(visibility > 0 for _, _, visibility in points.values())
    found = {"id": number, "image_id": photo, "category_id": 1, "iscrowd": crowd, "bbox": list(box), "area": 1.0}
    return found | {"keypoints": keypoints, "num_keypoints": labelled, "segmentation": [[1, 1, 2, 2, 3, 3]]}


def draw_coco_keypoints(root: Path) -> Path:
    """Two photos to train on, with two people and with people who are left out, and one to test on."""
    face = {"nose": (40, 30, 2), "left_eye": (45, 25, 2), "right_eye": (35, 25, 1)}
    train = [
        person(11, 1, (10.4, 5.2, 60.1, 60.9), face),
        person(12, 1, (60, 10, 60, 70), {"left_ankle": (119, 79, 2)}),
        person(13, 1, (0, 0, 40, 40), face),  # too small
        person(14, 1, (0, 0, 120, 80), {}),  # nothing labelled
        person(15, 1, (0, 0, 120, 80), face, crowd=1),
        person(16, 2, (0, 0, 40, 40), face),  # the only one in its photo, too small
    ]
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": KEYPOINTS, "skeleton": [[1, 2]]}
    people = {"train2017": (train, (1, 2, 3)), "val2017": ([person(21, 4, (0, 0, 120, 80), face)], (4,))}
    (root / "annotations").mkdir(parents=True)
    for folder, (annotations, photos) in people.items():
        (root / folder).mkdir()
        images = [{"id": photo, "file_name": f"{photo:012}.jpg", "width": 120, "height": 80} for photo in photos]
        for photo in photos:
            slope(120, 80, photo).save(root / folder / f"{photo:012}.jpg", quality=95)
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": [category]}
        (root / "annotations" / f"person_keypoints_{folder}.json").write_text(json.dumps(content))
    return root
