"""What converters share about layouts: where folders lie, and splits where none is distributed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from interpretable.data.splits import Split, validation_groups
from interpretable.errors import DataError

TEST_SHARE = 0.2
TEST_SEED = 0
"""Fixed, so that everyone who converts a set tests on the same images."""


def find_folder(source: Path, names: Sequence[str], what: str) -> Path:
    """The first of some folders that lies below the source.

    Raises:
        DataError: if none does.
    """
    found = next((source / name for name in names if (source / name).is_dir()), None)
    if found is None:
        raise DataError(
            f"{source} was expected to hold {what} in {' or '.join(names)}, but has no such folder; unpack the "
            "distribution there or give the folder that it was unpacked in"
        )
    return found


def split_by_group(labels: Sequence[str], groups: Sequence[str]) -> list[Split]:
    """Train or test for each image: about a fifth of each class is for testing, whole groups, by a fixed seed."""
    label, group = (torch.from_numpy(np.unique(np.array(names), return_inverse=True)[1]) for names in (labels, groups))
    held_out = validation_groups(label, group, TEST_SHARE, TEST_SEED)
    return ["test" if out else "train" for out in held_out.tolist()]
