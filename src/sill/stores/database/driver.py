"""Statements right to SQLite's driver, for those that run all the time: it takes 2 µs where SQLAlchemy takes 20 to 100."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_SAVEPOINT = "one_write"


def is_sqlite(connection: Connection) -> bool:
    """True if the other functions here may be used."""
    return connection.dialect.name == "sqlite"


def execute(connection: Connection, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Run a statement; its errors are SQLAlchemy's. It begins no transaction."""
    try:
        return _driver(connection).execute(statement, values)
    except sqlite3.Error as broken:
        raise _as_sqlalchemy(statement, broken) from broken


def execute_many(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement for each row."""
    try:
        _driver(connection).executemany(statement, rows)
    except sqlite3.Error as broken:
        raise _as_sqlalchemy(statement, broken) from broken


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """What is done inside is undone if it fails, and nothing else; on either database."""
    if not is_sqlite(connection):
        with connection.begin_nested():
            yield
        return
    execute(connection, f"SAVEPOINT {_SAVEPOINT}")
    try:
        yield
    except BaseException:
        if _driver(connection).in_transaction:  # SQLite ends it by itself when the disk is full
            execute(connection, f"ROLLBACK TO {_SAVEPOINT}")
            execute(connection, f"RELEASE {_SAVEPOINT}")
        raise
    execute(connection, f"RELEASE {_SAVEPOINT}")


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _as_sqlalchemy(statement: str, broken: sqlite3.Error) -> Exception:
    """The driver's error as SQLAlchemy has it, so that the store knows it; without the values, which are a tenant's."""
    return DBAPIError.instance(statement, None, broken, sqlite3.Error, hide_parameters=True)
