"""Explanatory graphs without a network, in the shapes that a reader may meet, for the tests of every export."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from surrogates.drawn_trees import HOSTILE_NAMES

from interpretable.surrogates.export.graph_view import GraphView, LayerView

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PARTS = ("beak", "head", "leg", "tail")
NOT_SHOWN = -1


def painted(height: int, width: int, number: int) -> np.ndarray:
    """An image whose red tells x, whose green tells y and whose blue tells which one it is, smoothly."""
    y, x = np.mgrid[:height, :width]
    blue = np.full((height, width), 40 * (number % 6) + 20)
    return np.stack([255 * x / max(1, width - 1), 255 * y / max(1, height - 1), blue], axis=-1).astype(np.uint8)


def colour_at(x: float, y: float, size: tuple[int, int], number: int) -> tuple[float, float, float]:
    """What ``painted`` has at a place."""
    height, width = size
    return 255 * x / (width - 1), 255 * y / (height - 1), 40 * (number % 6) + 20


def small_graph(size: tuple[int, int] = (120, 160), images: int = 5) -> GraphView:
    """Three layers of 3, 4 and 6 nodes, top to bottom, on painted images, with places at borders and in corners."""
    random = np.random.default_rng(0)
    bottom = _layer(
        random,
        "layer2",
        6,
        size,
        images,
        side=24.0,
        parents=[[0, 1], [1, 2], [2, NOT_SHOWN], [3, 0], [NOT_SHOWN, NOT_SHOWN], [0, 3]],
        strengths=[[0.9, 0.4], [0.8, 0.7], [0.6, 0.5], [0.95, 0.2], [0.9, 0.8], [0.3, 0.1]],
    )
    middle = _layer(
        random,
        "layer3",
        4,
        size,
        images,
        side=48.0,
        parents=[[0, 2], [2, NOT_SHOWN], [1, 0], [2, 1]],
        strengths=[[0.85, 0.8], [0.75, 0.5], [0.66, 0.55], [0.45, 0.35]],
    )
    top = _layer(random, "layer4", 3, size, images, side=80.0)
    corners = np.array([[0.0, 0.0], [size[1] - 1.0, size[0] - 1.0], [0.0, size[0] - 1.0]])
    bottom.positions[0, :3] = corners  # the squares of these must be moved into the image
    return _view((bottom, middle, top), size, images, {key: painted(*size, key) for key in range(images)})


def large_graph(nodes: int = 5000, images: int = 100, parents: int = 15, side: int = 64) -> GraphView:
    """Three layers with so many nodes together, of which each has so many parents."""
    random = np.random.default_rng(1)
    size = (224, 224)
    numbers = (nodes - 3 * (nodes // 5), 2 * (nodes // 5), nodes // 5)
    layers = []
    for name, number, above, square in zip(
        ("features.19", "features.26", "features.28"), numbers, (*numbers[1:], 0), (44.0, 76.0, 124.0), strict=True
    ):
        among = _distinct(random, above, (number, parents)) if above else None
        strengths = -np.sort(-random.uniform(0.3, 1, (number, parents)), axis=1) if above else None
        layers.append(_layer(random, name, number, size, images, square, among, strengths, total=10 * number, each=20))
    drawn = {key: drawn_picture(side, key) for key in range(images)}
    return _view(tuple(layers), size, images, drawn)


def _distinct(random: np.random.Generator, above: int, shape: tuple[int, int]) -> np.ndarray:
    """Different parents of each node, a tenth of them not shown."""
    chosen = np.argsort(random.random((shape[0], above)), axis=1)[:, : shape[1]]
    return np.where(random.random(shape) < 0.1, NOT_SHOWN, chosen)


def drawn_picture(side: int, number: int) -> np.ndarray:
    """Discs on a gradient, so that patches look like something."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([x * random.uniform(60, 200), y * random.uniform(60, 200), (1 - x) * random.uniform(60, 200)], -1)
    for _ in range(6):
        centre, radius = random.uniform(0.1, 0.9, 2), random.uniform(0.04, 0.18)
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = random.uniform(0, 255, 3)
    return image.astype(np.uint8)


