"""What commands print: tables and bars for people, JSON for programs; errors in one form."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.markup import escape

from sill.cli.layout import lay_out
from sill.core.clock import iso
from sill.core.errors import SillError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class Options:
    """What the options that every command takes chose."""

    as_json = False
    project = ""


class Advance(Protocol):
    """Moves a bar on, and says what is being done now."""

    def __call__(self, by: float = 0, now: str = "") -> None: ...


def show_json(value: Any) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(_json(value))


def show_table(
    value: Any,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    empty: str | Callable[[], str],
    *,
    has_prose: bool = False,
) -> None:
    """Print rows as a table, or `value` as JSON if `--json` was given.

    On a terminal (or with COLUMNS set) the table fits its width; elsewhere a row is a line, for `grep` and its kin.

    Args:
        empty: what to say when there are no rows.
        has_prose: the last column holds sentences.
    """
    if Options.as_json:
        show_json(value)
        return
    if not rows:
        console.print(escape(empty if isinstance(empty, str) else empty()), soft_wrap=True)
        return
    titles, *lines = lay_out(columns, rows, terminal_width(), has_prose=has_prose)
    if title:
        console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    console.print(f"[dim]{escape(titles)}[/]", soft_wrap=True)
    for line in lines:
        console.print(escape(line), soft_wrap=True)


def show_line(value: Any, line: str) -> None:
    """Print one line, or `value` as JSON if `--json` was given."""
    if Options.as_json:
        show_json(value)
    else:
        console.print(escape(line), soft_wrap=True)


def show_text(text: str) -> None:
    """Print a run's output as it came, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def remark(line: str, style: str = "dim") -> None:
    """Tell a person something beside the result, on standard error; nothing with `--json`."""
    if not Options.as_json:
        errors.print(escape(line), style=style, soft_wrap=True)


def terminal_width() -> int:
    """Columns there are, 0 where no terminal limits them."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal() else 0


def when(at_us: int) -> str:
    """Text of a time, UTC to the second, or a dash."""
    return iso(at_us)[:19].replace("T", " ") + "Z" if at_us else "–"


def ago(at_us: int) -> str:
    """How long ago a time was, in one unit."""
    seconds = max(0.0, time.time() - at_us / 1e6)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} B"
    amount = count / 1024
    for unit in ("KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """A bar on standard error while something goes on; yields what moves it. Silent with `--json` and when piped."""
    if Options.as_json or not errors.is_terminal:
        yield lambda by=0, now="": None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(escape(what), total=None)

        def advance(by: float = 0, now: str = "") -> None:
            bar.update(task, advance=by, description=escape(now or what))

        yield advance


def fail(refused: SillError, hint: str = "") -> int:
    """Print an error on standard error, as JSON if `--json` was given, and return the exit code.

    Args:
        hint: what else to do, behind the error's own remedy.
    """
    remedy = " ".join(part for part in (refused.fix, hint) if part)
    if Options.as_json:
        sys.stderr.write(_json({**refused.to_dict(), "fix": remedy}))
    else:
        errors.print(f"[bold red]{refused.code}[/]: {escape(refused.message)}", soft_wrap=True)
        if remedy:
            errors.print(f"  → {escape(remedy)}", soft_wrap=True)
    return 2


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
