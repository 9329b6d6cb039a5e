"""Queues over a database of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.core.clock import ManualClock
from sill.queues.service import Queues
from sill.stores.database import Database, metadata, open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'q.db'}", ManualClock())
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def queues(database: Database) -> Queues:
    return Queues(database, ("cpus", "memory_bytes", "accelerators"), ("local",))
