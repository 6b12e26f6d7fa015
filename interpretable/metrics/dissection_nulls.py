"""What network dissection finds by chance: filters in a rotated basis, and labels of other images."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def random_rotation(num_filters: int, alpha: float = 1.0, seed: int = 0) -> Float[Tensor, "filter filter"]:
    """Q^α for a rotation Q drawn uniformly from SO(C), float64 (Bau et al. 2017, §3.2).

    Its layer has the same information in another basis, so that unique detectors which it loses were a property of
    the single filters. Between α = 0, the identity, and α = 1 every plane of Q turns by α times its angle.

    Args:
        num_filters: Number of filters C.
        alpha: Share of the rotation.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(num_filters, num_filters, generator=generator, dtype=torch.float64)
    rotation, triangle = torch.linalg.qr(normal)
    rotation = rotation * triangle.diagonal().sign()  # or the draw would not be uniform
    rotation[:, 0] *= rotation.det().sign()
    values, vectors = torch.linalg.eig(rotation)
    powers = torch.polar(torch.ones_like(values.real), alpha * values.angle())
    power: Tensor = torch.linalg.solve(vectors, vectors * powers, left=False)
    return power.real


def rotate(
    maps: Float[Tensor, "image filter h w"], rotation: Float[Tensor, "filter filter"]
) -> Float[Tensor, "image filter h w"]:
    """Maps of the layer whose unit d is Σ_c rotation[d, c] · filter c; halves are computed in float32.

    They have negative values, and thresholds of their own.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return (rotation.to(maps) @ maps.flatten(2)).view_as(maps)


def shuffled_images(number: int, seed: int = 0) -> Int64[Tensor, " image"]:
    """For each image another one whose labels it takes: a random permutation without fixed points, (N,).

    It is one random cycle through all images. A single image keeps its own labels.
    """
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
