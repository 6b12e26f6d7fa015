"""torchvision's classification data sets as samples without parts."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
import torchvision
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes
from torchvision.transforms.v2 import functional as F

from interpretable.data.images import make_sample, to_rgb
from interpretable.data.samples import Sample
from interpretable.data.splits import Split, check_split, choose_classes, rows_of_split
from interpretable.data.torchvision_labels import class_names, read_item, read_labels
from interpretable.data.torchvision_splits import open_set, own_splits
from interpretable.errors import DataError


class TorchvisionImages:
    """A classification set of ``torchvision.datasets`` by class name; images as RGB, no parts.

    How a set names its splits is read from its signature:

    * ``train: bool`` (CIFAR10, MNIST, ...): train and test;
    * ``split: str`` (Food101, DTD, ...): the names the set accepts; a set without test (ImageNet, Imagenette) has its
      ``val`` as test, as in the literature;
    * ImageFolder: the folders train, val (or validation, valid) and test below root;
    * neither (EuroSAT, FakeData, ...): all images are for training.

    Where that leaves no validation split, it is taken from train, stratified by class and by a fixed seed. Labels come
    from the attribute that holds them; where there is none, every image is decoded once, which takes a while.

    Args:
        name: class in ``torchvision.datasets``.
        root: its folder; None for a set that takes none.
        split: train, validation or test.
        classes: names that select the images and order the labels; of a multi-hot set, the columns.
        validation: share of the training images, used only where the set has no validation split.
        **options: passed to the class, for example ``download=True``.

    Raises:
        DataError: where the set is not found under root, has no such split or is not for classification.
    """

    def __init__(
        self,
        name: str,
        root: str | os.PathLike[str] | None = None,
        split: Split = "train",
        classes: Sequence[str] | None = None,
        validation: float = 0.1,
        **options: Any,
    ) -> None:
        check_split(split)
        cls = getattr(torchvision.datasets, name)
        own = own_splits(cls, options if root is None else {"root": str(root), **options})
        if split == "test" and "test" not in own:
            raise DataError(f"torchvision's {name} has no test split under root={root}; add one or do not test on it")
        opened = split if split in own else "train"
        self._name = name
        self._images = open_set(cls, own[opened])
        labels = read_labels(self._images)
        available = class_names(self._images, labels)
        if cls is ImageFolder:
            # A folder that lacks a class would count the others differently: the training folder names them.
            trained = find_classes(own["train"]["root"])[0]
            labels = torch.tensor([trained.index(name) for name in available])[labels]
            available = tuple(trained)
        chosen = choose_classes(available, classes, f"torchvision's {name}")
        self.classes = tuple(available[i] for i in chosen)
        self.parts: tuple[str, ...] = ()
        splits = np.full(len(labels), opened)
        if "validation" in own:
            rows = np.arange(len(labels))
        else:
            rows = rows_of_split(split, splits, labels, torch.arange(len(labels)), validation)
        if labels.ndim == 2:
            self._labels = labels[rows][:, list(chosen)]
        else:
            rows = rows[np.isin(labels[rows].numpy(), chosen)]
            position = torch.full((len(available),), -1)
            position[list(chosen)] = torch.arange(len(chosen))
            self._labels = position[labels[rows]]
        if len(rows) == 0:
            raise DataError(
                f"torchvision's {name} has no image of the chosen classes in the split {split}; choose others"
            )
        self._rows = rows

    @property
    def labels(self) -> Tensor:
        """(N,) int64 positions in classes, or (N, K) float multi-hot."""
        return self._labels

    @property
    def groups(self) -> Tensor:
        """(N,) int64; every image is a group of its own."""
        return torch.from_numpy(self._rows)

    def fingerprint(self) -> str:
        """Hex digest of the set's name, classes, length, row numbers and labels."""
        digest = hashlib.sha256(repr((self._name, self.classes, len(self))).encode())
        digest.update(self._rows.tobytes() + self._labels.numpy().tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        image, _ = read_item(self._images, int(self._rows[index]))
        pixels = F.pil_to_tensor(to_rgb(image)) if isinstance(image, PIL.Image.Image) else image
        return make_sample(pixels.expand(3, -1, -1), self._labels[index], int(index))
