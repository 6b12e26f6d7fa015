"""The image that stands for the absence of what is explained, and the way from it to the image."""

import torch
from torch import Tensor

from interpretable.errors import AttributionError

Baseline = float | Tensor | None
"""Zeros, a number for all pixels, one image (C, H, W), or one for each (B, C, H, W); in the network's own units."""


def baseline_images(baseline: Baseline, images: Tensor) -> Tensor:
    """The baseline as images: (1, C, H, W) where all images share it, else (B, C, H, W).

    Args:
        baseline: What it is; zeros if None, which is the mean colour, not black, where images are normalised.
        images: (B, C, H, W) that it is compared with.

    Raises:
        AttributionError: It is of another shape, or not finite.
    """
    if baseline is None or not isinstance(baseline, Tensor):
        start = torch.full_like(images[:1], 0.0 if baseline is None else baseline)
    elif baseline.shape in (images.shape, images.shape[1:]):
        start = baseline.detach().to(images).reshape(-1, *images.shape[1:])
    else:
        raise AttributionError(
            f"A baseline must be a number, one image {tuple(images.shape[1:])}, or one for each image "
            f"{tuple(images.shape)}, got shape {tuple(baseline.shape)}."
        )
    if not bool(torch.isfinite(start).all()):
        raise AttributionError("A baseline must be of finite numbers, got NaN or infinite ones.")
    return start


class StraightPath:
    """The straight way from x₀, the baseline, to x, the image, of each image of a batch.

    Args:
        baseline: As for `baseline_images`.
        images: (B, C, H, W).

    Raises:
        AttributionError: As `baseline_images` does.
    """

    def __init__(self, baseline: Baseline, images: Tensor) -> None:
        self.images = images
        self.start = baseline_images(baseline, images)
        """(1, C, H, W) or (B, C, H, W)."""
        self.difference = images - self.start
        """x − x₀, (B, C, H, W)."""

    def at(self, image: Tensor, alpha: Tensor) -> Tensor:
        """The points x₀ + α(x − x₀), (N, C, H, W), of images given by number (N,), each at an α (N,) of its own."""
        start = self.start.expand_as(self.images)[image]
        return torch.lerp(start, self.images[image], alpha[:, None, None, None])
