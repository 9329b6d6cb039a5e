"""The tracing stage on an open database of each kind, and words to make spans with."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sill.core.actors import Actor
from sill.core.clock import Ids, ManualClock
from sill.runs.tracing.assessments import Assessments
from sill.runs.tracing.service import Tracing
from sill.runs.tracing.traces import Traces
from sill.runs.tracing.types import Span, SpanStatus
from sill.stores.blobs.disk import DiskBlobs
from sill.stores.blobs.sweeping import Sweeper
from sill.stores.database import Database, metadata, open_database

ADA = Actor(id="ada", scopes=frozenset({"*"}))
START_NS = 1_700_000_000_000_000_000
USED = ("trace", "experiment", "run", "events", "idempotency", "blob", "swept")
"""How the names of the tables begin that this stage uses."""


class House(NamedTuple):
    """The services under test."""

    database: Database
    clock: ManualClock
    traces: Traces
    tracing: Tracing
    assessments: Assessments


def open_house(url: str, folder: Path) -> House:
    """The services over a fresh database with the tables they use."""
    clock = ManualClock()
    database = open_database(url, clock)
    metadata.create_all(
        database.engine, tables=[each for name, each in metadata.tables.items() if name.startswith(USED)]
    )
    ids = Ids(clock)
    traces = Traces(database, clock)
    tracing = Tracing(database, clock, ids, Sweeper(database, DiskBlobs(folder / "blobs")), traces)
    return House(database, clock, traces, tracing, Assessments(database, clock, ids))


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    opened = open_house(sqlite_url, tmp_path)
    yield opened
    opened.database.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same on a database of each kind, one for all tests of a module."""
    folder = tmp_path_factory.mktemp("tracing")
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{folder}/sill.db" if is_sqlite else request.getfixturevalue("postgres").new_database()
    opened = open_house(url, folder)
    yield opened
    opened.database.close()


@pytest.fixture
def ada() -> Actor:
    return ADA


@pytest.fixture(scope="session")
def span() -> Callable[..., Span]:
    return make_span


def make_span(
    trace: int = 1, number: int = 1, *, at_ms: int = 0, for_ms: int = 5, parent: int = 0, **fields: Any
) -> Span:
    """A span of trace number `trace`, `at_ms` after the start, `for_ms` long (0: it goes on)."""
    start_ns = START_NS + at_ms * 1_000_000
    given: dict[str, Any] = {"name": f"span-{number}", "status": SpanStatus.OK, **fields}
    return Span(
        trace_id=f"tr-{trace:032x}",
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        start_ns=start_ns,
        end_ns=start_ns + for_ms * 1_000_000 if for_ms else 0,
        **given,
    )


@pytest.fixture
def log(house: House, ada: Actor) -> Callable[..., Awaitable[Any]]:
    """Log spans to experiment 0 of project p."""

    async def write(*spans: Span, experiment_id: str = "0") -> Any:
        return await house.tracing.log_spans(ada, "p", experiment_id, spans)

    return write
