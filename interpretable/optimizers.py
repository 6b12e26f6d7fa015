"""Optimizers by name and the schedule of their learning rate."""

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from interpretable.errors import ConfigurationError

Schedule = Literal["cosine", "constant"]


def build_optimizer(
    name: str, net: nn.Module, *, lr: float, trunk_lr: float, weight_decay: float, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """A torch optimizer over a network's parameters: the trunk at its own rate, no decay of biases and norms.

    Args:
        name: Class name in `torch.optim`.
        net: Network whose ``trunk`` learns at ``lr · trunk_lr``.
        lr: Learning rate.
        trunk_lr: Factor of the trunk's rate.
        weight_decay: Decay of parameters with two axes or more.
        options: Further arguments of the optimizer.

    Raises:
        ConfigurationError: No such optimizer, or one that does not take an option.
    """
    known: dict[str, Callable[..., torch.optim.Optimizer]] = {
        key: value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and "weight_decay" in _arguments(value)
    }
    if name not in known:
        raise ConfigurationError(f"torch.optim has no optimizer {name!r}; choose one of {', '.join(sorted(known))}.")
    accepted = _arguments(known[name]) - {"params", "lr", "weight_decay"}
    if unknown := sorted(set(options) - accepted):
        raise ConfigurationError(
            f"{name} takes no option {', '.join(unknown)}; it takes {', '.join(sorted(accepted))}."
        )
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((key.startswith("trunk."), parameter.ndim > 1), []).append(parameter)
    described = [
        {
            "params": parameters,
            "lr": lr * (trunk_lr if in_trunk else 1),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (in_trunk, decayed), parameters in groups.items()
    ]
    try:
        return known[name](described, lr=lr, **options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} does not take optimizer_options {options}: {error}.") from error


def _arguments(optimizer: Callable[..., torch.optim.Optimizer]) -> set[str]:
    return set(inspect.signature(optimizer).parameters)


def check_warmup(warmup: float, name: str = "A warm-up") -> None:
    """Refuses, as a ConfigurationError of that name, what is no share of a run that leaves something after it."""
    if not 0 <= warmup < 1:
        raise ConfigurationError(f"{name} must be a share of the run in [0, 1), got {warmup}.")


def rate_factor(schedule: Schedule, warmup: float, steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at each optimizer step: a linear rise, then constant or half a cosine to zero.

    Args:
        schedule: Shape after the rise.
        warmup: Share of the steps that the rise takes, in [0, 1).
        steps: Steps of the whole run.

    Raises:
        ConfigurationError: The warm-up is not a share.
    """
    check_warmup(warmup)
    rising = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return factor
