"""Effective receptive field: how strongly each pixel of the field moves a unit (Luo et al. 2016)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpretable.errors import MetricError
from interpretable.receptive_field.feature_maps import feature_maps

TWO_DEVIATIONS = 0.9545
"""Share of a normal distribution within two standard deviations; the field is what exceeds the rest."""


class EffectiveReceptiveField(NamedTuple):
    """How the influence of the pixels on a unit is spread; tensors in float64."""

    size: Tensor
    """Root of the number of pixels whose influence exceeds 1 − 0.9545 of the largest, in pixels."""
    centre: Tensor
    """(2,), x and y of the influence's mean, in pixels."""
    deviation: Tensor
    """(2,), its standard deviations along x and y in pixels: the Gaussian with the map's moments."""
    influence: Tensor
    """(H, W), the expected |∂L/∂pixel|, summed over the image's channels."""


def effective_receptive_field(
    module: nn.Module, batches: Iterable[Tensor], *, random_signs: bool = False
) -> EffectiveReceptiveField:
    """Effective receptive field of the units of ``module``'s output, measured at the central one (Luo et al. 2016).

    L is the sum of the central unit (h // 2, w // 2) over the output's channels, and its gradient is averaged over
    the images. Divided by the theoretical size, the field's size shrinks with depth as about 1/√depth at the start of
    training. Pixels beyond the image's border are not seen, so the images should be larger than the field.

    Args:
        module: Maps images (B, C, H, W) to feature maps (B, C', h, w); run in evaluation mode and left as it was.
        batches: Images (B, C, H, W) of one size on the module's device, noise or photographs; a backward pass for each.
        random_signs: Whether channels enter L with a random sign each, drawn anew for every image from a fixed seed.

    Raises:
        ModelError: The output is no feature map.
        MetricError: There are no images, they differ in size, or the gradient is NaN.
    """
    generator = torch.Generator().manual_seed(0)  # on the CPU, so that the signs are the same on every device
    total, images = torch.zeros((), dtype=torch.float64), 0
    with torch.inference_mode(False), torch.enable_grad(), feature_maps(module) as run:
        for batch in batches:
            leaf = batch.detach().clone().requires_grad_()
            maps = run(leaf)
            unit = maps[:, :, maps.shape[-2] // 2, maps.shape[-1] // 2]
            signs = torch.ones(unit.shape)
            if random_signs:
                signs = 1.0 - 2.0 * torch.randint(2, unit.shape, generator=generator)
            (gradient,) = torch.autograd.grad(unit, leaf, signs.to(unit))
            influence = gradient.abs().sum((0, 1)).cpu().double()
            if total.ndim and total.shape != influence.shape:
                raise MetricError(
                    f"The images must be of one size, got {tuple(total.shape)} and {tuple(influence.shape)} pixels; "
                    "resize or crop them to one."
                )
            total, images = total + influence, images + len(batch)
    if images == 0:
        raise MetricError("The effective receptive field is a mean over images, got none; give it one batch at least.")
    return extent(total / images)


def extent(influence: Float[Tensor, "height width"]) -> EffectiveReceptiveField:
    """Size, centre and deviation of a map (H, W) of non-negative influences, such as the mean of several networks'.

    Returns:
        Size 0, and NaN for centre and deviation, where no pixel has any influence.

    Raises:
        MetricError: The influence is NaN.
    """
    influence = influence.double()
    if influence.isnan().any():
        raise MetricError(
            "The influence of the pixels must be numbers, got NaN; look for a diverged network or images that hold NaN."
        )
    size = (influence > (1 - TWO_DEVIATIONS) * influence.max()).sum().double().sqrt()
    total = influence.sum()
    along = influence.sum(0) / total, influence.sum(1) / total  # the distributions of x and y
    pixels = [torch.arange(len(share), dtype=torch.float64, device=share.device) + 0.5 for share in along]
    centre = torch.stack([share @ x for share, x in zip(along, pixels, strict=True)])
    variance = [share @ (x - mean) ** 2 for share, x, mean in zip(along, pixels, centre, strict=True)]
    return EffectiveReceptiveField(size, centre, torch.stack(variance).sqrt(), influence)
