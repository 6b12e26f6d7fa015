"""Occlusion: how much a logit falls when a window of the image is hidden."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretable.attribution.baselines import Baseline, baseline_images
from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, check_classes
from interpretable.errors import AttributionError


@dataclass(frozen=True, kw_only=True)
class Occlusion(Method):
    """Fall of the logit when a window of the image is replaced by a baseline (Zeiler & Fergus 2014, §4.2).

    A pixel's attribution is the mean of logit(x) − logit(x with the window hidden) over the windows that cover it, the
    same in all channels, which a window hides together. Windows stand at every stride from the first pixel on; the last
    along an axis may be cut off by the border. Forward passes alone, one of each image and window, for all classes.

    Args:
        window: Side of the window in pixels, or its height and width.
        stride: Distance between windows in pixels, or between rows and between columns.
        baseline: What a window shows: a number, an image (C, H, W), or one for each (B, C, H, W), as the network takes
            images. 0 is the mean colour where they are normalised.
        batch_size: Images with a window in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images with a window.

    Raises:
        AttributionError: A window is below 1 pixel or its stride larger than it; when called, it is larger than the
            images.
    """

    window: int | tuple[int, int] = 16
    stride: int | tuple[int, int] = 8
    baseline: Baseline = 0.0

    def __post_init__(self) -> None:
        for side, stride in zip(_pair(self.window), _pair(self.stride), strict=True):
            if not 1 <= stride <= side:
                raise AttributionError(
                    "A window must be 1 pixel or more and its stride from 1 to that, so that every pixel is covered, "
                    f"got window {self.window} and stride {self.stride}."
                )

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        down, across = (
            _covered(length, side, stride, images)
            for length, side, stride in zip(images.shape[-2:], _pair(self.window), _pair(self.stride), strict=True)
        )
        baseline = baseline_images(self.baseline, images).expand_as(images)
        windows = len(down) * len(across)

        def logits(hidden: Tensor, image: slice | Tensor) -> Tensor:
            found = network(hidden)
            check_classes(classes, found.shape[1])
            return found.gather(1, classes[image])

        def with_window(chunk: slice) -> Tensor:
            pairs = torch.arange(chunk.start, chunk.stop, device=images.device)
            image, window = pairs // windows, pairs % windows
            inside = down[window // len(across)][:, :, None] & across[window % len(across)][:, None]
            return logits(torch.where(inside[:, None], baseline[image], images[image]), image)

        size = self._size(network)
        with torch.no_grad():
            whole = torch.cat(in_chunks(lambda chunk: logits(images[chunk], chunk), len(images), size))
            hidden = torch.cat(in_chunks(with_window, len(images) * windows, size, self.track, "images with a window"))
        falls = whole[:, :, None, None] - hidden.view(len(images), len(down), len(across), -1).movedim(-1, 1)
        # A sum over the windows that cover a pixel, one axis after the other.
        down, across = down.to(falls), across.to(falls)
        total = down.T @ falls @ across
        mean = total / (down.sum(0)[:, None] * across.sum(0))
        return mean[:, :, None].repeat(1, 1, images.shape[1], 1, 1)


def _pair(option: int | tuple[int, int]) -> tuple[int, int]:
    """Of rows and of columns."""
    return (option, option) if isinstance(option, int) else option


def _covered(length: int, side: int, stride: int, images: Tensor) -> Tensor:
    """Which of the pixels along an axis each window covers, (windows, length)."""
    if side > length:
        raise AttributionError(
            f"A window must fit into the image, got {side} pixels for {length}; use a smaller window or larger images."
        )
    pixels = torch.arange(length, device=images.device)
    first = torch.arange(0, length - side + stride, stride, device=images.device)[:, None]
    return (pixels >= first) & (pixels < first + side)
