"""The gradient of a logit at the image, and its product with the image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, logits_and_gradients


@dataclass(frozen=True, kw_only=True)
class Saliency(Method):
    """Signed gradient of the logit (Simonyan et al. 2014, "Deep Inside Convolutional Networks", §3).

    The paper's map is ``attributions.abs().amax(-3)``, the largest magnitude over the channels; a reduction comes last,
    since the magnitude of a mean is not the mean of magnitudes.

    Args:
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.
    """

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        def gradients(chunk: slice) -> Tensor:
            return logits_and_gradients(network, images[chunk], classes[chunk])[1]

        return torch.cat(in_chunks(gradients, len(images), self._size(network), self.track, "gradients"))


@dataclass(frozen=True, kw_only=True)
class GradientTimesInput(Saliency):
    """Gradient of the logit times the image (Shrikumar et al. 2016, "Not Just a Black Box").

    It sums to the logit where the network is linear, or has ReLUs and no biases. Pixels are those that the network
    takes: where they are normalised, a pixel of the mean colour gets 0.

    Args:
        batch_size: Images in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images.
    """

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        return super()._attributions(network, images, classes).mul_(images[:, None])
