"""What would be otherwise is told of now and of the past, and changes nothing."""

from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.core.settings import Settings
from sill.engines.types import Capacity
from sill.runs.overview import Overview
from sill.runs.whatif import WhatIfs
from sill.scheduler.simulation.types import WhatIf
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Arrival, Daemon, live_through, open_daemon

pytestmark = pytest.mark.anyio
CAPACITY = Capacity(cpus=4, memory_bytes=1024**3)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def daemon(tmp_path: Path, clock: ManualClock) -> Any:
    opened = open_daemon(tmp_path, clock, FakeEngine(clock, CAPACITY))
    yield opened
    opened.close()


@pytest.fixture
def what_ifs(daemon: Daemon, clock: ManualClock) -> WhatIfs:
    runs = daemon.runs
    return WhatIfs(daemon.database, clock, runs.board, runs.costs, Settings())


def arrivals(clock: ManualClock) -> list[Arrival]:
    return [
        Arrival(name=f"j{at}", at_us=clock.now_us() + at, project="p", runtime_s=3600.0, cpus=2.0) for at in range(12)
    ]


async def test_twice_the_cpus_now_halve_what_waits(daemon: Daemon, what_ifs: WhatIfs, clock: ManualClock) -> None:
    for each in arrivals(clock):
        await daemon.runs.submit(PLATFORM, each.project, each.spec())
    await daemon.worker.dispatch_once()
    await daemon.worker.settled()
    standing = await Overview(daemon.runs.board, daemon.database).standing(PLATFORM)

    told = await what_ifs.ask(PLATFORM, WhatIf(add={"cpus": 4}))
    assert (told.before.jobs, told.after.jobs) == (12, 12)
    assert told.after.wait_mean_s < 0.5 * told.before.wait_mean_s
    assert told.bill_before.usd == pytest.approx(told.bill_after.usd)
    assert told.added_usd_per_h == pytest.approx(0.16)
    assert [queue.name for queue in told.queues] == ["p"]
    assert await Overview(daemon.runs.board, daemon.database).standing(PLATFORM) == standing


async def test_the_past_is_simulated_again_as_it_was_and_as_it_would_have_been(
    daemon: Daemon, what_ifs: WhatIfs, clock: ManualClock
) -> None:
    await live_through(daemon, clock, arrivals(clock))

    told = await what_ifs.ask(PLATFORM, WhatIf(add={"cpus": 4}, policy="fifo", last_s=86_400.0))
    assert told.before.wait_mean_s == pytest.approx(told.waited_mean_s, rel=0.02)
    assert told.waited_mean_s == pytest.approx(2.5 * 3600, rel=0.02)
    assert told.after.wait_mean_s == pytest.approx(3600, rel=0.02)
    assert (told.before.policy, told.after.policy) == ("local", "fifo")
    assert (await what_ifs.ask(PLATFORM, WhatIf(policy="fifo", last_s=1.0))).before.jobs == 2


@pytest.mark.parametrize(
    "asked",
    [
        WhatIf(add={"a100": -1}),
        WhatIf(add={"a100": float("nan")}),
        WhatIf(add={"a100": 0.5}),
        WhatIf(add={"a100": 1e9}),
        WhatIf(policy="sill", last_s=-1.0),
        WhatIf(policy="sill", last_s=float("inf")),
    ],
)
async def test_questions_that_mean_nothing_are_refused(what_ifs: WhatIfs, asked: WhatIf) -> None:
    with pytest.raises(InvalidValue):
        await what_ifs.ask(PLATFORM, asked)


async def test_only_those_who_see_all_projects_ask(what_ifs: WhatIfs) -> None:
    with pytest.raises(NotFound, match="no policy"):
        await what_ifs.ask(PLATFORM, WhatIf(policy="best"))
    tenant = Actor(id="t", scopes=frozenset({"*"}), projects=frozenset({"p"}))
    with pytest.raises(Forbidden):
        await what_ifs.ask(tenant, WhatIf(policy="sill"))
