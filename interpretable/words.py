"""Names and numbers as pictures, pages and texts write them: a name from the data never breaks its line."""

import re

_AMBIGUOUS = re.compile(r'^$|^ | $|  |: |["\\]')


def one_line(name: str) -> str:
    r"""A name with what does not print (line ends, terminal codes, direction marks) as ``\n``, ``\x1b``, ``\u202e``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def quoted(name: str) -> str:
    """A name as it is where that is clear, otherwise in quotes with escapes, so that it never passes for two fields."""
    if name.isprintable() and not _AMBIGUOUS.search(name):
        return name
    return '"' + one_line(name.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def shortened(name: str, length: int) -> str:
    """At most so many characters of a name: its beginning and its end, which a file's name is known by."""
    if len(name) <= length:
        return name
    kept = length - 1
    return name[: kept - kept // 2] + "…" + name[len(name) - kept // 2 :]


def signed(value: float) -> str:
    """A contribution to three significant digits."""
    return f"{value + 0.0:+.3g}"  # + 0.0: no negative zero


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
