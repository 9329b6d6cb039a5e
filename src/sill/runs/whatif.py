"""What-ifs over the platform's runs: the live state forked, or the past read from the database and simulated again."""

import asyncio
import math
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from sill.core.actors import ANY, Actor
from sill.core.clock import Clock
from sill.core.errors import Forbidden, InvalidValue
from sill.core.settings import Settings
from sill.governance.rules import require
from sill.queues.rules import in_force
from sill.runs import store
from sill.runs.board import Board
from sill.runs.budgets import GIB, full_use
from sill.runs.jobs import job_of
from sill.runs.spending import Meters, needs_of
from sill.runs.types import Run
from sill.scheduler.rules import Change, compare_now, compare_past
from sill.scheduler.simulation.types import Bill, Outcome, QueueDifference, Report, WhatIf, WhatIfReport
from sill.scheduler.types import Job
from sill.stores.database import Database

LAST_S_MAX = 366 * 24 * 3600.0
RUNS_MAX = 20_000
"""So many runs of the past are simulated at most, the newest."""


class WhatIfs:
    """Answers what would be otherwise. Nothing is changed by it."""

    def __init__(self, database: Database, clock: Clock, board: Board, costs: Meters, settings: Settings) -> None:
        self._database = database
        self._clock = clock
        self._board = board
        self._costs = costs
        self._settings = settings

    async def ask(self, actor: Actor, asked: WhatIf) -> WhatIfReport:
        """What waits, cost and carbon would be.

        Raises:
            InvalidValue: what is to be added, or the time, means nothing.
            NotFound: there is no such policy.
        """
        require(actor, "queues:read")
        if ANY not in actor.projects:
            raise Forbidden(f"{actor.id} may not do this: it looks at all projects' runs.", fix="Ask an operator.")
        if not math.isfinite(asked.last_s) or not 0 <= asked.last_s <= LAST_S_MAX:
            raise InvalidValue(f"last_s {asked.last_s} is outside 0 to {LAST_S_MAX:g}.", field="last_s")
        await self._board.refresh()
        scheduler = self._board.scheduler
        change = Change(asked.add, asked.policy)
        if not asked.last_s:
            jobs = {job.id: job for job in scheduler.jobs()}
            before, after = await asyncio.to_thread(compare_now, *scheduler.fork_for(change))
            return self._report(asked, before, after, jobs, 0.0)
        since_us = self._clock.now_us() - round(asked.last_s * 1e6)
        runs = await self._database.read(lambda connection: _past(connection, since_us))
        past = [(job_of(run, self._board.queue_of(run.project)), run.usage.wall_s) for run in runs]
        queues = in_force(self._board.declared, self._clock.now_us(), self._board.resources)
        before, after = await asyncio.to_thread(compare_past, scheduler, queues, past, change)
        waits = [max(run.ended_us - run.created_us, 0) / 1e6 - run.usage.wall_s for run in runs]
        waited_s = sum(waits) / len(waits) if waits else 0.0
        return self._report(asked, before, after, {job.id: job for job, _ in past}, waited_s)

    def _report(
        self,
        asked: WhatIf,
        before: tuple[Outcome, Report],
        after: tuple[Outcome, Report],
        jobs: dict[str, Job],
        waited_s: float,
    ) -> WhatIfReport:
        return WhatIfReport(
            asked=asked,
            before=before[1],
            after=after[1],
            bill_before=self._bill(before[0], jobs),
            bill_after=self._bill(after[0], jobs),
            queues=tuple(_by_queue(before[0], after[0])),
            waited_mean_s=waited_s,
            added_usd_per_h=self._per_hour(asked.add),
        )

    def _bill(self, outcome: Outcome, jobs: dict[str, Job]) -> Bill:
        """What the runs come to; work that was lost and done again counts twice."""
        usd = wh = grams = 0.0
        for record in outcome.records:
            job, held_s = jobs[record.id], record.runtime_s + record.lost_s
            needs = msgspec.structs.replace(needs_of(job), workers=job.workers)
            cost = self._costs.price(full_use(needs, held_s))
            usd, wh, grams = usd + cost.usd, wh + cost.energy_wh, grams + cost.carbon_g
        return Bill(usd=usd, energy_kwh=wh / 1e3, carbon_kg=grams / 1e3)

    def _per_hour(self, add: dict[str, float]) -> float:
        prices = {"cpus": self._settings.price_usd_per_cpu_h, "memory_bytes": self._settings.price_usd_per_gib_h / GIB}
        return sum(amount * prices.get(name, self._settings.price_usd_per_gpu_h) for name, amount in add.items())


def _past(connection: Connection, since_us: int) -> list[Run]:
    found = store.ended_since(connection, since_us, RUNS_MAX)
    return [run for run in found if run.usage.wall_s > 0]


def _by_queue(before: Outcome, after: Outcome) -> Sequence[QueueDifference]:
    first, second = _waits(before), _waits(after)
    return [
        QueueDifference(
            name=name, jobs=len(waits), wait_before_s=_mean(waits), wait_after_s=_mean(second.get(name, []))
        )
        for name, waits in sorted(first.items())
    ]


def _waits(outcome: Outcome) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in outcome.records:
        found.setdefault(record.queue, []).append(record.wait_s)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
