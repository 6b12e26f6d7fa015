"""EK-FAC: influence of training images on test losses through all linear and convolutional layers."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpretable.errors import InfluenceError
from interpretable.influence.eigen_factors import (
    EigenFactors,
    gradient_products,
    preconditioned_gradients,
    self_products,
)
from interpretable.influence.factor_fitting import fitted_factors
from interpretable.influence.labelled_images import LabelledImages, in_passes
from interpretable.influence.layer_passes import LayerPass, LayerRecorder, layer_passes
from interpretable.influence.layer_positions import LayerCalls, position_chunks
from interpretable.influence.loss_gradients import expected_gradients, sampled_gradients
from interpretable.influence.true_label_calls import true_label_calls
from interpretable.influence.weight_layers import weight_layers
from interpretable.progress import Track, untracked
from interpretable.uncompiled import without_compilation


@dataclass(kw_only=True)
class EKFAC:
    """Influence functions with the Fisher matrix in an eigenvalue-corrected Kronecker basis.

    I(z, t) = g_tᵀ (F + damping)⁻¹ g_z / N, summed over layers, is by how much the presence of the training image z
    lowers the loss of the image t, to first order: positive for a helpful z, negative for a harmful one. g is the
    gradient of the cross-entropy (of a single logit the binary one) at an image's own label in evaluation mode, N the
    number of images fitted to, and F the Fisher matrix of their mean loss, which equals its Gauss-Newton matrix, one
    block for each layer (and for each group of a grouped convolution). Weight decay is no part of F; its coefficient
    can be added to ``damping``.

    Linear and Conv2d layers count, also those that run several times in a pass; the parameters of batch norms, of other
    modules and of subclasses with a forward pass of their own are left out, as ``skipped_`` says. Weights count whether
    or not they ask for gradients: name the ``layers`` that were trained where others were not. The network may be in
    any mode and is left as it was.

    Eigenvectors are computed in float64 of two square matrices per layer, as wide as its inputs (those of a patch) and
    its outputs: minutes on a CPU for a width of some thousands. A head alone, ``layers=["fc"]``, costs hardly more than
    the forward passes. Sources: George et al. 2018; Grosse et al. 2023.

    Args:
        damping: Added to all eigenvalues; a tenth of their mean in each layer if omitted.
        labels: Whether the Fisher matrix is of labels sampled from the network's probabilities, one per image and
            sweep, or of their exact expectation, which takes a backward pass per class.
        layers: Names of the layers, as in ``named_modules()``; all that can be used if omitted.
        seed: Of the sampled labels.
        batch_size: Images in a forward pass at the most; chosen by the device if omitted.

    Raises:
        InfluenceError: An option is out of its range.
    """

    damping: float | None = None
    labels: Literal["sampled", "expected"] = "sampled"
    layers: Sequence[str] | None = None
    seed: int = 0
    batch_size: int | None = None
    factors_: dict[str, EigenFactors] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Of each layer used, by name."""
    skipped_: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Why each other module with parameters of its own is left out, by name."""
    images_: int = field(init=False, repr=False, compare=False, default=0)
    """N, how many images the factors are of."""

    def __post_init__(self) -> None:
        if self.damping is not None and not 0 < self.damping < math.inf:
            raise InfluenceError(f"damping must be a positive number, got {self.damping}.")
        if self.labels not in ("sampled", "expected"):
            raise InfluenceError(f"labels must be 'sampled' or 'expected', got {self.labels!r}.")
        if self.layers is not None and (isinstance(self.layers, str) or not self.layers):
            raise InfluenceError(f"layers must be a list of names, one at least, got {self.layers!r}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise InfluenceError(f"batch_size must be 1 or more, got {self.batch_size}.")

    def fit(self, model: nn.Module, batches: LabelledImages, track: Track = untracked) -> Self:
        """Factors of a trained network's layers, in two sweeps over its training images.

        Args:
            model: Maps images (N, ...) to logits (N, K). Kept, and not to be changed before the last influence.
            batches: Pairs of images and labels, gone through twice, without augmentation.
            track: Shows how far it is.

        Raises:
            InfluenceError: A layer named cannot be used, no layer can, the network gives no logits, gradients are not
                finite, or the batches cannot be read twice.
        """
        if isinstance(batches, Iterator):
            raise InfluenceError(
                f"Batches must be gone through twice, got {type(batches).__name__}, which ends after once; give a list "
                "or a loader."
            )
        network = without_compilation(model)
        layers, skipped = weight_layers(network, self.layers)
        generator = torch.Generator().manual_seed(self.seed)

        def draw(logits: Tensor) -> list[Tensor]:
            if self.labels == "sampled":
                return [sampled_gradients(logits.detach(), generator)]
            return list(expected_gradients(logits.detach()))

        with layer_passes(network, layers) as recorder:

            def passes(what: str) -> Iterator[LayerPass]:
                images = in_passes(track(batches, what), self.batch_size, recorder.device, recorder.dtype)
                return (recorder(some) for some, _ in images)

            factors, without, number = fitted_factors(layers, passes, draw, self.damping, track)
        if not factors or (self.layers is not None and without):
            name, reason = next(iter(without.items()))
            raise InfluenceError(f"Layers must have gradients to be used, {name!r} has none: {reason}.")
        self.factors_, self.skipped_, self.images_ = factors, {**skipped, **without}, number
        self._network, self._layers = network, {name: layers[name] for name in factors}
        return self

    def influence(
        self, queries: LabelledImages, batches: LabelledImages, track: Track = untracked
    ) -> Float[Tensor, "query image"]:
        """Influence I(z, t) of each image z of the batches on the loss of each query t.

        Memory: the preconditioned gradients of all queries, as many numbers as the layers have weights for each.

        Args:
            queries: Pairs of test images and their labels.
            batches: Pairs of training images and their labels, all of those fitted to or some.
            track: Shows how far it is.

        Returns:
            (T, N) in the order of the batches, in the network's type, float32 for halves, and on its device.

        Raises:
            InfluenceError: Nothing has been fitted, a batch cannot be used, or numbers are too large for their type.
        """
        with self._recorder() as recorder:
            found: dict[str, list[Tensor]] = {name: [] for name in self.factors_}
            for _, calls in self._calls(queries, recorder):
                for name, factors in self.factors_.items():
                    chunks = position_chunks(self._layers[name], calls[name])
                    found[name] += [preconditioned_gradients(positions, factors) for _, positions in chunks]
            preconditioned = {name: torch.cat(found.pop(name)) for name in self.factors_}
            rows = len(next(iter(preconditioned.values())))
            columns = []
            for images, calls in self._calls(track(batches, "influence"), recorder):
                products = torch.zeros(rows, images, device=recorder.device, dtype=recorder.dtype)
                for name, gradients in preconditioned.items():
                    for some, positions in position_chunks(self._layers[name], calls[name], rows):
                        products[:, some] += gradient_products(gradients, positions)
                columns.append(products)
        return _checked_range(torch.cat(columns, 1) / self.images_)

    def self_influence(self, batches: LabelledImages, track: Track = untracked) -> Float[Tensor, " image"]:
        """Influence I(z, z) of each image on its own loss, 0 or more: high for outliers and for wrong labels.

        Args:
            batches: Pairs of training images and their labels.
            track: Shows how far it is.

        Returns:
            (N,) in the order of the batches, in the network's type, float32 for halves, and on its device.

        Raises:
            InfluenceError: As `influence`.
        """
        with self._recorder() as recorder:
            pieces = []
            for images, calls in self._calls(track(batches, "self-influence"), recorder):
                products = torch.zeros(images, device=recorder.device, dtype=recorder.dtype)
                for name, factors in self.factors_.items():
                    for some, positions in position_chunks(self._layers[name], calls[name]):
                        products[some] += self_products(positions, factors)
                pieces.append(products)
        return _checked_range(torch.cat(pieces) / self.images_)

    @contextmanager
    def _recorder(self) -> Iterator[LayerRecorder]:
        if not self.factors_:
            raise InfluenceError("Factors must be fitted before influence is asked for, got none; call fit first.")
        with layer_passes(self._network, self._layers) as recorder:
            yield recorder

    def _calls(self, batches: LabelledImages, recorder: LayerRecorder) -> Iterator[tuple[int, dict[str, LayerCalls]]]:
        return true_label_calls(
            recorder, in_passes(batches, self.batch_size, recorder.device, recorder.dtype), self._layers
        )


def _checked_range(influence: Tensor) -> Tensor:
    if not bool(torch.isfinite(influence).all()):
        raise InfluenceError(
            f"Influence must be a number of {influence.dtype}, got some too large; give a larger damping, since "
            "eigenvalues all but vanish where a network is certain of every image."
        )
    return influence
