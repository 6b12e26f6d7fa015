"""``interpretable attribute``: what decided for a class of each image, by several methods side by side."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from interpretable.activations import weights_digest
from interpretable.artifacts import log_artifact
from interpretable.attribution.attribution_sheet import AttributionRow
from interpretable.commands.attribution_pictures import draw_sheets, pictures_of, shown_attributions, title_of
from interpretable.commands.attribution_request import Asked, Request, checked_request, checked_words
from interpretable.commands.attribution_results import RESTS, Result, logits_of, results_of
from interpretable.commands.terminal import say, show
from interpretable.commands.tree_tables import Rows, table_of
from interpretable.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from interpretable.files import written_atomically
from interpretable.runs import Run, load_run

FOLDER, ARRAYS = "attribution", "attributions.safetensors"


def attribute_images(run: Path, asked: Asked) -> None:
    """Explains images of a run, or others, by several methods, and writes arrays and sheets."""
    asked = checked_words(asked)
    opened = load_run(run)
    request = checked_request(opened, asked)
    folder = opened.folder / FOLDER
    opened.model.to(asked.device)
    images = request.images.pixels.to(asked.device)
    logits = logits_of(opened, asked, images)
    classes = logits.argmax(1) if request.target is None else request.target
    results = results_of(opened, asked, images, classes, folder)
    for sentence in results.refused:
        say(sentence)
    arrays = {
        "images": request.images.pixels,
        "index": torch.tensor(request.images.indices),
        "logits": logits,
        "classes": classes,
        **_arrays_of(results.explained),
    }
    with written_atomically(folder / ARRAYS) as temporary:
        save_file(arrays, temporary, _about(opened, asked, request, results.explained))
    shown = zip(
        request.images.names,
        pictures_of(request.images.pixels),
        _labels(opened, request),
        [request.classes[output] for output in classes],
        logits.gather(1, classes[:, None])[:, 0].tolist(),
        shown_attributions(opened, results.explained, images),
        strict=True,
    )
    rows = [AttributionRow(*row) for row in shown]
    sheets = draw_sheets(rows, results.explained, folder)
    show(
        table_of("What is explained, and what attributions sum to of what they should", _table(rows, results.explained))
    )
    if log_artifact(opened, f"attribution-{opened.folder.name}", "attribution", [folder / ARRAYS, *sheets]):
        say("W&B: logged as an artifact of the run")
    for path in (folder / ARRAYS, *sheets):
        say(f"{run / path.relative_to(opened.folder)}")


def _arrays_of(results: Sequence[Result]) -> dict[str, Tensor]:
    """Attributions by the names of the methods, and what else they know by name and field."""
    further = {f"{result.name}.{field}": array for result in results for field, array in result.further.items()}
    return {**{result.name: result.attributions for result in results}, **further}


def _about(run: Run, asked: Asked, request: Request, results: Sequence[Result]) -> dict[str, str]:
    """What the arrays are of, each entry as JSON."""
    entries = {
        "methods": {result.name: result.options for result in results},
        "target": asked.target,
        "classes": request.classes,
        "names": request.images.names,
        "labels": _labels(run, request),
        "split": asked.split,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "weights": weights_digest(run.model),
    }
    return {name: json.dumps(entry, ensure_ascii=False) for name, entry in entries.items()}


def _labels(run: Run, request: Request) -> list[str]:
    """Names of the classes that each image has; nothing of files."""
    names = run.datamodule.classes
    return [", ".join(names[label] for label in labels) for labels in request.images.labels]


def _table(images: Sequence[AttributionRow], results: Sequence[Result]) -> Rows:
    """Rows of text: each image, and of methods of which that is known what their attributions add up to."""
    complete = [(result, rest) for result in results for rest in RESTS if rest in result.further]
    rows = [("image", "label", "explained", "logit", *(title_of(result.name) for result, _ in complete))]
    for place, image in enumerate(images):
        cells = []
        for result, rest in complete:
            total = float(result.attributions[place].double().sum())
            cells.append(f"{total:.3g} of {total + float(result.further[rest][place]):.3g}")
        rows.append((image.name, image.label or "–", image.explained, f"{image.logit:.3g}", *cells))
    return tuple(rows)
