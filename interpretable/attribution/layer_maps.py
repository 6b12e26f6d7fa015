"""A layer's maps in a pass of a network, and what the logits are as a function of them."""

from typing import TypeGuard

import torch
from torch import Tensor, nn

from interpretable.activations.tap import layer_named
from interpretable.attribution.network import Network
from interpretable.errors import AttributionError
from interpretable.models import InterpretableCNN


def top_part_layer(module: nn.Module) -> str | None:
    """Name of the top part layer of an `InterpretableCNN`, or of a module that holds one, such as a classifier."""
    for name, net in module.named_modules():
        if isinstance(net, InterpretableCNN) and len(net.part_filters):
            prefix = f"{name}." if name else ""
            return f"{prefix}part_filters.{len(net.part_filters) - 1}"
    return None


def default_layer(network: Network, images: Tensor) -> str:
    """The layer that methods explain by if none is named: the top part layer, else the last that gives maps.

    The last is meant in the order in which layers of any depth end, in a pass of the first image; maps are larger
    than 1×1.

    Raises:
        AttributionError: No layer gives maps.
    """
    parts = top_part_layer(network.module)
    if parts is not None:
        return parts
    names: list[str] = []
    hooks = []
    try:
        for name, module in network.module.named_modules():
            # The default binds this name, not the loop's last.
            hooks.append(
                module.register_forward_hook(
                    lambda _, __, output, name=name: names.append(name) if name and is_map(output, 1) else None
                )
            )
        with torch.no_grad():
            network(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not names:
        raise AttributionError(
            "A network that is explained by a layer's maps must have a layer that gives maps (N, C, h, w) of several "
            "cells, but it has none; methods without layers explain any network."
        )
    return names[-1]


def is_map(value: object, images: int) -> TypeGuard[Tensor]:
    """Whether it is feature maps (N, C, h, w) of so many images, larger than 1×1."""
    return (
        isinstance(value, Tensor)
        and value.ndim == 4
        and value.is_floating_point()
        and len(value) == images
        and value.shape[-2] * value.shape[-1] > 1
    )


def maps_and_logits(network: Network, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """A layer's maps (N, C, h, w) and the logits (N, K) of a pass, differentiable by the maps and no further down.

    What runs after the layer, in place or not, gets a copy of the maps. A layer that runs several times is read at the
    last time that it gives maps.

    Args:
        network: Within its block of `explained`.
        images: (N, C, H, W).
        layer: Dotted name of the layer, as in ``named_modules()``.

    Raises:
        ModelError: The name is no layer's.
        AttributionError: The layer has no maps larger than 1×1, or the logits do not depend on them.
    """
    module = layer_named(network.module, layer)
    read: list[Tensor] = []
    found = "nothing, for it did not run"

    def keep(_: nn.Module, __: object, output: object) -> Tensor | None:
        """The copy that the pass goes on with."""
        nonlocal found
        if not is_map(output, len(images)):
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            return None
        # A leaf, so that no graph is kept of what comes before it.
        read[:] = [output.detach().clone().requires_grad_()]
        return read[0].clone()

    hook = module.register_forward_hook(keep)
    try:
        logits = network(images)
    finally:
        hook.remove()
    if not read:
        raise AttributionError(
            f"A layer to explain by must give maps ({len(images)}, C, h, w) larger than 1×1, got {found} from {layer}; "
            "name another layer."
        )
    if not logits.requires_grad:
        raise AttributionError(
            f"The logits must depend on the maps of {layer} by operations that have gradients, but they do not; name "
            "another layer."
        )
    return read[0], logits
