"""The scheduler in step with the runs of the database. Decisions are made on it; what they come to is committed elsewhere.

What is true stands in the database: the board only remembers it. It starts from the runs that wait or run, follows the
log from there, and looks at each run the log names: that it stands as it does is then told to the scheduler. So it may be
thrown away at any moment, an event may come twice, and another control plane's starts are seen as well as ours.
"""

import asyncio

from sqlalchemy import Connection

from sill.core.clock import Clock, iso
from sill.engines.types import Capacity
from sill.runs import rules, store
from sill.runs.store import RUNS
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.scheduler.rules import Scheduler
from sill.scheduler.types import (
    AcceleratorType,
    Cluster,
    Ended,
    Event,
    Job,
    Node,
    Observed,
    Running,
    Slot,
    Start,
    Stopped,
    Submitted,
    Withdrawn,
)
from sill.stores.database import Database
from sill.stores.database.chain import read_head
from sill.stores.log import events_after

NODE = "local"
ACCELERATORS = "accelerators"
"""Type of the local machine's devices; what they are does not matter where all are alike."""
KINDS = ("run.submitted", "run.started", "run.retried", "run.finished", "run.failed", "run.cancelled")
EVENTS_AT_ONCE = 1_000
LEARNED_MAX = 500
"""Run times of so many runs that ended before are learned at the start."""


