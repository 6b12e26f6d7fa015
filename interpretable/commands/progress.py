"""Progress bars of the commands."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import track

from interpretable.evaluation.measures import Item

CONSOLE = Console()


def show_progress(items: Iterable[Item], what: str) -> Iterable[Item]:
    """The same items, with a bar on the terminal that says what they are and how far they are."""
    return track(items, description=what, console=CONSOLE, transient=True)
