"""Which images are for training, validation and test, and which classes they are of."""

import difflib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interpretable.errors import ConfigurationError, DataError

Split = Literal["train", "validation", "test"]
VALIDATION_SEED = 0
"""Fixed, so that runs with different seeds are validated on the same images."""


def validation_groups(labels: Tensor, groups: Tensor, share: float, seed: int) -> Tensor:
    """Hold out whole groups, class by class, so that about the given share of each class is held out.

    A group belongs to the class that most of its images have (for multi-hot labels an image's class is the rarest it
    has). Within a class groups are taken in random order until the share is reached as nearly as their sizes allow; at
    least one where the class has two, and never all.

    Args:
        labels: (N,) int64, or (N, K) multi-hot.
        groups: (N,) int64.
        share: of the images, between 0 and 1.
        seed: of the random order.

    Returns:
        (N,) bool, True for images that are held out; images of one group always agree.

    Raises:
        ConfigurationError: if the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigurationError(f"validation was expected to be a share between 0 and 1, found {share}; try 0.1")
    if len(groups) == 0:
        return torch.zeros(0, dtype=torch.bool)
    _, group, sizes = np.unique(groups.numpy(), return_inverse=True, return_counts=True)
    classes = _class_of_group(_single_labels(labels).numpy(), group)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), classes))
    _, start, position, count = np.unique(classes[order], return_index=True, return_inverse=True, return_counts=True)
    reached = np.cumsum(sizes[order])
    before = np.concatenate([[0], reached])[start][position]
    total = np.add.reduceat(sizes[order], start)[position]
    nth = np.arange(len(order)) - start[position]
    # A group is taken if more than half of it lies below the share: the count is then the nearest the sizes allow.
    wanted = (reached - before - sizes[order] / 2 < share * total) | (nth == 0)
    held_out = np.empty(len(order), dtype=bool)
    held_out[order] = wanted & (nth < count[position] - 1)
    return torch.from_numpy(held_out[group])


def _single_labels(labels: Tensor) -> Tensor:
    """(N,) int64; of multi-hot labels (N, K) the rarest class an image has."""
    if labels.ndim == 1:
        return labels
    frequency = (labels > 0).sum(dim=0).float()
    return torch.where(labels > 0, frequency, torch.inf).argmin(dim=1)


def _class_of_group(labels: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(G,) most frequent label of each group 0..G-1, the lowest of equals."""
    pairs, counts = np.unique(np.stack([group, labels]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    return np.asarray(pairs[1][order][first])


def rows_of_split(
    split: Split, splits: NDArray[np.str_], labels: Tensor, groups: Tensor, validation: float
) -> NDArray[np.int64]:
    """Rows of a split; where none is for validation, a share of the training groups is (always the same one).

    Args:
        split: train, validation or test.
        splits: (N,) the same words, one a row.
        labels: (N,) int64 or (N, K) multi-hot.
        groups: (N,) int64.
        validation: share of the training images, used only where no row is for validation.

    Returns:
        Increasing row numbers.
    """
    rows = np.flatnonzero(splits == split)
    if split == "test" or (splits == "validation").any():
        return rows
    train = np.flatnonzero(splits == "train")
    held_out = validation_groups(labels[train], groups[train], validation, VALIDATION_SEED).numpy()
    return np.asarray(train[held_out if split == "validation" else ~held_out])


def check_split(split: str) -> None:
    """Raise a ConfigurationError unless split is one of the three words."""
    if split not in get_args(Split):
        raise ConfigurationError(f"split was expected to be train, validation or test, found {split!r}")


def choose_classes(available: Sequence[str], classes: Sequence[str] | None, source: str) -> tuple[int, ...]:
    """Positions in available of the classes asked for, in the order asked; all of them for None.

    Raises:
        DataError: for a class that the source does not have, with the closest it has, or one that is named twice.
    """
    if classes is None:
        return tuple(range(len(available)))
    unknown = [name for name in classes if name not in available]
    if unknown:
        close = difflib.get_close_matches(unknown[0], available, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}" if close else f"it has {_shortened(available)}"
        raise DataError(f"classes names {unknown[0]!r}, but {source} has no image with that label; {hint}")
    if not classes or len(set(classes)) != len(classes):
        raise DataError(f"classes was expected to name each class once, found {list(classes)}; remove the repetition")
    return tuple(available.index(name) for name in classes)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
