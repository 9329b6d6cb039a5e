"""What engines say twice, late, out of order or about nobody, and clocks that jump, change nothing that is true."""

from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.errors import InvalidValue
from sill.engines.types import Capacity, EngineStatus, Life
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.stores.log import events_after
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Arrival, Daemon, open_daemon

pytestmark = pytest.mark.anyio
CAPACITY = Capacity(cpus=2, memory_bytes=1024**3)
OVER = EngineStatus(life=Life.ENDED, cause="exit", exit_code=0)


class TellingEngine(FakeEngine):
    """Tells what it was told to tell."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told: list[tuple[str, EngineStatus]] = []

    def ended(self) -> list[tuple[str, EngineStatus]]:
        return [*self.told, *super().ended()]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def daemon(tmp_path: Path, clock: ManualClock) -> Any:
    opened = open_daemon(tmp_path, clock, TellingEngine(clock, CAPACITY))
    yield opened
    opened.close()


async def begun(daemon: Daemon, *, cpus: float = 1.0) -> Run:
    each = Arrival(name="r", at_us=0, project="p", runtime_s=100.0, cpus=cpus)
    run = await daemon.runs.submit(PLATFORM, "p", each.spec())
    await step(daemon)
    return await daemon.runs.run(PLATFORM, "p", run.id)


async def step(daemon: Daemon) -> None:
    await daemon.worker.watch_once()
    await daemon.worker.dispatch_once()
    await daemon.worker.settled()


async def kinds(daemon: Daemon) -> list[str]:
    log = await daemon.database.read(lambda connection: events_after(connection, 0, "p", ("run.",), 100))
    return [event.kind for event in log]


async def test_an_end_told_twice_ends_once(daemon: Daemon, clock: ManualClock) -> None:
    run = await begun(daemon)
    daemon.engine.told = [(run.handle, OVER), (run.handle, OVER)]  # type: ignore[attr-defined]
    for _ in range(3):
        await step(daemon)

    assert await kinds(daemon) == ["run.submitted", "run.started", "run.finished"]
    assert daemon.runs.board.standing().running == 0


async def test_an_end_of_nobody_and_of_an_attempt_before_it_started_changes_nothing(
    daemon: Daemon, clock: ManualClock
) -> None:
    run = await begun(daemon)
    early = daemon.engine.handle(run.id, 2)
    daemon.engine.told = [("fake:run-unknown/1", OVER), (early, OVER), ("", OVER)]  # type: ignore[attr-defined]
    await step(daemon)

    assert (await daemon.runs.run(PLATFORM, "p", run.id)).state is RunState.RUNNING
    assert daemon.runs.board.standing().running == 1


async def test_the_end_of_an_attempt_that_was_put_off_does_not_end_the_next(daemon: Daemon, clock: ManualClock) -> None:
    run = await begun(daemon)
    first = run.handle
    await daemon.worker._finisher.finish_many([(run, EngineStatus(life=Life.LOST, detail="gone."))])
    waits = await daemon.runs.retry(PLATFORM, "p", run.id)
    await step(daemon)
    daemon.engine.told = [(first, OVER)]  # type: ignore[attr-defined]
    await step(daemon)

    assert (await daemon.runs.run(PLATFORM, "p", waits.id)).state is RunState.RUNNING


async def test_a_report_that_was_lost_is_found_out(daemon: Daemon, clock: ManualClock) -> None:
    run = await begun(daemon)
    clock.advance(200)
    daemon.engine._ends.clear()
    await step(daemon)

    assert (await daemon.runs.run(PLATFORM, "p", run.id)).state is RunState.FINISHED


@pytest.mark.parametrize("jump_s", [-3600.0, 400 * 24 * 3600.0])
async def test_a_clock_that_jumps_starts_nothing_twice_and_loses_nothing(
    daemon: Daemon, clock: ManualClock, jump_s: float
) -> None:
    run = await begun(daemon, cpus=2.0)
    second = await daemon.runs.submit(
        PLATFORM, "p", Arrival(name="s", at_us=0, project="p", runtime_s=1, cpus=2).spec()
    )
    clock.advance(jump_s)
    await step(daemon)
    await step(daemon)
    clock.advance(abs(jump_s) + 200)
    for _ in range(3):
        await step(daemon)
        clock.advance(10)

    states = {(await daemon.runs.run(PLATFORM, "p", each)).state for each in (run.id, second.id)}
    assert states == {RunState.FINISHED}
    assert sorted(await kinds(daemon)) == sorted(["run.submitted", "run.started", "run.finished"] * 2)


@pytest.mark.parametrize(
    "needs",
    [
        {"cpus": float("nan")},
        {"cpus": -1.0},
        {"memory_bytes": -1},
        {"accelerators": float("inf")},
        {"accelerators": -0.5},
        {"workers": 0},
        {"workers": 10**9},
    ],
)
async def test_resources_that_mean_nothing_are_refused(daemon: Daemon, needs: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=r"resources\."):
        await daemon.runs.submit(PLATFORM, "p", RunSpec(command=("true",), resources=Resources(**needs)))


async def test_of_many_runs_submitted_at_once_all_or_none_wait(daemon: Daemon) -> None:
    good = RunSpec(command=("true",), resources=Resources(cpus=0.5))
    with pytest.raises(InvalidValue):
        await daemon.runs.submit_many(PLATFORM, "p", [good, RunSpec(command=())])
    with pytest.raises(InvalidValue, match="1 to 1,000"):
        await daemon.runs.submit_many(PLATFORM, "p", [good] * 1_001)
    assert await kinds(daemon) == []

    first = await daemon.runs.submit_many(PLATFORM, "p", [good, good], key="k")
    assert await daemon.runs.submit_many(PLATFORM, "p", [good, good], key="k") == first
    assert await kinds(daemon) == ["run.submitted"] * 2
