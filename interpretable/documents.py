"""Files of plain numbers and names, one field after another: written whole, read without trust."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from interpretable.errors import InterpretableError
from interpretable.files import write_atomically

Value = int | float | str | bool | None
"""What a parameter of an estimator may be."""

_NO_LETTER = "\ufffd"
"""What stands for bytes that are no text."""


class Record(BaseModel):
    """A part of the file; fields that it does not know, or of another type, are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, ser_json_inf_nan="constants")


class Document(Record):
    """A whole file."""

    command: ClassVar[str]
    """What writes it, the command's name being also that of what is in it."""
    error: ClassVar[type[InterpretableError]]
    """What is raised where it is missing, damaged or edited."""
    digests: dict[str, str] = {}
    """SHA-256 of each of the other fields, by name: what shows that it was not edited."""


DocumentT = TypeVar("DocumentT", bound=Document)


def write_document(path: Path, document: Document) -> None:
    """Writes a document as JSON, an entry of a list to a line, atomically; its digests are made anew."""
    content = document.model_dump(mode="json", exclude={"digests"})
    write_atomically(path, _lines({**content, "digests": _digests(content)}) + "\n")


def read_document(path: str | Path, kind: type[DocumentT]) -> DocumentT:
    """Reads what `write_document` wrote.

    Args:
        path: The file.
        kind: Of its record, which knows the command that writes it.

    Raises:
        InterpretableError: Of the record's own kind: there is no such file, or it is truncated, was edited, or is of
            another form; the sentence names the field.
    """
    path, command = Path(path), f"`interpretable {kind.command} RUN`"
    again = f"build the {kind.command} again with {command}."
    if not path.is_file():
        raise kind.error(f"{path} is missing; write it with {command}.")
    text = path.read_bytes().decode(errors="replace")
    _check_whole(path, text, kind, again)
    try:
        document = kind.model_validate_json(text)
    except ValidationError as error:
        raise kind.error(f"{path}: the field {_fault(error)}; {again}") from error
    found = _digests(document.model_dump(mode="json", exclude={"digests"}))
    for name in found | document.digests:
        if document.digests.get(name) != found.get(name):
            raise kind.error(f"{path}: the field {name} was changed since it was written; {again}")
    return document


def _check_whole(path: Path, text: str, kind: type[Document], again: str) -> None:
    """Refuses text that is no JSON object with a schema version, with the field where it breaks off."""
    place = text.find(_NO_LETTER) if _NO_LETTER in text else len(text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        before = re.findall(r'"(\w+)":', text[: min(place, getattr(error, "pos", place))]) or ["schema_version"]
        raise kind.error(
            f"{path} is no whole JSON file: it breaks off or is damaged in the field {before[-1]} ({error}); {again}"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise kind.error(f"{path}: the field schema_version is missing; {again}")


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


def _fault(error: ValidationError) -> str:
    """The first field that is wrong, and how; what a record's own check says begins with the field below the record."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if first["type"] == "value_error":
        return f"{name}.{first['msg'].removeprefix('Value error, ')}".removeprefix(".")
    return f"{name.removeprefix('.') or 'of the whole file'} is not as it was written ({first['msg']})"


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
