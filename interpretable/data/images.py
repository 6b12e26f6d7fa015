"""Image files to tensors, and a tensor with its annotations to a sample."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import BoundingBoxes, Image, KeyPoints, Mask

from interpretable.data.samples import Sample
from interpretable.errors import DataError

# What Pillow raises for files that are missing, truncated or no images, depending on the format.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError)


def open_image(path: Path, source: str) -> PIL.Image.Image:
    """Decode an image file as RGB with 8 bits a channel.

    Pillow rather than torchvision.io: it reads every format that data sets come in (BMP and TIFF too) and torchvision's
    own data sets already depend on it. Orientation tags are ignored: annotations are in pixels as stored.

    Raises:
        DataError: if the file cannot be decoded, naming it and the source, where it is referred to (``file:line``).
    """
    try:
        with PIL.Image.open(path) as image:
            return to_rgb(image)
    except UNREADABLE as error:
        found = "cannot be decoded" if path.is_file() else "does not exist"
        raise DataError(
            f"{path}, named at {source}, was expected to be an image, but it {found} ({error}); replace it or its row"
        ) from error


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """RGB with 8 bits a channel; 16 bits are scaled (Pillow would clip them), transparency is dropped."""
    if image.mode.startswith("I"):
        return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        # Pillow warns about palettes with transparency unless they go through RGBA.
        image = image.convert("RGBA")
    return image.convert("RGB")


def open_masks(folder: Path, parts: tuple[str, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(P, H, W) bool from ``<part>.png`` in a folder, True where a pixel is not zero; no file, no such pixel.

    Raises:
        DataError: if a mask cannot be decoded or its size is not the given (H, W) of the image.
    """
    masks = np.zeros((len(parts), *size), dtype=bool)
    for mask, path in zip(masks, (folder / f"{part}.png" for part in parts), strict=True):
        if path.is_file():
            mask[:] = _open_mask(path, size)
    return masks


def _open_mask(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    try:
        with PIL.Image.open(path) as image:
            values = np.asarray(image if len(image.getbands()) == 1 else image.convert("L"))
    except UNREADABLE as error:
        raise DataError(f"{path} was expected to be a mask, but cannot be decoded ({error}); replace it") from error
    if values.shape != size:
        raise DataError(
            f"{path} was expected to have the {size[1]}x{size[0]} pixels of its image, found "
            f"{values.shape[1]}x{values.shape[0]}; draw it at the size of the image"
        )
    return np.asarray(values != 0)


def make_sample(
    image: PIL.Image.Image | Tensor,
    label: Tensor,
    index: int,
    landmarks: NDArray[np.float32] | None = None,
    boxes: NDArray[np.float32] | None = None,
    masks: NDArray[np.bool_] | None = None,
) -> Sample:
    """A sample of an RGB image and its annotations in pixels of that image; None stands for no parts."""
    pixels = Image(image if isinstance(image, Tensor) else F.pil_to_tensor(image))
    canvas: tuple[int, int] = (pixels.shape[-2], pixels.shape[-1])
    points = torch.empty(0, 2) if landmarks is None else torch.from_numpy(landmarks.copy())
    rectangles = torch.empty(0, 4) if boxes is None else torch.from_numpy(boxes.copy())
    sample: Sample = {
        "image": pixels,
        "label": label,
        "landmarks": KeyPoints(points, canvas_size=canvas),
        # No clamping while transforms run: a box that is cut at one border may come back into the image later.
        "boxes": BoundingBoxes(rectangles, format="CXCYWH", canvas_size=canvas, clamping_mode=None),
        "index": index,
    }
    if masks is not None:
        sample["masks"] = Mask(torch.from_numpy(masks))
    return sample
