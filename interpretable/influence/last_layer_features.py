"""A network taken apart at its last linear layer: what that layer is given, over a data set."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interpretable.errors import InfluenceError
from interpretable.frozen import frozen
from interpretable.influence.labelled_images import LabelledImages, in_passes
from interpretable.influence.linear_head import LastLayer
from interpretable.precision import full_precision
from interpretable.progress import Track, untracked
from interpretable.uncompiled import uncompiled, without_compilation

_TOLERANCE = 1e-4
"""Of what the last linear layer gives to what the network gives, over the largest logit: more than rounding."""


def last_layer_features(model: nn.Module, batches: LabelledImages, track: Track = untracked) -> LastLayer:
    """What the last linear layer of a network is given for each image, labels, and a copy of the layer's parameters.

    The last layer is the `torch.nn.Linear` that runs last in a pass. The network runs in evaluation mode, without
    gradients, uncompiled and in float32 at least, and is afterwards as before, and so is the random state.

    Args:
        model: Maps images to logits (B, K).
        batches: Pairs of images (B, ...), which are moved to the network, and labels (B,).
        track: Shows how far the batches are.

    Returns:
        Features and labels in the order of the batches, on the network's device, and in float32 for a network of
        halves. Of a loader that shuffles the order is not known afterwards.

    Raises:
        InfluenceError: There is no linear layer or no image, the last linear layer does not make the logits, or a batch
            is no pair of images and labels.
    """
    network = without_compilation(model)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise InfluenceError(
            f"The logits must be made by a torch.nn.Linear, but {type(network).__name__} has none; use an estimator "
            "that looks at all layers."
        )
    device, dtype = linear[-1].weight.device, torch.promote_types(linear[-1].weight.dtype, torch.float32)
    calls: list[tuple[nn.Linear, Tensor]] = []

    def remember(layer: nn.Linear, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], _: Tensor) -> None:
        given = args[0] if args else kwargs["input"]
        calls[:] = [(layer, given.clone())]  # which the network may write into, and not a view that keeps all of a map

    features, labels = [], []
    last: nn.Linear | None = None
    with ExitStack() as scope:
        scope.enter_context(torch.inference_mode(False))
        scope.enter_context(full_precision())
        scope.enter_context(uncompiled())
        run = scope.enter_context(frozen(network, torch.float32))
        for layer in linear:
            scope.callback(layer.register_forward_hook(remember, with_kwargs=True).remove)
        for images, of_images in in_passes(track(batches, "Features"), None, device, dtype):
            calls.clear()
            last = _checked_layer(network, calls, run(images), last)
            features.append(calls[0][1])
            labels.append(of_images)
    if last is None:
        raise InfluenceError("Influence needs at least one batch of images, got none; look at the loader.")
    return LastLayer(torch.cat(features), torch.cat(labels), *_parameters(last, dtype))


def _parameters(layer: nn.Linear, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Copies of weight and bias."""
    weight = layer.weight.detach().to(dtype, copy=True)
    return weight, None if layer.bias is None else layer.bias.detach().to(dtype, copy=True)


def _checked_layer(
    network: nn.Module, calls: list[tuple[nn.Linear, Tensor]], logits: object, last: nn.Linear | None
) -> nn.Linear:
    """The layer that ran last, where it is the same as in earlier batches and what it gives is the network's output."""
    if calls and isinstance(logits, Tensor) and logits.ndim == 2:
        layer, inputs = calls[0]
        if inputs.ndim == 2 and last in (None, layer) and logits.shape == (len(inputs), layer.out_features):
            own = F.linear(inputs, *_parameters(layer, inputs.dtype))
            # A NaN is no difference here: features that are not finite are refused with their row.
            if not (own - logits).abs().max() > _TOLERANCE * logits.abs().max():
                return layer
    raise InfluenceError(
        f"The output of {type(network).__name__} must be logits (B, K) that its last torch.nn.Linear makes of features "
        "(B, D), but they differ; use an estimator that looks at all layers, or a network that ends in that layer."
    )
