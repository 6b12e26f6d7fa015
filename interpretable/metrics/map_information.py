"""Mutual information of part filters on a test set, with the two entropies it is made of (Zhang et al. 2018, Eq. 3)."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from interpretable.errors import MetricError
from interpretable.losses import decompose, effective_images
from interpretable.losses.running_averages import SILENT
from interpretable.metrics.finite import refuse_nan


class MapInformationResult(NamedTuple):
    """Means over groups of images, in nats, with MI = prior − spatial − inter-category; NaN without a full group."""

    mutual_information: Tensor
    """(C,) float64, from 0 to ``bound``; 0, to rounding, for a dead filter."""
    spatial_entropy: Tensor
    """(C,) float64: low where a filter fires in one place."""
    inter_category_entropy: Tensor
    """(C,) float64: low where an image either has the part or has not."""
    prior: Tensor
    """log(h·w + 1), the entropy of the templates."""
    bound: Tensor
    """log(min(h·w + 1, batch)), the largest mutual information there can be."""
    effective_images: Tensor
    """(C,) float64, exp H(p(x)): the number of images of a group that the information rests on; all of a group's for
    a dead filter."""


def map_information(
    maps: Float[Tensor, "image filter h w"], scale: Float[Tensor, " filter"], beta: float = 4.0
) -> MapInformationResult:
    """Mutual information between the images of one group and the part templates, on this process alone.

    Args:
        maps: Raw maps after the ReLU, before the mask.
        scale: Factor of each filter's fitness; 0 for a dead filter.
        beta: Slope β of the templates.

    Raises:
        MetricError: There are NaN activations.
    """
    refuse_nan("feature maps", maps.amax((-2, -1)))
    images, templates = len(maps), maps.shape[-2] * maps.shape[-1] + 1
    prior, inter_category, spatial = (
        term.double() for term in decompose(maps, beta=beta, scale=scale, statistics="local")
    )
    return MapInformationResult(
        prior - inter_category - spatial,
        spatial,
        inter_category,
        prior.new_tensor(math.log(templates)),
        prior.new_tensor(math.log(min(templates, images))),
        effective_images(maps, beta=beta, scale=scale, statistics="local").double(),
    )


class MapInformation(Metric):
    """Mutual information of a layer's filters, mean over consecutive groups of ``batch`` images.

    Mutual information is that of a group of images and grows with it, so all groups have the same size: images wait
    until a group is full, across updates, and an incomplete last one is left out. Feed it by ``update``; ``forward``
    sees each batch by itself. Each rank forms groups of its own images: ranks agree with one process where their
    groups are its groups.

    Args:
        mean_peak: (C,) mean peak of each filter over the images on which it fires, 0 for a dead filter; maps are
            divided by it, so that networks with loud and with quiet filters compare.
        batch: Images of a group.
        temperature: Temperature of the fitness, as in `interpretable.losses.PartTemplateLoss`.
        beta: Slope β of the templates.
        kwargs: Passed to `torchmetrics.Metric`.

    Raises:
        MetricError: A group would have no image, or the temperature is not above 0.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    scale: Tensor
    groups: Tensor

    def __init__(
        self,
        mean_peak: Float[Tensor, " filter"],
        batch: int = 64,
        temperature: float = 0.2,
        beta: float = 4.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if batch < 1 or temperature <= 0:
            raise MetricError(
                "The information of a group needs at least one image and a temperature above 0, got "
                f"batch={batch} and temperature={temperature}; the usual ones are 64 and 0.2."
            )
        self.batch = batch
        self.beta = beta
        mean_peak = mean_peak.detach().double()
        scale = torch.where(mean_peak > SILENT, 1 / (mean_peak * temperature), 0)
        self.register_buffer("scale", scale, persistent=False)
        self._waiting: list[Tensor] = []
        for name in MapInformationResult._fields:
            shape = () if name in ("prior", "bound") else scale.shape
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("groups", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: Float[Tensor, "image filter h w"]) -> None:
        """Takes in the raw maps of a batch, of any number of images.

        Raises:
            MetricError: There are NaN activations.
        """
        refuse_nan("feature maps", maps.amax((-2, -1)))  # before anything is taken in
        *full, rest = torch.split(torch.cat([*self._waiting, maps.detach()]), self.batch)
        if len(rest) == self.batch:
            full, rest = [*full, rest], rest[:0]
        for group in full:
            for name, term in map_information(group, self.scale, self.beta)._asdict().items():
                setattr(self, name, getattr(self, name) + term)
        self.groups = self.groups + len(full)
        self._waiting = [rest.clone()]  # a view would keep the full groups in memory

    def compute(self) -> MapInformationResult:
        """Means over all full groups."""
        return MapInformationResult(*(getattr(self, name) / self.groups for name in MapInformationResult._fields))

    def reset(self) -> None:
        """Forgets the sums and the images that wait for a full group."""
        super().reset()
        self._waiting = []
