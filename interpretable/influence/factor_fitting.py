"""Fitting the eigenvalue-corrected Kronecker factors of a network's layers in two sweeps over images."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from interpretable.errors import InfluenceError
from interpretable.influence.eigen_factors import EigenFactors, eigenbasis_gradients
from interpretable.influence.kronecker_factors import eigenvectors, second_moments
from interpretable.influence.layer_passes import LayerPass
from interpretable.influence.layer_positions import Layer, position_chunks
from interpretable.progress import Track

Draw = Callable[[Tensor], list[Tensor]]
"""From logits (N, K): gradients (N, K) at them, for one label or several."""

_DAMPING = 0.1  # of the mean eigenvalue


def fitted_factors(
    layers: Mapping[str, Layer],
    passes: Callable[[str], Iterator[LayerPass]],
    draw: Draw,
    damping: float | None,
    track: Track,
) -> tuple[dict[str, EigenFactors], dict[str, str], int]:
    """The factors by layer, why others of the layers have none, and the number of images.

    Args:
        layers: The layers that the passes read.
        passes: The passes over all images, with a word for what is done.
        draw: Whose second moments are those of the Fisher matrix.
        damping: Added to the eigenvalues; a tenth of their mean in each layer if omitted.
        track: Shows how far it is.

    Raises:
        InfluenceError: There is no image, a layer's gradients are not finite, or the two sweeps differ.
    """
    bases, images = _bases(layers, passes("covariances"), draw, track)
    eigenvalues = _eigenvalues(layers, passes("eigenvalues"), draw, bases, images)
    skipped = {name: "it did not run as a module" for name in layers if name not in eigenvalues}
    factors: dict[str, EigenFactors] = {}
    for name, values in eigenvalues.items():
        _check_finite(name, values)
        if bool(values.any()):
            added = _DAMPING * float(values.mean()) if damping is None else damping
            factors[name] = EigenFactors(*bases[name], values, added)
        else:
            skipped[name] = "its gradients are zero on every image"
    return factors, skipped, images


def _bases(
    layers: Mapping[str, Layer], passes: Iterator[LayerPass], draw: Draw, track: Track
) -> tuple[dict[str, tuple[Tensor, Tensor]], int]:
    """Q_A and Q_S of each layer that ran, and the number of images."""
    of_inputs: dict[str, Tensor] = {}
    of_signals: dict[str, Tensor] = {}
    images = 0
    for one in passes:
        images += len(one.logits)
        for repeat, at_logits in enumerate(draw(one.logits)):
            for name, calls in one.calls(at_logits).items():
                for _, (inputs, signals) in position_chunks(layers[name], calls):
                    if repeat == 0:
                        _add(of_inputs, name, second_moments(inputs))
                    _add(of_signals, name, second_moments(signals))
        del one  # its graph, before the next pass
    if not images:
        raise InfluenceError("Factors must be fitted to images, got none; give batches with images.")
    bases = {}
    for name in track(list(of_inputs), "eigenvectors"):
        moments = (of_inputs.pop(name), of_signals.pop(name))  # popped: those of a large layer take much memory
        for values in moments:
            _check_finite(name, values)
        bases[name] = (eigenvectors(moments[0]), eigenvectors(moments[1]))
    return bases, images


def _eigenvalues(
    layers: Mapping[str, Layer],
    passes: Iterator[LayerPass],
    draw: Draw,
    bases: Mapping[str, tuple[Tensor, Tensor]],
    images: int,
) -> dict[str, Tensor]:
    """Λ of each layer that ran."""
    sums: dict[str, Tensor] = {}
    ran: set[str] = set()
    again = 0
    for one in passes:
        ran |= one.outputs.keys()
        again += len(one.logits)
        for at_logits in draw(one.logits):
            calls = one.calls(at_logits)
            for name in [known for known in bases if known in calls]:
                for _, positions in position_chunks(layers[name], calls[name]):
                    _add(sums, name, eigenbasis_gradients(positions, *bases[name]).square().sum(0))
        del one  # its graph, before the next pass
    if again != images or ran != bases.keys():
        raise InfluenceError(
            f"The same images must run through the same layers in both sweeps, got {images} through {len(bases)} "
            f"layers and then {again} through {len(ran)}; give batches that can be gone through again."
        )
    return {name: total / images for name, total in sums.items()}


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name].add_(value) if name in sums else value


def _check_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise InfluenceError(
            f"The gradients of every layer must be finite, those of {name!r} are not; check the network's weights."
        )
