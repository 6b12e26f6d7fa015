"""Figures of a run, drawn with matplotlib and written atomically."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.files import written_atomically
from interpretable.receptive_field import ReceptiveField

COLOURS = {"train": "#4477aa", "val": "#ee6677"}
"""Blue and red that remain distinct to colour-blind readers (Paul Tol's bright scheme)."""

STYLES = ("-", "--", ":", "-.")
"""One per quantity of a panel."""

OUTLINE = "#ffd92f"
"""Yellow stands out on drawings and photographs alike."""


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG under a temporary name and renames it."""
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_learning_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draws losses, accuracy, mutual information with its bound, and the effective number of images over epochs.

    Args:
        history: One dictionary per epoch with ``"epoch"`` and the logged names, ``"train/loss"`` and so on.
        path: The PNG to write.
    """
    names = list(dict.fromkeys(name for epoch in history for name in epoch))
    layers = sorted({name.rsplit("/", 1)[1] for name in names if "/mutual_information/" in name})
    figure = Figure(figsize=(11, 3.2 * 2), layout="constrained")
    axes = figure.subplots(2, 2)
    panels = {
        "Loss": {"total": "loss", "task": "task_loss"},
        "Accuracy": {"": "accuracy"},
        "Mutual information with its bound (nats)": {layer: f"mutual_information/{layer}" for layer in layers},
        "Effective number of images": {layer: f"effective_images/{layer}" for layer in layers},
    }
    for axis, (title, quantities) in zip(axes.flat, panels.items(), strict=True):
        for style, (label, quantity) in zip(STYLES, quantities.items(), strict=False):
            for stage, colour in COLOURS.items():
                _curve(axis, history, f"{stage}/{quantity}", colour, style, f"{stage} {label}")
        if title.startswith("Mutual") and layers:
            bound = f"val/mutual_information_bound/{layers[-1]}"
            _curve(axis, history, bound, "0.4", "-", "bound")
            axis.set_ylim(top=1.3 * axis.get_ylim()[1])  # room for the legend above the bound
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.lines:
            above = {"loc": "upper right", "ncols": 3} if title.startswith("Mutual") else {}
            axis.legend(frameon=False, fontsize="small", **above)
    save(figure, path)


def _curve(axis: Axes, history: Sequence[dict[str, float]], name: str, colour: str, style: str, label: str) -> None:
    points = [(epoch["epoch"], epoch[name]) for epoch in history if name in epoch]
    if points:
        axis.plot(*zip(*points, strict=True), color=colour, linestyle=style, label=label, marker=".", markersize=4)


def draw_top_images(
    images: Sequence[Tensor], maps: Tensor, field: ReceptiveField, names: Sequence[str], path: Path
) -> None:
    """Draws a row per filter: its top images with the region outlined where the map exceeds half of its peak.

    Args:
        images: Per filter, (k, 3, H, W) normalised images.
        maps: (filters, k, h, w) maps of those images.
        field: Receptive field of the layer, which says where in the image a unit sits.
        names: Per filter, the row's title.
        path: The PNG to write.
    """
    rows, columns = maps.shape[:2]
    figure = Figure(figsize=(1.1 + 1.05 * columns, 0.35 + 1.05 * rows), layout="constrained")
    figure.suptitle(f"{path.stem.replace('_', ' ')}: top test images of the strongest filters", fontsize="medium")
    fine = F.interpolate(maps.float(), scale_factor=8, mode="bilinear", align_corners=True)
    y, x = (np.linspace(field.offset, field.offset + field.stride * (n - 1), 8 * n) for n in maps.shape[-2:])
    for row, axes in enumerate(figure.subplots(rows, columns, squeeze=False)):
        for column, axis in enumerate(axes):
            picture = (images[row][column].permute(1, 2, 0).numpy() * IMAGENET_STD + IMAGENET_MEAN).clip(0, 1)
            height, width = picture.shape[:2]
            axis.imshow(picture, extent=(0, width, height, 0))
            level = 0.5 * float(maps[row, column].amax())
            if level > 0:
                axis.contour(x, y, fine[row, column].numpy(), levels=[level], colors=OUTLINE, linewidths=1.6)
            axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        axes[0].set_ylabel(names[row], fontsize="small")
    save(figure, path)
