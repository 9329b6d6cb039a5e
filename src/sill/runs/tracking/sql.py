"""The statements that run for each point that is logged and each page that is searched, without SQLAlchemy on SQLite."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from sill.stores.database import driver

T = TypeVar("T")

IN_MAX = 500
"""Most values of one `IN`."""


def run_sql(connection: Connection, statement: str, values: Sequence[Any]) -> Sequence[Any]:
    """The rows of a statement written with `?`, whatever the database calls it."""
    if not driver.is_sqlite(connection):
        return connection.exec_driver_sql(statement.replace("?", "%s"), tuple(values)).all()
    _begin(connection)
    return driver.execute(connection, statement, values).fetchall()


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: list[tuple[Any, ...]], more: str = ""
) -> None:
    """Insert rows; `more` stands behind the values, such as `ON CONFLICT …`."""
    if not rows:
        return
    names, marks = ", ".join(columns), ", ".join(["?"] * len(columns))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) {more}"  # noqa: S608  # our own names
    if not driver.is_sqlite(connection):
        connection.exec_driver_sql(statement.replace("?", "%s"), rows[0] if len(rows) == 1 else rows)
        return
    _begin(connection)
    driver.execute_many(connection, statement, rows)


def in_groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, as many at a time as one `IN` takes."""
    return (items[at : at + IN_MAX] for at in range(0, len(items), IN_MAX))


def _begin(connection: Connection) -> None:
    """Be in a transaction, so that all that is read is of one moment."""
    if not connection.in_transaction():
        connection.begin()
