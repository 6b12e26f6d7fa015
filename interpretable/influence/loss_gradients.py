"""Gradients of the cross-entropy at the logits, for labels that are known, drawn from the network or averaged over.

A single logit is the log-odds of class 1 against class 0, whose own logit is 0.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor
from torch.nn import functional as F

from interpretable.errors import InfluenceError


def cross_entropy_gradients(
    logits: Float[Tensor, "image logit"], labels: Int64[Tensor, " image"]
) -> Float[Tensor, "image logit"]:
    """Gradient p − e_y of each image's −log p_y at its logits, p being their softmax, or the sigmoid of a single one.

    Raises:
        InfluenceError: A label is none of the classes.
    """
    of_classes = _of_classes(logits)
    classes = of_classes.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise InfluenceError(f"A label must be from 0 to {classes - 1}, the network's classes, got {wrong}.")
    gradients = of_classes.softmax(1).scatter_add(1, labels[:, None], logits.new_full((len(labels), 1), -1.0))
    return gradients[:, -logits.shape[1] :]


def sampled_gradients(logits: Float[Tensor, "image logit"], generator: Generator) -> Float[Tensor, "image logit"]:
    """The gradients for labels drawn from the network's own probabilities, whose second moments are the Fisher matrix.

    One number of the generator is used per image, in order, so that the labels do not depend on how images are batched.

    Args:
        logits: Of the network.
        generator: On the CPU, so that the labels are the same on every device.
    """
    cumulative = _of_classes(logits.detach().double().cpu()).softmax(1).cumsum(1)
    place = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64) * cumulative[:, -1:]
    labels = torch.searchsorted(cumulative, place, right=True)  # right: a class of probability 0 is never drawn
    return cross_entropy_gradients(logits, labels[:, 0].to(logits.device))


def expected_gradients(logits: Float[Tensor, "image logit"]) -> Iterator[Float[Tensor, "image logit"]]:
    """For each class c the gradients for the label c times √p_c: their second moments add up to the expected ones."""
    root = _of_classes(logits).softmax(1).sqrt()
    for label in range(root.shape[1]):
        labels = torch.full((len(logits),), label, device=logits.device)
        yield root[:, label, None] * cross_entropy_gradients(logits, labels)


def _of_classes(logits: Float[Tensor, "image logit"]) -> Float[Tensor, "image class"]:
    return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits
