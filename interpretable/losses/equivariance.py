"""Equivariance of part filters: the map of a moved image is the moved map.

A filter that finds its part follows it; one that stays at a fixed place of the image does not, and pays.

Affine maps (B, 2, 3) take a point of the moved image to the point of the original that it shows. Points are (x, y) in
shares of the image, as in `torch.nn.functional.affine_grid` with ``align_corners=False``: the origin is the image's
centre and ±1 are its borders, so that x pixels, of which pixel i spans [i, i + 1), are 2x/W − 1 along the width.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from interpretable.distributed import sum_over_ranks
from interpretable.losses.fitness import at_least_float32
from interpretable.receptive_field import ReceptiveField

# Moves that leave most of an object in the image and take its parts up to about three units of a 14×14 map away.
SCALE = 0.25
"""The scale is between 1/(1 + SCALE) and 1 + SCALE."""
SHIFT = 0.15
"""Largest shift along an axis, in sides of the image."""
ROTATION = 20.0
"""Largest rotation, in degrees."""

LEAST_IN_VIEW = 0.25
"""Share of a map's cells that must show the original for the pair to count."""

_ROUNDING = 1e-3
"""How far beyond the outermost units, in units, a point may lie and still count as theirs."""


def random_affine(
    images: Float[Tensor, "batch channel height width"],
    *,
    scale: float = SCALE,
    shift: float = SHIFT,
    rotation: float = ROTATION,
) -> Float[Tensor, "batch 2 3"]:
    """An affine map for each image: a scale and a rotation about its centre, in pixels, then a shift.

    Drawn from torch's global generator on the CPU, so that they are the same on every device.

    Args:
        images: What is to be moved; gives number, sides, device and, if float64, the type of the maps, else float32.
        scale: Scales are log-uniform in [1/(1 + scale), 1 + scale]; one above 1 shows the original smaller.
        shift: Shifts are uniform between ± this share of the original's side, along each axis.
        rotation: Angles are uniform between ± these degrees.
    """
    height, width = images.shape[-2:]
    zoom, angle, across, down = 2 * torch.rand(4, len(images), device="cpu", dtype=torch.float32) - 1
    zoom, angle = (zoom * math.log1p(scale)).exp(), angle * math.radians(rotation)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    # Rigid in pixels, hence not in shares of the sides of an image that is not square.
    rows = [
        torch.stack([cosine, -sine * (height / width), 2 * shift * across], -1),
        torch.stack([sine * (width / height), cosine, 2 * shift * down], -1),
    ]
    return torch.stack(rows, -2).to(images.device, torch.promote_types(images.dtype, torch.float32))


def move_images(
    images: Float[Tensor, "batch channel height width"], maps: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch channel height width"]:
    """The moved images: bilinear, with reflection beyond the borders; computed in the type of the maps."""
    with torch.autocast(images.device.type, enabled=False):  # autocast would place the pixels in half precision
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        moved = F.grid_sample(images.to(maps.dtype), grid, padding_mode="reflection", align_corners=False)
    return moved.to(images.dtype)


def equivariance_loss(
    x: Float[Tensor, "batch filter h w"],
    moved: Float[Tensor, "batch filter h w"],
    maps: Float[Tensor, "batch 2 3"],
    field: ReceptiveField,
    image_size: tuple[int, int],
) -> Float[Tensor, " filter"]:
    """Mean over images of 1 − the cosine between the moved image's feature map and the original's carried along.

    Units lie at the centres of their receptive fields, and the original's map is bilinear between them. Only those
    cells of the moved map count that show a point within the outermost units of the original: nothing is extrapolated.
    An image does not count for a filter that is silent on these cells, before or after the move, nor does one of
    which less than a quarter of the cells show the original. The scale of a filter's maps does not matter. NaN in a
    filter's maps gives NaN for that filter and no other.

    Under several ranks the mean is over the images of all: every rank returns the same value, and DDP's averaged
    gradients equal the one-process gradient.

    Args:
        x: Feature maps of the original images, after the ReLU and before the mask. Half precision is computed in
            float32.
        moved: Feature maps of the moved images.
        maps: The affine maps by which they were moved.
        field: Where the units lie in the image.
        image_size: Height and width (H, W) of the images in pixels.

    Returns:
        (C,) between 0, the maps follow the image, and 1; 0 for a filter for which no image counts.
    """
    x, moved = at_least_float32(x), at_least_float32(moved)
    places = _shown_places(maps.to(x), (x.shape[-2], x.shape[-1]), field, image_size)
    cells = places.new_tensor([x.shape[-1], x.shape[-2]])
    in_view = ((places >= -_ROUNDING) & (places <= cells - 1 + _ROUNDING)).all(-1)
    grid = (2 * places + 1) / cells - 1
    carried = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    expected, expected_fires = _directions(carried, in_view)
    found, found_fires = _directions(moved, in_view)
    # 1 − cosine, and exactly 0 for equal maps.
    cost = (found - expected).square().sum(-1) / 2
    enough = in_view.flatten(1).to(cost).mean(1, keepdim=True) >= LEAST_IN_VIEW
    counts = expected_fires & found_fires & enough
    total, images = sum_over_ranks(torch.stack([torch.where(counts, cost, 0).sum(0), counts.to(cost).sum(0)]))
    mean: Tensor = total / images.clamp(min=1)
    return mean


def _shown_places(
    maps: Float[Tensor, "batch 2 3"], cells: tuple[int, int], field: ReceptiveField, image_size: tuple[int, int]
) -> Float[Tensor, "batch h w 2"]:
    """Where in the original's map, (column, row) in units, the point lies that each unit of the moved one shows."""
    half = maps.new_tensor([image_size[1] / 2, image_size[0] / 2])
    rows, columns = (torch.arange(n, dtype=maps.dtype, device=maps.device) for n in cells)
    units = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    points = (field.offset + field.stride * units) / half - 1
    with torch.autocast(maps.device.type, enabled=False):
        shown = torch.einsum("bij,hwj->bhwi", maps[..., :2], points) + maps[:, None, None, :, 2]
    places: Tensor = ((shown + 1) * half - field.offset) / field.stride
    return places


def _directions(
    x: Float[Tensor, "batch filter h w"], in_view: Bool[Tensor, "batch h w"]
) -> tuple[Float[Tensor, "batch filter cell"], Bool[Tensor, "batch filter"]]:
    """Maps of length 1, zero out of view, and which of them are not silent in view."""
    x = torch.where(in_view[:, None], x, 0).flatten(2)
    largest = x.detach().amax(-1, keepdim=True)
    silent = largest == 0
    x = x / torch.where(silent, 1, largest)  # else the squares of very small or large activations leave float32
    return x / torch.where(silent, 1, torch.linalg.vector_norm(x, dim=-1, keepdim=True)), ~silent[..., 0]
