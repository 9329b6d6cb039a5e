"""A queue takes back its guarantee from runs that may be stopped; they wait again, go on, and lose nothing of their retries."""

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
HOUR_S = 3600.0


@pytest.mark.parametrize("preemptible", [True, False])
async def test_only_runs_that_may_be_stopped_give_a_guarantee_back(tmp_path: Path, preemptible: bool) -> None:
    clock = ManualClock()
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, Capacity(cpus=4, memory_bytes=1024**3)))
    await daemon.queues.put(PLATFORM, QueueSpec(name="owner", projects=("o",), guarantee={"cpus": 4}))
    now_us = clock.now_us()
    borrower = Arrival(name="b", at_us=now_us, project="b", runtime_s=2 * HOUR_S, cpus=4, preemptible=preemptible)
    owner = Arrival(name="o", at_us=now_us + 60_000_000, project="o", runtime_s=HOUR_S, cpus=4)
    await live_through(daemon, clock, [borrower, owner])

    runs = {run.name: run for run in await daemon.database.read(RUNS.every)}
    log = await daemon.database.read(lambda connection: events_after(connection, 0, "b", ("run.",), 100))
    assert {run.state for run in runs.values()} == {RunState.FINISHED}
    waited_s = (runs["o"].started_us - runs["o"].created_us) / 1e6
    if preemptible:
        assert 300 <= waited_s < 400  # the grace
        assert (runs["b"].put_offs, runs["b"].attempt) == (1, 2)
        assert [event.kind for event in log if event.subject == runs["b"].id] == [
            *("run.submitted", "run.started", "run.stopping", "run.retried", "run.started", "run.finished")
        ]
    else:
        assert waited_s > 1.9 * HOUR_S
        assert runs["b"].put_offs == 0
    daemon.close()
