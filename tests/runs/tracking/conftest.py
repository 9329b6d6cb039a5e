"""An open database of each kind with the tables of runs, and one run to log to."""

from collections.abc import Iterator

import pytest

from sill.core.clock import ManualClock
from sill.runs.store import RUNS
from sill.runs.types import Run, RunSpec, RunState
from sill.stores.database import Database, metadata, open_database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(database_url: str, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(database_url, clock)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def run_id(database: Database) -> str:
    run = Run(id="run-00000001", project="p", spec=RunSpec(), state=RunState.RUNNING)
    database.write_sync(lambda tx: RUNS.create(tx, run))
    return run.id