class Board:
    """Runs as the scheduler sees them."""

    def __init__(self, database: Database, clock: Clock, capacity: Capacity) -> None:
        self._database = database
        self._clock = clock
        self._scheduler = Scheduler(cluster_of(capacity))
        self._attempts: dict[str, int] = {}
        """The attempt of each run that runs, as the runs count them."""
        self._seq = -1
        self._noted_at = -2
        self._noted: dict[tuple[str, str], str] = {}
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Take in what was committed since the last time."""
        async with self._lock:
            if self._seq < 0:
                self._seq, runs, ended = await self._database.read(_beginning)
                for run in ended:
                    self._take(Observed(job=job_of(run), runtime_s=(run.ended_us - run.started_us) / 1e6))
                for run in runs:
                    self._see(run)
            more = True
            while more:
                since = self._seq
                self._seq, changed, more = await self._database.read(lambda connection: _since(connection, since))  # noqa: B023
                for run_id, found in changed.items():
                    if found is None:
                        self._gone(run_id, is_success=False)
                    else:
                        self._see(found)

    def decide(self) -> list[tuple[str, str]]:
        """Runs to start now, with their projects, in order. They hold their places; say `take_back` of one not started."""
        entries = self._scheduler.state.entries
        found = [
            (entries[each.job_id].job.queue, each.job_id)
            for each in self._scheduler.decide(self._clock.now_us())
            if isinstance(each, Start)
        ]
        for _, run_id in found:
            self._attempts[run_id] = 0  # until it is committed
        return found

    def started(self, run: Run) -> None:
        """The start of an attempt was committed."""
        self._attempts[run.id] = run.attempt

    async def take_back(self, project: str, run_id: str) -> None:
        """The start could not be committed: look at the run as it is."""
        run = await self._database.read(lambda connection: RUNS.find(connection, project, run_id))
        if run is None:
            self._gone(run_id, is_success=False)
        elif run.state is RunState.QUEUED:
            self._stopped(run)
        else:
            self._see(run)

    def why(self, run_id: str) -> str:
        """Why a run waits, and when it starts once forecasts have proved right; empty if it does not wait."""
        if not self._scheduler.is_waiting(run_id):
            return ""
        text = self._scheduler.explain(run_id).text
        start = self._scheduler.forecast(run_id)
        if start is None or not start.is_calibrated:
            return text
        return f"{text}; starts between {iso(start.low_us)} and {iso(start.high_us)}, four times of five"

    def new_reasons(self, most: int) -> dict[tuple[str, str], str]:
        """Why the first runs wait, by project and run; only what is new since the last time, and nothing if nothing
        happened since."""
        if self._noted_at == self._seq:
            return {}
        self._noted_at = self._seq
        entries = self._scheduler.state.entries
        reasons = {
            (entries[run_id].job.queue, run_id): self._scheduler.explain(run_id).text
            for run_id in self._scheduler.waiting(most)[:most]
        }
        new = {key: text for key, text in reasons.items() if self._noted.get(key) != text}
        self._noted = reasons
        return new

    def check_possible(self, project: str, spec: RunSpec) -> None:
        """Refuse at submission what could never start.

        Raises:
            Refused: it asks for more than there is.
            InvalidValue: it asks for a part of several devices.
        """
        self._scheduler.check_possible(job_of(Run(id="", project=project, spec=spec, state=RunState.QUEUED)))

    def _see(self, run: Run) -> None:
        """Bring the scheduler in step with one run."""
        is_known = run.id in self._scheduler.state.entries
        is_running = run.id in self._scheduler.state.running
        if run.state.is_final or run.kind not in rules.KINDS:
            self._gone(run.id, is_success=run.state is RunState.FINISHED)
        elif run.state is RunState.RUNNING:
            if not is_running:
                self._take(_running(run))
            self._attempts[run.id] = run.attempt
        elif not is_known:
            self._take(Submitted(job=job_of(run)))
        elif is_running and 0 < self._attempts.get(run.id, 0) < run.attempt:
            self._stopped(run)

    def _stopped(self, run: Run) -> None:
        attempt = self._scheduler.attempt(run.id) if run.id in self._scheduler.state.entries else 0
        self._attempts.pop(run.id, None)
        self._take(Stopped(job_id=run.id, attempt=attempt, not_before_us=run.not_before_us))

    def _gone(self, run_id: str, *, is_success: bool) -> None:
        self._attempts.pop(run_id, None)
        if run_id in self._scheduler.state.running:
            self._take(Ended(job_id=run_id, attempt=self._scheduler.attempt(run_id), is_success=is_success))
        elif run_id in self._scheduler.state.entries:
            self._take(Withdrawn(job_id=run_id))

    def _take(self, event: Event) -> None:
        self._scheduler.take(event, self._clock.now_us())


def cluster_of(capacity: Capacity) -> Cluster:
    """The machine of a local engine."""
    count = int(capacity.accelerators)
    node = Node(
        name=NODE,
        cpus=capacity.cpus,
        memory_bytes=capacity.memory_bytes,
        accelerators={ACCELERATORS: count} if count else {},
    )
    return Cluster(nodes=(node,), types=(AcceleratorType(name=ACCELERATORS),))


def job_of(run: Run) -> Job:
    """What the scheduler needs to know of a run. Scripts are not stopped for others: nobody knows what they would lose."""
    needs: Resources = run.spec.resources
    return Job(
        id=run.id,
        queue=run.project,
        user=run.actor,
        workers=needs.workers,
        cpus=needs.cpus,
        memory_bytes=needs.memory_bytes,
        accelerators=needs.accelerators,
        level="node",
        priority=run.spec.priority,
        submitted_us=run.created_us,
        not_before_us=run.not_before_us,
        template=rules.training_of(run.spec) or run.name,
        preemptible=False,
    )


def _running(run: Run) -> Running:
    needs = run.spec.resources
    slots = (Slot(NODE, needs.workers),)
    accelerator = ACCELERATORS if needs.accelerators else ""
    return Running(job=job_of(run), attempt=1, slots=slots, accelerator=accelerator, started_us=run.started_us)


def _beginning(connection: Connection) -> tuple[int, list[Run], list[Run]]:
    """The head of the log, all runs that wait or run, and some that ended well, the oldest first."""
    head = read_head(connection)[0]
    active = sorted(store.active(connection), key=lambda run: (run.created_us, run.id))
    return head, active, store.ended_well(connection, LEARNED_MAX)


def _since(connection: Connection, seq: int) -> tuple[int, dict[str, Run | None], bool]:
    """How far the log was read, the runs it named as they are now, and whether there is more."""
    head = read_head(connection)[0]
    if head <= seq:
        return seq, {}, False
    found = events_after(connection, seq, "", KINDS, EVENTS_AT_ONCE, up_to=head)
    named = {event.subject: event.project for event in found if event.data.get("kind") in rules.KINDS}
    changed = {run_id: RUNS.find(connection, project, run_id) for run_id, project in named.items()}
    is_more = len(found) == EVENTS_AT_ONCE
    return (found[-1].seq if is_more else head), changed, is_more
