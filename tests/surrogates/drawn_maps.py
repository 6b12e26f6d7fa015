"""Small maps for tests of the explanatory graph: cheap to learn from, their units anywhere in the image."""

from typing import Any

from planted_graph import SIZE, planted_graph
from torch import Tensor

from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.layer_maps import LayerMaps


def layer_of(name: str, maps: Tensor, stride: int, offset: float = 0, **options: Any) -> LayerMaps:
    """All filters of maps."""
    return LayerMaps(name, maps, ReceptiveField(2 * stride, stride, offset), maps.shape[1], **options)


def planted_layers(seed: int, images: int = 12, filters: int = 3) -> tuple[LayerMaps, LayerMaps]:
    """The first filters of a planted graph's layers of 14 × 14 cells, bottom to top."""
    graph = planted_graph(seed, images=images)
    below, above = (
        layer_of(name, layer.maps[:, :filters].contiguous(), layer.stride, layer.offset)
        for name, layer in (("low", graph.lower), ("high", graph.upper))
    )
    return below, above


IMAGE_SIZE = (SIZE, SIZE)
"""Of the images of planted layers."""
