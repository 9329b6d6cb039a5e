"""Governance on a store of each kind, with a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sill.core.clock import Ids, ManualClock
from sill.governance.service import Governance
from sill.safety.secrets import SecretBox
from sill.safety.tokens import digest, new_token
from sill.stores.database import metadata, open_database
from sill.stores.log import Log


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def root_token() -> str:
    return new_token()


@pytest.fixture
async def governance(
    anyio_backend: str, database_url: str, clock: ManualClock, root_token: str, tmp_path: Path
) -> AsyncIterator[Governance]:
    database = open_database(database_url, clock)
    metadata.create_all(database.engine)
    box = SecretBox(tmp_path / "keys" / "master.key")
    yield Governance(database, Log(database), clock, Ids(clock), box, root_digest=digest(root_token))
    database.close()
