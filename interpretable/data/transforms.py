"""Image and annotations moved together, from decoded samples to what a network is fed."""

import re
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from interpretable.data.samples import Sample
from interpretable.errors import ConfigurationError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ANNOTATIONS = ("landmarks", "boxes", "masks")
_SIDE = re.compile(r"(?<![A-Za-z])(?:left|right)(?![a-z])|(?:Left|Right)(?![a-z])|(?<![A-Z])(?:LEFT|RIGHT)(?![A-Z])")
_OPPOSITE = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "right": "left", "Right": "Left", "RIGHT": "LEFT"}


def mirror_pairs(parts: Sequence[str]) -> list[int]:
    """Position of each part's mirror image: of the part named right where it says left, else its own.

    The word may stand alone (``left eye``, ``eye_left``) or in camel case (``leftEye``), not in another (``upright``).
    """
    names = list(parts)
    opposite = [_SIDE.sub(lambda side: _OPPOSITE[side.group()], name) for name in names]
    return [names.index(name) if name in names else own for own, name in enumerate(opposite)]


def mirror(sample: Sample, swap: Sequence[int]) -> Sample:
    """The sample seen in a mirror: x becomes W - x, and part p takes the annotations of part swap[p].

    Pixel i covers [i, i + 1), for points as for boxes and in v2's other transforms; v2's own flip of key points takes
    pixel centres to be whole numbers and would move them one pixel against the image.
    """
    width = sample["image"].shape[-1]
    mirrored: dict[str, Any] = {**sample, "image": F.horizontal_flip(sample["image"])}
    for name in _present(sample):
        mirrored[name] = F.horizontal_flip(mirrored[name])
    points = sample["landmarks"].as_subclass(Tensor)
    # A point on the left border lands on the right one, which is no longer inside: it stays just within.
    x = (width - points[:, :1]).clamp(max=width * (1 - 1e-6)).where(points[:, :1] >= 0, width - points[:, :1])
    mirrored["landmarks"] = tv_tensors.wrap(torch.cat([x, points[:, 1:]], dim=1), like=sample["landmarks"])
    for name in _present(sample):
        moved = mirrored[name]
        mirrored[name] = tv_tensors.wrap(moved.as_subclass(Tensor)[list(swap)], like=moved)
    return cast(Sample, mirrored)


class RandomMirror(nn.Module):
    """Mirrors a sample with probability p; swap is the parts' ``mirror_pairs``."""

    def __init__(self, p: float, swap: Sequence[int]) -> None:
        super().__init__()
        self.p = p
        self.swap = list(swap)

    def forward(self, sample: Sample) -> Sample:
        """The sample, or its mirror image."""
        return mirror(sample, self.swap) if torch.rand(()) < self.p else sample


def augment(sample: Sample, transforms: Sequence[nn.Module]) -> Sample:
    """Apply transforms v2 to image and annotations; what is not annotated stays NaN, as does what a transform removes.

    Raises:
        ConfigurationError: where a transform cannot move landmarks, or drops some.
    """
    if not transforms:
        return sample
    given: dict[str, Any] = {**sample}
    present = _present(sample) if len(sample["landmarks"]) else []
    missing = {name: given[name].isnan() for name in present if name != "masks"}
    # Not every transform carries NaN through (ElasticTransform makes it a number), so none ever sees one.
    moved = {"image": given["image"]} | {name: _filled(given[name]) for name in present}
    for transform in transforms:
        try:
            moved = transform(moved)
        except TypeError as error:
            raise ConfigurationError(
                f"augmentation has {type(transform).__name__}, which does not work on images with annotated parts "
                f"({error}); remove it"
            ) from error
    for name, nothing in missing.items():
        if moved[name].shape != nothing.shape:
            raise ConfigurationError(
                f"augmentation was expected to keep {len(nothing)} {name}, but leaves {len(moved[name])}; remove the "
                "transform that drops some, a part that leaves the image is dropped anyway"
            )
        moved[name] = tv_tensors.wrap(moved[name].as_subclass(Tensor).masked_fill(nothing, torch.nan), like=moved[name])
    if not present:
        canvas = tuple(moved["image"].shape[-2:])
        empty = {name: given[name] for name in ("landmarks", "boxes")}
        moved |= {name: tv_tensors.wrap(values, like=values, canvas_size=canvas) for name, values in empty.items()}
    return cast(Sample, {**given, **moved})


def standardise(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resize to (H, W), aspect not kept, and normalise by ImageNet's mean and standard deviation."""
    resized: dict[str, Any] = {**sample, "image": F.resize(sample["image"], list(size), antialias=True)}
    for name in _present(sample):
        resized[name] = F.resize(resized[name], list(size))
    image = F.to_dtype(resized["image"], torch.float32, scale=True)
    resized["image"] = F.normalize(image, list(IMAGENET_MEAN), list(IMAGENET_STD))
    return drop_points_outside(cast(Sample, resized))


def drop_points_outside(sample: Sample) -> Sample:
    """NaN for landmarks outside [0, W) x [0, H) and for their boxes; other boxes are clamped to the image."""
    height, width = sample["image"].shape[-2:]
    points, boxes = sample["landmarks"].as_subclass(Tensor), sample["boxes"].as_subclass(Tensor)
    size = points.new_tensor([width, height])
    inside = ((points >= 0) & (points < size)).all(dim=1, keepdim=True)
    low = (boxes[:, :2] - boxes[:, 2:] / 2).clamp(min=0)
    high = torch.minimum(boxes[:, :2] + boxes[:, 2:] / 2, size)
    boxes = torch.cat([(low + high) / 2, high - low], dim=1)
    has_area = (boxes[:, 2:] > 0).all(dim=1, keepdim=True)
    dropped: dict[str, Any] = {
        **sample,
        "landmarks": tv_tensors.wrap(points.where(inside, torch.nan), like=sample["landmarks"]),
        "boxes": tv_tensors.wrap(boxes.where(inside & has_area, torch.nan), like=sample["boxes"]),
    }
    return cast(Sample, dropped)


class TrainingTransform:
    """Augmentation, mirror, then ``standardise``; draws its random numbers from torch's CPU generator alone."""

    def __init__(
        self, augmentation: Sequence[nn.Module], mirror: float, parts: Sequence[str], size: tuple[int, int]
    ) -> None:
        self.augmentation = list(augmentation)
        self.mirror = RandomMirror(mirror, mirror_pairs(parts))
        self.size = size

    def __call__(self, sample: Sample) -> Sample:
        """The sample as the network is trained on it."""
        return standardise(self.mirror(augment(sample, self.augmentation)), self.size)


def _present(sample: Sample) -> list[str]:
    return [name for name in _ANNOTATIONS if name in sample]


def _filled(annotation: Any) -> Any:
    """The annotation with the middle of its image where it is NaN."""
    if isinstance(annotation, tv_tensors.Mask):
        return annotation
    height, width = annotation.canvas_size
    middle = torch.tensor([width / 2, height / 2, width, height])[: annotation.shape[-1]]
    values = annotation.as_subclass(Tensor)
    return tv_tensors.wrap(values.where(~values.isnan(), middle), like=annotation)
