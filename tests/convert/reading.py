"""What a converted folder is checked by."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from interpretable.data import PartAnnotatedFolder


def pixels(path: Path) -> np.ndarray:
    """An image file's numbers, signed so that differences are."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of annotations.csv by their images."""
    with (folder / "annotations.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def samples_of(folder: Path, split: str) -> dict[str, dict[str, torch.Tensor]]:
    """For each image of a split, each part that has a landmark: x, y, w, h; read by PartAnnotatedFolder."""
    data = PartAnnotatedFolder(folder, split, validation=0.5)
    found = {}
    for index in range(len(data)):
        sample = data[index]
        numbers = torch.cat([torch.Tensor(sample["landmarks"]), torch.Tensor(sample["boxes"])[:, 2:]], dim=1)
        name = str(data._table.images[data._rows[index]])
        found[name] = {part: row for part, row in zip(data.parts, numbers, strict=True) if not row[0].isnan()}
    return found


def nearest(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width) of an (H, W) mask: pixel i is the one under (i + 1/2) H / height."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows][:, columns].astype(bool)
