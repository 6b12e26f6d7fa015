"""The layer of part filters: each of them is to fire on one object part, in one place of the map."""

import math

import torch
from torch import Tensor, nn

from interpretable.templates import Position, template_mask


class PartFilters(nn.Module):
    """One layer of an interpretable network (Zhang et al. 2018, §3): raw maps, and the mask that keeps their peaks.

    A layer takes the maps below as its filters, or is a new 3×3 convolution with as many filters, He-initialised. The
    ReLU makes maps non-negative, which the templates need, whatever the backbone's last activation is; on maps that are
    so already it changes nothing.

    Args:
        channels: Channels C of the maps.
        convolution: Compute the maps by a 3×3 convolution of padding 1 from the layer below.
        norm: Normalise them over the batch, which takes the place of the convolution's bias.
        mask: Mask the maps; without it the layer is that of the plain twin, with the same parameters.
        beta: Slope β of the templates.
        position: Where a filter's template sits, ``"argmax"`` or ``"centroid"``.
        part_share: Share of the channels, the first ones, that are part filters; the others are never masked.
    """

    beta: Tensor
    """(filters,) slope of each filter's template, which the authors' objective learns."""

    def __init__(
        self,
        channels: int,
        convolution: bool = False,
        mask: bool = True,
        beta: float = 4.0,
        position: Position = "argmax",
        part_share: float = 1.0,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.num_filters = math.ceil(part_share * channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm) if convolution else None
        self.norm = nn.BatchNorm2d(channels) if convolution and norm else None
        if self.conv is not None:
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        if self.conv is not None and self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.masked = mask
        self.register_buffer("beta", torch.full((self.num_filters,), float(beta)))
        self.position: Position = position

    def forward(self, x: Tensor) -> Tensor:
        """Raw maps (B, C, h, w), non-negative and unmasked, from the maps (B, C, h, w) of the layer below."""
        x = x if self.conv is None else self.conv(x)
        return torch.relu(x if self.norm is None else self.norm(x))

    def mask(self, z: Tensor) -> Tensor:
        """Raw maps (B, C, h, w) times the unit template at each map's own peak, as the layer above sees them.

        The gradient flows through the maps alone, none through the mask. A layer without mask returns z itself.
        """
        if not self.masked:
            return z
        parts, others = z[:, : self.num_filters], z[:, self.num_filters :]
        masked = parts * template_mask(parts, self.beta, self.position)
        return torch.cat([masked, others], 1) if others.shape[1] else masked

    def extra_repr(self) -> str:
        """What the layer's children do not show."""
        return f"filters={self.num_filters}, mask={self.masked}, position={self.position!r}"
