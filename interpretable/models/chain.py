"""A network as a chain of its children, which can be cut into a trunk and a head."""

import difflib
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from interpretable.errors import ModelError
from interpretable.evaluation_mode import evaluation_mode


def links(module: nn.Module) -> dict[str, nn.Module]:
    """The children of a network by name, in order, with the flatten that its forward puts before a linear layer.

    Raises:
        ModelError: The network has fewer than two children.
    """
    children = dict(module.named_children())
    if len(children) < 2:
        raise ModelError(
            f"A network is cut between its children, got {type(module).__name__} with {len(children)}; pass the module "
            "that holds the layers, or arrange them in an nn.Sequential."
        )
    has_flatten = any(isinstance(layer, nn.Flatten) for child in children.values() for layer in child.modules())
    chain: dict[str, nn.Module] = {}
    for name, child in children.items():
        if not has_flatten and _starts_linear(child):
            chain["flatten"] = nn.Flatten()
            has_flatten = True
        chain[name] = child
    return chain


def _starts_linear(module: nn.Module) -> bool:
    """Whether the first layer with parameters of its own is linear."""
    weighted = (layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None)
    return isinstance(next(weighted, None), nn.Linear)


def split(chain: dict[str, nn.Module], cut: str, option: str = "cut") -> tuple[nn.Sequential, nn.Sequential]:
    """Trunk up to and including the layer named ``cut``, and head after it.

    The name may be dotted: a `nn.Sequential` along the way is split too. Both halves hold the modules themselves, under
    their own names, so a parameter's name is its name in the network after ``trunk.`` or ``head.``. ``option`` is what
    an error calls the name.

    Raises:
        ModelError: No layer has that name, or nothing is left for the head.
    """
    names = list(_names(chain))
    if cut not in names:
        closest = difflib.get_close_matches(cut, names, n=3, cutoff=0.0)
        raise ModelError(
            f"The {option} must name a child, or a layer of a child that is an nn.Sequential, got {cut!r}; the closest "
            f"names are {', '.join(closest)}."
        )
    trunk, head = _halves(chain, cut)
    if not head:
        raise ModelError(f"The cut must leave a head above it, got {cut!r}, the last layer; cut the network earlier.")
    return nn.Sequential(OrderedDict(trunk)), nn.Sequential(OrderedDict(head))


def _names(chain: dict[str, nn.Module]) -> Iterator[str]:
    for name, module in chain.items():
        yield name
        if isinstance(module, nn.Sequential):
            yield from (f"{name}.{inner}" for inner in _names(dict(module.named_children())))


def _halves(chain: dict[str, nn.Module], cut: str) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    name, _, rest = cut.partition(".")
    position = list(chain).index(name)
    trunk = dict(list(chain.items())[: position + 1])
    head = dict(list(chain.items())[position + 1 :])
    if rest:
        below, above = _halves(dict(chain[name].named_children()), rest)
        trunk[name] = nn.Sequential(OrderedDict(below))
        head = ({name: nn.Sequential(OrderedDict(above))} if above else {}) | head
    return trunk, head


@torch.no_grad()
def check_chain(module: nn.Module, trunk: nn.Module, head: nn.Module, example: Tensor) -> None:
    """Compares trunk and head with the network that they were cut from, in eval mode, on example images.

    Args:
        module: The network.
        trunk: Its lower half.
        head: Its upper half.
        example: Images (B, C, H, W) that the network takes.

    Raises:
        ModelError: The outputs differ, or trunk and head cannot be called one after the other.
    """
    with evaluation_mode(module):
        expected = module(example.clone())
        try:
            found = head(trunk(example.clone()))
        except Exception as error:  # whatever a layer raises that is called on another layer's output
            raise ModelError(_not_a_chain(module, f"{type(error).__name__} ({error})")) from error
    if not isinstance(expected, Tensor) or expected.ndim != 2:
        raise ModelError(f"The network must return logits (B, K) as one tensor, got {_described(expected)}.")
    if found.shape != expected.shape:
        raise ModelError(_not_a_chain(module, f"an output of {_described(found)} for {_described(expected)}"))
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-6):
        difference = (found - expected).abs().max().item()
        raise ModelError(_not_a_chain(module, f"logits that differ by up to {difference:.2g}"))


def _not_a_chain(module: nn.Module, found: str) -> str:
    return (
        f"The forward of {type(module).__name__} must call its children one after the other, got {found} when they are "
        "called so; make the steps in between modules of an nn.Sequential that holds the whole network."
    )


def _described(output: object) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
