"""Elastic gangs in the daemon: stopped and started again with as many workers as there are devices, at no cost of retries."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import InvalidValue
from sill.runs.store import RUNS
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.stores.log import events_after
from sill.testing.fake_engine import FakeEngine, with_devices
from sill.testing.virtual_daemon import Arrival, Daemon, live_through, open_daemon

pytestmark = pytest.mark.anyio
HOUR_S = 3600.0
CAPACITY = with_devices(cpus=8, many=4)


def opened(home: Path, clock: ManualClock) -> Daemon:
    return open_daemon(home, clock, FakeEngine(clock, CAPACITY, home), scheduler_policy="elastic")


def gang(name: str, at_us: int, hours: float, least: int, most: int) -> Arrival:
    sizes = {"workers": least, "workers_max": most} if most > least else {"workers": least}
    return Arrival(name=name, at_us=at_us, project="p", runtime_s=hours * HOUR_S, cpus=0.5, accelerators=1.0, **sizes)


async def runs_of(daemon: Daemon) -> dict[str, Run]:
    return {run.name: run for run in await daemon.database.read(RUNS.every)}


async def test_an_elastic_run_gets_what_is_free_and_makes_room_for_others(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = opened(tmp_path, clock)
    start_us = clock.now_us()
    await live_through(
        daemon, clock, [gang("wide", start_us, 10, 1, 4), gang("fixed", start_us + 600_000_000, 1, 2, 2)]
    )

    runs = await runs_of(daemon)
    log = await daemon.database.read(lambda connection: events_after(connection, 0, "p", ("run.",), 100))
    daemon.close()
    wide, fixed = runs["wide"], runs["fixed"]
    assert {wide.state, fixed.state} == {RunState.FINISHED}
    assert (fixed.started_us - fixed.created_us) / 1e6 < 1  # room was made at once
    assert wide.put_offs == wide.attempt - 1 >= 1  # none of it was a retry
    told = [event.data["reason"] for event in log if event.kind == "run.stopping"]
    assert told[0] == "it was stopped: it goes on with 2 workers instead of 4"
    assert told[1:] in ([], ["it was stopped: it goes on with 4 workers instead of 2"])
    assert wide.workers == 4
    assert wide.devices == (0, 1, 2, 3)


async def test_a_resized_run_is_found_again_as_it_is(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = opened(tmp_path, clock)
    for arrival in (gang("wide", clock.now_us(), 10, 1, 4), gang("fixed", clock.now_us(), 1, 2, 2)):
        await daemon.runs.submit(PLATFORM, "p", arrival.spec())
    for _ in range(3):
        await daemon.worker.dispatch_once()
        await daemon.worker.settled()
        await daemon.worker.watch_once()
    daemon.close()

    again = opened(tmp_path, clock)
    await again.runs.board.refresh()
    runs = await runs_of(again)
    again.close()

    state = again.runs.board.scheduler.state
    assert runs["wide"].workers == 2
    assert state.entries[runs["wide"].id].workers == 2
    assert state.ledger.machines[0].whole["t4"] == 0


async def test_a_run_with_a_deadline_gets_the_devices_of_one_without(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = opened(tmp_path, clock)
    now_us = clock.now_us()
    learned = [gang("same", now_us + 1, 1, 1, 1)]  # an hour with one worker
    await live_through(daemon, clock, learned)
    later_us = clock.now_us()
    easy = gang("easy", later_us, 10, 1, 4)
    urgent = msgspec.structs.replace(gang("same", later_us + 1, 0.4, 1, 4), deadline_s=2_400.0)
    for each in (easy, urgent):
        await daemon.runs.submit(PLATFORM, "p", each.spec())
        await daemon.worker.dispatch_once()
        await daemon.worker.settled()
        await daemon.worker.watch_once()
        await daemon.worker.watch_once()
        await daemon.worker.dispatch_once()

    runs = {(run.name, run.attempt): run for run in await daemon.database.read(RUNS.every)}
    daemon.close()
    assert runs["same", 1].workers == 2  # of two, it takes half an hour
    assert runs["easy", 2].workers == 2


@pytest.mark.parametrize(
    "needs",
    [
        Resources(workers=2, workers_max=4),
        Resources(workers=2, workers_max=1, accelerators=1),
        Resources(workers=2, workers_min=3, accelerators=1),
        Resources(workers=1, workers_max=2_000, accelerators=1),
    ],
)
async def test_sizes_that_mean_nothing_are_refused(tmp_path: Path, needs: Resources) -> None:
    daemon = opened(tmp_path, ManualClock())

    with pytest.raises(InvalidValue):
        await daemon.runs.submit(PLATFORM, "p", RunSpec(command=("true",), resources=needs))
    daemon.close()


DECLARED = """
types = [{ name = "t4" }]
devices = [{ type = "t4", names = ["0", "1", "2", "3"] }]
"""
SCRIPT = """
import os, signal, sys, time
print("of", os.environ["WORLD_SIZE"], flush=True)
if os.environ["WORLD_SIZE"] == "4":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    time.sleep(60)
"""


@pytest.mark.slow
async def test_processes_are_stopped_and_started_with_fewer_workers(
    tmp_path: Path, build_host: Any, at_work: Any, program: Callable[..., RunSpec], ada: Actor
) -> None:
    (tmp_path / "devices.toml").write_text(DECLARED)
    host = build_host(tmp_path / "home", accelerators=str(tmp_path / "devices.toml"), scheduler_policy="elastic")
    needs: dict[str, Any] = {"cpus": 0.1, "memory_bytes": 64 * 1024**2, "accelerators": 1, "workers": 2}
    async with at_work(host):
        wide = await host.runs.submit(ada, "p", program(SCRIPT, resources=Resources(**needs, workers_max=4)))
        while "of 4" not in (await host.runs.logs(ada, "p", wide.id)).text:  # noqa: ASYNC110  # processes are waited for
            await asyncio.sleep(0.05)
        fixed = await host.runs.submit(ada, "p", program("import time; time.sleep(60)", resources=Resources(**needs)))
        while not (over := await host.runs.run(ada, "p", wide.id)).state.is_final:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        told = (await host.runs.logs(ada, "p", wide.id)).text
        host.engine.stop((await host.runs.run(ada, "p", fixed.id)).handle, grace_s=0)
    host.database.close()

    assert (over.state, over.put_offs, over.attempt, over.workers) == (RunState.FINISHED, 1, 2, 2)
    assert told.count("of 2") == 2
