"""Files that are whole or not there, written under a temporary name and renamed, and safe names for them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 60
"""Characters of a name, without suffix."""


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, which takes its place if the block succeeds and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, so that a reader never sees half of it."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def safe_name(number: int, name: str) -> str:
    """Name of a file or folder in plain letters, digits and underscores; different for different numbers."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{number} {name}"[:LONGEST_NAME]).strip("_")
