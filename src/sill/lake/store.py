"""What the database keeps of the lake: each table's pointer, and the digest of every file a table has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Index, String, delete, insert, select
from sqlalchemy import Table as SqlTable

from sill.lake.types import Table
from sill.stores.database import Connection, Documents, Tx, metadata

QUARANTINE_SUFFIX = "__quarantine"
FILES_PER_STATEMENT_MAX = 500

TABLES = Documents("tables", Table, noun="table")
"""A table's pointer: the Iceberg metadata file that is current. It moves by compare-and-set of the revision."""

files = SqlTable(
    "lake_files",
    metadata,
    Column("project", String(100), primary_key=True),
    Column("name", String(400), primary_key=True),
    Column("table", String(120), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("lake_files_table", "project", "table"),
)
"""Every file of every table, written in the transaction that makes the table point to it."""


@dataclass(frozen=True)
class FileRecord:
    """A file's name in the blob store, the digest its bytes must have, and their number."""

    name: str
    sha256: str
    size_bytes: int


def add_files(tx: Tx, project: str, table: str, added: Iterable[FileRecord]) -> None:
    """Remember the files' digests."""
    rows = [
        {"project": project, "table": table, "name": one.name, "sha256": one.sha256, "size_bytes": one.size_bytes}
        for one in added
    ]
    for start in range(0, len(rows), FILES_PER_STATEMENT_MAX):
        tx.execute(insert(files), rows[start : start + FILES_PER_STATEMENT_MAX])


def forget_files(tx: Tx, project: str, names: Iterable[str]) -> None:
    """Forget the files' digests; without one a file is never read again."""
    listed = list(names)
    for start in range(0, len(listed), FILES_PER_STATEMENT_MAX):
        some = listed[start : start + FILES_PER_STATEMENT_MAX]
        tx.execute(delete(files).where(files.c.project == project, files.c.name.in_(some)))


def forget_table_files(tx: Tx, project: str, table: str) -> None:
    """Forget the digests of all of a table's files."""
    tx.execute(delete(files).where(files.c.project == project, files.c.table == table))


def digest_of(connection: Connection, project: str, name: str) -> str | None:
    """The digest the file must have, or None if no table of the project has it."""
    query = select(files.c.sha256).where(files.c.project == project, files.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def file_sizes(connection: Connection, project: str, table: str) -> Mapping[str, int]:
    """Name → bytes of all files the table has."""
    query = select(files.c.name, files.c.size_bytes).where(files.c.project == project, files.c.table == table)
    return {row.name: row.size_bytes for row in connection.execute(query)}


def quarantine_name(table: str) -> str:
    """The table that keeps the rows `table` would not take."""
    return f"{table}{QUARANTINE_SUFFIX}"


def is_quarantine(table: str) -> bool:
    """True for a table that keeps another's quarantined rows."""
    return table.endswith(QUARANTINE_SUFFIX)
