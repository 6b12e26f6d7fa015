"""A network as attribution methods see it: differentiable in its images, and left as it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from interpretable.errors import AttributionError
from interpretable.passes import Passes, checked_logits, differentiable
from interpretable.uncompiled import without_compilation


class Network:
    """A classifier as a function from images (N, C, H, W) to logits (N, K), within a block of `explained`."""

    def __init__(self, module: nn.Module, passes: Passes) -> None:
        self.module = module
        """The network itself, uncompiled, for hooks."""
        self.device = passes.device
        self.dtype = passes.dtype
        """Type of its images, weights and logits: that of the weights, float32 for halves."""
        self._run = passes.run

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, K), whose gradient flows to the images alone.

        Raises:
            AttributionError: The network gives something else.
        """
        return checked_logits(self._run(images), len(images), AttributionError)


@contextmanager
def explained(model: nn.Module) -> Iterator[Network]:
    """The network as a function of its images that is differentiable and left as it was, see `differentiable`.

    Args:
        model: Maps images (N, C, H, W) to logits (N, K).

    Raises:
        AttributionError: Its layers cannot be seen, or its images depend on one another.
    """
    module = without_compilation(model)
    module = module.module if isinstance(module, nn.DataParallel) else module
    _check(module)
    with differentiable(module) as passes:
        try:
            yield Network(module, passes)
        except CheckpointError as error:
            raise AttributionError(
                "A network that computes layers again in its backward pass (torch.utils.checkpoint) cannot be "
                "explained by this method; turn that off, such as by memory_efficient=False."
            ) from error


def _check(module: nn.Module) -> None:
    """Refuses networks that are no functions of single images, or whose layers cannot be seen."""
    if isinstance(module, torch.jit.ScriptModule):
        raise AttributionError(
            "A network to explain must be a torch.nn.Module, got one of TorchScript; give the network that it was made "
            "of."
        )
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise AttributionError(
                f"Batch norms must have running statistics, or an image's logits depend on its batch, but {name} has "
                "none; build it with track_running_stats=True."
            )


def vector_jacobian_products(
    outputs: Tensor, inputs: Tensor, classes: Tensor, weights: Tensor | None = None, retain_graph: bool = False
) -> Tensor:
    """Gradients of chosen outputs of each example: one backward pass per column of ``classes``, no forward pass.

    Args:
        outputs: (N, K') of a pass in which no example depends on another.
        inputs: (N, ...) that they are differentiated by.
        classes: (N, K) which outputs of each example.
        weights: (N,) factors of each example's gradients.
        retain_graph: Whether the graph is needed afterwards.

    Returns:
        (N, K, ...); zeros where the outputs do not depend on the inputs.

    Raises:
        AttributionError: A class is none of the outputs.
    """
    check_classes(classes, outputs.shape[1])
    factor = torch.ones(len(outputs), 1).to(outputs) if weights is None else weights[:, None].to(outputs)
    gradients = []
    for column in range(classes.shape[1]):
        keep = retain_graph or column + 1 < classes.shape[1]
        chosen = torch.zeros_like(outputs).scatter_(1, classes[:, column, None], factor)
        (gradient,) = torch.autograd.grad(outputs, inputs, chosen, retain_graph=keep, allow_unused=True)
        gradients.append(torch.zeros_like(inputs) if gradient is None else gradient)
    return torch.stack(gradients, 1)


def logits_and_gradients(
    network: Network,
    images: Tensor,
    classes: Tensor,
    weights: Tensor | None = None,
    rules: AbstractContextManager[object] | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) of the chosen classes, and their gradients (N, K, C, H, W) at the images, from one forward pass.

    Args:
        network: Within its block of `explained`.
        images: (N, C, H, W).
        classes: (N, K).
        weights: (N,) factors of each image's gradients.
        rules: What the forward pass runs in, such as `Calls`.

    Raises:
        AttributionError: The logits do not depend on the images, or a class is none of the network's.
    """
    leaf = images.detach().clone().requires_grad_()
    with rules or nullcontext():
        logits = network(leaf)
    check_depends(logits)
    gradients = vector_jacobian_products(logits, leaf, classes, weights)
    return logits.detach().gather(1, classes), gradients


def check_depends(logits: Tensor) -> None:
    """Refuses logits without a gradient by the images.

    Raises:
        AttributionError: As said.
    """
    if not logits.requires_grad:
        raise AttributionError(
            "The logits must depend on the images by operations that have gradients, but they do not; methods without "
            "gradients are occlusion and rise."
        )


def check_classes(classes: Tensor, outputs: int) -> None:
    """Refuses classes, 0 or more, that a network does not have.

    Raises:
        AttributionError: As said.
    """
    if classes.numel() and int(classes.max()) >= outputs:
        raise AttributionError(
            f"A target must be from 0 to {outputs - 1}, the network's classes, got {int(classes.max())}."
        )
