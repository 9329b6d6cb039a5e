"""What commands print: tables and bars for people, JSON for programs; errors in one form."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sill.core.clock import iso
from sill.core.errors import SillError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class Options:
    """What the options before the command chose, for the command that runs."""

    as_json = False
    project = ""


def show_json(value: Any) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show_table(value: Any, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows as a table, or `value` as JSON if `--json` was given.

    Args:
        empty: what to say when there are no rows.
    """
    if Options.as_json:
        show_json(value)
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    filled = [[escape(text(cell)) for cell in row] for row in rows]
    if not filled:
        console.print(empty)
        return
    for row in filled:
        table.add_row(*row)
    console.print(table)


def show_line(value: Any, line: str) -> None:
    """Print one line, or `value` as JSON if `--json` was given."""
    if Options.as_json:
        show_json(value)
    else:
        console.print(escape(line))


def text(value: Any) -> str:
    """A cell's text."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def when(at_us: int) -> str:
    """Local-clock text of a time, or a dash."""
    return iso(at_us)[:19].replace("T", " ") + "Z" if at_us else "–"


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""


@contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Any]:
    """A bar on standard error; yields `advance(by=1, what="")`. Silent with `--json`."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if total else TextColumn(""),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=Options.as_json or not errors.is_terminal,
    )
    with bar:
        task = bar.add_task(escape(what), total=total)

        def advance(by: float = 1, now: str = "") -> None:
            bar.update(task, advance=by, description=escape(now or what))

        yield advance


def fail(refused: SillError) -> int:
    """Print an error and return the exit code: 2 for what the caller can mend, 1 for what he cannot."""
    if Options.as_json:
        show_json(refused.to_dict())
    else:
        errors.print(f"[bold red]{refused.code}[/]: {escape(refused.message)}")
        if refused.fix:
            errors.print(f"  → {escape(refused.fix)}")
    return 1 if refused.status >= 500 else 2
