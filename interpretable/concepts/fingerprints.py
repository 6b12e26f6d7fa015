"""Digests that tell whether the files and arguments behind a data set are still the same."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from interpretable.errors import DataError


def digest(facts: object, files: Iterable[Path] = ()) -> str:
    """Hex digest of what ``repr`` says of the facts, and of the names and sizes in bytes of files.

    Raises:
        DataError: where a file is not there.
    """
    total = hashlib.sha256(repr(facts).encode())
    for path in files:
        try:
            total.update(f"{path.name} {os.stat(path).st_size}\n".encode())
        except OSError as error:
            raise DataError(
                f"{path} was expected to be a file of the data set, but cannot be read ({error}); add it again"
            ) from error
    return total.hexdigest()
