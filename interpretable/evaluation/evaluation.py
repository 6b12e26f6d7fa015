"""What an evaluation found, as numbers with names; kept as JSON in the run folder."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from interpretable.errors import RunError
from interpretable.files import write_atomically

SCHEMA = 1
FILE_NAME = "metrics.json"


@dataclass
class Evaluation:
    """Numbers of a network's filters; NaN where nothing counts."""

    numbers: dict[str, float] = field(default_factory=dict)
    """Of the whole layer, by name."""
    filters: dict[str, list[float]] = field(default_factory=dict)
    """Of each filter: columns by name."""
    classes: dict[str, list[float]] = field(default_factory=dict)
    """Of each class: columns by name."""
    about: dict[str, Any] = field(default_factory=dict)
    """Which network, data, layer and settings."""

    def add(self, **numbers: Tensor | float) -> None:
        """Adds numbers of the layer."""
        self.numbers |= {name: float(value) for name, value in numbers.items()}

    def add_filters(self, **columns: Tensor) -> None:
        """Adds columns (C,); of one filter also the scalars that torchmetrics makes of them."""
        self.filters |= {name: column.double().reshape(-1).tolist() for name, column in columns.items()}

    def add_classes(self, **columns: Tensor) -> None:
        """Adds columns (K,)."""
        self.classes |= {name: column.double().reshape(-1).tolist() for name, column in columns.items()}

    def write(self, path: Path) -> None:
        """Writes JSON, atomically; NaN as null, which every reader of JSON knows."""
        content = {
            "schema": SCHEMA,
            "about": self.about,
            "numbers": _plain(self.numbers),
            "filters": _plain(self.filters),
            "classes": _plain(self.classes),
        }
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            RunError: There is no such file, or it is of another form.
        """
        if not path.is_file():
            raise RunError(f"{path} is missing; write it with `interpretable evaluate {path.parent}`.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise RunError(f"{path} has schema {content['schema']}, expected {SCHEMA}; evaluate the run again.")
            return cls(
                {name: _number(value) for name, value in content["numbers"].items()},
                {name: [_number(value) for value in column] for name, column in content["filters"].items()},
                {name: [_number(value) for value in column] for name, column in content["classes"].items()},
                dict(content["about"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(
                f"{path} was expected to hold an evaluation, but {error!r}; evaluate the run again."
            ) from error


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _plain(values: Mapping[str, float | Sequence[float]]) -> dict[str, Any]:
    def plain(value: float | Sequence[float]) -> Any:
        if isinstance(value, Sequence):
            return [plain(entry) for entry in value]
        return value if math.isfinite(value) else None

    return {name: plain(value) for name, value in values.items()}
