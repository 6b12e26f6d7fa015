"""What ``graph.json`` holds: the layers of an explanatory graph in short decimals that give back the same bits."""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from interpretable.documents import Document, Record
from interpretable.errors import InterpretableError, SurrogateError
from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.node_layer import NodeLayer

FILE_NAME = "graph.json"

_LEAST, _MOST = 1e-45, 3.4028235e38
"""Positive numbers of float32, as they are written."""

Number = Annotated[FiniteFloat, Field(ge=-_MOST, le=_MOST)]
Positive = Annotated[FiniteFloat, Field(ge=_LEAST, le=_MOST)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
NodeNumber = Annotated[int, Field(ge=0, lt=2**63)]
Place = tuple[Number, Number]
"""Row and column in cells."""


class GraphAbout(Record):
    """Of which network and images the graph is; empty for one that was fitted to plain arrays."""

    checkpoint: str = ""
    """Digest of the network's weights."""
    train_data: str = ""
    """Fingerprint of the images that it is fitted on."""
    images: PositiveInt
    """How many these are."""
    image_size: tuple[PositiveInt, PositiveInt]
    """(H, W) of them in pixels."""
    categories: tuple[str, ...] = ()
    """Names of the classes that they are of; empty for all."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the packages that wrote it."""


class GraphParameters(Record):
    """What the graph was fitted with."""

    density: Positive | tuple[Positive, ...] | None
    """Nodes of a filter per cell of its map, of all layers or of each, bottom to top."""
    parents: NonNegativeInt
    """M."""
    iterations: NonNegativeInt
    mirror: bool
    """Whether each image was also seen mirrored."""
    seed: int


class FieldRecord(Record):
    """A `ReceptiveField`, in pixels of the image."""

    size: PositiveInt
    stride: PositiveInt
    offset: FiniteFloat


class FilterRecord(Record):
    """The N nodes of a filter: a list for each thing that is known of them, in their order."""

    deviation: Positive
    places: Annotated[tuple[Place, ...], Field(min_length=1)]
    spreads: tuple[Positive, ...]
    mean_places: tuple[Place, ...]
    scores: tuple[Number, ...]
    parents: tuple[tuple[NodeNumber, ...], ...]
    """Numbers of the nodes of the layer above, M for each node; empty lists in the top layer."""
    strengths: tuple[tuple[Share, ...], ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        nodes = len(self.places)
        for name in ("spreads", "mean_places", "scores", "parents", "strengths"):
            if len(getattr(self, name)) != nodes:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, places {nodes}")
        for name in ("parents", "strengths"):
            for node, row in enumerate(getattr(self, name)):
                if len(row) != len(self.parents[0]):
                    raise ValueError(f"{name}[{node}] has {len(row)} numbers, parents[0] {len(self.parents[0])}")
        for node, row in enumerate(self.parents):
            if len(set(row)) != len(row):
                raise ValueError(f"parents[{node}] names a node twice")
        return self


class NodeLayerRecord(Record):
    """A `NodeLayer`."""

    name: str
    height: PositiveInt
    width: PositiveInt
    field: FieldRecord
    objective: tuple[Number, ...]
    filters: Annotated[tuple[FilterRecord, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _filters_are_alike(self) -> Self:
        nodes, parents = len(self.filters[0].places), len(self.filters[0].parents[0])
        for number, record in enumerate(self.filters):
            found = len(record.places)
            if found != nodes:
                raise ValueError(f"filters[{number}].places has {found} entries, filters[0].places {nodes}")
            found = len(record.parents[0])
            if found != parents:
                raise ValueError(f"filters[{number}].parents[0] has {found} numbers, filters[0].parents[0] {parents}")
        return self

    @property
    def num_nodes(self) -> int:
        """C · N."""
        return len(self.filters) * len(self.filters[0].places)

    @classmethod
    def of(cls, layer: NodeLayer) -> Self:
        """The record of a layer, which gives it back exactly; on whatever device its tensors are."""
        columns = {
            "deviation": shortest(layer.deviations),
            "places": shortest(layer.places),
            "spreads": shortest(layer.spreads),
            "mean_places": shortest(layer.mean_places),
            "scores": shortest(layer.scores),
            "parents": layer.parents.tolist(),
            "strengths": shortest(layer.strengths),
        }
        rows = zip(*columns.values(), strict=True)
        return cls(
            name=layer.name,
            height=layer.height,
            width=layer.width,
            field=FieldRecord(**layer.field._asdict()),
            objective=_tuples(shortest(layer.objective)),
            filters=tuple(FilterRecord(**dict(zip(columns, map(_tuples, row), strict=True))) for row in rows),
        )

    def to_layer(self) -> NodeLayer:
        """The layer, with the bits that it was written with."""

        def column(name: str) -> Tensor:
            return torch.tensor([getattr(record, name) for record in self.filters], dtype=torch.float64).float()

        return NodeLayer(
            name=self.name,
            height=self.height,
            width=self.width,
            field=ReceptiveField(**self.field.model_dump()),
            deviations=column("deviation"),
            places=column("places"),
            spreads=column("spreads"),
            mean_places=column("mean_places"),
            scores=column("scores"),
            parents=torch.tensor([record.parents for record in self.filters], dtype=torch.int64),
            strengths=column("strengths"),
            objective=torch.tensor(self.objective, dtype=torch.float64).float(),
        )


class GraphRecord(Document):
    """The whole file."""

    command: ClassVar[str] = "graph"
    error: ClassVar[type[InterpretableError]] = SurrogateError
    schema_version: Literal[1] = 1
    about: GraphAbout
    parameters: GraphParameters
    layers: Annotated[tuple[NodeLayerRecord, ...], Field(min_length=1)]
    """Bottom to top."""

    @model_validator(mode="after")
    def _layers_fit_together(self) -> Self:
        density = self.parameters.density
        if isinstance(density, tuple) and len(density) != len(self.layers):
            raise ValueError(f"parameters.density has {len(density)} numbers, layers {len(self.layers)} entries")
        names = [layer.name for layer in self.layers]
        above = [layer.num_nodes for layer in self.layers[1:]] + [0]
        for place, (layer, nodes) in enumerate(zip(self.layers, above, strict=True)):
            if layer.name in names[:place]:
                raise ValueError(f"layers[{place}].name is {layer.name} once more")
            for number, record in enumerate(layer.filters):
                for node, row in enumerate(record.parents):
                    if row and max(row) >= nodes:
                        raise ValueError(
                            f"layers[{place}].filters[{number}].parents[{node}] names node {max(row)}, but the layer "
                            f"above has {nodes} nodes"
                        )
        return self


def shortest(values: Tensor) -> Any:
    """Lists of the decimal numbers with the fewest digits that are rounded to these float32."""
    exact = values.detach().cpu().numpy()
    short = exact.astype(str).astype(np.float64)
    # A decimal number beside the middle of two float32 may be rounded to the middle first and to the wrong one then.
    return np.where(short.astype(np.float32) == exact, short, exact.astype(np.float64)).tolist()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
