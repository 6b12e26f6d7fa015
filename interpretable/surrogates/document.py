"""``tree.json`` on disk: written whole, read without trust."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from interpretable.errors import SurrogateError
from interpretable.files import write_atomically
from interpretable.surrogates.records import DocumentRecord

FILE_NAME = "tree.json"

_NO_LETTER = "\ufffd"
"""What stands for bytes that are no text."""


def write_document(path: Path, document: DocumentRecord) -> None:
    """Writes a document as JSON, a node to a line, atomically; its digests are made anew."""
    content = document.model_dump(mode="json", exclude={"digests"})
    write_atomically(path, _lines({**content, "digests": _digests(content)}) + "\n")


def read_document(path: str | Path) -> DocumentRecord:
    """Reads what `write_document` wrote.

    Raises:
        SurrogateError: There is no such file, or it is truncated, was edited, or is of another form; the sentence names
            the field.
    """
    path = Path(path)
    if not path.is_file():
        raise SurrogateError(f"{path} is missing; write it with `interpretable tree RUN`.")
    text = path.read_bytes().decode(errors="replace")
    _check_whole(path, text)
    try:
        document = DocumentRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise SurrogateError(
            f"{path}: the field {_name(first['loc'])} is not as it was written ({first['msg']}); build the tree again "
            "with `interpretable tree RUN`."
        ) from error
    found = _digests(document.model_dump(mode="json", exclude={"digests"}))
    for name in found | document.digests:
        if document.digests.get(name) != found.get(name):
            raise SurrogateError(
                f"{path}: the field {name} was changed since it was written; build the tree again with `interpretable "
                "tree RUN`."
            )
    targets = [record.target for record in document.decision_modes]
    for place, target in enumerate(targets):
        if target in targets[:place]:
            raise SurrogateError(f"{path}: the field decision_modes[{place}].target names {target} once more.")
    return document


def _check_whole(path: Path, text: str) -> None:
    """Refuses text that is no JSON object with a schema version, with the field where it breaks off."""
    place = text.find(_NO_LETTER) if _NO_LETTER in text else len(text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        before = re.findall(r'"(\w+)":', text[: min(place, getattr(error, "pos", place))]) or ["schema_version"]
        raise SurrogateError(
            f"{path} is no whole JSON file: it breaks off or is damaged in the field {before[-1]} ({error}); build the "
            "tree again with `interpretable tree RUN`."
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise SurrogateError(
            f"{path}: the field schema_version is missing; build the tree again with `interpretable tree RUN`."
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digests(content: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of each field, and of each entry of those that are lists."""
    parts: dict[str, Any] = {}
    for name, value in content.items():
        parts |= {f"{name}[{i}]": entry for i, entry in enumerate(value)} if isinstance(value, list) else {name: value}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        for name, value in parts.items()
    }


def _name(location: tuple[int | str, ...]) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return name.removeprefix(".") or "of the whole file"


def _lines(value: Any, depth: int = 0) -> str:
    """JSON in which lists of numbers and small objects stand on one line each."""
    indent = " " * (depth + 1)
    if isinstance(value, dict) and depth < 3 and value:
        rows = [f"{indent}{json.dumps(name)}: {_lines(entry, depth + 1)}" for name, entry in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and depth < 4:
        rows = [f"{indent}{_lines(entry, depth + 1)}" for entry in value]
        return "[\n" + ",\n".join(rows) + "\n" + " " * depth + "]"
    return json.dumps(value, ensure_ascii=False)
