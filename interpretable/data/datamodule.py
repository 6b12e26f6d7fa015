"""Loaders of any data set that yields samples, for Lightning."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from interpretable.data.catalogue import build_dataset, check_arguments
from interpretable.data.resumable_loader import ResumableLoader
from interpretable.data.samples import PartsDataset, Sample
from interpretable.data.sampling import EpochSampler, TransformedImages
from interpretable.data.splits import Split, check_split
from interpretable.data.transforms import TrainingTransform, standardise
from interpretable.errors import ConfigurationError, DataError

Loader = TypeVar("Loader", bound=DataLoader[Sample])


class PartsDataModule(pl.LightningDataModule):
    """Training, validation and test images of a data set by name, with their parts.

    Training images are augmented, mirrored, resized and normalised; the others resized and normalised. Their order and
    augmentation depend on (seed, epoch) only: not on workers, ranks or a resume.
    Attributes are there before ``fit``; reading one opens the splits it needs.

    Args:
        dataset: Creatures, PartAnnotatedFolder, CUB200, or a class of ``torchvision.datasets``.
        root: folder of the data set, with ~ and $VARIABLES; None for sets that are drawn.
        options: further arguments of the data set.
        classes: names that select the images and order the labels; None for all.
        image_size: side, or (height, width), in pixels; the aspect is not kept.
        batch_size: images a step and rank, at least 2.
        num_workers: processes that load, 0 for none.
        validation: share of the training images, used only where the set has no validation split.
        balanced: whether training draws every class equally often in expectation.
        mirror: probability that a training image is mirrored; parts named left and right are swapped.
        augmentation: transforms v2 applied to training images before that.
        seed: of order and augmentation; None for that of ``seed_everything``, else 0.
        predict_split: whose images ``predict`` sees, not augmented: train, validation or test.

    Raises:
        ConfigurationError: for arguments that cannot be meant.
        DataError: when a split is first used, where the data are not as expected.
    """

    def __init__(
        self,
        dataset: str = "Creatures",
        root: str | None = None,
        options: dict[str, Any] | None = None,
        classes: list[str] | None = None,
        image_size: int | tuple[int, int] = 64,
        batch_size: int = 64,
        num_workers: int = 0,
        validation: float = 0.1,
        balanced: bool = False,
        mirror: float = 0.5,
        augmentation: list[torch.nn.Module] | None = None,
        seed: int | None = None,
        predict_split: Split = "test",
    ) -> None:
        super().__init__()
        check_split(predict_split)
        check_arguments(dataset, root, classes, options or {})
        self.dataset = dataset
        self.root = root
        self.options = dict(options or {})
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        _check_numbers(batch_size, num_workers, validation, mirror, (height, width), augmentation or ())
        self.image_size = (height, width)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.validation = validation
        self.balanced = balanced
        self.mirror = mirror
        self.augmentation = list(augmentation or ())
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.predict_split: Split = predict_split
        self._chosen_classes = classes
        self._seen: Callable[[], NDArray[np.int64]] | None = None

    @cached_property
    def train_dataset(self) -> TransformedImages:
        """Training images, augmented; indexed by draws or, for those of epoch 0, by numbers."""
        data = self._build("train")
        transform = TrainingTransform(self.augmentation, self.mirror, data.parts, self.image_size)
        return TransformedImages(data, transform, self.seed)

    @cached_property
    def validation_dataset(self) -> TransformedImages:
        """Validation images, not augmented."""
        return TransformedImages(self._build("validation"), partial(standardise, size=self.image_size))

    @cached_property
    def test_dataset(self) -> TransformedImages:
        """Test images, not augmented; a DataError where the data set has none."""
        return TransformedImages(self._build("test"), partial(standardise, size=self.image_size))

    @cached_property
    def predict_dataset(self) -> TransformedImages:
        """Images that ``predict`` sees, all of them, not augmented."""
        return TransformedImages(self._build(self.predict_split), partial(standardise, size=self.image_size))

    def leave_out(self, seen: Callable[[], NDArray[np.int64]] | None) -> None:
        """Has ``predict`` leave out images of its split, whose positions are asked for when its loader is made.

        None has it see all of them again.
        """
        self._seen = seen

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return self._opened.classes

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in order; empty for sets without part annotations."""
        return self._opened.parts

    @property
    def _opened(self) -> TransformedImages:
        """A split that is open already, so that a folder of test images alone can be tested."""
        opened = (vars(self).get(f"{split}_dataset") for split in ("train", "validation", "test", "predict"))
        return next((data for data in opened if data is not None), None) or self.train_dataset

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest that changes when images, labels or annotations of any split do."""
        digest = hashlib.sha256((self.train_dataset.fingerprint() + self.validation_dataset.fingerprint()).encode())
        try:
            digest.update(self.test_dataset.fingerprint().encode())
        except DataError:
            digest.update(b"no test images")
        return digest.hexdigest()

    def prepare_data(self) -> None:
        """Download where the options say so, in one process a node."""
        if self.options.get("download"):
            self._build("train")
            with suppress(DataError):  # a set without test images is told when they are asked for
                self._build("test")

    def setup(self, stage: str | None = None) -> None:
        """Open the splits that the stage needs, once; fit and validate do without test images."""
        if stage in ("fit", "validate", None):
            _ = self.train_dataset, self.validation_dataset

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented images in the order of (seed, epoch); without the last incomplete batch, if there is a full one."""
        sampler = EpochSampler(self.train_dataset, self.seed, self.balanced)
        drop_last = len(sampler) >= self.batch_size
        loader = self._loader(self.train_dataset, ResumableLoader, sampler=sampler, drop_last=drop_last)
        loader.trainer = self.trainer
        return loader

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation images in order."""
        return self._loader(self.validation_dataset, DataLoader)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test images in order."""
        return self._loader(self.test_dataset, DataLoader)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Images of ``predict_split`` in order, without those to be left out, but at least one for each rank."""
        count = len(self.predict_dataset)
        # A rank without a batch would not even start, let alone compare the store with its network.
        seen = np.empty(0, np.int64) if self._seen is None else self._seen()
        left_out = seen[: max(0, count - (self.trainer.world_size if self.trainer else 1))]
        rows = np.setdiff1d(np.arange(count), left_out)
        data = Subset(self.predict_dataset, rows.tolist()) if len(left_out) else self.predict_dataset
        return self._loader(data, DataLoader)

    def _build(self, split: Split) -> PartsDataset:
        return build_dataset(
            self.dataset, split, self.root, self._chosen_classes, self.validation, self.image_size, self.options
        )

    def _loader(self, data: Dataset[Sample], kind: type[Loader], **arguments: Any) -> Loader:
        return kind(
            data,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Its own, so that starting an iterator draws nothing from the random state of the network.
            generator=torch.Generator().manual_seed(self.seed),
            **arguments,
        )


def _check_numbers(
    batch_size: int,
    num_workers: int,
    validation: float,
    mirror: float,
    image_size: tuple[int, int],
    augmentation: Sequence[torch.nn.Module],
) -> None:
    if batch_size < 2:
        raise ConfigurationError(
            f"batch_size was expected to be at least 2, found {batch_size}: one image has no contrast"
        )
    if num_workers < 0:
        raise ConfigurationError(f"num_workers was expected to be 0 or more, found {num_workers}; try 0")
    if not 0 < validation < 1:
        raise ConfigurationError(f"validation was expected to be a share between 0 and 1, found {validation}; try 0.1")
    if min(image_size) < 1:
        raise ConfigurationError(f"image_size was expected in pixels, found {image_size[0]}x{image_size[1]}; try 64")
    if not 0 <= mirror <= 1:
        raise ConfigurationError(f"mirror was expected to be a probability, found {mirror}; try 0.5")
    if any(isinstance(transform, v2.RandomHorizontalFlip) for transform in augmentation):
        raise ConfigurationError(
            "augmentation has RandomHorizontalFlip, which would leave left parts on the right; remove it and set mirror"
        )
