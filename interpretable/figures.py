"""Figures of a run, drawn with matplotlib and written atomically."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn import functional as F

from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.files import written_atomically
from interpretable.receptive_field import ReceptiveField
from interpretable.upsampling import upsample

COLOURS = {"train": "#4477aa", "val": "#ee6677"}
"""Blue and red that remain distinct to colour-blind readers (Paul Tol's bright scheme)."""

BARS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")
"""A colour per network, of the same scheme."""

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


class TopImageRow(NamedTuple):
    """A filter and the images on which it fires strongest."""

    name: str
    images: Tensor
    """(k, 3, H, W) normalised."""
    maps: Tensor
    """(k, h, w) of those images."""
    level: float | None = None
    """Activation above which a cell belongs to the filter's region; half of each map's peak where omitted."""


def draw_top_images(rows: Sequence[TopImageRow], field: ReceptiveField, title: str, path: Path) -> None:
    """Draws a row per filter: its top images with the region outlined where the map exceeds a level.

    Args:
        rows: The filters, with as many images each.
        field: Receptive field of the layer, which says where in the image a unit sits.
        title: What stands above.
        path: The PNG to write.
    """
    figure = Figure(figsize=_size_of(rows), layout="constrained")
    fill_top_images(figure, rows, field, title)
    save(figure, path)


def draw_top_images_beside(
    columns: Sequence[tuple[str, Sequence[TopImageRow], ReceptiveField]], title: str, path: Path
) -> None:
    """Draws the filters of several networks side by side, each with its own title; see `draw_top_images`."""
    sizes = [_size_of(rows) for _, rows, _ in columns]
    figure = Figure(figsize=(sum(width for width, _ in sizes), 0.3 + max(height for _, height in sizes)))
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize="medium")
    for part, (name, rows, field) in zip(figure.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
        fill_top_images(part, rows, field, name)
    save(figure, path)


def fill_top_images(figure: Figure | SubFigure, rows: Sequence[TopImageRow], field: ReceptiveField, title: str) -> None:
    """Fills a figure with a row per filter; see `draw_top_images`."""
    figure.suptitle(title, fontsize="medium")
    all_axes = figure.subplots(len(rows), max(len(row.images) for row in rows), squeeze=False)
    for row, axes in zip(rows, all_axes, strict=True):
        size = (row.images.shape[-2], row.images.shape[-1])
        fine = upsample(row.maps[:, None], size, field, size)[:, 0]
        # A frame below any level closes the outlines of regions that reach the border.
        fine = F.pad(fine, (1, 1, 1, 1), value=float(fine.amin()))
        y, x = (np.concatenate([[0.0], np.arange(n) + 0.5, [n]]) for n in size)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, image, region, coarse in zip(axes, row.images, fine, row.maps, strict=False):
            picture = (image.permute(1, 2, 0).numpy() * IMAGENET_STD + IMAGENET_MEAN).clip(0, 1)
            height, width = picture.shape[:2]
            axis.imshow(picture, extent=(0, width, height, 0))
            level = 0.5 * float(coarse.amax()) if row.level is None else row.level
            if float(region.amin()) <= level < float(region.amax()):
                axis.contour(x, y, region.numpy(), levels=[level], colors=OUTLINE, linewidths=1.6)
            axis.set(xlim=(0, width), ylim=(height, 0))
        axes[0].set_ylabel(row.name, fontsize="small")


def _size_of(rows: Sequence[TopImageRow]) -> tuple[float, float]:
    """Width and height in inches."""
    return 1.1 + 1.05 * max(len(row.images) for row in rows), 0.35 + 1.05 * len(rows)


def draw_detectors(networks: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]], path: Path) -> None:
    """Draws how many filters detect a concept of each category, and how many different ones.

    Args:
        networks: Per network, detectors and unique concepts by category.
        path: The PNG to write.
    """
    categories = list(dict.fromkeys(name for detectors, _ in networks.values() for name in detectors))
    figure = Figure(figsize=(2 + 1.1 * len(categories), 3.2), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(networks)
    places = np.arange(len(categories))
    for number, (name, (detectors, unique)) in enumerate(networks.items()):
        x = places + (number - (len(networks) - 1) / 2) * width
        colour = BARS[number % len(BARS)]
        bars = axis.bar(x, [detectors.get(c, 0) for c in categories], width * 0.92, color=colour, alpha=0.45)
        axis.bar(x, [unique.get(c, 0) for c in categories], width * 0.92, color=colour, label=name)
        axis.bar_label(bars, fontsize="small")
    axis.set_xticks(places, categories)
    axis.set_title("Detectors per category; solid: different concepts among them", loc="left", fontsize="medium")
    axis.spines[["top", "right"]].set_visible(False)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(networks) > 1:
        axis.legend(frameon=False, fontsize="small")
    save(figure, path)
