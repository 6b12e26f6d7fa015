"""``interpretable convert``: published layouts of part annotations to the part-annotated folder."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpretable.commands.terminal import say, show_progress
from interpretable.convert import CONVERTERS
from interpretable.errors import ConfigurationError


def convert_layout(layout: str, source: Path, target: Path, options: Mapping[str, Any]) -> None:
    """Converts a data set and says how many images it has.

    Raises:
        ConfigurationError: There is no such layout, or it takes no such option.
    """
    if layout not in CONVERTERS:
        raise ConfigurationError(f"The layout must be one of {', '.join(CONVERTERS)}, got {layout!r}.")
    converter = CONVERTERS[layout]
    unknown = [name for name in options if name not in inspect.signature(converter).parameters]
    if unknown:
        flag = {"merge_parts": "own-parts"}.get(unknown[0], unknown[0].replace("_", "-"))
        raise ConfigurationError(f"The layout {layout} has no use for --{flag}; leave it out.")
    written = list(show_progress(converter(source, target, **options), layout))
    say(f"{target}: {written[-1] if written else 0:,} images")
