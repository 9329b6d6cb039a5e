"""Feature views over a real lake, with a clock that stands still until told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.core.clock import Ids, ManualClock
from sill.core.settings import Settings
from sill.features.service import Features
from sill.lake.service import Lake
from sill.stores.blobs import open_blobs
from sill.stores.database import Database, metadata, open_database
from sill.stores.kv import Online, open_online


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def database(settings: Settings, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(settings.database, clock)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def lake(database: Database, settings: Settings, clock: ManualClock) -> Lake:
    return Lake(database, open_blobs(settings), clock, Ids(clock), settings)


@pytest.fixture
def online() -> Online:
    return open_online("")


@pytest.fixture
def features(database: Database, lake: Lake, online: Online, clock: ManualClock) -> Features:
    return Features(database, lake, online, clock)
