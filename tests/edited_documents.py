"""Documents that a person has edited by hand, field by field."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any]], Any]


def edit(path: Path, change: Change, again: bool = False) -> None:
    """Changes a document, and its digests where they are made again."""
    content = json.loads(path.read_text())
    before = json.dumps(content)
    change(content)
    assert json.dumps(content) != before
    path.write_text(json.dumps(with_digests(content) if again else content))


def with_digests(content: dict[str, Any]) -> dict[str, Any]:
    """What an editor would write who knows how the digests are made."""
    parts: dict[str, Any] = {}
    for name, value in content.items():
        if name != "digests":
            parts |= {f"{name}[{i}]": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
    digests = {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        for name, value in parts.items()
    }
    return {**content, "digests": digests}


def at(content: Any, *place: int | str) -> Any:
    for step in place:
        content = content[step]
    return content


def put(*place: Any) -> Change:
    """Sets the last but one of the steps to the last."""
    *steps, last, value = place
    return lambda c: at(c, *steps).__setitem__(last, value)


def pop(*place: Any) -> Change:
    *steps, last = place
    return lambda c: at(c, *steps).pop(last)
