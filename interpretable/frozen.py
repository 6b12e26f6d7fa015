"""A network as a function of images alone, left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from interpretable.evaluation_mode import evaluation_mode


@contextmanager
def frozen(module: nn.Module, precision: torch.dtype | None = None) -> Iterator[Callable[[Tensor], Any]]:
    """The module as a function of images, in evaluation mode.

    Gradients flow to the images and not to the parameters. The images are not written to, and when the context ends,
    modes, buffers, gradients and the random state are what they were.

    Args:
        module: The network; it may have been built in inference mode.
        precision: The least precision of its weights, such as float32 for a network of halves; as they are if omitted.
    """

    def plain(value: Tensor) -> Tensor:
        """Outside of inference mode, whose tensors no gradient can pass."""
        value = value.detach()
        if precision is not None and value.is_floating_point():
            value = value.to(torch.promote_types(value.dtype, precision))
        return value.clone() if value.is_inference() else value

    devices = {value.device for value in module.parameters() if value.is_cuda}
    state = {name: plain(parameter) for name, parameter in module.named_parameters()}
    # Cloned: a network may count its calls in a buffer.
    state |= {name: plain(buffer).clone() for name, buffer in module.named_buffers()}

    def run(images: Tensor) -> Any:
        return functional_call(module, state, (images.clone(),))  # cloned: the first layer may work in place

    with evaluation_mode(module), torch.random.fork_rng(devices=devices):
        yield run
