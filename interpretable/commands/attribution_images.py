"""Images to explain, by their indices in a split or from files, as the network takes them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from interpretable.commands.stores import predict_split
from interpretable.commands.tree_images import evenly
from interpretable.data.images import make_sample, open_image
from interpretable.data.samples import Sample
from interpretable.data.splits import Split
from interpretable.data.transforms import standardise
from interpretable.errors import ConfigurationError
from interpretable.runs import Run

SHOWN_IMAGES = 6
"""How many are explained where none is named."""

OF_A_FILE = -1
"""Index of an image that is a file."""


class ExplainedImages(NamedTuple):
    """Images as the network takes them, with what is known of them."""

    pixels: Tensor
    """(N, 3, H, W) float32, normalised."""
    indices: tuple[int, ...]
    """In the split; `OF_A_FILE` for files."""
    names: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    """Classes of each image: one, any number in a multilabel run, none of files."""


def explained_images(run: Run, split: Split, words: Sequence[str]) -> ExplainedImages:
    """The images that are asked for, or a few of the split, evenly over its classes.

    Args:
        run: The run, whose transforms of evaluation all images go through.
        split: Which of its images numbers mean.
        words: Numbers, files and folders of files.

    Raises:
        ConfigurationError: There is no such image in the split, no such file, or no image in a folder.
        DataError: A file is no image, or the run has no such split.
    """
    dataset = predict_split(run, split).predict_dataset
    found = list(_named(words, len(dataset), split)) if words else a_few(dataset.labels)
    samples = [_read(one, run) if isinstance(one, Path) else dataset[one] for one in found]
    return ExplainedImages(
        torch.stack([sample["image"].as_subclass(Tensor) for sample in samples]),
        tuple(OF_A_FILE if isinstance(one, Path) else one for one in found),
        tuple(one.name if isinstance(one, Path) else f"{split} {one}" for one in found),
        tuple(() if isinstance(one, Path) else classes_of(dataset.labels[one]) for one in found),
    )


def a_few(labels: Tensor, count: int = SHOWN_IMAGES) -> list[int]:
    """Indices of so many images, evenly over the classes, those of a class beside one another.

    Args:
        labels: (N,) int64, or (N, K) multi-hot, of which images are spread evenly over all.
        count: How many; fewer where classes have too few.
    """
    if labels.ndim > 1:
        return [int(row) for row in evenly(np.arange(len(labels)), count)]
    classes = evenly(np.unique(labels.numpy()), count)
    shares = [count // len(classes) + (place < count % len(classes)) for place in range(len(classes))]
    rows = (np.flatnonzero(labels.numpy() == label) for label in classes)
    return [int(row) for own, share in zip(rows, shares, strict=True) for row in evenly(own, share)]


def classes_of(label: Tensor) -> tuple[int, ...]:
    """The classes that a label () or a multi-hot row (K,) names."""
    return tuple(label.nonzero().flatten().tolist()) if label.ndim else (int(label),)


def _named(words: Iterable[str], count: int, split: str) -> Iterator[int | Path]:
    for word in words:
        path = Path(word)
        if re.fullmatch(r"[+-]?\d+", word):
            if not 0 <= int(word) < count:
                raise ConfigurationError(
                    f"--images must be from 0 to {count - 1}, the {split} images of the run, or a file, got {word}."
                )
            yield int(word)
        elif path.is_dir():
            yield from _files_in(path)
        elif path.is_file():
            yield path
        else:
            raise ConfigurationError(
                f"--images must be indices of {split} images, or files or folders of images, but there is no {word}."
            )


def _files_in(folder: Path) -> list[Path]:
    """The images in a folder, by name."""
    endings = PIL.Image.registered_extensions()
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings and path.is_file())
    if not files:
        raise ConfigurationError(f"--images {folder} must be a folder with images in it, but it has none.")
    return files


def _read(path: Path, run: Run) -> Sample:
    sample = make_sample(open_image(path, "--images"), torch.tensor(-1), OF_A_FILE)
    return standardise(sample, run.datamodule.image_size)
