"""Reads one sheet of an Excel workbook: values as they were last calculated, types as the cells have them."""

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sill.core.errors import SillError
from sill.core.names import shorten
from sill.sources.failures import check_columns, too_large, unreadable
from sill.sources.limits import ReadLimits
from sill.sources.rows import RowTable

if TYPE_CHECKING:
    import pyarrow as pa

ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#GETTING_DATA"})


def read_excel(path: Path, where: str, sheet: str, limits: ReadLimits) -> "pa.Table":
    """The named sheet, or the first; its first row that is not empty is the header. Error cells are missing.

    Raises:
        InvalidValue: not a workbook, no such sheet, no header, or a value beside the header's columns.
        TooLarge: it unpacks to more than the limit, or has too many columns or rows.
    """
    import openpyxl

    try:
        _check_unpacked(path, where, limits)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validations, which are not data
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            return _read_sheet(_choose(book, sheet, where), where, limits)
    except SillError:
        raise
    except Exception as wrong:  # openpyxl raises whatever its parts raise on a broken workbook
        what = f"it is not a workbook that can be read: {shorten(str(wrong) or type(wrong).__name__, 200)}."
        raise unreadable(where, what, "Save it again as .xlsx, or as CSV.") from wrong


def _check_unpacked(path: Path, where: str, limits: ReadLimits) -> None:
    """zipfile never produces more of an entry than it claims, so the claims bound what is unpacked."""
    with zipfile.ZipFile(path) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
    if total > limits.excel_bytes_max:
        raise too_large(where, "excel_bytes_max", f"it unpacks to {total:,} bytes", limits.excel_bytes_max)


def _choose(book: Any, sheet: str, where: str) -> Any:
    names = [one.title for one in book.worksheets]
    if not names:
        raise unreadable(where, "the workbook has no sheet with cells.")
    if sheet and sheet not in names:
        listed = ", ".join(repr(shorten(name, 40)) for name in names[:20])
        raise unreadable(where, f"there is no sheet {shorten(sheet)!r}; there are {listed}.", "Name one of them.")
    return book[sheet or names[0]]


def _read_sheet(sheet: Any, where: str, limits: ReadLimits) -> "pa.Table":
    sheet.reset_dimensions()  # what the file claims about its extent is often wrong
    records = _records(sheet)
    found = next(records, None)
    if found is None:
        raise unreadable(where, f"sheet {sheet.title!r} is empty.", "Name another sheet.")
    header = [str(cell).strip() if cell is not None else "" for cell in found[1]]
    check_columns(where, len(header), limits)
    names = _distinct(header)
    rows = RowTable(where, limits)
    for number, cells in records:
        if len(cells) > len(header):
            beyond = cells[len(header) :]
            what = f"{shorten(str(beyond[0]))!r} stands in column {len(header) + 1}, the header has {len(header)}."
            raise unreadable(where, what, "Give the column a name, or empty the cell.", line=number)
        rows.add({name: _value(cell) for name, cell in zip(names, cells, strict=False)})
    return rows.table(names)


def _records(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """(row number in the sheet, cells without empty ones at the end) of the rows that hold anything."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = list(row)
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            yield number, cells


def _value(cell: Any) -> Any:
    return None if isinstance(cell, str) and cell in ERRORS else cell


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for at, name in enumerate(names, 1):
        plain = name or f"column_{at}"
        seen[plain] = seen.get(plain, 0) + 1
        out.append(plain if seen[plain] == 1 else f"{plain}_{seen[plain]}")
    return out
