"""``interpretable compare``: runs side by side."""

from pathlib import Path

from interpretable.activations import weights_digest
from interpretable.commands.dissect import dissection_table
from interpretable.commands.evaluate import evaluated
from interpretable.commands.pictures import filter_rows
from interpretable.commands.stores import open_or_write
from interpretable.commands.tables import measure_table
from interpretable.commands.terminal import say, show
from interpretable.dissection import Dissection
from interpretable.evaluation.stored_filters import StoredFilters
from interpretable.figures import draw_detectors, draw_top_images_beside
from interpretable.metrics import PartTrackingResult, part_tracking, tracking_difference
from interpretable.runs import Run, load_run

COMPARED_FILTERS = 6


def compare_folders(folders: list[Path]) -> None:
    """Prints the table of several runs and draws their filters side by side."""
    runs = {str(path): load_run(path) for path in folders}
    found = {name: evaluated(opened) for name, opened in runs.items()}
    show(measure_table(found))
    columns = []
    stored = {}
    for (name, opened), evaluation in zip(runs.items(), found.values(), strict=True):
        stored[name] = filters = StoredFilters(
            open_or_write(opened, "train"), open_or_write(opened, "test", maps=True), evaluation.about["layer"]
        )
        columns.append((name, filter_rows(opened, filters, evaluation, COMPARED_FILTERS), filters.field))
    _compare_tracking(stored)
    path = folders[0] / "comparison.png"
    title = "the best filter of each part in turn, on its top test images"
    draw_top_images_beside(columns, title, path)
    say(str(path))
    _compare_dissections(runs, folders[0])


def _compare_tracking(stored: dict[str, StoredFilters]) -> None:
    """How much better the first run's filters track than those of each other run on the same images."""
    (first, filters), *others = stored.items()
    others = [(name, other) for name, other in others if _data(other) == _data(filters)]
    if not filters.test.parts or not others:
        return
    best = _tracking(filters)
    for name, other in others:
        gain = tracking_difference(best, _tracking(other))
        say(
            f"tracking R² of {first} less that of {name}: {gain.difference:+.3f} "
            f"({gain.low:+.3f} to {gain.high:+.3f} on resampled test images)"
        )


def _data(filters: StoredFilters) -> tuple[str, str]:
    return filters.train.manifest.data, filters.test.manifest.data


def _tracking(filters: StoredFilters) -> PartTrackingResult:
    return part_tracking(filters.train_peaks, filters.test_peaks, filters.num_classes)


def _compare_dissections(runs: dict[str, Run], folder: Path) -> None:
    """The dissections of one concept set that all runs have, side by side."""
    names = [{path.stem for path in (run.folder / "dissection").glob("*.json")} for run in runs.values()]
    for name in sorted(set.intersection(*names)):
        found = {run: Dissection.read(opened.folder / "dissection" / f"{name}.json") for run, opened in runs.items()}
        stale = [run for run, one in found.items() if one.about.get("model") != weights_digest(runs[run].model)]
        if stale:
            say(f"{name}: dissected with other weights; run `interpretable dissect {stale[0]}` again.")
            continue
        show(dissection_table(found))
        path = folder / f"comparison_{name}_detectors.png"
        draw_detectors({run: (one.detectors_per_category, one.unique_per_category) for run, one in found.items()}, path)
        say(str(path))
