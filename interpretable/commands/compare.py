"""``interpretable compare``: runs side by side."""

from pathlib import Path

from interpretable.activations import weights_digest
from interpretable.commands.evaluate import evaluate_run
from interpretable.commands.pictures import filter_rows
from interpretable.commands.progress import CONSOLE
from interpretable.commands.stores import open_or_write
from interpretable.commands.tables import measure_table
from interpretable.errors import RunError
from interpretable.evaluation.evaluation import FILE_NAME, Evaluation
from interpretable.evaluation.stored_filters import StoredFilters
from interpretable.figures import draw_top_images_beside
from interpretable.runs import Run, load_run

COMPARED_FILTERS = 6


def compare_folders(folders: list[Path]) -> None:
    """Prints the table of several runs and draws their filters side by side."""
    runs = {str(path): load_run(path) for path in folders}
    found = {name: _evaluated(opened) for name, opened in runs.items()}
    CONSOLE.print(measure_table(found))
    layer = {evaluation.about["layer"] for evaluation in found.values()}
    columns = []
    for (name, opened), evaluation in zip(runs.items(), found.values(), strict=True):
        filters = StoredFilters(
            open_or_write(opened, "train"), open_or_write(opened, "test", maps=True), evaluation.about["layer"]
        )
        columns.append((name, filter_rows(opened, filters, evaluation, COMPARED_FILTERS), filters.field))
    path = folders[0] / "comparison.png"
    title = "the best filter of each part in turn, on its top test images"
    draw_top_images_beside(columns, title, path)
    CONSOLE.print(f"{path}: {', '.join(sorted(layer))}", highlight=False)


def _evaluated(run: Run) -> Evaluation:
    try:
        found = Evaluation.read(run.folder / FILE_NAME)
    except RunError:
        return evaluate_run(run)
    return found if found.about.get("model") == weights_digest(run.model) else evaluate_run(run)
