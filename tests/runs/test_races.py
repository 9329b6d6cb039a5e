"""Many at once: a quota holds at every instant whatever order they come in (SECURITY B78)."""

import asyncio
from pathlib import Path

import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.engines.types import Capacity
from sill.queues.types import QueueSpec
from sill.runs.store import RUNS
from sill.runs.types import RunState
from sill.stores.log import events_after
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Arrival, live_through, open_daemon

pytestmark = pytest.mark.anyio
SUBMITTED, QUOTA = 50, 10


async def test_fifty_that_are_submitted_at_once_never_hold_more_than_the_quota(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, Capacity(cpus=100, memory_bytes=2**40)))
    await daemon.queues.put(PLATFORM, QueueSpec(name="narrow", projects=("p", "q"), ceiling={"cpus": QUOTA}))
    wanted = [
        Arrival(name=f"r{at}", at_us=0, project="pq"[at % 2], runtime_s=60 + at, cpus=1) for at in range(SUBMITTED)
    ]

    async def submit(each: Arrival) -> None:
        await daemon.runs.submit(PLATFORM, each.project, each.spec(), key=each.name)
        await daemon.worker.dispatch_once()

    await asyncio.gather(*(submit(each) for each in wanted))
    await live_through(daemon, clock, ())
    log = await daemon.database.read(lambda connection: events_after(connection, 0, "", ("run.",), 1_000))
    runs = await daemon.database.read(RUNS.every)
    daemon.close()

    held = most = 0
    for event in log:
        held += (event.kind == "run.started") - (event.kind == "run.finished")
        most = max(most, held)
    assert most == QUOTA
    assert [run.state for run in runs] == [RunState.FINISHED] * SUBMITTED
