"""Shards of a store: files of rows that several ranks write at once, read back as arrays in the order of the data."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interpretable.errors import StoreError
from interpretable.files import written_atomically

SHARD_IMAGES = 1024
SHARD_BYTES = 64 * 2**20
"""A shard is written when it holds as many images, or bytes: so much is buffered, and lost to a kill."""

INDEX = "index"
"""The array that says which images of the data set a shard's rows are."""


def shard_paths(folder: Path) -> list[Path]:
    """The shards that a folder holds, whole ones all of them."""
    return sorted(folder.glob("shard-*.safetensors"))


@lru_cache(maxsize=128)
def _opened(path: Path, _file: int, _modified: int) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"{path} was expected to be a shard of a store, but it cannot be read ({error}); delete it and run the "
            "command that wrote the store again, which goes on from what is there."
        ) from error


def open_shard(path: Path) -> Any:
    """A shard's arrays by name, mapped into memory and not read.

    Raises:
        StoreError: The file is no shard.
    """
    found = path.stat()  # another file of that name may be as old
    return _opened(path, found.st_ino, found.st_mtime_ns)


def recorded_images(folder: Path) -> NDArray[np.int64]:
    """Indices of the images that the shards of a folder hold, ascending, each once."""
    indices = [open_shard(path).get_tensor(INDEX).numpy() for path in shard_paths(folder)]
    return np.unique(np.concatenate(indices)) if indices else np.empty(0, np.int64)


class ShardWriter:
    """Collects the rows of one rank and writes them in shards, next to those that other ranks or runs wrote.

    Args:
        folder: Folder of the store.
        rank: The writing process, which is part of the file names.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._folder = folder
        self._rank = rank
        self._number = 0
        self._buffer: list[dict[str, Tensor]] = []

    def add(self, rows: dict[str, Tensor]) -> None:
        """Takes in rows, arrays of one length by name, and writes a shard when there are enough of them."""
        self._buffer.append({name: array.cpu() for name, array in rows.items()})
        images = sum(len(rows[INDEX]) for rows in self._buffer)
        size = sum(array.nbytes for rows in self._buffer for array in rows.values())
        if images >= SHARD_IMAGES or size >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what is buffered.

        Raises:
            StoreError: The disk does not take it; what was written before stays.
        """
        if not self._buffer:
            return
        while (path := self._folder / f"shard-{self._rank:03d}-{self._number:06d}.safetensors").exists():
            self._number += 1
        rows = {name: torch.cat([part[name] for part in self._buffer]) for name in self._buffer[0]}
        try:
            with written_atomically(path) as temporary:
                save_file(rows, temporary)
        except SafetensorError as error:
            raise StoreError(
                f"{path} was expected to be written, but {error}; make room and run the same command again, which goes "
                "on from what is there."
            ) from error
        self._buffer = []


class StoredArray:
    """An array of a store, one row per image in the order of the data set, read from disk when it is indexed.

    ``array[10:20]``, ``array[[3, 1]]`` and ``array[mask]`` give tensors; ``array[:]`` all of it. Only the rows asked
    for are read.
    """

    def __init__(self, name: str, shards: list[Path], shard: NDArray[np.int64], row: NDArray[np.int64]) -> None:
        self._name = name
        self._shards = shards
        self._shard = shard
        self._row = row
        opened = open_shard(shards[0])
        if name not in opened.keys():  # noqa: SIM118  a safetensors file is no dictionary
            raise StoreError(f"{shards[0]} was expected to hold {name}, but has no such array; write the store again.")
        first = opened.get_tensor(name)
        self.shape = (len(row), *first.shape[1:])
        self.dtype: torch.dtype = first.dtype

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, rows: Any) -> Tensor:
        """The rows, as a tensor; of one row where rows is a number."""
        picked = rows.numpy() if isinstance(rows, Tensor) else rows
        shards, places = np.asarray(self._shard[picked]), np.asarray(self._row[picked])
        out = torch.empty((shards.size, *self.shape[1:]), dtype=self.dtype)
        order = np.argsort(shards, axis=None, kind="stable")
        touched, first = np.unique(shards.reshape(-1)[order], return_index=True)
        for shard, wanted in zip(touched, np.split(order, first[1:]), strict=False):  # of no rows one part is left
            mapped = open_shard(self._shards[shard]).get_tensor(self._name)
            out[torch.from_numpy(wanted)] = mapped[torch.from_numpy(places.reshape(-1)[wanted])]
        return out.reshape((*shards.shape, *self.shape[1:]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:].numpy(), dtype=dtype)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __repr__(self) -> str:
        return f"StoredArray({self._name!r}, shape={self.shape}, dtype={self.dtype})"
