"""The daemon's runs on a clock that jumps: the real board, worker and database, and an engine without processes.

What a day brings is over in seconds, and the same each time. It goes on where a process before it was killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sill.core.actors import PLATFORM
from sill.core.clock import Clock, Ids, ManualClock
from sill.core.settings import Settings
from sill.core.values import Value
from sill.costs.service import Costs
from sill.governance.service import Governance
from sill.queues.service import Queues
from sill.runs.service import Runs
from sill.runs.store import RUNS
from sill.runs.types import Resources, RunSpec
from sill.runs.workers import RunWorker
from sill.safety.secrets import SecretBox
from sill.stores.blobs import open_blobs
from sill.stores.database import Database, metadata, open_database
from sill.stores.log import Log
from sill.testing.fake_engine import RUNTIME, FakeEngine


class Arrival(Value, frozen=True, kw_only=True):
    """A run that is submitted, once, under its name."""

    name: str
    at_us: int
    project: str
    runtime_s: float
    cpus: float = 1.0
    workers: int = 1
    workers_min: int = 0
    workers_max: int = 0
    accelerators: float = 0.0
    priority: int = 0
    preemptible: bool = False
    deadline_s: float = 0.0

    def spec(self) -> RunSpec:
        """What is submitted."""
        return RunSpec(
            name=self.name,
            command=("true",),
            env={RUNTIME: repr(self.runtime_s)},
            resources=Resources(
                cpus=self.cpus,
                memory_bytes=1024**2,
                accelerators=self.accelerators,
                workers=self.workers,
                workers_min=self.workers_min,
                workers_max=self.workers_max,
            ),
            priority=self.priority,
            preemptible=self.preemptible,
            deadline_s=self.deadline_s,
        )


@dataclass
class Daemon:
    """What runs need of a control plane."""

    database: Database
    queues: Queues
    runs: Runs
    worker: RunWorker
    engine: FakeEngine

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def open_daemon(
    home: Path, clock: Clock, engine: FakeEngine, database_url: str = "", scheduler_policy: str = "local"
) -> Daemon:
    """All parts, on SQLite in the home unless told otherwise. Call it inside the event loop."""
    capacity = engine.capacity()
    settings = Settings(
        home=home,
        cpus=capacity.cpus,
        memory_bytes=capacity.memory_bytes,
        database_url=database_url,
        scheduler_policy=scheduler_policy,
    )
    database = open_database(settings.database, clock)
    metadata.create_all(database.engine)
    log, ids, blobs = Log(database), Ids(clock), open_blobs(settings)
    governance = Governance(database, log, clock, ids, SecretBox(home / "master.key"), root_digest="0" * 64)
    costs = Costs(database, clock, ids, settings)
    runs = Runs(database, log, blobs, clock, ids, engine, costs, governance, settings)
    return Daemon(
        database=database,
        queues=Queues(database, runs.board.resources, runs.board.nodes),
        runs=runs,
        worker=RunWorker(log, runs),
        engine=engine,
    )


async def live_through(daemon: Daemon, clock: ManualClock, arrivals: Sequence[Arrival]) -> None:
    """Submit each run at its time and let all be done. Runs that are there already are not submitted again."""
    found = await daemon.database.read(lambda connection: {run.name for run in RUNS.every(connection)})
    left = sorted((each for each in arrivals if each.name not in found), key=lambda each: each.at_us, reverse=True)
    while True:
        while left and left[-1].at_us <= clock.now_us():
            each = left.pop()
            await daemon.runs.submit(PLATFORM, each.project, each.spec(), key=each.name)
        await daemon.worker.watch_once()
        await daemon.worker.dispatch_once()
        await daemon.worker.settled()
        await daemon.worker.watch_once()  # what was decided to stop is stopped now
        times = [daemon.engine.next_end_us, daemon.runs.board.wake_us, left[-1].at_us if left else 0]
        ahead = [at_us for at_us in times if at_us]
        if not ahead or not (left or daemon.engine.next_end_us or daemon.runs.board.waiting):
            return
        clock.advance(max(min(ahead) - clock.now_us(), 0) / 1e6)
