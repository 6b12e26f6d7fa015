"""RISE: how much a logit is due to each pixel being seen, under random masks."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from interpretable.attribution.chunks import in_chunks
from interpretable.attribution.method import Method
from interpretable.attribution.network import Network, check_classes
from interpretable.errors import AttributionError


@dataclass(frozen=True, kw_only=True)
class RISE(Method):
    """Mean of random masks, weighted by the logit of the image behind each (Petsiuk et al. 2018, "RISE", eq. 6).

    S = Σ_i (y_i − ȳ) · M_i / (N · p), the same in all channels, with y_i the logit of the image times mask M_i. The
    paper's probabilities have no ȳ, their mean; a logit is known up to a constant, so it is taken off, which lowers the
    whole map by the same amount but for the chance of the masks. S is the mean logit where a pixel is seen, above that
    of all masks: 0 where nothing depends on the image, and negative where the pixel lowers the logit.

    Masks are coarse grids of cells that are seen with probability p, interpolated and shifted (§3.2). All images have
    the same masks. What a mask hides is 0, the mean colour where images are normalised. Forward passes alone, one of
    each image and mask, for all classes.

    Args:
        masks: How many masks N; the paper takes 4,000 to 8,000.
        cells: Cells along each axis of a mask.
        probability: How likely a cell is seen, p.
        seed: Of the masks, which are the same on every device.
        batch_size: Images behind a mask in a forward pass; chosen by the device if omitted.
        track: Shows how far it is, in images behind a mask.

    Raises:
        AttributionError: An option is out of its range.
    """

    masks: int = 1000
    cells: int = 7
    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.masks < 2 or self.cells < 1:
            raise AttributionError(
                f"RISE needs 2 masks or more, of 1 cell or more along an axis, got masks={self.masks}, "
                f"cells={self.cells}."
            )
        if not 0 < self.probability < 1:
            raise AttributionError(f"probability must be above 0 and below 1, got {self.probability}.")

    def _attributions(self, network: Network, images: Tensor, classes: Tensor) -> Tensor:
        count, size = len(images), self._size(network)
        masks = RandomMasks(self, images)

        def logits(chunk: slice) -> Tensor:
            pairs = torch.arange(chunk.start, chunk.stop, device=images.device)
            mask, image = pairs // count, pairs % count
            some = masks(slice(chunk.start // count, (chunk.stop - 1) // count + 1))
            found = network(images[image] * some[mask - chunk.start // count, None])
            check_classes(classes, found.shape[1])
            return found.gather(1, classes[image])

        with torch.no_grad():
            found = in_chunks(logits, self.masks * count, size, self.track, "images behind a mask")
        scores = torch.cat(found).view(self.masks, -1)  # of each mask, of all images and classes
        scores = (scores - scores.mean(0)) / (self.masks * self.probability)
        total = images.new_zeros(scores.shape[1], images.shape[-2] * images.shape[-1])
        # Masks are made again rather than kept, which would be as large as so many images.
        in_chunks(lambda chunk: total.addmm_(scores[chunk].T, masks(chunk).flatten(1)), self.masks, size)
        maps = total.view(*classes.shape, 1, *images.shape[-2:])
        return maps.repeat(1, 1, images.shape[1], 1, 1)


class RandomMasks:
    """Masks (masks, H, W) in [0, 1] for images of one size, made when they are asked for (Petsiuk et al. 2018, §3.2).

    A grid of cells, each 1 with the probability and else 0, is interpolated bilinearly to one cell more than the image
    along each axis, and cut to the image at a random place.
    """

    def __init__(self, options: RISE, images: Tensor) -> None:
        generator = torch.Generator().manual_seed(options.seed)
        grids = torch.rand(options.masks, options.cells, options.cells, generator=generator) < options.probability
        self.grids = grids.to(images)
        """(masks, cells, cells)."""
        self.size = (images.shape[-2], images.shape[-1])
        self.cell = tuple(ceil(length / options.cells) for length in self.size)
        """Height and width of a cell in pixels."""
        places = [torch.randint(side + 1, (options.masks,), generator=generator) for side in self.cell]
        self.places = torch.stack(places, 1).to(images)
        """(masks, 2) where the image is cut from a mask, in pixels."""

    def __call__(self, chunk: slice) -> Tensor:
        """Some of the masks."""
        down, across = (self._weights(chunk, axis) for axis in (0, 1))
        return down @ self.grids[chunk] @ across.mT

    def _weights(self, chunk: slice, axis: int) -> Tensor:
        """Weights (masks, pixels, cells) of a grid's cells in each pixel along an axis; rows sum to 1."""
        cells = self.grids.shape[-1]
        pixels = torch.arange(self.size[axis]).to(self.grids)
        enlarged = (cells + 1) * self.cell[axis]
        at = (self.places[chunk, axis, None] + pixels + 0.5) * (cells / enlarged) - 0.5
        distance = at.clamp(0, cells - 1)[:, :, None] - torch.arange(cells).to(self.grids)
        return (1 - distance.abs()).clamp(min=0)
