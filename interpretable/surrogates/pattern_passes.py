"""Going over all images with the nodes of a layer, a bounded part of them at once."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.part_patterns import (
    BLUR,
    WINDOW,
    Guidance,
    Inferred,
    Moments,
    Patterns,
    blur,
    cell_places,
)
from interpretable.surrogates.pattern_parents import guidance, without_parents
from interpretable.surrogates.pattern_windows import Windows, infer, log_likelihood, moments, windows

Guide = Callable[[slice], Guidance]
"""What guides a layer's nodes in some of the images."""


class Above(NamedTuple):
    """The layer above, and where its nodes are in the same images."""

    layer: NodeLayer
    cells: Int[Tensor, "image node"]
    """Row-major cells, in int32."""
    scores: Float[Tensor, "image node"]


class LayerImages(NamedTuple):
    """The images of a graph as one of its layers sees them."""

    maps: LayerMaps
    deviations: Float[Tensor, " filter"]
    flipped: Bool[Tensor, " image"]
    """Images of which the mirrored form counts."""
    at_once: int
    """Cells of windows that are computed at once."""
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps in cells."""
        height, width = self.maps.maps.shape[2:]
        return height, width

    def blurred(self) -> Iterator[tuple[slice, Tensor]]:
        """F of the images in turn, with the rows that they are."""
        scale = self.deviations.to(self.device)[:, None, None]
        for rows, found in self.maps.batches(self.flipped):
            yield rows, blur(found.to(self.device) / scale, BLUR * self.size[0])

    def seen(self, patterns: Patterns, guide: Guide) -> Iterator[tuple[Tensor, Guidance, Windows]]:
        """Parts of the images in turn: F, what guides the nodes there, and the windows of the nodes."""
        height, width = self.size
        side = 2 * max(1.0, min(WINDOW * max(height, width), 3 * float(patterns.spreads.max()))) + 2
        images = max(1, int(self.at_once / (side**2 * patterns.spreads.numel())))
        for rows, blurred in self.blurred():
            guided = guide(rows)
            for start in range(0, len(blurred), images):
                part = slice(start, start + images)
                some = Guidance(guided.shifts[part], guided.agreement[part], guided.tolerance)
                yield blurred[part], some, windows(blurred[part], patterns, some)


def guide_of(images: LayerImages, above: Above | None, parents: Int[Tensor, "filter node parent"]) -> Guide:
    """What guides nodes in some of the images: their parents, or nothing where they have none.

    Args:
        images: Of the layer of the nodes.
        above: The layer above, if there is one.
        parents: Of the nodes.
    """
    if above is None or not parents.shape[-1]:
        spreads = torch.empty(parents.shape[:2], device=images.device)
        return lambda rows: without_parents(rows.stop - rows.start, spreads, images.size)
    layer, cells = above.layer, above.cells
    ratio = layer.field.stride / images.maps.field.stride
    mean = layer.mean_places.flatten(0, 1)
    upper_spreads = (ratio * layer.spreads.flatten()).to(images.device)
    chosen = parents.to(images.device)

    def guided(rows: slice) -> Guidance:
        displaced = cell_places(cells[rows], layer.width) - mean
        return guidance((ratio * displaced).to(images.device), upper_spreads, chosen)

    return guided


def find(images: LayerImages, patterns: Patterns, guide: Guide) -> Inferred:
    """Where the nodes are in each of the images, on the CPU, with cells in int32."""
    return _joined(
        [_on_cpu(infer(seen, patterns, some, *images.size)) for _, some, seen in images.seen(patterns, guide)]
    )


def learn(images: LayerImages, patterns: Patterns, guide: Guide) -> tuple[Moments, Inferred]:
    """What the images say of the nodes, and where the nodes are in them."""
    total, found = None, []
    for blurred, some, seen in images.seen(patterns, guide):
        # In float64, so that hardly anything hangs on how many images are a part.
        of_part = Moments(*(sums.double() for sums in moments(blurred, seen)))
        total = of_part if total is None else Moments(*(a + b for a, b in zip(total, of_part, strict=True)))
        found.append(_on_cpu(infer(seen, patterns, some, *images.size)))
    assert total is not None  # there is at least one image
    return total, _joined(found)


def better_mirrored(images: LayerImages, patterns: Patterns, guide: Guide) -> Bool[Tensor, " image"]:
    """Images whose mirrored form the nodes explain better: by log P of the maps per unit of activation."""
    likelihoods = []
    for flipped in (False, True):
        turned = images._replace(flipped=torch.full_like(images.flipped, flipped))
        parts = [
            log_likelihood(blurred, seen) / blurred.sum((1, 2, 3)) for blurred, _, seen in turned.seen(patterns, guide)
        ]
        likelihoods.append(torch.cat(parts).cpu())
    return likelihoods[1] > likelihoods[0]  # not of a silent image, which is NaN


def _on_cpu(found: Inferred) -> Inferred:
    return Inferred(found.cells.int().cpu(), found.scores.cpu())


def _joined(parts: list[Inferred]) -> Inferred:
    return Inferred(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))
