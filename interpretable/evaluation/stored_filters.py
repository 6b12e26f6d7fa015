"""The filters of one layer on the training and test images of a run, as the metrics take them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from interpretable.activations import ActivationStore
from interpretable.errors import MetricError
from interpretable.metrics import PeakTable
from interpretable.receptive_field import ReceptiveField

BATCH = 64
"""Images whose maps are looked at together; also the group whose mutual information is taken, as in training."""


@dataclass(frozen=True)
class StoredFilters:
    """C part filters of a layer, read from the stores of a run's training and test images.

    Raises:
        MetricError: Images have several labels.
    """

    train: ActivationStore
    test: ActivationStore
    layer: str | None = None
    """Name of the layer, the top one where omitted."""

    def __post_init__(self) -> None:
        if self.test.labels.ndim != 1:
            raise MetricError(
                "The filters are evaluated class by class and need one label per image, got "
                f"{self.test.labels.shape[1]} labels; evaluate a run on single-label data."
            )

    @property
    def num_filters(self) -> int:
        """C."""
        return self.test.layer(self.layer).info.filters

    @property
    def num_classes(self) -> int:
        """K."""
        return max(len(self.test.classes), int(self.test.labels.max()) + 1)

    @property
    def field(self) -> ReceptiveField:
        """Where the layer's units are in the image.

        Raises:
            MetricError: It could not be measured.
        """
        info = self.test.layer(self.layer).info
        if info.receptive_field is None:
            raise MetricError(
                f"The places of {info.name}'s units in the image are not known, as its receptive field could not be "
                "measured; evaluate a layer of convolutions and pooling."
            )
        return info.receptive_field

    @cached_property
    def train_peaks(self) -> PeakTable:
        """Peaks and parts of the training images."""
        return self._peaks(self.train)

    @cached_property
    def test_peaks(self) -> PeakTable:
        """Peaks and parts of the test images."""
        return self._peaks(self.test)

    def _peaks(self, store: ActivationStore) -> PeakTable:
        layer = store.layer(self.layer)
        height, width = store.image_size
        return PeakTable(
            layer.peaks[:][:, : self.num_filters],
            layer.peak_positions()[:, : self.num_filters],
            store.landmarks[:],
            store.boxes[:],
            store.labels,
            torch.tensor([width, height]).repeat(len(store), 1),
        )

    @cached_property
    def mean_peak(self) -> Tensor:
        """(C,) mean peak on the test images on which a filter fires, 0 for a dead one."""
        values = self.test_peaks.values.double()
        fires = values > 0
        return (values.clamp(min=0).sum(0) / fires.sum(0).clamp(min=1)).float()

    def maps(self) -> Iterator[tuple[slice, Tensor]]:
        """Raw maps (n, C, h, w) float32 of the test images, batch by batch, with the rows that they are."""
        stored = self.test.layer(self.layer).maps
        for start in range(0, len(stored), BATCH):
            rows = slice(start, min(start + BATCH, len(stored)))
            yield rows, stored[rows][:, : self.num_filters].float()
