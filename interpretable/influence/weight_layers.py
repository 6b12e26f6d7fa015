"""Which layers of a network have weights whose curvature factorises, and why others have not."""

import difflib
from collections import Counter
from collections.abc import Sequence

from torch import nn

from interpretable.errors import InfluenceError
from interpretable.influence.layer_positions import Layer


def weight_layers(network: nn.Module, names: Sequence[str] | None) -> tuple[dict[str, Layer], dict[str, str]]:
    """The linear and convolutional layers by name, and why each other module with parameters of its own is left out.

    Args:
        network: The uncompiled network.
        names: Which layers, as in ``named_modules()``; all that can be used if omitted.

    Raises:
        InfluenceError: A name is no layer's or that of a layer that cannot be used, or no layer can be used.
    """
    modules = dict(network.named_modules())
    for name in names or ():
        if name not in modules:
            close = ", ".join(difflib.get_close_matches(name, modules, n=3, cutoff=0.0))
            raise InfluenceError(
                f"Layers must be named as in {type(network).__name__}.named_modules(), got {name!r}; the closest are "
                f"{close}."
            )
    owners = Counter(id(value) for module in modules.values() for value in module.parameters(recurse=False))
    layers: dict[str, Layer] = {}
    skipped: dict[str, str] = {}
    for name, module in modules.items():
        own = dict(module.named_parameters(recurse=False))
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            if not own and name not in (names or ()):
                continue
            reason = f"{type(module).__name__} is neither Linear nor Conv2d"
        elif "weight" not in own:
            reason = "its weight is computed from other parameters"
        elif not _runs_as_its_kind(module):
            reason = f"{type(module).__name__} has a forward pass of its own"
        elif any(owners[id(value)] > 1 for value in own.values()):
            reason = "another layer shares its parameters"
        elif names is not None and name not in names:
            reason = "not named in layers"
        else:
            layers[name] = module
            continue
        if name in (names or ()):
            raise InfluenceError(f"Layers must be usable, but {name!r} is not: {reason}; leave it out of layers.")
        skipped[name] = reason
    if not layers:
        raise InfluenceError(
            f"A network must have Linear or Conv2d layers to be used, {type(network).__name__} has none that can be."
        )
    return layers, skipped


def _runs_as_its_kind(layer: Layer) -> bool:
    """Whether no subclass or patch, such as one that standardises the weight, has replaced what the layer computes."""
    kind: type[Layer] = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
    names = [name for name in ("forward", "_conv_forward") if hasattr(kind, name)]
    return all(getattr(getattr(layer, name), "__func__", None) is getattr(kind, name) for name in names)
