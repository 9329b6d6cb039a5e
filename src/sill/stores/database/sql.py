"""The statements that run for each of many rows, without SQLAlchemy on SQLite. They are written with `?` for either database."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from sill.stores.database import driver

T = TypeVar("T")

IN_MAX = 500
"""Most values of one `IN`."""


def run_sql(connection: Connection, statement: str, values: Sequence[Any]) -> Sequence[Any]:
    """The rows of a statement, whatever the database calls them."""
    if not driver.is_sqlite(connection):
        return connection.exec_driver_sql(statement.replace("?", "%s"), tuple(values)).all()
    _begin(connection)
    return driver.execute(connection, statement, values).fetchall()


def run_for_each(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement once for each row of values."""
    if not rows:
        return
    if not driver.is_sqlite(connection):
        connection.exec_driver_sql(statement.replace("?", "%s"), rows[0] if len(rows) == 1 else list(rows))
        return
    _begin(connection)
    driver.execute_many(connection, statement, rows)


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], more: str = ""
) -> None:
    """Insert rows; `more` stands behind the values, such as `ON CONFLICT …`."""
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join(["?"] * len(columns))
    run_for_each(connection, f"INSERT INTO {table.name} ({names}) VALUES ({marks}) {more}", rows)  # noqa: S608  # our own names


def in_groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, as many at a time as one `IN` takes."""
    return (items[at : at + IN_MAX] for at in range(0, len(items), IN_MAX))


def _begin(connection: Connection) -> None:
    """Be in a transaction, so that all that is read is of one moment."""
    if not connection.in_transaction():
        connection.begin()
