"""Lays a table out as lines: one row, one line, unless its last column holds sentences. What is too wide is shortened."""

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

GAP = "  "
INDENT = "    "
NARROWEST = 12
"""No column is shortened below this."""
PROSE_NARROWEST = 28
"""Sentences that have less room than this stand beneath their row."""


class Whole(str):
    """The title of a column that is never shortened: ids, which people copy."""


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int, *, has_prose: bool = False) -> list[str]:
    """The table's lines, the titles first.

    Args:
        rows: cells as `show` takes them.
        width: of the terminal; 0 for none: then every row is one line, whatever its length.
        has_prose: the last column holds sentences: they are folded beside the others, or stand beneath the row.
    """
    cells = [[show(cell) for cell in row] for row in rows]
    numbers = [bool(rows) and all(is_number(row[at]) for row in rows) for at in range(len(columns))]
    if not has_prose:
        return _with_left_out(columns, cells, numbers, width)
    prose = [row[-1] for row in cells]
    beside, fixed = [row[:-1] for row in cells], columns[:-1]
    widths = _widths(fixed, beside)
    room = width - sum(widths) - len(GAP) * len(widths)
    if width and room < _least_room(columns[-1], prose):
        widths = _shrunk(fixed, widths, width)
        lines = _rows(fixed, beside, numbers, widths)
        return [
            lines[0],
            *(line for row, text in zip(lines[1:], prose, strict=True) for line in (row, *_beneath(text, width))),
        ]
    lines = _rows(fixed, beside, numbers, widths)
    start = " " * (sum(widths) + len(GAP) * len(widths))
    laid = [f"{lines[0].ljust(len(start) - len(GAP))}{GAP}{columns[-1]}".rstrip()]
    for row, text in zip(lines[1:], prose, strict=True):
        first, *more = textwrap.wrap(text, room, break_on_hyphens=False) if width and text else [text]
        padded = set_cell_size(row, sum(widths) + len(GAP) * (len(widths) - 1)) if widths else ""
        laid += [f"{padded}{GAP}{first}".rstrip(), *(start + piece for piece in more)]
    return laid


def show(cell: Any) -> str:
    """A cell's text, on one line, without what a terminal would take for a command."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return amount(cell)
    return plain(str(cell))


def plain(text: str) -> str:
    """The text on one line; control characters, which could drive the terminal, as visible signs."""
    return "".join(" " if sign in "\n\r\t" else _visible(sign) for sign in text)


def amount(value: float) -> str:
    """A number of four digits, without an exponent where one can do without."""
    size = abs(value)
    if 1e4 <= size < 1e9:
        return f"{value:,.0f}"
    if 1e-6 <= size < 1e-4:
        return f"{value:.7f}"
    return f"{value:.4g}"


def is_number(cell: Any) -> bool:
    """True for what is set flush right."""
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _visible(sign: str) -> str:
    code = ord(sign)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␦" if 0x7F <= code < 0xA0 else sign


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max([cell_len(title), *(cell_len(row[at]) for row in cells)]) for at, title in enumerate(columns)]


def _shrunk(columns: Sequence[str], widths: list[int], room: int) -> list[int]:
    """The widths, made less from the widest on until they fit, or none can be made less."""
    widths = list(widths)
    may = [at for at, title in enumerate(columns) if not isinstance(title, Whole)]
    while sum(widths) + len(GAP) * (len(widths) - 1) > room:
        widest = max((at for at in may if widths[at] > NARROWEST), key=lambda at: widths[at], default=None)
        if widest is None:
            break
        widths[widest] -= 1
    return widths


def _with_left_out(columns: Sequence[str], cells: list[list[str]], numbers: list[bool], width: int) -> list[str]:
    """All columns, or as many as fit and a line about the others."""
    widths = _widths(columns, cells)
    if not width:
        return _rows(columns, cells, numbers, widths)
    widths = _shrunk(columns, widths, width)
    shown = len(columns)
    while shown > 1 and sum(widths[:shown]) + len(GAP) * (shown - 1) > width:
        shown -= 1
    lines = _rows(columns[:shown], [row[:shown] for row in cells], numbers, widths)
    left_out = columns[shown:]
    return (
        [*lines, *textwrap.wrap(f"… and {len(left_out)} more columns: {', '.join(left_out)}", width)]
        if left_out
        else lines
    )


def _rows(
    columns: Sequence[str], cells: Sequence[Sequence[str]], numbers: Sequence[bool], widths: Sequence[int]
) -> list[str]:
    return [
        GAP.join(_fit(cell, widths[at], is_right=numbers[at]) for at, cell in enumerate(row)).rstrip()
        for row in (columns, *cells)
    ]


def _fit(text: str, width: int, *, is_right: bool) -> str:
    length = cell_len(text)
    if length > width:
        return f"{set_cell_size(text, width - 1)}…"
    return " " * (width - length) + text if is_right else text + " " * (width - length)


def _least_room(title: str, prose: Sequence[str]) -> int:
    """What sentences need beside their rows: some width, and no word broken."""
    longest = max(map(cell_len, (title, *prose)))
    words = [cell_len(word) for text in prose for word in text.split()]
    return max([min(PROSE_NARROWEST, longest), *words])


def _beneath(text: str, width: int) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(
        text, width, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )
