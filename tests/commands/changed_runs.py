"""What the tests of several commands do to a run: leave its pictures out, change its config, give it W&B as logger."""

import csv
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wandb
import yaml
from data.drawn import write_csv
from drawn_fruit import draw_fruit
from test_sweeps import records


class Drawn:
    """What was handed to the pictures, by their names below the folder of the command; the files are of a word."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.views: dict[str, Any] = {}
        """A tuple where a picture shows more than one thing."""

    def draw(self, *words: Any) -> None:
        *view, path = words
        parent = "" if path.parent.name == self.folder else f"{path.parent.name}/"
        name = path.name.lstrip(".").split(".png")[0]  # without what a temporary name has more
        self.views[f"{parent}{name}.png"] = tuple(view) if len(view) > 1 else view[0]
        path.write_bytes(b"drawn")


@contextmanager
def without_pictures(folder: str, module: ModuleType, *drawers: str) -> Iterator[Drawn]:
    """Without what takes the time of a command, its pictures, and on a wide terminal.

    Args:
        folder: In which the command writes.
        module: Which calls the functions that draw.
        drawers: Their names.
    """
    drawn = Drawn(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        for name in drawers:
            patch.setattr(module, name, drawn.draw)
        yield drawn


def configure(run: Path, section: str, **values: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= values
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def on_other_data(
    run: Path,
    root: Path,
    at_most: Mapping[tuple[str, str], int] | None = None,
    rename: Mapping[str, str] | None = None,
) -> None:
    """The run on drawn fruit of a photograph each, with fewer images of a class and split, or other names."""
    draw_fruit(root)
    with (root / "annotations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    left = dict(at_most or {})
    kept = []
    for image, label, split, *others in rows:
        left[label, split] = left.get((label, split), len(rows)) - 1
        if left[label, split] >= 0:
            kept.append([image, (rename or {}).get(label, label), split, *others])
    write_csv(root / "annotations.csv", header, kept)
    configure(run, "data", root=str(root))


def with_wandb(run: Path, root: Path) -> Path:
    """A copy of the run whose logger was that of W&B."""
    copy = Path(shutil.copytree(run, root / "runs" / "fruit" / "abc123"))
    logger = {
        "class_path": "pytorch_lightning.loggers.WandbLogger",
        "init_args": {"project": "fruit", "save_dir": str(root / "runs")},
    }
    configure(copy, "trainer", logger=logger)
    return copy


def logged_by_wandb(root: Path) -> tuple[list[Any], dict[str, Any]]:
    """What a command logged of that copy: all records, and the artifacts among them by their types."""
    (folder,) = (root / "runs" / "wandb").glob("offline-run-*-abc123")
    wandb.teardown()
    found = records(folder)
    return found, {one.artifact.type: one.artifact for one in found if one.HasField("artifact")}
