"""A backbone with part filters between its trunk and its head (Zhang et al. 2018)."""

import difflib
from collections import OrderedDict
from itertools import accumulate, pairwise
from typing import Literal, Self, cast, get_args

from torch import Tensor, nn

from interpretable.errors import ModelError
from interpretable.models.backbones import BACKBONES
from interpretable.models.chain import check_chain, links, split
from interpretable.models.map_size import SMALLEST_MAP, describe_map, map_shape, smallest_input
from interpretable.models.part_filters import PartFilters
from interpretable.models.weights import build
from interpretable.receptive_field import ReceptiveField, theoretical_receptive_field
from interpretable.templates import Position

FirstLayer = Literal["backbone", "convolution"]
Head = Literal["backbone", "linear"]


class InterpretableCNN(nn.Module):
    """An image classifier whose top convolutional filters are part filters: trunk ─► part layers ─► head.

    The map at the cut becomes the first part layer and each further one is a new 3×3 convolution above it, as in the
    paper; with ``first_layer="convolution"`` the map at the cut stays as it is and all part layers are new. The layer
    above a part layer sees masked maps. The plain twin (``mask=False``) has the same parameters, by name, shape and
    initial values under the same seed. ``part_layers=0`` is the untouched backbone.

    Images are (B, 3, H, W) float of any size whose map at the cut is at least 7×7, square or not; one-channel images
    are repeated to the channels of the backbone. Parameters are named ``trunk.*``, ``part_filters.*`` and ``head.*``.

    Args:
        backbone: A key of `BACKBONES`.
        num_classes: Outputs of the head.
        part_layers: Layers of part filters.
        mask: Mask the maps of the part layers by the template at their peak.
        weights: Initial weights of the backbone: none, a name of torchvision's, or the path of a state-dict file.
        cut: Dotted name of the layer on whose output the part layers stand, `BACKBONES`' choice where omitted.
        beta: Slope β of the templates.
        position: Where a filter's template sits, ``"argmax"`` or ``"centroid"``.
        part_share: Share of each part layer's channels, the first ones, that are part filters.
        first_layer: What the first part layer is: the ``"backbone"``'s own map, or a ``"convolution"`` above it.
        norm: Normalise new part layers over the batch.
        head: The layers of the ``"backbone"`` above the cut, which a network without part layers has always, or a
            ``"linear"`` one on the average of each top map.
        frozen: Name of the layer up to which, itself included, the trunk keeps its weights and running statistics.

    Raises:
        ModelError: A layer or the backbone has no such name, or the weights are not the backbone's.
    """

    trunk: nn.Sequential
    part_filters: nn.ModuleList
    head: nn.Sequential
    in_channels: int
    """Channels of the images; those of one channel are repeated."""
    num_channels: int
    """Channels C of the part layers, or of the map at the cut where there is none."""
    num_filters: int
    """How many of them, the first ones, are part filters; all C where there is no part layer."""
    smallest_input: int
    """Side in pixels of the smallest image whose map at the cut is 7×7."""

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        part_layers: int = 2,
        mask: bool = True,
        weights: str | None = None,
        cut: str | None = None,
        beta: float = 4.0,
        position: Position = "argmax",
        part_share: float = 1.0,
        first_layer: FirstLayer = "backbone",
        norm: bool = False,
        head: Head = "backbone",
        frozen: str | None = None,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            closest = difflib.get_close_matches(backbone, BACKBONES, n=3, cutoff=0.0)
            raise ModelError(
                f"The backbone must be a key of BACKBONES, got {backbone!r}; the closest are {', '.join(closest)}, and "
                "InterpretableCNN.from_module takes any other network."
            )
        published = BACKBONES[backbone]
        chain = published.links(build(backbone, num_classes, weights))
        self.trunk, self.head = split(chain, cut or published.cut)
        self.in_channels = 3
        if cut in (None, published.cut):
            self.num_channels, self.smallest_input = published.channels, published.smallest_input
            self._field: ReceptiveField | None = published.receptive_field
        else:
            self._measure()
        if head == "linear" and part_layers:
            self.head = _linear_head(self.num_channels, num_classes)
        elif head not in get_args(Head):
            raise ModelError(f"The head must be backbone or linear, got {head!r}.")
        self._insert(part_layers, mask, beta, position, part_share, first_layer, norm, frozen)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        cut: str,
        example: Tensor,
        part_layers: int = 2,
        mask: bool = True,
        beta: float = 4.0,
        position: Position = "argmax",
        part_share: float = 1.0,
        first_layer: FirstLayer = "backbone",
        norm: bool = False,
        frozen: str | None = None,
    ) -> Self:
        """Inserts part filters into a network whose forward calls its children one after the other.

        The result holds the network's own layers, not copies. An implicit flatten before the first linear layer is
        allowed for; on the example, in eval mode, trunk and head must give the network's own output.

        Args:
            module: Maps images to logits (B, K); a net of timm's, or any other.
            cut: Dotted name of the layer on whose output the part layers stand; `nn.Sequential`s along the way are
                split.
            example: Images (B, C, H, W) that the network takes, on its device.
            part_layers: Layers of part filters.
            mask: Mask the maps of the part layers by the template at their peak.
            beta: Slope β of the templates.
            position: Where a filter's template sits, ``"argmax"`` or ``"centroid"``.
            part_share: Share of each part layer's channels, the first ones, that are part filters.
            first_layer: What the first part layer is: the network's own map, or a ``"convolution"`` above it.
            norm: Normalise new part layers over the batch.
            frozen: Name of the layer up to which, itself included, the trunk keeps its weights and running statistics.

        Raises:
            ModelError: There is no such layer, its output is no map, or the network is no chain of its children.
        """
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network.trunk, network.head = split(links(module), cut)
        network.in_channels = example.shape[1]
        check_chain(module, network.trunk, network.head, example)
        network._measure()
        network._insert(part_layers, mask, beta, position, part_share, first_layer, norm, frozen)
        network.part_filters.to(example)
        return network

    def _measure(self) -> None:
        self.smallest_input = smallest_input(self.trunk, self.in_channels)
        self.num_channels = map_shape(self.trunk, self.in_channels, self.smallest_input, self.smallest_input)[0]
        self._field = None

    def _insert(
        self,
        part_layers: int,
        mask: bool,
        beta: float,
        position: Position,
        part_share: float,
        first_layer: FirstLayer,
        norm: bool,
        frozen: str | None,
    ) -> None:
        if part_layers < 0:
            raise ModelError(f"The number of part layers must be 0 or more, got {part_layers}.")
        if beta <= 0:
            raise ModelError(f"The slope beta of the templates must be above 0, got {beta}.")
        if not 0 < part_share <= 1:
            raise ModelError(f"The share of part filters must be above 0 and at most 1, got {part_share}.")
        if first_layer not in get_args(FirstLayer):
            raise ModelError(f"The first part layer must be backbone or convolution, got {first_layer!r}.")
        layers = [
            PartFilters(
                self.num_channels, number > 0 or first_layer == "convolution", mask, beta, position, part_share, norm
            )
            for number in range(part_layers)
        ]
        self.part_filters = nn.ModuleList(layers)
        self.num_filters = layers[0].num_filters if layers else self.num_channels
        first = next(layer for layer in self.head.modules() if next(layer.children(), None) is None)
        # An activation in place would write into the raw maps, which the caller still holds.
        self._head_writes_its_input: bool = getattr(first, "inplace", False)
        self._frozen: list[nn.Module] = []  # in a list, so that its layers are registered once, in the trunk
        if frozen is not None:
            chain = {**dict(self.trunk.named_children()), "above the trunk": nn.Identity()}
            self._frozen = [split(chain, frozen, "frozen layer")[0].requires_grad_(False).eval()]
            if (
                layers
                and layers[0].conv is None
                and not any(weight.requires_grad for weight in self.trunk.parameters())
            ):
                raise ModelError(
                    "The first part layer must have weights that learn, but it is the backbone's own map and all of "
                    f"the trunk up to {frozen} is frozen; freeze less, or set first_layer to convolution."
                )

    @property
    def receptive_fields(self) -> tuple[ReceptiveField, ...]:
        """Theoretical field of each map that `forward_features` returns.

        Published for the backbones' own cuts and measured, on first use, for others.

        Raises:
            ModelError: The trunk has layers whose field cannot be measured.
        """
        if self._field is None:
            self._field = theoretical_receptive_field(self.trunk, self.in_channels)
        first = self._field
        # A 3×3 convolution of stride 1 adds one unit on either side.
        below = accumulate(int(layer.conv is not None) for layer in self._layers)
        return tuple(
            first._replace(size=first.size + 2 * first.stride * convolutions)
            for convolutions in (below if self._layers else (0,))
        )

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; frozen layers stay in evaluation mode."""
        super().train(mode)
        for layers in self._frozen:
            layers.eval()
        return self

    def forward_features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw maps (B, C, h, w) of the part layers, bottom to top, after the ReLU and before the mask.

        Without part layers, the backbone's map at the cut alone.

        Args:
            x: Images (B, 3, H, W), or (B, 1, H, W).

        Raises:
            ModelError: The images are of another shape, or so small that the map at the cut is below 7×7.
        """
        self._check(x)
        z = self.trunk(x.expand(-1, self.in_channels, -1, -1))
        layers = self._layers
        if not layers:
            return (z,)
        maps = [layers[0](z)]
        for below, layer in pairwise(layers):
            maps.append(layer(below.mask(maps[-1])))
        return tuple(maps)

    def forward_head(self, z: Tensor) -> Tensor:
        """Logits (B, num_classes) of the top raw map (B, C, h, w), which is masked first."""
        layers = self._layers
        if layers:
            z = layers[-1].mask(z)
        logits: Tensor = self.head(z.clone() if self._head_writes_its_input else z)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W) or (B, 1, H, W)."""
        return self.forward_head(self.forward_features(x)[-1])

    @property
    def _layers(self) -> list[PartFilters]:
        return cast(list[PartFilters], list(self.part_filters))

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] not in (1, self.in_channels):
            raise ModelError(
                f"Images must be a batch (B, {self.in_channels}, H, W), or of one channel, got shape {tuple(x.shape)}."
            )
        height, width = x.shape[-2:]
        if len(self.part_filters) and min(height, width) < self.smallest_input:
            raise ModelError(
                f"The map at the cut must be at least {SMALLEST_MAP}×{SMALLEST_MAP}, got "
                f"{describe_map(self.trunk, self.in_channels, height, width)} from images of {height}×{width} px; use "
                f"images of at least {self.smallest_input} px on both sides, or cut the network earlier."
            )


def _linear_head(channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, num_classes)
        )
    )
