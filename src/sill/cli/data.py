"""tables, sql, ingest, preview: data on its way in and in the lake."""

from typing import Annotated, Any

import typer

from sill.cli.client import stages
from sill.cli.output import Options, progress, show_json, show_line, show_table, size, when
from sill.cli.runs import wait_for
from sill.core.errors import InvalidValue
from sill.sources.types import Source

SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(tables)
    app.command()(sql)
    app.command()(ingest)
    app.command()(preview)
    app.command()(snapshots)
    app.command()(rollback)
    app.command()(quarantine)


def tables() -> None:
    """Tables of the project."""
    found = stages().lake.list()
    rows = [
        (
            table.name,
            table.rows,
            len(table.columns),
            size(table.size_bytes),
            table.snapshot_id or None,
            when(table.updated_us),
        )
        for table in found
    ]
    columns = ("name", "rows", "columns", "size", "snapshot", "changed")
    show_table(found, "tables", columns, rows, "no table yet: declare one in a project file and `sill apply` it.")


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the project's tables.")],
    limit: Annotated[int, typer.Option(help="Most rows to return.")] = 1_000,
    snapshot: Annotated[list[str], typer.Option(help="TABLE=ID: read a table as it was.")] = [],  # noqa: B006
) -> None:
    """Ask the lake in SQL."""
    pinned = dict(_pin(each) for each in snapshot)
    found = stages().lake.sql(query, snapshots=pinned, limit=limit)
    names = tuple(found.column_names)
    records = found.to_pylist()
    plain = [{name: _cell(value) for name, value in row.items()} for row in records] if Options.as_json else None
    shown = [tuple(_cell(value) for value in row.values()) for row in records[:SHOWN]]
    show_table(plain, f"{len(records)} rows", names, shown, "no rows.")
    if len(records) > SHOWN and not Options.as_json:
        show_line(None, f"… and {len(records) - SHOWN} more; `--json` prints all.")


def ingest(
    name: Annotated[str, typer.Argument(help="Name of a declared ingestion.")],
) -> None:
    """Run an ingestion now and wait for it."""
    wait_for(stages().triggers.start("ingestion", name))


def preview(
    source: Annotated[str, typer.Argument(help="A file, folder, https://, s3:// or postgresql:// address.")],
    decimal: Annotated[str, typer.Option(help="Decimal mark.")] = ".",
    delimiter: Annotated[str, typer.Option(help="Column separator; found by itself when empty.")] = "",
    rows: Annotated[int, typer.Option(help="Rows to show.")] = 10,
) -> None:
    """Look at a source as it would be read: columns, types, first rows."""
    with progress(f"reading {source}"):
        found = stages().sources.preview(Source(url=source, decimal=decimal, delimiter=delimiter), rows=rows)
    show_json(found)


def snapshots(
    table: Annotated[str, typer.Argument(help="Table.")],
) -> None:
    """States a table has had."""
    found = stages().lake.snapshots(table)
    rows = [
        ("→" if each.is_current else "", each.id, when(each.at_us), each.operation, each.rows_added, each.rows_total)
        for each in found
    ]
    show_table(found, table, ("", "snapshot", "when", "operation", "added", "rows"), rows, "no snapshot yet.")


def rollback(
    table: Annotated[str, typer.Argument(help="Table.")],
    snapshot_id: Annotated[int, typer.Argument(help="Snapshot to return to.")],
) -> None:
    """Return a table to a former state; what came after stays in its history."""
    found = stages().lake.roll_back(table, snapshot_id)
    show_line(found, f"{found.name} is at snapshot {found.snapshot_id} with {found.rows} rows.")


def quarantine(
    table: Annotated[str, typer.Argument(help="Table.")],
    limit: Annotated[int, typer.Option(help="Most rows to show.")] = 20,
) -> None:
    """Rows that were set aside, each with its reason."""
    found = stages().lake.quarantine(table, limit)
    records = [{name: _cell(value) for name, value in row.items()} for row in found.to_pylist()]
    names = ["_reason", *(name for name in found.column_names if not name.startswith("_"))][:8]
    rows = [tuple(record.get(name) for name in names) for record in records]
    show_table(records, f"quarantined rows of {table}", names, rows, "nothing was quarantined.")


def _pin(text: str) -> tuple[str, int]:
    name, _, snapshot = text.partition("=")
    if not name or not snapshot.isdecimal():
        raise InvalidValue(f"--snapshot {text!r} is not TABLE=ID.", fix="See `sill snapshots TABLE` for the ids.")
    return name, int(snapshot)


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
