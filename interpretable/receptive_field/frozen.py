"""A network as a function of images alone, left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from interpretable.errors import ModelError
from interpretable.evaluation_mode import evaluation_mode


@contextmanager
def frozen(module: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """The module as a function from images (B, C, H, W) to feature maps (B, C', h, w), in evaluation mode.

    Gradients flow to the images and not to the parameters. The images are not written to, and when the context ends,
    modes, buffers, gradients and the random state are what they were.

    Raises:
        ModelError: When the function is called and its output is no feature map.
    """
    devices = {value.device for value in module.parameters() if value.is_cuda}
    state = {name: parameter.detach() for name, parameter in module.named_parameters()}
    # Cloned: a network may count its calls in a buffer.
    state |= {name: buffer.clone() for name, buffer in module.named_buffers()}

    def run(images: Tensor) -> Tensor:
        output = functional_call(module, state, (images.clone(),))  # cloned: the first layer may work in place
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"The receptive field is that of a feature map (B, C, h, w), got {found}; cut the module earlier."
            )
        return output

    with evaluation_mode(module), torch.random.fork_rng(devices=devices):
        yield run
