"""The images that a tree is shown with, as bytes of pixels."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.commands.pictures import Images
from interpretable.commands.terminal import show_progress
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD

REGIONS = 6
"""Image regions that a filter is shown by."""

SMALLEST_REGION = 16
"""Pixels below which a region shows nothing."""

Picture = UInt8[np.ndarray, "height width 3"]


THUMBNAIL = 128
"""Longer side in pixels at the most of an image that is shown whole."""


def picture(dataset: Images, index: int) -> Picture:
    """An image of a data set of normalised ones."""
    image = dataset[index]["image"].as_subclass(Tensor).permute(1, 2, 0).numpy()
    coloured = np.broadcast_to(image, (*image.shape[:2], 3)) * IMAGENET_STD + IMAGENET_MEAN
    pixels: np.ndarray = (255 * coloured.clip(0, 1)).round().astype(np.uint8)
    return pixels


def pictures(dataset: Images, indices: Iterable[int], what: str) -> dict[int, Picture]:
    """Thumbnails of images by their index."""
    return {index: thumbnail(picture(dataset, index)) for index in show_progress(sorted(indices), what)}


def thumbnail(image: Picture) -> Picture:
    """An image, made smaller where it is large."""
    small = Image.fromarray(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(small)


def filter_regions(
    store: ActivationStore, dataset: Images, filters: Iterable[int], side: float
) -> dict[int, list[Picture]]:
    """What each filter's strongest units look at: regions of the images with the highest peaks, strongest first.

    Args:
        store: Of the images.
        dataset: The images.
        filters: Which filters.
        side: Of the regions, in pixels of the image.
    """
    layer = store.layer()
    if layer.info.receptive_field is None:
        return {}
    peaks, positions = layer.peaks[:].numpy(), layer.peak_positions().numpy()
    size = round(min(max(side, SMALLEST_REGION), *store.image_size))
    wanted: dict[int, list[tuple[int, int]]] = {}  # per image, filters and the rank of the image among theirs
    regions: dict[int, dict[int, Picture]] = {number: {} for number in sorted(filters)}
    for number in regions:
        best = np.argsort(-peaks[:, number], kind="stable")[:REGIONS]
        for rank, row in enumerate(best[peaks[best, number] > 0].tolist()):
            wanted.setdefault(row, []).append((number, rank))
    for row in show_progress(sorted(wanted), "filters"):
        image = picture(dataset, int(store.recorded[row]))
        for number, rank in wanted[row]:
            regions[number][rank] = region(image, positions[row, number], size).copy()
    return {number: [found[rank] for rank in sorted(found)] for number, found in regions.items()}


def region(image: Picture, centre: np.ndarray, side: int) -> Picture:
    """A square of an image about a place (x, y), moved to where the image covers it."""
    left, top = (
        int(np.clip(round(place - side / 2), 0, max(length - side, 0)))
        for place, length in zip(centre, (image.shape[1], image.shape[0]), strict=True)
    )
    return image[top : top + side, left : left + side]


def evenly(indices: np.ndarray, count: int) -> np.ndarray:
    """At most so many of them, spread evenly."""
    chosen: np.ndarray = indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int))]
    return chosen