def one_layer_graph() -> GraphView:
    """The top layer of the small graph alone."""
    small = small_graph()
    return dataclasses.replace(small, layers=small.layers[-1:])


def unknown_graph() -> GraphView:
    """The small graph before anything is known of its parts."""
    small = small_graph()
    layers = tuple(
        dataclasses.replace(
            layer,
            parts=("",) * len(layer.parts),
            purity=np.full_like(layer.purity, np.nan),
            instability=np.full_like(layer.instability, np.nan),
        )
        for layer in small.layers
    )
    return dataclasses.replace(small, layers=layers)


def hostile_graph(names: Sequence[str] = HOSTILE_NAMES) -> GraphView:
    """The small graph with every name replaced by one that tries to be something else."""
    small = small_graph()
    name = iter(names * 100)
    layers = tuple(
        dataclasses.replace(layer, name=next(name), parts=tuple(next(name) for _ in layer.parts))
        for layer in small.layers
    )
    tables: Mapping[str, tuple[tuple[str, ...], ...]] = {
        next(name) + title: tuple(tuple(next(name) for _ in row) for row in table)
        for title, table in small.tables.items()
    }
    return dataclasses.replace(
        small,
        title=next(name),
        about=tuple((next(name), next(name)) for _ in small.about),
        layers=layers,
        gallery=tuple(next(name) for _ in small.gallery),
        tables=tables,
    )


def _layer(
    random: np.random.Generator,
    name: str,
    nodes: int,
    size: tuple[int, int],
    images: int,
    side: float,
    parents: Sequence[Sequence[int]] | np.ndarray | None = None,
    strengths: Sequence[Sequence[float]] | np.ndarray | None = None,
    total: int | None = None,
    each: int = 2,
) -> LayerView:
    extent = np.array([size[1], size[0]], float) - 1
    places = random.uniform(0.2, 0.8, (nodes, 2)) * extent
    positions = np.clip(places + random.normal(0, 0.08, (images, nodes, 2)) * extent, 0, extent)
    order = random.permutation(nodes)
    return LayerView(
        name=name,
        nodes_per_filter=each,
        total=nodes if total is None else total,
        side=side,
        filters=order // each,
        numbers=order % each,
        scores=-np.sort(-random.gamma(4, 0.25, nodes)),
        places=places,
        spreads=random.uniform(4, 20, nodes),
        parts=tuple(PARTS[k] for k in random.integers(len(PARTS), size=nodes)),
        purity=random.uniform(0.3, 1, nodes),
        instability=random.uniform(0.02, 0.15, nodes),
        parents=np.empty((nodes, 0), int) if parents is None else np.asarray(parents),
        strengths=np.empty((nodes, 0)) if strengths is None else np.asarray(strengths),
        positions=positions,
        activity=random.gamma(2, 0.5, (images, nodes)),
    )


def _view(
    layers: tuple[LayerView, ...], size: tuple[int, int], images: int, pictures: Mapping[int, np.ndarray]
) -> GraphView:
    return GraphView(
        title="Explanatory graph of animals_vgg16",
        digest=DIGEST,
        about=(
            ("network", "vgg16, best of 30 epochs"),
            ("checkpoint", "sha256 5e884898da28047151d0e56f8dc62927"),
            ("data", "Creatures, 2 classes"),
        ),
        image_size=size,
        layers=layers,
        gallery=tuple(f"{('bird', 'cat')[k % 2]} {k:03}" for k in range(images)),
        images=pictures,
        tables={
            "Location instability": (
                ("layer", "nodes", "raw filters"),
                ("layer4", "0.061", "0.112"),
                ("layer3", "0.078", "0.124"),
            )
        },
    )
