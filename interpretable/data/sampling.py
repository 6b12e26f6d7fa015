"""The order of training images and the seed of each one's augmentation: functions of (seed, epoch) alone."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from interpretable.data.samples import PartsDataset, Sample
from interpretable.distributed import rank, world_size
from interpretable.errors import ConfigurationError


class Draw(NamedTuple):
    """One image of one epoch; repeat counts how often the epoch drew it before, 0 unless classes are balanced."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nothing needs of a draw
    repeat: int = 0


class EpochSampler(DistributedSampler[Sample]):
    """Draws of an epoch in an order that depends on (seed, epoch) only; each rank takes every world_size-th of them.

    A DistributedSampler, so that Lightning keeps it in place and tells it the epoch. As there with ``drop_last``, what
    does not divide by the number of ranks is left out, so that an epoch draws an image at most once.

    Args:
        data: the training images.
        seed: of the order.
        balanced: draw with replacement so that every class is expected equally often, as many draws as images.

    Raises:
        ConfigurationError: if classes of multi-hot labels are to be balanced.
    """

    def __init__(self, data: PartsDataset, seed: int, balanced: bool = False) -> None:
        super().__init__(data, num_replicas=world_size(), rank=rank(), seed=seed, drop_last=True)  # type: ignore[arg-type]
        if balanced and data.labels.ndim != 1:
            raise ConfigurationError(
                "balanced: true needs one label an image, but these are multi-hot; set it to false"
            )
        self.weights = 1 / torch.bincount(data.labels).double()[data.labels] if balanced else None
        self._skipped = 0

    def skip(self, draws: int) -> None:
        """Leaves out the first draws of this rank, in the next iteration only."""
        self._skipped = draws

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        indices = epoch_order(len(self.dataset), self.seed, self.epoch, self.weights)  # type: ignore[arg-type]
        skipped, self._skipped = self._skipped, 0
        mine = slice(self.rank + skipped * self.num_replicas, self.total_size, self.num_replicas)
        repeats = _repeats(indices)[mine]
        return (Draw(self.epoch, *pair) for pair in zip(indices[mine].tolist(), repeats.tolist(), strict=True))


def epoch_order(count: int, seed: int, epoch: int, weights: Tensor | None = None) -> NDArray[np.int64]:
    """A permutation of range(count); with weights (count,), as many draws with replacement in proportion to them."""
    generator = np.random.default_rng([seed, epoch])
    if weights is None:
        return generator.permutation(count)
    return generator.choice(count, size=count, p=(weights / weights.sum()).numpy())


def _repeats(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry occurs before its place."""
    order = np.argsort(indices, kind="stable")
    _, first, counts = np.unique(indices[order], return_index=True, return_counts=True)
    repeats = np.empty_like(order)
    repeats[order] = np.arange(len(order)) - np.repeat(first, counts)
    return repeats


class TransformedImages(Dataset[Sample]):
    """A data set seen through a transform whose random numbers depend on (seed, epoch, index, repeat) alone.

    So an augmented image is the same for any number of workers and ranks, after a resume, and whatever came before; the
    caller's random state is left as it was. A plain index is a draw of epoch 0.
    """

    def __init__(self, data: PartsDataset, transform: Callable[[Sample], Sample], seed: int = 0) -> None:
        self.data = data
        self.transform = transform
        self.seed = seed
        self.classes = data.classes
        self.parts = data.parts

    @property
    def labels(self) -> Tensor:
        """Labels of the data set."""
        return self.data.labels

    @property
    def groups(self) -> Tensor:
        """Groups of the data set."""
        return self.data.groups

    def fingerprint(self) -> str:
        """Fingerprint of the data set."""
        return self.data.fingerprint()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: Draw | int) -> Sample:
        draw = draw if isinstance(draw, Draw) else Draw(0, int(draw))
        sample = self.data[draw.index]
        state = np.random.SeedSequence([self.seed, *draw]).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the GPUs as well and repeat the dropout masks of every step.
            torch.default_generator.manual_seed(int(state[0]))
            return self.transform(sample)
