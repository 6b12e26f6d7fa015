"""Backbones with their initial weights: none, torchvision's published ones, or a local state-dict file."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from interpretable.errors import ModelError
from interpretable.models.small import small

_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""torchvision's published DenseNet files name norm1 norm.1."""


def build(key: str, num_classes: int, weights: str | None = None) -> nn.Module:
    """The network of a backbone's key for ``num_classes`` classes, with its initial weights.

    The classifier's last layer keeps the given weights where they are for as many classes and starts afresh where they
    are not; every other layer must match.

    Args:
        key: A key of `interpretable.models.BACKBONES`.
        num_classes: Outputs of the last layer.
        weights: Name of torchvision's published weights (``"DEFAULT"``, ``"IMAGENET1K_V1"``, ...), or path of a
            state-dict file of that network, ``.safetensors`` or readable by ``torch.load(weights_only=True)``.

    Raises:
        ModelError: The weights are neither, cannot be had, or are another network's.
    """
    state = None if weights is None else _state(key, weights)
    net = _fresh(key, num_classes, pretrained=state is not None)
    if state is not None:
        _load(net, state, f"The weights {weights} of {key}")
    return net


def _fresh(key: str, num_classes: int, pretrained: bool) -> nn.Module:
    if key == "small":
        return small(num_classes)
    # Inception's auxiliary classifier hangs off the trunk, and its published weights expect another input scale.
    inception = {"aux_logits": False, "init_weights": not pretrained, "transform_input": pretrained}
    net: nn.Module = get_model(key, num_classes=num_classes, **(inception if key == "inception_v3" else {}))
    return net


def _state(key: str, weights: str) -> dict[str, Tensor]:
    path = Path(weights)
    if path.is_file():
        return _read(path)
    published = {} if key == "small" else dict(get_model_weights(key).__members__)
    name = weights.rpartition(".")[2]
    if name not in published:
        choices = f"one of {', '.join(published)} or a state-dict file" if published else "a state-dict file"
        raise ModelError(f"The weights of {key} must be {choices}, got {weights!r}; check the name or the path.")
    try:
        state: dict[str, Tensor] = published[name].get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"torchvision's weights {name} of {key} could not be downloaded ({error}); go online, or pass the path of "
            "a state-dict file."
        ) from error
    return state


def _read(path: Path) -> dict[str, Tensor]:
    expected = f"The weights file {path} must hold the state dict of a network"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file may raise anything that its bytes lead the reader into
        raise ModelError(
            f"{expected}, got a file that cannot be read safely ({type(error).__name__}); save net.state_dict()."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        found = f"entries {', '.join(map(str, list(state)[:4]))}" if isinstance(state, dict) else type(state).__name__
        raise ModelError(f"{expected}, got {found}; save net.state_dict() alone.")
    return state


def _load(net: nn.Module, state: dict[str, Tensor], subject: str) -> None:
    """Copies the state into the network; a last layer for another number of classes is left as it is."""
    own = net.state_dict()
    last = [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear)][-1]
    state = {_OLD_DENSENET_KEY.sub(r"\1\2", name): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith("AuxLogits.")}
    given, wanted = state.get(f"{last}.weight", torch.empty(0)).shape, own[f"{last}.weight"].shape
    if given[1:] == wanted[1:] and given != wanted:
        state |= {name: own[name] for name in (f"{last}.weight", f"{last}.bias")}
    # Files from before batch normalisation counted its batches lack the counters.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    reshaped = [name for name, tensor in state.items() if name in own and tensor.shape != own[name].shape]
    problems = {"lacks": missing, "has unknown": unknown, "has another shape for": reshaped}
    found = "; ".join(f"it {verb} {', '.join(names[:2])}{_rest(names)}" for verb, names in problems.items() if names)
    if found:
        raise ModelError(f"{subject} must fit in every layer but the last, but {found}: is it another network's file?")
    net.load_state_dict(state, strict=False)


def _rest(names: list[str]) -> str:
    return f" and {len(names) - 2} more" if len(names) > 2 else ""
