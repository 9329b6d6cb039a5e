"""An open database of each kind, with the shared tables and one of the tests' own."""

from collections.abc import Iterator

import pytest

from sill.core.clock import ManualClock
from sill.stores.database import Database, Documents, metadata, open_database
from sill.testing.things import Thing

THINGS = Documents("test_things", Thing, columns=("color", "size", "is_new"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(database_url: str, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(database_url, clock)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()
