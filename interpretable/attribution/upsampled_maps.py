"""A layer's maps at the pixels of the image."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.activations.tap import UpTo
from interpretable.errors import ModelError
from interpretable.models import InterpretableCNN
from interpretable.receptive_field import ReceptiveField, theoretical_receptive_field
from interpretable.upsampling import upsample


def upsampled(
    maps: Float[Tensor, "image chosen filter h w"],
    images: Float[Tensor, "image channel H W"],
    module: nn.Module,
    layer: str,
) -> Float[Tensor, "image chosen filter H W"]:
    """Maps at the pixels of the images, bilinear.

    Layers of an `InterpretableCNN` are anchored where their units lie in the image. Maps of other networks, and those
    whose receptive field cannot be measured, are taken for equal cells that cover it (``align_corners=False``).

    Args:
        maps: Of a layer, one or several for each image and class.
        images: What they are maps of.
        module: The network.
        layer: Dotted name of the layer; the head of an `InterpretableCNN` stands for the maps that it is given.
    """
    size = (images.shape[-2], images.shape[-1])
    field = _field(module, layer)
    flat = maps.flatten(0, 1)
    if field is None:
        fine = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    else:
        fine = upsample(flat, size, field, size)
    return fine.reshape(*maps.shape[:3], *size)


def _field(module: nn.Module, layer: str) -> ReceptiveField | None:
    """Where the units of a layer of an interpretable network lie in the image, where that is known."""
    for name, net in module.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(net, InterpretableCNN) and layer.startswith(prefix):
            own = layer.removeprefix(prefix)
            try:
                if own == "head" or own.startswith("part_filters."):
                    return net.receptive_fields[-1]  # units of all part layers lie in the same places
                return theoretical_receptive_field(UpTo(net, own), net.in_channels)
            except ModelError:
                return None
    return None
