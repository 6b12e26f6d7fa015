"""What every attribution method shares: how it is called, and that the network is left as it was."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from interpretable.attribution.chunks import chunk_size
from interpretable.attribution.network import Network, explained
from interpretable.attribution.targets import Target, chosen_classes, several
from interpretable.errors import AttributionError
from interpretable.progress import Track, untracked

Explanation = TypeVar("Explanation", bound=NamedTuple)  # of tensors (B, K, ...), the attributions first


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """An attribution method with its options, called with a network, images and the classes to explain.

    Every method explains logits. It works inside of a trainer's test and predict, under ``no_grad`` and autocast and on
    compiled networks, and leaves weights, buffers, gradients, hooks, modes and the random state as they were.

    Args:
        batch_size: Examples in a forward pass; chosen by the device if omitted, and halved where they do not fit.
        track: Shows how far long work is.
    """

    batch_size: int | None = None
    track: Track = untracked

    def __call__(self, model: nn.Module, images: Tensor, target: Target) -> Tensor:
        """Attributions, signed, unreduced and detached.

        Args:
            model: Maps images (B, C, H, W) to logits (B, K').
            images: (B, C, H, W), as the network takes them.
            target: A class, one for each image (B,), several for each (B, K), or ``"predicted"``.

        Returns:
            (B, C, H, W), or (B, K, C, H, W) for a target (B, K); (B, 1, h, w) and (B, K, 1, h, w) of methods that
            explain by a layer's maps.

        Raises:
            AttributionError: The images or the target are none, or the method is not for such a network.
        """
        with explained(model) as network:
            images = checked_images(images, network)
            result = self._attributions(network, images, self._classes(network, images, target))
        return result.detach() if several(target) else result.detach()[:, 0]

    @abstractmethod
    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        """Attributions (B, K, ...) of the classes (B, K)."""

    def _classes(self, network: Network, images: Tensor, target: Target) -> Tensor:
        return chosen_classes(network, images, target, self._size(network))

    def _size(self, network: Network) -> int:
        """Examples in a forward pass."""
        return chunk_size(self.batch_size, network.device)


@dataclass(frozen=True, kw_only=True)
class ExplainingMethod(Method, Generic[Explanation]):
    """A method that knows more than its attributions."""

    def explain(self, model: nn.Module, images: Tensor, target: Target) -> Explanation:
        """Attributions with what else is known of them, each (B, ...), or (B, K, ...) for a target (B, K).

        Raises:
            AttributionError: As when called.
        """
        with explained(model) as network:
            images = checked_images(images, network)
            result = self._explanation(network, images, self._classes(network, images, target))
        fields = [value.detach() if several(target) else value.detach()[:, 0] for value in cast(tuple[Tensor], result)]
        return type(result)._make(fields)

    @abstractmethod
    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> Explanation:
        """Attributions (B, K, ...) of the classes (B, K), and other tensors (B, K, ...)."""

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        return cast(Tensor, self._explanation(network, images, classes)[0])


def checked_images(images: Tensor, network: Network) -> Tensor:
    """The images as the network takes them, outside of inference mode, and none of the caller's.

    Raises:
        AttributionError: They are no batch of finite real numbers on the network's device.
    """
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise AttributionError(
            f"Images must be a batch (B, C, H, W) of real numbers, got {images.dtype} of shape {tuple(images.shape)}."
        )
    if images.device != network.device:
        raise AttributionError(
            f"Images must be where the network is, on {network.device}, got {images.device}; move one of them."
        )
    if not bool(torch.isfinite(images).all()):
        raise AttributionError("Images must be finite numbers, got NaN or infinite ones.")
    return images.detach().clone().to(network.dtype)
