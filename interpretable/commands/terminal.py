"""What the commands put on the terminal: lines, tables and progress bars."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from interpretable.progress import Item


def say(line: str) -> None:
    """Prints a line as it is: names and paths in it are neither markup nor broken."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Prints a table, as wide as the terminal."""
    Console().print(table)


def show_progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The same items, with a bar on the terminal that says what they are and how far they are.

    Args:
        items: What is gone through.
        what: What they are.
        total: How many they are, where they do not know it.
    """
    return track(items, description=escape(what), total=total, console=Console(), transient=True)
