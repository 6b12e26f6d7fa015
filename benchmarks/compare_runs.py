"""Prints an interpretable network beside its plain twin: python benchmarks/compare_runs.py RUN PLAIN_RUN.

Both rows are measured by the same functions on the same test split: raw maps of the top part layer, batches of 64,
each filter divided by its mean peak over the split, temperature 0.2. "places" says in how many cells of an image the
peaks of all filters lie, on average; the last column, how much of the distance between the plain twin's mutual
information and the bound the row closes.
"""

import argparse
import math
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from interpretable import InterpretableError, Run, load_run
from interpretable.losses import effective_images, mean_peak, mutual_information
from interpretable.metrics import LocationInstability
from interpretable.templates import peak

BATCH = 64
TEMPERATURE = 0.2


class Row(NamedTuple):
    """What is printed of a network."""

    accuracy: float
    mutual_information: float
    bound: float
    effective_images: float
    dead: float
    places: float
    instability: dict[str, float]


@torch.inference_mode()
def measure(run: Run) -> Row:
    run.datamodule.setup("test")
    kept, right = [], []
    instability = LocationInstability(run.datamodule.num_classes)
    for batch in track(run.datamodule.test_dataloader(), description=run.folder.name):
        maps = run.model.net.forward_features(batch["image"])
        logits = run.model.net.forward_head(maps[-1])
        maps = tuple(layer[:, : run.model.net.num_filters] for layer in maps)
        decided = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
        right.append(decided == batch["label"])
        size = (batch["image"].shape[-2], batch["image"].shape[-1])
        place = run.model.peak_positions(maps)[-1]
        instability.update(maps[-1].amax((-2, -1)), place, batch["landmarks"], batch["label"], size)
        kept.append(maps[-1])
    maps = torch.cat(kept)
    ordered = peak(maps).sort(1).values
    peaks = mean_peak(maps)
    scale = torch.where(peaks > 0, 1 / (peaks * TEMPERATURE), 0)
    if len(maps) < BATCH:
        raise SystemExit(f"The test split needs at least {BATCH} images, found {len(maps)} in {run.folder}.")
    full = maps.split(BATCH)[: len(maps) // BATCH]  # a smaller batch has a lower bound
    alive = peaks > 0
    return Row(
        torch.cat(right).float().mean().item(),
        torch.stack([mutual_information(batch, scale=scale) for batch in full]).mean().item(),
        math.log(min(maps[0, 0].numel() + 1, BATCH)),
        torch.stack([effective_images(batch, scale=scale)[alive] for batch in full]).mean().item(),
        1 - alive.float().mean().item(),
        1 + (ordered.diff(dim=1) > 0).sum(1).float().mean().item(),
        {name: value.item() for name, value in instability.compute()._asdict().items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of the interpretable network")
    parser.add_argument("plain", help="run folder of its plain twin")
    arguments = parser.parse_args()
    try:
        rows = {name: measure(load_run(getattr(arguments, name))) for name in ("plain", "run")}
    except InterpretableError as error:
        raise SystemExit(f"error: {error}") from error
    table = Table(
        "network",
        "accuracy",
        "MI (nats)",
        "bound",
        "effective images",
        "dead",
        "places",
        "instability",
        "centre",
        "random",
        "best class",
        "centre",
        "random",
        "gap closed",
    )
    for name, row in rows.items():
        closed = (row.mutual_information - rows["plain"].mutual_information) / (
            row.bound - rows["plain"].mutual_information
        )
        numbers = [
            row.instability[key]
            for key in ("instability", "centre", "random", "best_class", "centre_best_class", "random_best_class")
        ]
        table.add_row(
            {"run": "interpretable", "plain": "plain twin"}[name],
            f"{row.accuracy:.3f}",
            f"{row.mutual_information:.3f}",
            f"{row.bound:.3f}",
            f"{row.effective_images:.1f}",
            f"{row.dead:.2f}",
            f"{row.places:.1f}",
            *(f"{value:.4f}" for value in numbers),
            f"{closed:.0%}",
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
