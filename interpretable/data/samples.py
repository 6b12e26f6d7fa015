"""What a data set yields and what a loader batches: the contract between data, classifier and metrics."""

from typing import NotRequired, Protocol, TypedDict

from torch import Tensor
from torchvision.tv_tensors import BoundingBoxes, Image, KeyPoints, Mask


class Sample(TypedDict):
    """One image with its annotations; P parts in the order of the data set's ``parts``."""

    image: Image
    """(3, H, W): uint8 as read, float and normalised after the data module's transforms."""
    label: Tensor
    """() int64, or (K,) float multi-hot."""
    landmarks: KeyPoints
    """(P, 2) float32, x and y in image pixels, NaN where the part is not visible."""
    boxes: BoundingBoxes
    """(P, 4) float32, cxcywh pixels, NaN where not annotated."""
    masks: NotRequired[Mask]
    """(P, H, W) bool, only from data sets with pixel masks."""
    index: int
    """Position in the data set."""


class Batch(TypedDict):
    """Samples stacked along a first axis of length B."""

    image: Tensor
    label: Tensor
    landmarks: Tensor
    boxes: Tensor
    masks: NotRequired[Tensor]
    index: Tensor


class PartsDataset(Protocol):
    """A map-style data set of samples; one without part annotations has ``parts == ()``."""

    classes: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """Labels of all images, (N,) int64 or (N, K) float, known without decoding an image."""

    @property
    def groups(self) -> Tensor:
        """(N,) int64: images of one group are never split between train and validation."""

    def fingerprint(self) -> str:
        """Hex digest that changes when images, labels or annotations change."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
