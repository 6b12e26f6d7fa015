"""Images and label maps of any size brought to the one size that a data set of concepts yields."""

from typing import Any, TypeVar

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.tv_tensors import Image, Mask

from interpretable.concepts.samples import ConceptSample
from interpretable.data.images import make_sample
from interpretable.data.transforms import standardise
from interpretable.errors import ConfigurationError

Size = tuple[int, int]
Number = TypeVar("Number", bound=np.generic)


def nearest_pixels(values: NDArray[Number], size: Size) -> NDArray[Number]:
    """The pixels of (..., H, W) in which the centres of (S, S') equal pixels lie: nothing is ever mixed.

    A centre on the border of two pixels takes the right or lower one.
    """
    rows, columns = (_centres(old, new) for old, new in zip(values.shape[-2:], size, strict=True))
    return values[..., rows[:, None], columns]


def _centres(old: int, new: int) -> NDArray[np.int64]:
    return (2 * np.arange(new) + 1) * old // (2 * new)


def make_concept_sample(
    image: PIL.Image.Image | Tensor, label_maps: NDArray[Any], label: int, index: int, image_size: Size
) -> ConceptSample:
    """A sample of a uint8 RGB image, resized with antialiasing and normalised, and of label maps as they are."""
    bare = make_sample(image, torch.tensor(label), index)
    return ConceptSample(
        image=Image(standardise(bare, image_size)["image"]),
        label_maps=Mask(torch.from_numpy(label_maps.astype(np.int64))),
        label=label,
        index=index,
    )


def check_sizes(image_size: Size, size: Size) -> None:
    """Raise a ConfigurationError unless both are a height and a width of at least one pixel."""
    for name, found in (("image_size", image_size), ("size", size)):
        if len(found) != 2 or min(found) < 1:
            raise ConfigurationError(
                f"{name} was expected to be a height and a width in pixels, found {found}; give two positive numbers"
            )
