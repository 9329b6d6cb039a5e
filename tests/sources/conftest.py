"""A reader of one file on this machine (content in, unified table out), and the whole service on a fresh database."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.settings import Settings
from sill.safety.addresses import Allowed
from sill.safety.outbound import Outbound
from sill.sources.fetching import Fetcher
from sill.sources.limits import DEFAULT_LIMITS, ReadLimits
from sill.sources.reading import read_source
from sill.sources.service import Sources
from sill.sources.types import Source
from sill.sources.unify import Unified
from sill.stores.blobs import open_blobs
from sill.stores.database import metadata, open_database

Read = Callable[..., Unified]
DIGEST = "0" * 64


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read(content, "name.csv", **source)`: what a source with that content becomes."""

    def run(
        content: bytes | str, name: str = "data.csv", limits: ReadLimits = DEFAULT_LIMITS, **source: Any
    ) -> Unified:
        blob = tmp_path / "blob"
        blob.write_bytes(content.encode() if isinstance(content, str) else content)
        workspace = tmp_path / f"workspace-{len(list(tmp_path.iterdir()))}"
        workspace.mkdir()
        fetcher = Fetcher(workspace, lambda digest: blob.open("rb"), Outbound(), limits, {})
        given = Source(url=f"upload://{DIGEST}/{name}", **source)
        return read_source(given, "", fetcher, Allowed(), limits)

    return run


ROOT = Actor(id="root", scopes=frozenset({"*"}))


class KnownSecrets:
    """Secrets by name, given to the platform only."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def secret(self, actor: Actor, project: str, name: str) -> str:
        assert actor == PLATFORM
        return self.values[f"{project}/{name}"]


@pytest.fixture
def secrets() -> KnownSecrets:
    return KnownSecrets()


@pytest.fixture
def make_sources(tmp_path: Path, secrets: KnownSecrets) -> Iterator[Callable[..., Sources]]:
    """`make_sources(outbound_allow="127.0.0.1:80", environ={…})`: the service on a fresh database and folder."""
    database = open_database(f"sqlite:///{tmp_path / 'sill.db'}", ManualClock())
    metadata.create_all(database.engine)

    def make(environ: Mapping[str, str] | None = None, limits: ReadLimits = DEFAULT_LIMITS, **settings: Any) -> Sources:
        given = Settings(home=tmp_path, **settings)
        blobs = open_blobs(Settings(home=tmp_path))
        outbound = Outbound(given.outbound_allow)
        return Sources(database, blobs, outbound, secrets, given, limits=limits, environ=environ or {})

    yield make
    database.close()


@pytest.fixture
def sources(make_sources: Callable[..., Sources]) -> Sources:
    return make_sources()


@pytest.fixture
def upload(sources: Sources) -> Callable[..., str]:
    """`await upload("a.csv", b"…")`: the address of the upload."""

    async def send(name: str, content: bytes, project: str = "churn", actor: Actor = ROOT) -> str:
        async def body() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 7):
                yield content[at : at + 7]

        return (await sources.upload(actor, project, name, body())).url

    return send
