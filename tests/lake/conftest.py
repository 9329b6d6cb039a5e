"""A lake in a folder of its own, with a clock that stands still until told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.core.clock import Ids, ManualClock
from sill.core.settings import Settings
from sill.lake.service import Lake
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.database import Database, metadata, open_database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, sql_seconds_max=5.0)


@pytest.fixture
def database(settings: Settings, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(settings.database, clock)
    with opened.engine.begin() as connection:
        metadata.create_all(connection)
    yield opened
    opened.close()


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    return open_blobs(settings)


@pytest.fixture
def lake(database: Database, blobs: Blobs, clock: ManualClock, settings: Settings) -> Lake:
    return Lake(database, blobs, clock, Ids(clock), settings)
