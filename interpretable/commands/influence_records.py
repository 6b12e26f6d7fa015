"""What ``influence.json`` holds: of which network and images influence is, by which method, and what its sign means."""

from typing import ClassVar, Literal

from pydantic import FiniteFloat, NonNegativeInt, PositiveInt

from interpretable.documents import Document, Record
from interpretable.errors import InfluenceError, InterpretableError

FILE_NAME = "influence.json"


class QueryRecord(Record):
    """An image whose loss is looked at."""

    name: str
    index: int
    """In the split; −1 of a file."""
    label: str
    """The class of the loss: its own, the one that was given for files, or the predicted one."""
    predicted: str
    loss: FiniteFloat
    """In nats."""


class CheckpointRecord(Record):
    """A network of the training."""

    file: str
    step: NonNegativeInt
    learning_rate: FiniteFloat


class InfluenceRecord(Document):
    """The whole file."""

    command: ClassVar[str] = "influence"
    error: ClassVar[type[InterpretableError]] = InfluenceError
    schema_version: Literal[1] = 1
    method: str
    meaning: str
    """What an influence is, and what is positive."""
    checkpoint: str
    """Digest of the network's weights."""
    data: str
    """Fingerprint of the training images."""
    training_images: PositiveInt
    split: str
    """That queries without a file are of."""
    classes: tuple[str, ...]
    damping: FiniteFloat | None
    """None where the method has none, or chose one for each layer."""
    layers: tuple[str, ...]
    """Whose weights and biases are looked at."""
    checkpoints: tuple[CheckpointRecord, ...]
    """That TracIn sums over."""
    top: PositiveInt
    queries: tuple[QueryRecord, ...]
