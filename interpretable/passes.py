"""Forward passes that gradients are taken of, of a network that is left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from interpretable.errors import InterpretableError
from interpretable.frozen import frozen
from interpretable.uncompiled import uncompiled

# On a CPU more examples in a pass are slower, since their maps leave the caches.
_ON_CPU, _ON_OTHERS = 16, 64


class Passes(NamedTuple):
    """A network as a function of images, within a block of `differentiable`."""

    run: Callable[[Tensor], Any]
    device: torch.device
    dtype: torch.dtype
    """Type of images, weights and outputs: that of the weights, float32 for halves."""


@contextmanager
def differentiable(network: nn.Module) -> Iterator[Passes]:
    """The network as a function of images that gradients flow through, whatever the caller is in.

    Within the block gradients are on, outside of any inference mode or autocast, and the network is in evaluation
    mode, uncompiled and in float32 at least. After it everything is as it was: weights, buffers, gradients, modes,
    and the random state.

    Args:
        network: Maps images to logits; itself, not what a compilation made of it.
    """
    weight = next((value for value in network.parameters() if value.is_floating_point()), torch.empty(0))
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        uncompiled(),
        frozen(network, torch.float32) as run,
        torch.autocast(weight.device.type, enabled=False),
    ):
        yield Passes(run, weight.device, torch.promote_types(weight.dtype, torch.float32))


def examples_at_once(device: torch.device) -> int:
    """How many examples in a pass suit a device, where no number is asked for."""
    return _ON_CPU if device.type == "cpu" else _ON_OTHERS


def checked_logits(output: object, images: int, error: type[InterpretableError]) -> Tensor:
    """What a network gave for so many images, where it is logits (N, K).

    Raises:
        InterpretableError: It is something else; of the class that is given.
    """
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != images:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise error(
            f"A network must give logits (images, classes) for {images} images, got {found}; wrap it in a module that "
            "gives its logits alone."
        )
    return output
