"""Class activation maps, of networks that end in global average pooling and one linear layer."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.layer_maps import is_map
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, check_classes
from interpretable.attribution.upsampled_maps import upsampled
from interpretable.errors import AttributionError

_TOLERANCE = 1e-3
"""Of a sum of magnitudes: more than TF32 loses of the sum."""


@dataclass(frozen=True, kw_only=True)
class CAM(Method):
    """Class activation maps M_c = Σ_k W_ck · A_k of the last maps A by the weights W (Zhou et al. 2016, eq. 2).

    For networks whose logits are one linear layer of the maps' averages, so that mean(M_c) + b_c is the logit, which
    is checked on the images; there CAM is Grad-CAM times the number of cells. Of an interpretable network the maps are
    those that its head sees, after the mask. Results are signed, (B, 1, h, w).

    Args:
        upsample: Whether to give them at the pixels of the image, (B, 1, H, W).
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.
    """

    upsample: bool = False

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        def class_maps(chunk: slice) -> tuple[Tensor, str]:
            top = _top(network, images[chunk])
            check_classes(classes, len(top.weight))
            maps = torch.einsum("bkc,bchw->bkhw", top.weight[classes[chunk]], top.maps)
            return maps[:, :, None], top.layer

        chunks = in_chunks(class_maps, len(images), self._size(network), self.track, "class activation maps")
        found = torch.cat([maps for maps, _ in chunks])
        return upsampled(found, images, network.module, chunks[0][1]) if self.upsample else found


class _Top(NamedTuple):
    """The last maps of a pass and what makes logits of their averages."""

    maps: Tensor
    """(N, C, h, w)."""
    layer: str
    """The first layer that gave these maps, or took them."""
    weight: Tensor
    """(K, C)."""


@torch.no_grad()
def _top(network: Network, images: Tensor) -> _Top:
    """The last maps that any layer gave or took, and the weights of the last linear layer.

    Raises:
        AttributionError: The logits are not what these make.
    """
    maps: list[tuple[Tensor, str]] = []
    linear: list[tuple[Tensor, Tensor | None]] = []

    def see(values: tuple[object, ...], name: str) -> None:
        for value in values:
            if is_map(value, len(images)) and not (maps and value is maps[0][0]):
                maps[:] = [(value, name)]  # no copy: what is written into it is what layers above see

    def ended(module: nn.Module, output: object, name: str) -> None:
        see((output,), name)
        if isinstance(module, nn.Linear):
            linear[:] = [(module.weight, module.bias)]  # of this pass, in its precision

    hooks = []
    try:
        for name, module in network.module.named_modules():
            # The defaults bind this name, not the loop's last.
            hooks.append(module.register_forward_pre_hook(lambda _, given, name=name: see(given, name)))
            hooks.append(module.register_forward_hook(lambda module, _, output, name=name: ended(module, output, name)))
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not maps or not linear:
        raise _other_head("no such maps" if linear else "no linear layer")
    (last, layer), (weight, bias) = maps[0], linear[0]
    if weight.shape != (logits.shape[1], last.shape[1]):
        raise _other_head(
            f"a linear layer from {weight.shape[1]} to {weight.shape[0]} for {last.shape[1]} maps and "
            f"{logits.shape[1]} logits"
        )
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    error = (last.mean((-2, -1)) @ weight.T + bias - logits).abs()
    magnitude = last.abs().mean((-2, -1)) @ weight.abs().T + bias.abs()
    if not bool((error <= _TOLERANCE * magnitude).all()):
        raise _other_head(f"logits that differ by up to {error.max().item():.2g}")
    return _Top(last, layer, weight)


def _other_head(found: str) -> AttributionError:
    return AttributionError(
        "CAM is for networks that end in the average of each of their last maps and one linear layer, got "
        f"{found}; grad_cam explains any head."
    )
