"""CUB-200-2011 (Wah et al. 2011) as it is distributed."""

from collections.abc import Iterator
from pathlib import Path

from torchvision.transforms.v2 import functional as F

from interpretable.convert.crops import Crop, check_size
from interpretable.convert.writer import AnnotatedImage, Conversion
from interpretable.data.cub200 import CUB200
from interpretable.data.splits import Split

Step = tuple[CUB200, int, Split]
"""A data set, a position in it, and the split of that image in the distribution."""


def convert_cub200(source: Path, target: Path, *, size: int | None = 224) -> Conversion[Step]:
    """Crops of birds with their visible parts as landmarks, split as distributed; every photo is a group.

    Reads what ``interpretable.data.CUB200`` reads; a crop is named by the number that images.txt gives its photo.

    Args:
        source: the folder CUB_200_2011, or the one that holds it.
        target: the folder to write.
        size: sides of the crops in pixels; None keeps those of the boxes.

    Raises:
        DataError: a sentence with file and line for whatever is not as distributed.
    """
    check_size(size)
    # The reader holds validation images out of the training images; the distribution has no such split.
    train, validation, test = CUB200(source, "train"), CUB200(source, "validation"), CUB200(source, "test")
    steps: list[Step] = [(birds, index, "train") for birds in (train, validation) for index in range(len(birds))]
    steps += [(test, index, "test") for index in range(len(test))]
    steps.sort(key=lambda step: int(step[0].groups[step[1]]))

    def read(step: Step) -> Iterator[AnnotatedImage]:
        birds, index, split = step
        sample = birds[index]
        image = F.to_pil_image(sample["image"])
        crop = Crop((0, 0, image.width, image.height), size or image.width, size or image.height)
        points = dict(zip(birds.parts, sample["landmarks"].tolist(), strict=True))
        number = int(birds.groups[index]) + 1
        yield AnnotatedImage(
            stem=f"{number:05}",
            image=crop.picture(image),
            size=(crop.width, crop.height),
            label=birds.classes[int(sample["label"])],
            split=split,
            group=str(number),
            landmarks={part: crop.point(x, y) for part, (x, y) in points.items()},
        )

    return Conversion(source, target, train.parts, steps, read, boxes=False)
