"""Published layouts of part annotations, turned into part-annotated folders."""

from collections.abc import Callable
from typing import Any

from interpretable.convert.animal_part import convert_animal_part
from interpretable.convert.celeba_mask import convert_celeba_mask
from interpretable.convert.coco_keypoints import convert_coco_keypoints
from interpretable.convert.cub200 import convert_cub200
from interpretable.convert.voc_part import convert_voc_part
from interpretable.convert.writer import Conversion

__all__ = [
    "CONVERTERS",
    "Conversion",
    "convert_animal_part",
    "convert_celeba_mask",
    "convert_coco_keypoints",
    "convert_cub200",
    "convert_voc_part",
]

CONVERTERS: dict[str, Callable[..., Conversion[Any]]] = {
    "animal-part": convert_animal_part,
    "cub-200-2011": convert_cub200,
    "voc-part": convert_voc_part,
    "celeba-mask-hq": convert_celeba_mask,
    "coco-keypoints": convert_coco_keypoints,
}
"""Converters by the name of the layout: ``convert(source, target, **options)`` returns a Conversion."""
