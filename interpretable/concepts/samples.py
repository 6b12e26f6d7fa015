"""What a data set of pixel concepts yields: the contract between labelled pixels and network dissection."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torchvision.tv_tensors import Image, Mask


class ConceptSample(TypedDict):
    """One image with the concepts of its pixels; samples of one data set have one shape, so that they batch."""

    image: Image
    """(3, H, W) float32, resized and normalised as a network is fed it."""
    label_maps: Mask
    """(M, S, S') int64 in -1..L-1, -1 where there is nothing: M layers, so that several concepts can share a pixel. A
    concept is on a pixel in one layer at most."""
    label: int
    """Position in the data set's ``classes``, -1 where the image has none."""
    index: int
    """Position in the data set."""


class ConceptDataset(Protocol):
    """A map-style data set of images whose pixels show L concepts of Q categories."""

    concepts: tuple[str, ...]
    """L names; a name may be there once in each category."""
    categories: tuple[str, ...]
    """Q names."""
    concept_category: Tensor
    """(L,) int64 in 0..Q-1."""
    classes: tuple[str, ...]
    """Names of the labels, () where images have none."""

    def fingerprint(self) -> str:
        """Hex digest that changes when images, concepts or the sizes of either change."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ConceptSample: ...


class ConceptTable(NamedTuple):
    """The concepts of a data set, numbered."""

    concepts: tuple[str, ...]
    categories: tuple[str, ...]
    concept_category: Tensor
    first: tuple[int, ...]
    """(Q,) position of each category's first concept."""


def concept_table(names: Mapping[str, Sequence[str]]) -> ConceptTable:
    """Numbers the concepts of each category, one category after the other."""
    counts = torch.tensor([len(of_category) for of_category in names.values()])
    return ConceptTable(
        concepts=tuple(name for of_category in names.values() for name in of_category),
        categories=tuple(names),
        concept_category=torch.arange(len(names)).repeat_interleave(counts),
        first=tuple((counts.cumsum(0) - counts).tolist()),
    )
