"""Attributions of a run's images by several methods; those that do not explain its network are left out."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from interpretable.attribution import METHODS, ExplainingMethod, Method, Patterns, method_named
from interpretable.attribution.chunks import chunk_size, in_chunks
from interpretable.attribution.layer_maps import top_part_layer
from interpretable.attribution.network import explained
from interpretable.commands.attribution_images import a_few
from interpretable.commands.attribution_request import Asked
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import say, show_progress
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.errors import AttributionError
from interpretable.runs import Run

PATTERNS = "patterns.safetensors"
PATTERN_IMAGES = 512
"""Training images that patterns are fitted on at the most: each gives a sample of every unit in every cell."""

OWN = "part_filters"
"""An interpretable network's own explanation, which the others are compared with."""

USUAL = ("integrated_gradients", "lrp", "grad_cam", "guided_backprop")
"""Methods beside it where none is named."""

RESTS = ("delta", "absorbed", "dropped", "intercepts")
"""Fields of explanations that, with the attributions, sum to what is explained."""


class Result(NamedTuple):
    """What a method says of all images; tensors are on the CPU."""

    name: str
    options: dict[str, Any]
    """Those of the method, but for how it is computed."""
    attributions: Tensor
    """(N, C, H, W), or (N, 1, h, w) of a layer's maps."""
    further: dict[str, Tensor]
    """What else it knows, (N, ...) each, by name."""


class Results(NamedTuple):
    """What all methods say."""

    explained: tuple[Result, ...]
    refused: tuple[str, ...]
    """Sentences of methods that do not explain the network."""


def logits_of(run: Run, asked: Asked, images: Tensor) -> Tensor:
    """(N, K) on the CPU."""
    with explained(run.model) as network, torch.no_grad():
        size = chunk_size(asked.batch_size, network.device)
        chunks = in_chunks(lambda chunk: network(images[chunk]), len(images), size, show_progress, "logits")
    return torch.cat(chunks).cpu()


def results_of(run: Run, asked: Asked, images: Tensor, classes: Tensor, folder: Path) -> Results:
    """The attributions by each method, part filters first.

    Args:
        run: The run, on the device.
        asked: Whose methods are names.
        images: (N, 3, H, W), on the device.
        classes: (N,) outputs to explain.
        folder: Where patterns are kept.

    Raises:
        AttributionError: No method that is asked for explains the network.
    """
    found, refused = [], {}
    for name in methods_of(run, asked.methods):
        # Not said here: a progress bar stands on the terminal until the error is dropped.
        try:
            found.append(_result(run, asked, name, images, classes, folder))
        except AttributionError as error:
            refused[name] = f"{name} is left out: {error}"
    if refused and set(asked.methods or (OWN, *USUAL)) <= set(refused):
        raise AttributionError(f"No method that was asked for explains this network; {next(iter(refused.values()))}")
    return Results(tuple(found), tuple(refused.values()))


def methods_of(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    """The methods that are named, or the usual ones; first that of part filters where the network has any."""
    first = (OWN,) if top_part_layer(run.model) is not None else ()
    return tuple(dict.fromkeys((*first, *(names or USUAL))))


def _result(run: Run, asked: Asked, name: str, images: Tensor, classes: Tensor, folder: Path) -> Result:
    options = _options(run, asked, name, folder)
    method = method_named(name, **options, batch_size=asked.batch_size, track=show_progress)
    if isinstance(method, ExplainingMethod):
        named = method.explain(run.model, images, classes.to(images.device))._asdict()
    else:
        named = {"attributions": method(run.model, images, classes.to(images.device))}
    # Cloned: fields may share their memory, which a file of tensors must not.
    tensors = {field: tensor.cpu().clone(memory_format=torch.contiguous_format) for field, tensor in named.items()}
    return Result(name, _described(method), tensors.pop("attributions"), tensors)


def _options(run: Run, asked: Asked, name: str, folder: Path) -> dict[str, Any]:
    """What a method needs to know of the run."""
    known = {field.name for field in fields(METHODS[name])}
    if "patterns" in known:
        return {"patterns": patterns_of(run, asked, folder / PATTERNS)}
    if name == "deep_taylor":  # of any other, bounds are of rules that are not chosen here
        return {
            "low": tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
            "high": tuple((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
        }
    return {}


def patterns_of(run: Run, asked: Asked, path: Path) -> Patterns:
    """Patterns of the network, from the file or fitted on training images that are not augmented.

    Raises:
        AttributionError: The network has operations that patterns are not defined for.
    """
    if path.is_file():
        try:
            return Patterns.load(path, run.model)
        except AttributionError:
            pass  # damaged, or of other weights
    dataset = predict_split(run, "train").predict_dataset
    chosen = Subset(dataset, a_few(dataset.labels, PATTERN_IMAGES))
    size = chunk_size(asked.batch_size, run.model.device)
    patterns = Patterns.fit(run.model, DataLoader(chosen, size), track=show_progress)
    patterns.save(path)
    say(f"Patterns are fitted on {len(chosen)} of {len(dataset)} training images, and kept for these weights")
    return patterns


def _described(method: Method) -> dict[str, Any]:
    options = {field.name: getattr(method, field.name) for field in fields(method)}
    if "patterns" in options:
        options["patterns"] = options["patterns"].estimator
    return {name: value for name, value in options.items() if name not in ("batch_size", "track")}
