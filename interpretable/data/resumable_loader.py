"""A loader of training images that goes on where the trainer left an epoch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from interpretable.data.samples import Sample
from interpretable.data.sampling import EpochSampler

if TYPE_CHECKING:
    import pytorch_lightning as pl


class ResumableLoader(DataLoader[Sample]):
    """Batches of an `EpochSampler`; a trainer that resumes in mid-epoch gets the rest of that epoch.

    The place is the trainer's own count of the batches that it has trained on, not of those that workers have loaded
    ahead. Whoever else iterates the loader gets whole epochs, and its length is that of a whole epoch.
    """

    batch_size: int
    trainer: "pl.Trainer | None" = None
    """Whose place counts."""

    def state_dict(self) -> dict[str, int]:
        """Nothing beside the trainer's progress; having a state tells Lightning that an epoch can be resumed."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Has nothing to restore."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator, so that workers draw nothing before the first batch is asked for: Lightning creates the iterator
        # of a resumed run before it restores its progress and tells the sampler the epoch.
        trainer, sampler = self.trainer, self.sampler
        if (
            isinstance(sampler, EpochSampler)  # Lightning puts in another one for overfit_batches
            and trainer is not None
            and trainer.training
            and trainer.train_dataloader is self
        ):
            sampler.skip((trainer.fit_loop.epoch_loop.batch_idx + 1) * self.batch_size)
        yield from super().__iter__()
