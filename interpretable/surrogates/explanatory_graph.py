"""The explanatory graph: part patterns inside the filters of conv layers, and which of them move together.

Zhang, Cao, Shi, Wu & Zhu, Interpreting CNN Knowledge via an Explanatory Graph, AAAI 2018.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from interpretable.documents import read_document, write_document
from interpretable.errors import SurrogateError
from interpretable.progress import Track, untracked
from interpretable.surrogates.graph_arguments import check_layers, check_layers_of, check_settings
from interpretable.surrogates.graph_records import GraphAbout, GraphParameters, GraphRecord, NodeLayerRecord
from interpretable.surrogates.layer_learning import Learning, learn_layer
from interpretable.surrogates.layer_maps import LayerMaps, deviations
from interpretable.surrogates.learned_layers import LearnedLayers
from interpretable.surrogates.node_layer import NodeLayer
from interpretable.surrogates.part_patterns import Inferred
from interpretable.surrogates.pattern_parents import PARENTS
from interpretable.surrogates.pattern_passes import Above, LayerImages, better_mirrored, find, guide_of

ITERATIONS = 20
"""Of each layer (the authors' number)."""

_DENSITIES = ((20, 0.05), (10, 0.1))
"""Nodes per cell of maps from so many cells a side on; those of smaller ones have `_DENSEST`."""

_DENSEST = 0.2


def nodes_per_filter(height: int, width: int, density: float | None = None) -> int:
    """N, nodes for each filter of a layer: density × cells, rounded up.

    Args:
        height: Of the maps in cells.
        width: Of the maps in cells.
        density: Nodes per cell, in (0, 1]; where omitted the authors': 0.05 for maps of 28 cells a side, 0.1 for 14 and
            0.2 for 7.
    """
    if density is None:
        side = math.sqrt(height * width)
        density = next((nodes for least, nodes in _DENSITIES if side >= least), _DENSEST)
    # A product that rounding alone puts above a whole number is that number.
    return max(1, math.ceil(round(density * height * width, 9)))


class FoundNodes(NamedTuple):
    """Where the nodes of a graph are in images."""

    layers: tuple[Inferred, ...]
    """Bottom to top; cells are those of the mirrored image where an image was read mirrored."""
    mirrored: Tensor
    """(image,) bool, images that were read mirrored."""
    positions: tuple[Tensor, ...]
    """(image, filter, node, 2) of each layer, x and y in pixels of the image as it is."""
    fires: tuple[Tensor, ...]
    """(image, filter, node) bool of each layer: whether the score is at least half the node's mean over training."""

    def of(self, rows: Tensor) -> "FoundNodes":
        """The same in some of the images."""
        return FoundNodes(
            tuple(Inferred(*(array[rows] for array in layer)) for layer in self.layers),
            self.mirrored[rows],
            tuple(positions[rows] for positions in self.positions),
            tuple(fires[rows] for fires in self.fires),
        )


class ExplanatoryGraph:
    """Nodes for the part patterns that the filters of conv layers mix, tied to those of the layer above.

    Each filter gets N nodes. A node has a mean place, a spread and M parents in the layer above, on whose places in an
    image its own place depends: learned top-down without annotation, one layer after the other, all nodes of a layer at
    once. Where the authors' code and paper differ, the paper holds; docs/graph.md lists the differences.

    Args:
        density: Nodes per cell of each layer, one number for all or one for each, bottom to top; by the size of the
            maps where omitted (see `nodes_per_filter`).
        parents: M.
        iterations: Of each layer.
        mirror: Whether an image is read mirrored where the top layer's nodes explain that better; the maps of mirrored
            images are then needed too.
        seed: Of the first places.
        at_once: Cells of windows that are computed at once, which bounds the memory; more suits a GPU.
        device: Where it is computed.

    Attributes:
        layers_: Of nodes, bottom to top.
        image_size_: (H, W) of the images in pixels.
        images_: How many it was learned from.
    """

    layers_: tuple[NodeLayer, ...]
    image_size_: tuple[int, int]
    images_: int

    def __init__(
        self,
        density: float | Sequence[float] | None = None,
        parents: int = PARENTS,
        iterations: int = ITERATIONS,
        mirror: bool = False,
        seed: int = 0,
        at_once: int = 2**22,
        device: str = "cpu",
    ) -> None:
        self.density = density
        self.parents = parents
        self.iterations = iterations
        self.mirror = mirror
        self.seed = seed
        self.at_once = at_once
        self.device = device

    def fit(
        self,
        layers: Sequence[LayerMaps],
        image_size: tuple[int, int],
        folder: Path | None = None,
        track: Track = untracked,
    ) -> Self:
        """Learns the nodes of all layers.

        Args:
            layers: Maps of the same images, bottom to top.
            image_size: (H, W) of the images in pixels.
            folder: Where learned layers are kept, so that the same call goes on after a stop; `forget_layers` removes
                them.
            track: Shows how far it is.

        Raises:
            SurrogateError: An argument is out of its range, or the layers are not of the same images.
        """
        self.check_arguments()
        self._check_layers(layers)
        scales = [deviations(layer).float() for layer in layers]
        kept = LearnedLayers(folder, self._settings(image_size), layers, scales)
        learned: list[NodeLayer] = []
        above: Above | None = None
        flipped = torch.zeros(layers[0].images, dtype=torch.bool)
        for place in reversed(range(len(layers))):
            layer, density = layers[place], self._densities(len(layers))[place]
            found = kept.read(place)
            if found is None:
                height, width = layer.maps.shape[2:]
                how = Learning(
                    nodes_per_filter(height, width, density),
                    self.parents,
                    self.iterations,
                    self.mirror,
                    (float(image_size[0]), float(image_size[1])),
                )
                generator = torch.Generator().manual_seed(self.seed + place)
                images = self._images(layer, scales[place], flipped)
                found = learn_layer(images, above, how, generator, track)
                kept.write(place, *found)
            above, flipped = found
            learned.append(above.layer)
        self.layers_ = tuple(reversed(learned))
        self.image_size_, self.images_ = image_size, layers[0].images
        return self

    def infer(self, layers: Sequence[LayerMaps]) -> FoundNodes:
        """Where the nodes are in images: in each the cell with the largest product of activation and spatial term.

        Args:
            layers: Maps of the same images, of the graph's layers, bottom to top.

        Raises:
            SurrogateError: The graph is not fitted, or the layers are not its own.
        """
        self._check_fitted()
        check_layers_of(self.layers_, layers)
        self._check_layers(layers)
        flipped = torch.zeros(layers[0].images, dtype=torch.bool)
        above: Above | None = None
        found: list[Inferred] = []
        for layer, nodes in zip(reversed(layers), reversed(self.layers_), strict=True):
            images = self._images(layer, nodes.deviations, flipped)
            patterns = type(nodes.patterns)(*(values.to(self.device) for values in nodes.patterns))
            guide = guide_of(images, above, nodes.parents)
            if self.mirror and above is None:
                flipped = better_mirrored(images, patterns, guide)
                images = images._replace(flipped=flipped)
            inferred = find(images, patterns, guide)
            above = Above(nodes, inferred.cells.flatten(1), inferred.scores.flatten(1))
            found.append(inferred)
        pairs = list(zip(self.layers_, reversed(found), strict=True))
        return FoundNodes(
            layers=tuple(inferred for _, inferred in pairs),
            mirrored=flipped,
            positions=tuple(self._positions(nodes, inferred, flipped) for nodes, inferred in pairs),
            fires=tuple(nodes.fires(inferred) for nodes, inferred in pairs),
        )

    def check_arguments(self) -> None:
        """Settings must be within their ranges.

        Raises:
            SurrogateError: One is not.
        """
        check_settings(self._densities(1), {name: getattr(self, name) for name in ("parents", "iterations", "at_once")})

    def save(self, path: str | Path, about: GraphAbout | None = None) -> None:
        """Writes the graph as JSON, atomically; `load` gives it back bit for bit.

        Args:
            path: The file.
            about: Of which network and images it is.

        Raises:
            SurrogateError: The graph is not fitted.
        """
        self._check_fitted()
        height, width = self.image_size_
        density = tuple(self.density) if isinstance(self.density, Sequence) else self.density
        record = GraphRecord(
            about=about or GraphAbout(images=self.images_, image_size=(height, width)),
            parameters=GraphParameters(
                density=density,
                parents=self.parents,
                iterations=self.iterations,
                mirror=self.mirror,
                seed=self.seed,
            ),
            layers=tuple(NodeLayerRecord.of(layer) for layer in self.layers_),
        )
        write_document(Path(path), record)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            SurrogateError: There is no such file, or it is not as it was written; the sentence names the field.
        """
        record = read_document(path, GraphRecord)
        graph = cls(**record.parameters.model_dump())
        graph.layers_ = tuple(layer.to_layer() for layer in record.layers)
        graph.image_size_, graph.images_ = record.about.image_size, record.about.images
        return graph

    def _images(self, layer: LayerMaps, scale: Tensor, flipped: Tensor) -> LayerImages:
        return LayerImages(layer, scale, flipped, self.at_once, torch.device(self.device))

    def _positions(self, nodes: NodeLayer, found: Inferred, flipped: Tensor) -> Tensor:
        """x, y in pixels of the images as they are."""
        places = nodes.positions(found.cells)
        back = places.new_tensor([self.image_size_[1], 0]) + places * places.new_tensor([-1, 1])
        return torch.where(flipped[:, None, None, None], back, places)

    def _densities(self, layers: int) -> Sequence[float | None]:
        return self.density if isinstance(self.density, Sequence) else [self.density] * layers

    def _check_fitted(self) -> None:
        if not hasattr(self, "layers_"):
            raise SurrogateError(
                "An explanatory graph must be fitted or loaded before it is used, got one that is neither; call `fit` "
                "first."
            )

    def _check_layers(self, layers: Sequence[LayerMaps]) -> None:
        densities = len(self.density) if isinstance(self.density, Sequence) else None
        check_layers(layers, densities, self.mirror)

    def _settings(self, image_size: tuple[int, int]) -> dict[str, object]:
        names = ("density", "parents", "iterations", "mirror", "seed")
        return {name: getattr(self, name) for name in names} | {"image_size": list(image_size)}
