"""Passes of a network in which layers' inputs, and the gradients at their outputs, are read; nothing stays on it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from interpretable.errors import InfluenceError
from interpretable.influence.layer_positions import Layer, LayerCalls
from interpretable.passes import Passes, checked_logits, differentiable


class LayerPass(NamedTuple):
    """One forward pass; of each layer that ran, by name, its calls in order."""

    logits: Tensor
    inputs: dict[str, list[Tensor]]
    outputs: dict[str, list[Tensor]]

    def calls(self, at_logits: Tensor) -> dict[str, LayerCalls]:
        """The calls with the gradients at their outputs, given that at the logits (N, K): one backward pass."""
        outputs = [output for calls in self.outputs.values() for output in calls]
        gradients = torch.autograd.grad(
            self.logits, outputs, at_logits, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found = iter(gradients)
        return {
            name: LayerCalls(self.inputs[name], [next(found) for _ in calls]) for name, calls in self.outputs.items()
        }


class _Record(NamedTuple):
    images: int
    inputs: dict[str, list[Tensor]]
    outputs: dict[str, list[Tensor]]


class LayerRecorder:
    """What `layer_passes` yields: call it with images (N, ...) to run a pass."""

    def __init__(self, passes: Passes) -> None:
        self.device = passes.device
        self.dtype = passes.dtype
        """Type of images, weights and gradients: that of the weights, float32 for halves."""
        self._run = passes.run
        self._record: _Record | None = None  # of the pass that runs

    def __call__(self, images: Tensor) -> LayerPass:
        """A pass over some images.

        Raises:
            InfluenceError: The network gives no finite logits (N, K) that depend on the layers, or a layer does not
                read one row per image.
        """
        record = self._record = _Record(len(images), {}, {})
        try:
            logits = checked_logits(self._run(images), len(images), InfluenceError)
        finally:
            self._record = None
        if not bool(torch.isfinite(logits).all()):
            raise InfluenceError("The network's logits must be finite, got NaN or infinite ones; check its weights.")
        if not logits.requires_grad:
            raise InfluenceError(
                "The logits must depend on the layers by operations that have gradients, but they do not; name layers "
                "that the logits are computed from."
            )
        return LayerPass(logits, record.inputs, record.outputs)

    def read(self, name: str, layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        """A forward hook of a layer: keeps a call, and gives the network a copy, which it may write into."""
        kept = output if output.requires_grad else output.detach().requires_grad_()
        record = self._record
        if record is None:  # a checkpointed block runs again in the backward pass, and must do the same
            return kept.clone()
        given: Tensor = args[0] if args else kwargs["input"]
        if len(given) != record.images or given.ndim < (4 if isinstance(layer, nn.Conv2d) else 2):
            raise InfluenceError(
                f"A layer must read one row per image, but {name!r} read a tensor of shape {tuple(given.shape)} for "
                f"{record.images} images; leave it out with layers=."
            )
        record.inputs.setdefault(name, []).append(given.detach().clone())  # later layers may write into the input too
        record.outputs.setdefault(name, []).append(kept)
        return kept.clone()


@contextmanager
def layer_passes(network: nn.Module, layers: Mapping[str, Layer]) -> Iterator[LayerRecorder]:
    """The network as a function of images that reads its layers, and is left as it was, see `differentiable`.

    Below the first of the layers it keeps no graph. Hooks too are as before when the block ends.

    Args:
        network: Maps images to logits (N, K); itself, not what a compilation made of it.
        layers: What to read, by name.
    """
    with ExitStack() as scope:
        recorder = LayerRecorder(scope.enter_context(differentiable(network)))
        for name, layer in layers.items():
            # Prepended: the layer's own output is read, before any hook that changes it.
            hook = layer.register_forward_hook(partial(recorder.read, name), prepend=True, with_kwargs=True)
            scope.callback(hook.remove)
        yield recorder
