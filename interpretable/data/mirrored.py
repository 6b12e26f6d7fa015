"""A data set seen in a mirror."""

from typing import Any

from torch.utils.data import Dataset

from interpretable.data.samples import Sample
from interpretable.data.transforms import mirror


class MirroredImages(Dataset[Sample]):
    """The images of a data set, mirrored left to right with their annotations; each part keeps its name.

    Args:
        images: A data set of samples that names its ``classes`` and ``parts`` and has a ``fingerprint()``.
    """

    def __init__(self, images: Any) -> None:
        self.images = images
        self.classes: tuple[str, ...] = tuple(images.classes)
        self.parts: tuple[str, ...] = tuple(images.parts)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return mirror(self.images[index], range(len(self.parts)))

    def fingerprint(self) -> str:
        """Tells these images from others, and from themselves without the mirror."""
        return f"{self.images.fingerprint()}, mirrored"
