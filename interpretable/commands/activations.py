"""``interpretable activations``: what a network gives for each image, on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from interpretable.commands.stores import store_folder, write_store
from interpretable.commands.terminal import say
from interpretable.data.splits import Split, check_split
from interpretable.distributed import rank
from interpretable.runs import load_run


def write_activations(
    run: Path,
    splits: Sequence[str],
    layers: list[str] | None,
    maps: bool,
    rationales: list[str] | None,
    devices: int,
    accelerator: str,
    batch_size: int | None,
    overwrite: bool,
) -> None:
    """Writes a store for each split and says how large it is."""
    for split in splits:
        check_split(split)
    opened = load_run(run)
    if batch_size is not None:
        opened.datamodule.batch_size = batch_size
    for split in cast(Sequence[Split], splits):
        store = write_store(
            opened,
            split,
            layers=layers,
            maps=maps,
            rationales=rationales,
            devices=devices,
            accelerator=accelerator,
            overwrite=overwrite,
        )
        if rank() > 0:
            continue
        size = sum(path.stat().st_size for path in store_folder(opened, split).iterdir())
        say(f"{run / 'activations' / split}: {len(store):,} images, {size / 2**20:,.1f} MiB")
