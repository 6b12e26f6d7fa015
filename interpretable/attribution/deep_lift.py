"""DeepLIFT with the rescale rule, complete on any network of operations that it knows."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from interpretable.attribution.baselines import Baseline, baseline_images
from interpretable.attribution.calls import Calls
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.deep_lift_rules import RescaleRules
from interpretable.attribution.method import ExplainingMethod
from interpretable.attribution.network import Network, check_depends, vector_jacobian_products


class DeepLIFTExplanation(NamedTuple):
    """DeepLIFT and how complete it is."""

    attributions: Tensor
    """(B, K, C, H, W)."""
    delta: Tensor
    """(B, K), f(x) − f(x₀) minus the sum of the attributions: 0 but for rounding, unless a change had no cause."""


@dataclass(frozen=True, kw_only=True)
class DeepLIFT(ExplainingMethod[DeepLIFTExplanation]):
    """Contributions of the pixels' differences from a baseline to the logit's (Shrikumar et al. 2017, rescale rule).

    With Δ the value for the image x minus that for the baseline x₀, each operation passes multipliers m from its output
    to its inputs so that Σ m Δ stays what it is; the contribution of a pixel is m Δ, and they sum to f(x) − f(x₀).

    * What is linear passes its gradient.
    * A function of each value alone passes Δy/Δx, or the derivative halfway where that gives the same change but for
      rounding, which is all there is to say where Δx is 0 or nearly.
    * In a window of max pooling with maxima y and y₀ the winner in the image is given the change max(y, y₀) − y₀, the
      winner in the baseline y − max(y, y₀), each over its own Δ; windows that share a winner add up. Where y = y₀ a
      winner that has not moved is given the derivative, others nothing.
    * A product passes to each factor the mean of the other one, as in squeeze-and-excitation.
    * A factor without gradient, such as the part mask of an interpretable network, is one of the two factors of a
      product too, but its own share, that of parts that have moved, is no pixel's and stays in ``delta``.

    Image and baseline run as one batch; a baseline that all images share is one row of it.

    Args:
        baseline: x₀: a number, one image, or an image for each; zeros if omitted.
        batch_size: Images in a forward pass, which their baselines are added to; chosen by the device if omitted.
        track: Shows how far it is, in images.
    """

    baseline: Baseline = None

    def _explanation(self, network: Network, images: Tensor, classes: Tensor) -> DeepLIFTExplanation:
        start = baseline_images(self.baseline, images)

        def explanation(chunk: slice) -> DeepLIFTExplanation:
            return _explained(network, images[chunk], start if len(start) == 1 else start[chunk], classes[chunk])

        chunks = in_chunks(explanation, len(images), self._size(network), self.track, "DeepLIFT")
        return DeepLIFTExplanation(*(torch.cat(field) for field in zip(*chunks, strict=True)))


def _explained(network: Network, images: Tensor, baselines: Tensor, classes: Tensor) -> DeepLIFTExplanation:
    """Of images (B, C, H, W) with their baselines (B or 1, C, H, W), from one forward pass."""
    leaf = images.clone().requires_grad_()
    with Calls(RescaleRules(len(images), len(baselines)).rules(), "DeepLIFT"):
        logits = network(torch.cat([leaf, baselines]))
    check_depends(logits)
    multipliers = vector_jacobian_products(logits[: len(images)], leaf, classes)
    attributions = multipliers.mul_((images - baselines)[:, None])
    logits = logits.detach()
    change = (logits[: len(images)] - logits[len(images) :]).gather(1, classes)
    return DeepLIFTExplanation(attributions, change - attributions.flatten(2).sum(2))
