"""Sheets of a run's attributions: which images are on each, and what is shown of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from interpretable.attribution.attribution_sheet import (
    AttributionRow,
    AttributionSheet,
    ShownAttribution,
    draw_attributions,
)
from interpretable.attribution.layer_maps import default_layer
from interpretable.attribution.network import explained
from interpretable.attribution.upsampled_maps import upsampled
from interpretable.commands.attribution_results import OWN, Result
from interpretable.commands.terminal import show_progress
from interpretable.commands.tree_images import picture
from interpretable.runs import Run

ROWS = 12
"""Images of a sheet at the most."""

NAMED_FILTERS = 2
"""How many filters stand below the part filters of an image."""

TITLES = {
    "gradient_times_input": "gradient × input",
    "smooth_grad": "SmoothGrad",
    "deconvnet": "DeconvNet",
    "guided_backprop": "guided backpropagation",
    "lrp": "LRP",
    "deep_taylor": "deep Taylor decomposition",
    "deep_lift": "DeepLIFT",
    "pattern_net": "PatternNet",
    "pattern_attribution": "PatternAttribution",
    "cam": "CAM",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "guided Grad-CAM",
    "rise": "RISE",
}
"""Of methods that are not called by their plain names."""

_NOTES = "The filters that are named contribute most to the logit, so much each."


def title_of(name: str) -> str:
    """What a method is called."""
    return TITLES.get(name, name.replace("_", " "))


def sheet_name(number: int) -> str:
    """Of a sheet, the first being 0."""
    return f"sheet_{number + 1}.png" if number else "sheet.png"


def draw_sheets(rows: Sequence[AttributionRow], results: Sequence[Result], folder: Path) -> list[Path]:
    """Draws twelve images to a sheet, each sheet whole or not at all; those of an earlier call are deleted."""
    columns = tuple(title_of(result.name) for result in results)
    notes = _NOTES if any(result.name == OWN for result in results) else ""
    paths = []
    for number, first in enumerate(show_progress(range(0, len(rows), ROWS), "sheets")):
        paths.append(folder / sheet_name(number))
        draw_attributions(AttributionSheet(columns, tuple(rows[first : first + ROWS]), notes), paths[-1])
    left_over = len(paths)
    while (folder / sheet_name(left_over)).is_file():
        (folder / sheet_name(left_over)).unlink()
        left_over += 1
    return paths


def pictures_of(pixels: Tensor) -> list[np.ndarray]:
    """Normalised images (N, 3, H, W) as (H, W, 3) uint8 each."""
    dataset = [{"image": image} for image in pixels]
    return [picture(dataset, number) for number in range(len(dataset))]


def shown_attributions(run: Run, results: Sequence[Result], pixels: Tensor) -> list[tuple[ShownAttribution, ...]]:
    """What each method says of each image, at the image's pixels and summed over channels.

    Args:
        run: The run.
        results: Of the methods.
        pixels: (N, 3, H, W) the images, on the device of the network.
    """
    columns = []
    for result in results:
        values = result.attributions.sum(1, keepdim=True)
        if values.shape[-2:] != pixels.shape[-2:]:
            with explained(run.model) as network:
                layer = default_layer(network, pixels[:1])
            values = upsampled(values[:, None].float(), pixels, run.model, layer)[:, 0]
        columns.append(list(map(ShownAttribution, values[:, 0].double().numpy(), _notes(result))))
    return list(zip(*columns, strict=True))


def _notes(result: Result) -> list[str]:
    if result.name != OWN:
        return [""] * len(result.attributions)
    contributions, filters = result.further["contributions"], result.further["filters"]
    strongest = zip(filters.tolist(), contributions.gather(1, filters).tolist(), strict=True)
    return [
        "filters "
        + ", ".join(f"{number} {value:+.2g}" for number, value in list(zip(*of_image, strict=True))[:NAMED_FILTERS])
        for of_image in strongest
    ]
