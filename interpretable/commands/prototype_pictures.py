"""Names of the pictures of prototypes, which follow from what ``prototypes.json`` holds."""

from interpretable.exemplars.exemplar_records import ExemplarsRecord
from interpretable.files import safe_name

SHEETS = "sheets"
"""Folder of the contact sheets."""

SHEETS_ON_A_PAGE = 10


def sheet_name(number: int, name: str) -> str:
    """Of the sheet of a set of images, whatever its name; different for different numbers."""
    return f"{SHEETS}/{safe_name(number, name)}.png"


def page_names(kind: str, sets: int) -> list[str]:
    """Of the pages that show so many sets, ten on each; numbered where there are several."""
    pages = -(-sets // SHEETS_ON_A_PAGE)
    return [f"{SHEETS}/{kind}{f'_{page + 1}' if pages > 1 else ''}.png" for page in range(pages)]


def picture_names(record: ExemplarsRecord) -> tuple[str, ...]:
    """All that are written with a record, below its folder: sheets, pages of classes and of filters, and plots."""
    names = [one.name for one in record.selections if one.filter is None]
    plots = {
        "mmd2.png": True,
        "errors.png": record.errors is not None,
        "classes.png": bool(record.parameters.get("together")),
    }
    return (
        *(sheet_name(number, name) for number, name in enumerate(names)),
        *page_names("prototypes", len(names) if len(names) > 1 else 0),
        *page_names("filters", len(record.selections) - len(names)),
        *(name for name, drawn in plots.items() if drawn),
    )
