"""What an explanatory graph knows of one conv layer: its nodes, where they are, and what they hang on."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from interpretable.receptive_field import ReceptiveField
from interpretable.surrogates.part_patterns import Inferred, Patterns

FIRES = 0.5
"""Share of its mean score over the training images from which on a node fires in an image."""


class NodeLayer(NamedTuple):
    """Nodes of a layer, N for each of C filters; node n of filter c has the number c·N + n in the layer."""

    name: str
    """Of the conv layer, as in ``named_modules()``."""
    height: int
    width: int
    """Cells of its maps."""
    field: ReceptiveField
    """Where its units are in the image."""
    deviations: Float[Tensor, " filter"]
    """What activations are divided by, their standard deviation over training images and cells; 1 where constant."""
    places: Float[Tensor, "filter node 2"]
    """μ, row and column in cells."""
    spreads: Float[Tensor, "filter node"]
    """σ in cells."""
    mean_places: Float[Tensor, "filter node 2"]
    """p̄, mean of the inferred place over the training images as they are read, some of them mirrored; in cells."""
    scores: Float[Tensor, "filter node"]
    """Mean score over the training images."""
    parents: Int64[Tensor, "filter node parent"]
    """Numbers of the nodes of the layer above, strongest edge first; none in the top layer."""
    strengths: Float[Tensor, "filter node parent"]
    """Of the edges, in [0, 1]: 1 where parent and node keep their place to each other in every image."""
    objective: Float[Tensor, " iteration"]
    """log P of the maps per unit of activation, before each iteration."""

    @property
    def patterns(self) -> Patterns:
        """Places and spreads."""
        return Patterns(self.places, self.spreads)

    @property
    def num_nodes(self) -> int:
        """C · N."""
        return self.spreads.numel()

    def positions(self, cells: Int[Tensor, "*nodes"]) -> Float[Tensor, "*nodes 2"]:
        """X and y in image pixels of the centres of units, given by row-major cells."""
        return self.field.positions(cells, self.width)

    def fires(self, found: Inferred) -> Bool[Tensor, "image filter node"]:
        """Whether the score in an image is at least half the node's mean score."""
        return (found.scores > 0) & (found.scores >= FIRES * self.scores)
