"""Names that come from data and become file names and cells of a table."""

from interpretable.errors import DataError

# What file systems give a meaning to, on any of them: a folder converted here may be unpacked elsewhere.
_FORBIDDEN = frozenset('/\\:*?"<>|')
_LONGEST = 150


def checked_name(name: str, what: str, source: object) -> str:
    """The name itself, if it can be one component of a path on any system and a cell of a CSV file.

    Args:
        name: as it is in the data.
        what: it names, such as ``part``.
        source: the file it comes from.

    Raises:
        DataError: if it is empty or too long, holds a separator or a control character, or starts or ends with a dot
            or a space.
    """
    plain = name.isprintable() and not _FORBIDDEN & set(name) and name == name.strip(". ")
    if not plain or not 0 < len(name) <= _LONGEST:
        raise DataError(
            f"{source}: a name of a {what} that can be a file name was expected, at most {_LONGEST} characters without "
            f"any of {' '.join(sorted(_FORBIDDEN))}, found {name[:_LONGEST]!r}; rename it there"
        )
    return name
