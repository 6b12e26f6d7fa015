"""Draws docs/images/part_loss.png: a template, its mask, and the mutual information as a peak moves."""

import math
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from interpretable.figures import save
from interpretable.losses import mutual_information
from interpretable.templates import part_templates, template_mask

SIDE = 14
PEAK = (6, 3)
IMAGES = 16
TEMPERATURES = {0.1: "#4477aa", 0.2: "#ee6677", 0.5: "#228833", 1.0: "#aa3377"}
"""Colours that remain distinct to colour-blind readers (Paul Tol's bright scheme)."""


def maps_with_peak_at(columns: list[int]) -> Tensor:
    """(B, 1, h, w) of one active cell each, in the row of the template's peak."""
    x = torch.zeros(len(columns), 1, SIDE, SIDE)
    x[torch.arange(len(columns)), 0, PEAK[0], torch.tensor(columns)] = 1.0
    return x


def information_as_half_of_the_peaks_move(temperature: float) -> list[float]:
    """MI of a batch in which half of the images have their peak so many columns away from the other half's."""
    still = [PEAK[1]] * (IMAGES // 2)
    batches = [maps_with_peak_at(still + [PEAK[1] + distance] * (IMAGES // 2)) for distance in range(SIDE - PEAK[1])]
    return [mutual_information(x, scale=1 / temperature).item() for x in batches]


def main(path: Path) -> None:
    """Draws the three panels and writes them to a PNG."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    template_axis, mask_axis, curve_axis = figure.subplots(1, 3, width_ratios=(1, 1, 1.35))
    template = part_templates(SIDE, SIDE)[PEAK[0] * SIDE + PEAK[1]]
    mask = template_mask(maps_with_peak_at([PEAK[1]]))[0, 0]
    for axis, values, title in ((template_axis, template, "Template $T_\\mu$"), (mask_axis, mask, "Its mask")):
        image = axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set(title=title, xlabel="column", ylabel="row", xticks=range(0, SIDE, 3), yticks=range(0, SIDE, 3))
    figure.colorbar(image, ax=[template_axis, mask_axis], shrink=0.85, pad=0.02)
    for temperature, colour in TEMPERATURES.items():
        values = information_as_half_of_the_peaks_move(temperature)
        curve_axis.plot(values, color=colour, marker=".", label=f"temperature {temperature}")
    curve_axis.axhline(math.log(2), color="0.5", linestyle="--", linewidth=1)
    curve_axis.annotate(
        "log 2: which half",
        (SIDE - PEAK[1] - 1, math.log(2)),
        (0, 3),
        textcoords="offset points",
        ha="right",
        color="0.4",
    )
    curve_axis.set(
        title="Information as half of the peaks move",
        xlabel="columns between the two places",
        ylabel="mutual information (nats)",
        ylim=(0, 1),
    )
    curve_axis.spines[["top", "right"]].set_visible(False)
    curve_axis.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    save(figure, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images" / "part_loss.png")
