"""Opens the two databases the way the store needs them: SQLite that survives a power cut, PostgreSQL that comes back."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from sill.core.errors import InvalidValue, PluginMissing
from sill.stores.database import driver

READERS = 8
READERS_EXTRA = 24
"""Readers beyond the usual ones, for threads that read with `read_sync`."""
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF")
_WRITER_PRAGMAS = ("cache_size=-32000", "wal_autocheckpoint=16000")
"""Up to 32 MB of pages are remembered, and 64 MB are written to the log before they are moved to their places: a page that
many commits change is then moved once. What is committed is in the log, on disk, either way."""


def open_engines(url: str) -> tuple[Engine, Engine]:
    """An engine for the one writer and one for readers: `sqlite:///path` or `postgresql://user:password@host/name`.

    Readers see one state of the database for as long as they hold their transaction.

    Raises:
        InvalidValue: another kind of address, or SQLite in memory.
        PluginMissing: PostgreSQL without psycopg.
    """
    try:
        address = make_url(url)
    except ArgumentError as wrong:  # the address itself is not shown: it may hold a password
        raise InvalidValue(
            "the database address cannot be read; sqlite:///path or postgresql://user:password@host/name can.",
            fix="Set SILL_DATABASE_URL.",
        ) from wrong
    kind = address.get_backend_name()
    if kind == "sqlite":
        writer = _sqlite(address, 1, 0, "BEGIN IMMEDIATE", (*_PRAGMAS, *_WRITER_PRAGMAS))
        return writer, _sqlite(address, READERS, READERS_EXTRA, "BEGIN", _PRAGMAS)
    if kind == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
        reads = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        readers = _postgres(address, READERS, READERS_EXTRA).execution_options(**reads)
        return _postgres(address, 1, 0), readers
    raise InvalidValue(f"database kind {kind!r} is not known; sqlite and postgresql are.", fix="Set SILL_DATABASE_URL.")


def _sqlite(address: URL, size: int, extra: int, begin_with: str, pragmas: tuple[str, ...]) -> Engine:
    if not address.database or address.database == ":memory:":
        raise InvalidValue(
            "SQLite in memory has one connection only; Sill needs several.", fix="Give a file: sqlite:///path."
        )
    _make_private(Path(address.database))
    engine = create_engine(
        address,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=extra,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy begins and ends transactions, not the driver
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The writer takes the write lock at once, so that it can never fail to upgrade a read lock.
        driver.execute(connection, begin_with)

    return engine


def _make_private(path: Path) -> None:
    """The file, readable by its owner only; SQLite gives the files beside it the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _postgres(address: URL, size: int, extra: int) -> Engine:
    try:
        return create_engine(
            address,
            pool_size=size,
            max_overflow=extra,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
    except ImportError as missing:
        raise PluginMissing("the PostgreSQL store needs 'psycopg'.", fix="pip install 'sill[postgres]'") from missing
