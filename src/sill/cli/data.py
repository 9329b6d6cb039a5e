"""tables, sql, ingest, preview, snapshots, rollback, quarantine: data on its way in and in the lake."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole
from sill.cli.options import add
from sill.cli.output import Options, ago, progress, remark, show_json, show_line, show_table, size, when
from sill.cli.runs import Detach, start
from sill.core.errors import InvalidValue
from sill.sources.types import Source

SHOWN = 50
PANEL = "Data"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    add(app, preview, "sill preview clinic.csv", "sill preview data.csv --decimal , --delimiter ';'", panel=PANEL)
    add(app, ingest, "sill -p shop ingest", "sill -p shop ingest customers", panel=PANEL)
    add(app, tables, "sill -p shop tables", panel=PANEL)
    counts = 'sill -p shop sql "select plan, count(*) from customers group by 1"'
    before = 'sill -p shop sql "select count(*) from customers" --snapshot customers=7123217939982852623'
    add(app, sql, counts, before, panel=PANEL)
    add(app, quarantine, "sill -p shop quarantine customers", panel=PANEL)
    add(app, snapshots, "sill -p shop snapshots customers", panel=PANEL)
    add(app, rollback, "sill -p shop rollback customers 7123217939982852623", panel=PANEL)


def tables() -> None:
    """Tables of the project."""
    here = stages()
    found = here.lake.list()
    rows = [
        (each.name, each.rows, len(each.columns), size(each.size_bytes), _id(each.snapshot_id), ago(each.updated_us))
        for each in found
    ]
    columns = ("name", "rows", "columns", "size", Whole("snapshot"), "changed")
    empty = partial(nothing, here, "table", "declare one in a project file and `sill apply` it")
    show_table(found, "", columns, rows, empty)


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the project's tables.")],
    limit: Annotated[int, typer.Option(help="Most rows to return.")] = 1_000,
    snapshot: Annotated[list[str], typer.Option(help="TABLE=ID: read a table as it was.")] = [],  # noqa: B006
) -> None:
    """Ask the lake in SQL: one SELECT, which changes nothing."""
    pinned = dict(_pin(each) for each in snapshot)
    with progress("asking the lake"):
        found = stages().lake.sql(query, snapshots=pinned, limit=limit)
    names = _each_once(found.column_names)
    records = [{name: _cell(value) for name, value in row.items()} for row in found.rename_columns(names).to_pylist()]
    shown = [tuple(record.values()) for record in records[:SHOWN]]
    show_table(records, "", names, shown, "no rows.")
    if len(records) > SHOWN:
        remark(f"… and {len(records) - SHOWN} more rows; --json prints all.")
    if len(records) == limit:
        remark(f"These are the first {limit:,} rows; --limit asks for more.")


def ingest(
    name: Annotated[str, typer.Argument(help="Name of a declared ingestion; all are listed when not given.")] = "",
    detach: Detach = False,
) -> None:
    """Run a declared ingestion now, or list those there are."""
    if name:
        start("ingestion", name, detach)
        return
    here = stages()
    found = list(here.sources.ingestions())
    rows = [(each.name, each.table, each.every, each.function or _urls(each.sources)) for each in found]
    empty = partial(nothing, here, "ingestion", "declare one in a project file")
    show_table(found, "", ("name", "fills", "every", "from"), rows, empty, has_prose=True)


def preview(
    source: Annotated[str, typer.Argument(help="A file, folder, https://, s3:// or postgresql:// address.")],
    decimal: Annotated[str, typer.Option(help="Decimal mark.")] = ".",
    delimiter: Annotated[str, typer.Option(help="Column separator; found by itself when empty.")] = "",
    rows: Annotated[int, typer.Option(help="Rows to show.")] = 10,
) -> None:
    """Look at a source as it would be read: columns, types, first rows. Nothing is written to a table."""
    with progress(f"reading {source}"):
        found = stages().sources.preview(Source(url=source, decimal=decimal, delimiter=delimiter), rows=rows)
    if Options.as_json:
        show_json(found)
        return
    columns = [(each.name, each.type, each.missing, each.original) for each in found.columns]
    show_table(found, f"{found.rows_total} rows", ("column", "type", "missing", "read from"), columns, "no column.")
    shown = [tuple(_cell(value) for value in row.values()) for row in found.rows]
    show_table(found, "\nfirst rows", tuple(found.rows[0]) if found.rows else (), shown, "no rows.")
    for note in found.notes:
        remark(note)


def snapshots(
    table: Annotated[str, typer.Argument(help="Table.")],
) -> None:
    """States a table has had; `sill rollback` returns to one."""
    found = stages().lake.snapshots(table)
    rows = [
        (
            str(each.id),
            when(each.at_us),
            each.operation,
            each.rows_added,
            each.rows_total,
            "current" if each.is_current else "",
        )
        for each in found
    ]
    columns = (Whole("snapshot"), "when", "operation", "added", "rows", "")
    show_table(found, table, columns, rows, "no snapshot yet.")


def rollback(
    table: Annotated[str, typer.Argument(help="Table.")],
    snapshot_id: Annotated[int, typer.Argument(help="Snapshot to return to, from `sill snapshots`.")],
) -> None:
    """Return a table to a former state; what came after stays in its history."""
    with progress(f"returning {table} to snapshot {snapshot_id}"):
        found = stages().lake.roll_back(table, snapshot_id)
    show_line(found, f"{found.name} is at snapshot {found.snapshot_id} with {found.rows} rows.")


def quarantine(
    table: Annotated[str, typer.Argument(help="Table.")],
    limit: Annotated[int, typer.Option(help="Most rows to show.")] = 20,
) -> None:
    """Rows that were set aside, each with its reason."""
    with progress(f"reading what {table} would not take"):
        found = stages().lake.quarantine(table, limit)
    records = [{name: _cell(value) for name, value in row.items()} for row in found.to_pylist()]
    names = [*(name for name in found.column_names if not name.startswith("_"))][:7]
    rows = [(*(record[name] for name in names), record["_reason"]) for record in records]
    show_table(records, "", (*names, "why"), rows, f"nothing of {table} was quarantined.", has_prose=True)


def _urls(sources: Sequence[Source]) -> str:
    return " ".join(each.url for each in sources)


def _pin(text: str) -> tuple[str, int]:
    name, _, snapshot = text.partition("=")
    if not name or not snapshot.isdecimal():
        raise InvalidValue(f"--snapshot {text!r} is not TABLE=ID.", fix="See `sill snapshots TABLE` for the ids.")
    return name, int(snapshot)


def _id(snapshot_id: int) -> str | None:
    return str(snapshot_id) if snapshot_id else None


def _each_once(names: Sequence[str]) -> list[str]:
    """The names; one that is there already gets a number, so that no column hides another."""
    return [name if name not in names[:at] else f"{name}_{names[:at].count(name)}" for at, name in enumerate(names)]


def _cell(value: Any) -> Any:
    """A value of the lake as JSON has it: whole decimals (DuckDB's sums) as whole numbers."""
    if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
