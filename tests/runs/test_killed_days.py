"""A generated day during which the control plane is killed at every step it writes down: each commit, before it and after
it, and each attempt the engine is given. What is left each time is all the next process has."""

import asyncio
import os
import random
import re
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, event

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.events import Event
from sill.queues.types import QueueSpec
from sill.runs.types import Run, RunState
from sill.stores.log import events_after
from sill.testing.fake_engine import JOURNAL, FakeEngine, read_attempts, with_devices
from sill.testing.virtual_daemon import Arrival, Daemon, live_through, open_daemon

START_US = 1_700_000_000_000_000
CAPACITY = with_devices(cpus=4, many=4)
CEILING = 2.0
QUEUES = (
    QueueSpec(name="held", ceiling={"cpus": CEILING}, projects=("bound",)),
    QueueSpec(name="owned", guarantee={"cpus": 2}, projects=("owner",)),
)
PROJECTS = ("free", "bound", "owner")
LIVES_MAX = 100_000
LIFE_OF_A_RUN = re.compile(r"submitted (started (stopping )?retried )*started finished ")


class Death:
    """Ends this process at its n-th step. A real end: nothing is flushed, closed or rolled back."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KeptClock(ManualClock):
    """Goes on from where the process before was."""

    def __init__(self, path: Path) -> None:
        super().__init__(int(path.read_text()) if path.exists() else START_US)
        self._path = path

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        after = self._path.with_suffix(".new")
        after.write_text(str(self.now_us()))
        after.replace(self._path)


def day(jobs: int) -> list[Arrival]:
    """More work than there is room for: gangs, some of it urgent, some that may be stopped for who has a guarantee."""
    draw = random.Random(4)
    return [
        Arrival(
            name=f"job-{number:04}",
            at_us=START_US + (number // 3) * 60_000_000,
            project=draw.choice(PROJECTS),
            runtime_s=draw.choice((45.0, 58.0, 97.0, 700.0)),
            cpus=draw.choice((0.5, 1.0)),
            workers=draw.choice((1, 1, 2)),
            priority=draw.choice((0, 0, 5)),
            preemptible=draw.choice((True, False)),
        )
        for number in range(jobs)
    ]


def live(home: Path, arrivals: list[Arrival], steps: int, database_url: str, policy: str) -> None:
    """One life of the control plane, from what is on disk to its death, or to the end of the day."""

    async def main() -> None:
        death = Death(steps)
        clock = KeptClock(home / "now")
        daemon = open_daemon(home, clock, FakeEngine(clock, CAPACITY, home, death.step), database_url, policy)
        event.listen(daemon.database.engine, "commit", lambda _connection: death.step())
        daemon.database.on_commit(lambda _seq: death.step())
        declared = {queue.name for queue in await daemon.queues.queues(PLATFORM)}
        for queue in QUEUES:
            if queue.name not in declared:
                await daemon.queues.put(PLATFORM, queue)
        await live_through(daemon, clock, arrivals)
        daemon.close()

    asyncio.run(main())


def lives(
    home: Path, arrivals: list[Arrival], steps_of: Callable[[int], int], database_url: str = "", policy: str = "local"
) -> Iterator[int]:
    """Lives one after another, each in a process of its own that is killed, until one comes to the end of the day."""
    for number in range(LIVES_MAX):
        child = os.fork()
        if child == 0:
            try:
                live(home, arrivals, steps_of(number), database_url, policy)
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        yield number
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a life ended by an error"
            return
    raise AssertionError("the day never ends")


def check_held(home: Path) -> None:
    """Right now nothing holds more than there is, by what is committed."""
    with sqlite3.connect(home / "sill.db") as connection:
        query = """SELECT project,
                   sum(json_extract(doc, '$.spec.resources.cpus') * json_extract(doc, '$.spec.resources.workers'))
                   FROM runs WHERE state = 'running' GROUP BY project"""
        held = dict(connection.execute(query).fetchall())
    assert sum(held.values()) <= CAPACITY.cpus
    assert held.get("bound", 0.0) <= CEILING


async def check_day(home: Path, arrivals: list[Arrival], database_url: str) -> None:
    """No job lost, none begun twice, no quota passed at any instant of the log."""
    clock = KeptClock(home / "now")
    daemon = open_daemon(home, clock, FakeEngine(clock, CAPACITY), database_url)
    try:
        await check_runs(daemon, arrivals)
    finally:
        daemon.close()
    begun = Counter(attempt.handle for attempt in read_attempts(home / JOURNAL) if attempt.cause == "exit")
    assert set(begun.values()) == {1}


async def check_runs(daemon: Daemon, arrivals: list[Arrival]) -> None:
    runs = [run for project in PROJECTS for run in (await daemon.runs.runs(PLATFORM, project, limit=1000)).items]
    assert sorted(run.name for run in runs) == [each.name for each in arrivals]
    assert {run.state for run in runs} == {RunState.FINISHED}
    log = await daemon.database.read(every_event)
    of_run: defaultdict[str, str] = defaultdict(str)
    held: defaultdict[str, float] = defaultdict(float)
    cpus = {run.id: run.spec.resources.cpus * run.spec.resources.workers for run in runs}
    for change in log:
        if change.kind.startswith("run."):
            of_run[change.subject] += change.kind.removeprefix("run.") + " "
            moved = {"run.started": 1, "run.finished": -1, "run.retried": -1}.get(change.kind, 0)
            held[change.project] += moved * cpus[change.subject]
            assert sum(held.values()) <= CAPACITY.cpus
            assert held["bound"] <= CEILING
    assert all(LIFE_OF_A_RUN.fullmatch(told) for told in of_run.values())
    assert {run.id: run.attempt for run in runs} == {name: told.count("started") for name, told in of_run.items()}


def every_event(connection: Connection) -> list[Event]:
    found: list[Event] = []
    while page := events_after(connection, found[-1].seq if found else 0, "", (), 1_000):
        found += page
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("jobs", [6, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_a_day_of_kills_loses_no_job_and_begins_none_twice(tmp_path: Path, jobs: int) -> None:
    # One life dies at its first step, before what it wanted is written down; the next at its second, right after it was.
    arrivals = day(jobs)
    last = 0
    for last in lives(tmp_path, arrivals, lambda number: 1 + number % 2):
        if last > 1:
            check_held(tmp_path)

    assert last >= jobs * 3 * 2  # each job was submitted, started and ended in commits of their own
    await check_day(tmp_path, arrivals, "")


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    arrivals = day(12)
    for _ in lives(tmp_path, arrivals, lambda number: 1 + number % 2, postgres_url):
        pass

    await check_day(tmp_path, arrivals, postgres_url)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_gang_that_is_resized_is_begun_once_with_each_number_of_workers(tmp_path: Path) -> None:
    wide = Arrival(
        name="wide", at_us=START_US, project="free", runtime_s=36_000, cpus=0.5, accelerators=1.0, workers_max=4
    )
    fixed = Arrival(
        name="fixed", at_us=START_US + 60_000_000, project="free", runtime_s=3_600, cpus=0.5, accelerators=2.0
    )
    for _ in lives(tmp_path, [wide, fixed], lambda number: 1 + number % 2, policy="elastic"):
        pass

    with sqlite3.connect(tmp_path / "sill.db") as connection:
        found = dict(connection.execute("SELECT name, doc FROM runs").fetchall())
    told = {name: msgspec.json.decode(doc, type=Run) for name, doc in found.items()}
    begun = Counter(attempt.handle for attempt in read_attempts(tmp_path / JOURNAL) if attempt.cause == "exit")
    assert {run.state for run in told.values()} == {RunState.FINISHED}
    assert told["wide"].put_offs == told["wide"].attempt - 1 > 0
    assert set(begun.values()) == {1}
    assert len(begun) == told["wide"].attempt + 1
