"""What an explanatory graph accepts: settings within their ranges, and layers that are of the same images."""

from collections.abc import Sequence

from interpretable.errors import SurrogateError
from interpretable.surrogates.layer_maps import LayerMaps
from interpretable.surrogates.node_layer import NodeLayer


def check_settings(densities: Sequence[float | None], numbers: dict[str, int]) -> None:
    """Densities must be shares of the cells, and the other settings at least 1.

    Raises:
        SurrogateError: One is out of its range.
    """
    for density in densities:
        if density is not None and not 0 < density <= 1:
            raise SurrogateError(f"A density must be nodes per cell in (0, 1], got {density}; change it.")
    for name, number in numbers.items():
        if number < 1:
            raise SurrogateError(f"{name} must be at least 1, got {number}; raise it.")


def check_densities(densities: int | None, layers: int) -> None:
    """There must be as many densities as layers, or one for all (None).

    Raises:
        SurrogateError: There are not.
    """
    if densities is not None and densities != layers:
        raise SurrogateError(
            f"There must be one density for each of the {layers} layers, got {densities}; give as many."
        )


def check_layers(layers: Sequence[LayerMaps], densities: int | None, mirror: bool) -> None:
    """Layers must be of the same images, by different names, with mirrored maps if these are to be read.

    Args:
        layers: Bottom to top.
        densities: How many densities there are, None for the same one everywhere.
        mirror: Whether images may be read mirrored.

    Raises:
        SurrogateError: They are not.
    """
    if not layers:
        raise SurrogateError("An explanatory graph needs at least one layer, got none; name some.")
    check_densities(densities, len(layers))
    numbers = [layer.images for layer in layers]
    if len(set(numbers)) > 1:
        raise SurrogateError(f"All layers must be of the same images, got {numbers} images; give maps of the same.")
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise SurrogateError(f"Layers must have different names, got {', '.join(names)}; name each once.")
    for layer in layers:
        if not layer.images:
            raise SurrogateError(f"An explanatory graph needs at least one image, got none of {layer.name}; give some.")
        if layer.filters > layer.maps.shape[1]:
            raise SurrogateError(
                f"{layer.name} was expected to have at least {layer.filters} channels, got {layer.maps.shape[1]}; name "
                "fewer filters."
            )
        if mirror and layer.mirrored is None:
            raise SurrogateError(
                f"A mirror-aware graph needs the mirrored images too, got none of {layer.name}; give them."
            )
        if mirror and layer.mirrored is not None and tuple(layer.mirrored.shape) != tuple(layer.maps.shape):
            raise SurrogateError(
                f"The mirrored maps of {layer.name} must have the shape of the others, {tuple(layer.maps.shape)}, got "
                f"{tuple(layer.mirrored.shape)}; record both on the same images."
            )


def check_layers_of(graph: Sequence[NodeLayer], layers: Sequence[LayerMaps]) -> None:
    """Maps must be of a graph's own layers.

    Raises:
        SurrogateError: They are of others.
    """
    expected = [(nodes.name, len(nodes.deviations), nodes.height, nodes.width, *nodes.field[1:]) for nodes in graph]
    found = [(layer.name, layer.filters, *layer.maps.shape[2:], *layer.field[1:]) for layer in layers]
    if found != expected:
        raise SurrogateError(
            f"The maps must be of the graph's layers (name, filters, height, width, stride, offset), {expected}, got "
            f"{found}; record those layers of the same network on images of the same size."
        )
