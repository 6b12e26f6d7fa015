"""The files of an explanatory graph: JSON, GraphML, a table of nodes, pictures and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.commands.graph_tables import measure_rows
from interpretable.commands.stores import predict_split
from interpretable.commands.tree_images import evenly, pictures
from interpretable.commands.tree_tables import Rows, write_csv
from interpretable.documents import digest_of
from interpretable.evaluation.evaluation import Evaluation
from interpretable.runs import Run
from interpretable.surrogates.explanatory_graph import ExplanatoryGraph, FoundNodes
from interpretable.surrogates.export.graph_network import to_networkx, write_graphml
from interpretable.surrogates.export.graph_page import write_graph_page
from interpretable.surrogates.export.graph_picture import draw_graph
from interpretable.surrogates.export.graph_view import GraphView
from interpretable.surrogates.export.shown_nodes import shown_layers
from interpretable.surrogates.graph_records import FILE_NAME, GraphAbout

PAGE = "graph.html"

GALLERY = 120
"""Test images that the nodes are shown on at the most, spread evenly."""


@dataclass(frozen=True)
class GraphExport:
    """Writes what a person opens of a graph."""

    run: Run
    folder: Path
    name: str
    """Of the images that it is of."""
    graph: ExplanatoryGraph
    about: GraphAbout
    test: ActivationStore
    rows: Tensor
    """Rows of the test images that it was measured on."""
    found: FoundNodes
    """Its nodes in them."""
    measured: Mapping[str, Evaluation]
    """Of the raw filters and the nodes of each layer."""

    def write(self) -> list[Path]:
        """Writes all files, each whole or not at all, and says which."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = (FILE_NAME, "graph.graphml", "nodes.csv", "graph.png", "graph.svg", PAGE)
        json, graphml, nodes, png, svg, page = files = [self.folder / name for name in names]
        self.graph.save(json, self.about)
        write_graphml(graphml, to_networkx(self.graph.layers_, self._parts_of_nodes()))
        write_csv(nodes, self._node_rows())
        view = self.view()
        draw_graph(view, png)
        draw_graph(view, svg)
        write_graph_page(page, view)
        return files

    def view(self) -> GraphView:
        """What is shown of the graph."""
        dataset = predict_split(self.run, "test").predict_dataset
        chosen = torch.from_numpy(evenly(torch.arange(len(self.rows)).numpy(), GALLERY))
        rows = self.rows[chosen]
        indices = self.test.recorded[rows].tolist()
        images = pictures(dataset, indices, f"{self.name}: images")
        labels = self.test.labels[rows].tolist()
        about, manifest = self.about, self.test.manifest
        return GraphView(
            title=f"Explanatory graph of {self.run.folder.name}: {self.name}",
            digest=digest_of(self.folder / FILE_NAME),
            about=(
                ("images", f"{about.images} training images of {', '.join(about.categories) or 'all classes'}"),
                ("data", about.train_data[:12]),
                ("weights", about.checkpoint[:12]),
                ("nodes of a filter", ", ".join(str(layer.spreads.shape[1]) for layer in self.graph.layers_)),
                ("parents of a node", str(self.graph.parents)),
                ("read mirrored", f"{int(self.found.mirrored.sum())} test images; mean places are of images as read"),
                ("measured on", f"{len(self.rows)} test images ({manifest.data[:12]})"),
            ),
            image_size=self.test.image_size,
            layers=shown_layers(
                self.graph, self.found.of(chosen), [found.filters for found in self._nodes], self.test.parts
            ),
            gallery=tuple(
                f"{self.test.classes[label] if self.test.classes else label} {index}"
                for label, index in zip(labels, indices, strict=True)
            ),
            images={place: images[index] for place, index in enumerate(indices)},
            tables={"Nodes and raw filters on test images": measure_rows({self.name: self.measured})},
        )

    @cached_property
    def _nodes(self) -> Sequence[Evaluation]:
        """What was measured of the nodes of each layer."""
        return [found for name, found in self.measured.items() if name.endswith(", nodes")]

    def _parts_of_nodes(self) -> dict[str, str]:
        """The part of each node where one is known, by the node's name in the network."""
        parts = {}
        for place, (layer, found) in enumerate(zip(self.graph.layers_, self._nodes, strict=True)):
            per_filter = layer.spreads.shape[1]
            for number, part in enumerate(found.filters.get("part", [])):
                if part >= 0:
                    parts[f"{place}:{number // per_filter}.{number % per_filter}"] = self.test.parts[int(part)]
        return parts

    def _node_rows(self) -> Rows:
        """A row of text for every node, the columns' names first."""
        header = ("layer", "filter", "node", "x", "y", "spread", "score", "part", "part_purity", "location_instability")
        rows: list[tuple[str, ...]] = [header]
        for layer, found in zip(self.graph.layers_, self._nodes, strict=True):
            per_filter = layer.spreads.shape[1]
            places = (layer.field.offset + layer.field.stride * layer.mean_places.flatten(0, 1)).tolist()
            spreads = (layer.field.stride * layer.spreads.flatten()).tolist()
            columns = [found.filters.get(name, [float("nan")] * layer.num_nodes) for name in header[-3:]]
            for number, (part, purity, instability) in enumerate(zip(*columns, strict=True)):
                y, x = places[number]
                rows.append(
                    (
                        layer.name,
                        str(number // per_filter),
                        str(number % per_filter),
                        *(f"{value:.6g}" for value in (x, y, spreads[number], layer.scores.flatten()[number].item())),
                        self.test.parts[int(part)] if part >= 0 else "",
                        f"{purity:.4g}",
                        f"{instability:.4g}",
                    )
                )
        return tuple(rows)
