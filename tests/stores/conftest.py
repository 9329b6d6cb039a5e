"""An open database of each kind, with the shared tables and one of the tests' own."""

from collections.abc import Iterator
from enum import StrEnum

import pytest

from sill.core.clock import ManualClock
from sill.core.values import Value
from sill.stores.database import Database, Documents, metadata, open_database


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Thing(Value, frozen=True, kw_only=True):
    """A value to keep."""

    project: str = "churn"
    name: str
    color: Color = Color.RED
    size: int = 0
    is_new: bool = False
    note: str = ""
    revision: int = 0


THINGS = Documents("test_things", Thing, columns=("color", "size", "is_new"))


@pytest.fixture
def things() -> Documents[Thing]:
    return THINGS


@pytest.fixture
def thing() -> type[Thing]:
    return Thing


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(database_url: str, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(database_url, clock)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()
