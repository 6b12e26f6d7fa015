"""How long work says how far it is, without knowing who shows it."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Track(Protocol):
    """Wraps an iterable to show how far it is, with a word for what it is."""

    def __call__(self, items: Iterable[Item], what: str) -> Iterable[Item]:
        """The same items."""


def untracked(items: Iterable[Item], what: str) -> Iterable[Item]:
    """The same items, with nothing shown."""
    return items
