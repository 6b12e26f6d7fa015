"""Bilinear upsampling of feature maps, anchored where their units lie in the image."""

import torch
from jaxtyping import Float
from torch import Tensor

from interpretable.receptive_field import ReceptiveField


def pixel_centres(pixels: int, image_pixels: int) -> Float[Tensor, " pixel"]:
    """Centres of equal pixels that cover an axis of ``image_pixels`` image pixels, in image pixels, float64."""
    return (torch.arange(pixels, dtype=torch.float64) + 0.5) * (image_pixels / pixels)


def interpolation_weights(
    cells: int, pixels: int, field: ReceptiveField, image_pixels: int
) -> Float[Tensor, "pixel cell"]:
    """Weights of a feature map's cells in each pixel along one axis; non-negative, float64, rows sum to 1.

    Bilinear between the centres offset + stride·j of the units and constant beyond the outermost, read at the
    centres of the pixels. The anchors are the receptive fields' centres (Bau et al. 2017, §2.3), so a map is not
    stretched to the image's borders.

    Args:
        cells: Cells of the map along the axis.
        pixels: Equal pixels that cover the image along the axis.
        field: Where the units lie in the image.
        image_pixels: Pixels of the input image along the axis.
    """
    places = ((pixel_centres(pixels, image_pixels) - field.offset) / field.stride).clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)


def upsample(
    maps: Float[Tensor, "image filter h w"], size: tuple[int, int], field: ReceptiveField, image_size: tuple[int, int]
) -> Float[Tensor, "image filter H W"]:
    """Maps interpolated at the pixels of an image: two products with `interpolation_weights`.

    Args:
        maps: Feature maps; halves are computed and returned in float32.
        size: Height and width (H, W) to interpolate at.
        field: Where the units lie in the image.
        image_size: Height and width of the input image in pixels.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    down, across = (
        interpolation_weights(cells, pixels, field, image_pixels).to(maps)
        for cells, pixels, image_pixels in zip(maps.shape[-2:], size, image_size, strict=True)
    )
    return down @ maps @ across.T
