"""Keeps as many replicas running as a gateway wants, as runs: queued, placed, metered and priced like all work."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sill.core.actors import PLATFORM
from sill.core.clock import Clock
from sill.core.errors import Conflict, SillError
from sill.core.settings import Settings, replica_bounds
from sill.governance.service import Governance
from sill.governance.types import Project
from sill.runs.service import Runs
from sill.runs.types import SERVE, Resources, Run, RunSpec, RunState
from sill.traffic.replicas import Replicas

PROJECT = "sill-serving"
"""Whose runs replicas are. Its queue's quota and guarantee are theirs."""
LOOK_S = 1.0
AGE_US_MAX = 5 * 24 * 3600 * 1_000_000
"""A replica is replaced after so long: a run's token is good for a week."""
SHORT_S = 60.0
"""One that ended earlier than this by itself is not replaced at once."""
PAUSE_S, PAUSE_S_MAX = 1.0, 60.0
STUCK_S, START_S_MAX = 20.0, 120.0
"""One that runs and has said nothing for so long is ended; the longer time is for one that has never said anything."""
PRIORITY = 100
"""Someone waits for answers: replicas go before other work of the same queue."""

_log = logging.getLogger("sill.replicas")


class Change(NamedTuple):
    """How many runs to submit, and which to cancel."""

    more: int
    ends: tuple[str, ...]


def decide(runs: Sequence[Run], wanted: int, present: Collection[str], renewed_us: int) -> Change:
    """What brings the replicas to what is wanted. Pure.

    Of too many the waiting ones end first, then the youngest. Replicas that are to be replaced go one by one: a new one
    is asked for beside them, and an old one ends when so many are there without it.

    Args:
        runs: those that wait, start or answer, and were not told to end.
        present: ids of those that answer.
        renewed_us: those made before are to be replaced.
    """
    old = [run for run in runs if run.created_us < renewed_us]
    fresh = [run for run in runs if run.created_us >= renewed_us]
    more = max(0, min(wanted - len(fresh), wanted + bool(old) - len(runs)))
    if sum(run.id in present for run in fresh) >= wanted:
        ends = old
    else:
        spare = sum(run.id in present for run in runs) - wanted
        ends = [run for run in old if run.id in present][: max(spare, 0)]
        ends += [run for run in old if run.state is RunState.QUEUED and not more]
    last = sorted(fresh, key=lambda run: (run.state is RunState.RUNNING, run.id in present, -run.created_us))
    ends += last[: max(len(fresh) - wanted, 0)]
    return Change(more, tuple(run.id for run in ends))


def replica_spec(settings: Settings) -> RunSpec:
    """The run that one replica is."""
    return RunSpec(
        name="replica",
        kind=SERVE,
        resources=Resources(cpus=settings.replica_cpus, memory_bytes=settings.replica_memory_bytes),
        priority=PRIORITY,
    )


class ReplicaWorker:
    """Looks each second, and submits and cancels runs."""

    def __init__(
        self, replicas: Replicas, runs: Runs, governance: Governance, clock: Clock, settings: Settings
    ) -> None:
        self._replicas = replicas
        self._runs = runs
        self._governance = governance
        self._clock = clock
        self._spec = replica_spec(settings)
        bounds = replica_bounds(settings.replicas) if settings.has_replica_runs else None
        self._least, self._most = bounds or (0, 0)
        self._known: dict[str, int] = {}
        """Runs that were there at the last look: when each was made."""
        self._awaited: set[str] = set()
        """Those that have not answered yet."""
        self._heard_s: dict[str, float] = {}
        self._pause_s = self._not_before_s = 0.0

    async def run(self) -> None:
        """For ever. Where no replicas are wanted, those that a former setting left are ended first."""
        has_project = False
        while True:
            try:
                if self._most and not has_project:
                    await self._make_project()
                    has_project = True
                is_over = await self.keep()
            except SillError as wrong:
                _log.warning("the replicas could not be looked after: %s", wrong)
                is_over = False
            if is_over and not self._most:
                await asyncio.Event().wait()
            await asyncio.sleep(LOOK_S)

    async def keep(self) -> bool:
        """One look; true if there is nothing to do and nothing there."""
        runs = await self._alive()
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        present = self._replicas.present
        self._time(runs, set(present), now_us)
        self._note_ended({run.id for run in runs}, now_us, now_s)
        wanted = min(max(self._replicas.wanted, self._least), self._most)
        renewed_us = max(self._replicas.renewed_us, now_us - AGE_US_MAX)
        change = decide(runs, wanted, present, renewed_us)
        ends = [*change.ends, *self._stuck(runs, present, now_s)]
        if change.more and now_s >= self._not_before_s:
            made = await self._runs.submit_many(PLATFORM, PROJECT, [self._spec] * change.more)
            self._known |= {run.id: run.created_us for run in made}
            self._awaited |= {run.id for run in made}
        for run_id in ends:
            self._known.pop(run_id, None)
            try:
                await self._runs.cancel(PLATFORM, PROJECT, run_id)
            except Conflict:
                continue  # it has ended just now
        return not runs

    async def _alive(self) -> list[Run]:
        found: list[Run] = []
        for state in (RunState.QUEUED, RunState.RUNNING):
            page = await self._runs.runs(PLATFORM, PROJECT, kind=SERVE, state=state)
            found += [run for run in page.items if not run.is_stopping]
        return found

    def _time(self, runs: Sequence[Run], present: Collection[str], now_us: int) -> None:
        """Note how long the newest took, from being asked for to being there."""
        for run in runs:
            if run.id in present and run.id in self._awaited:
                self._awaited.discard(run.id)
                self._replicas.ready_s = (now_us - run.created_us) / 1e6
        self._awaited &= {run.id for run in runs}

    def _stuck(self, runs: Sequence[Run], present: Collection[str], now_s: float) -> list[str]:
        """Those that run and are silent for too long. What is waited for began when this process first saw them run."""
        running = {run.id for run in runs if run.state is RunState.RUNNING}
        self._heard_s = {each: now_s if each in present else self._heard_s.get(each, now_s) for each in running}
        bounds_s = {each: START_S_MAX if each in self._awaited else STUCK_S for each in running}
        return [each for each in running if now_s - self._heard_s[each] > bounds_s[each]]

    def _note_ended(self, alive: Collection[str], now_us: int, now_s: float) -> None:
        """Wait longer and longer before what ends by itself, soon after it was made, is made again."""
        for run_id, created_us in list(self._known.items()):
            if run_id in alive:
                continue
            del self._known[run_id]
            is_short = now_us - created_us < SHORT_S * 1e6
            self._pause_s = min(max(2 * self._pause_s, PAUSE_S), PAUSE_S_MAX) if is_short else 0.0
            self._not_before_s = now_s + self._pause_s
            _log.warning("replica %s has ended; another one follows in %.0f s", run_id, self._pause_s)

    async def _make_project(self) -> None:
        note = "Replicas of the inference plane, made by itself."
        try:
            await self._governance.create_project(PLATFORM, Project(project=PROJECT, note=note))
        except Conflict:
            _log.debug("project %s is there", PROJECT)
