"""The networks that a training kept on its way, with the learning rates that are recorded with them."""

import copy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import nn

from interpretable.errors import InfluenceError, sentence_of
from interpretable.runs import Run


class Checkpoint(NamedTuple):
    """A network of a training."""

    path: Path
    step: int
    """Steps of the optimizer before it."""
    learning_rate: float
    """Of the head, for the step after it."""


def checkpoints_of(run: Run) -> list[Checkpoint]:
    """The run's checkpoints in the order of training, one of each step.

    Raises:
        InfluenceError: A file is no checkpoint.
    """
    # The best comes first, so that it is what stands for its step.
    paths = sorted((run.folder / "checkpoints").glob("*.ckpt"), key=lambda path: (path.stem != "best", path.name))
    found: dict[int, Checkpoint] = {}
    for path in paths:
        content = _read(path)
        found.setdefault(content["global_step"], Checkpoint(path, content["global_step"], _rate(run, content, path)))
    return sorted(found.values(), key=lambda checkpoint: checkpoint.step)


def weighted(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """Those whose learning rate is not 0, as it is at the end of a cosine: they would add nothing.

    Raises:
        InfluenceError: There is none.
    """
    kept = [checkpoint for checkpoint in checkpoints if checkpoint.learning_rate > 0]
    if not kept:
        names = ", ".join(checkpoint.path.name for checkpoint in checkpoints)
        raise InfluenceError(
            f"TracIn weighs checkpoints by the learning rates recorded with them, but that of {names} is 0, as at the "
            "end of a schedule; use another --method, or train with model.schedule=constant."
        )
    return kept


def network_at(run: Run, checkpoint: Checkpoint) -> nn.Module:
    """A copy of the run's network with the weights of a checkpoint, on the same device.

    Raises:
        InfluenceError: They are of another network.
    """
    weights = _read(checkpoint.path)["state_dict"]
    network = copy.deepcopy(run.model.net)
    try:
        network.load_state_dict(
            {name.removeprefix("net."): value for name, value in weights.items() if name.startswith("net.")}
        )
    except RuntimeError as error:
        raise InfluenceError(
            f"{checkpoint.path} was expected to hold another state of the run's network, but its weights do not fit "
            f"({sentence_of(error)}); move it out of the run folder."
        ) from error
    return network


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {"global_step", "state_dict", "optimizer_states"} <= content.keys():
            raise TypeError("it lacks weights, or the state of the optimizer")
    except (RuntimeError, TypeError, AttributeError, EOFError, OSError, UnpicklingError) as error:
        raise InfluenceError(
            f"{path} was expected to be a checkpoint of the run, but it cannot be used ({sentence_of(error)}); move it "
            "out of the run folder."
        ) from error
    return content


def _rate(run: Run, content: dict[str, Any], path: Path) -> float:
    """Of the parameters above the trunk, whose schedule starts from the run's own rate."""
    groups = [group for state in content["optimizer_states"] for group in state["param_groups"]]
    for group in groups:
        if group.get("initial_lr", group["lr"]) == run.model.hparams["lr"]:
            return float(group["lr"])
    raise InfluenceError(
        f"{path} was expected to record a learning rate that began at {run.model.hparams['lr']:g}, but it does not; "
        "move it out of the run folder."
    )
