"""Budgets over the runs that hold places: what was spent is read from the database, what runs will come to is predicted."""

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection

from sill.core.clock import Clock
from sill.costs.types import Cost, Usage
from sill.queues.rules import month_start_us
from sill.queues.types import Declared
from sill.runs.budgets import NOTHING, Amount, Budgets, Holder, Refusal, amount_of
from sill.runs.types import Resources
from sill.scheduler.rules import Scheduler
from sill.scheduler.types import Job
from sill.stores.database import Database

SPENT_S = 5.0
"""What was spent is read again when something was committed, and at least this often."""


class Meters(Protocol):
    """What is needed of costs."""

    def price(self, usage: Usage) -> Cost: ...

    def spent(self, connection: Connection, since_us: int) -> dict[str, tuple[float, float, float]]: ...


class Spending:
    """The budgets of the queues, and the scheduler's jobs against them."""

    def __init__(self, database: Database, clock: Clock, costs: Meters, scheduler: Scheduler) -> None:
        self._database = database
        self._clock = clock
        self._costs = costs
        self._scheduler = scheduler
        self._budgets = Budgets(costs.price)
        self._declared = Declared()
        self._seen: dict[str, Amount] = {}
        """What running runs were seen to come to."""
        self._spent_at = (-1, 0)

    @property
    def is_needed(self) -> bool:
        """True if any queue has a budget."""
        return self._budgets.is_needed

    def declare(self, declared: Declared, queue_of: Callable[[str], str]) -> None:
        """Take what is declared.

        Args:
            queue_of: the queue of a project.
        """
        self._declared = declared
        self._budgets.declare(declared, queue_of)
        self._spent_at = (-1, 0)

    async def measure(self, seq: int) -> None:
        """Read what was spent this month, if that may have changed.

        Args:
            seq: how far the log was read.
        """
        now_us = self._clock.now_us()
        last_seq, at_us = self._spent_at
        if last_seq == seq and 0 <= now_us - at_us < SPENT_S * 1e6:
            return
        self._spent_at = (seq, now_us)
        since_us = month_start_us(now_us)
        self._budgets.measure(now_us, await self._database.read(lambda c: self._costs.spent(c, since_us)))

    def note_use(self, run_id: str, usage: Usage) -> None:
        """What a running run has used so far."""
        if self.is_needed:
            self._seen[run_id] = amount_of(self._costs.price(usage))

    def forget(self, run_id: str) -> None:
        """Its attempt is over."""
        self._seen.pop(run_id, None)

    def refusal(self, run_id: str) -> Refusal | None:
        """Why a run that was just given its place may not have it; None if it may."""
        if not self.is_needed:
            return None
        job = self._scheduler.job(run_id)
        others = [each for each in self._holders() if each.run_id != run_id]
        return self._budgets.refusal(
            job.queue, self._budgets.rate(needs_of(job)), self._scheduler.left_s(run_id), others
        )

    def passing(self) -> dict[str, Refusal]:
        """Runs that have to be stopped now, so that no budget is passed, each with the reason."""
        return self._budgets.passing(self._holders()) if self.is_needed else {}

    def spent(self) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
        """Of each queue that has one, its budget, and what it has come to with what runs now."""
        holders = self._holders()
        return {
            queue.name: (queue.budget, self._budgets.spent(queue.name, holders))
            for queue in self._declared.queues
            if queue.budget
        }

    def _holders(self) -> list[Holder]:
        if not self.is_needed:
            return []
        return [self._holder(job, started_us) for job, started_us in self._scheduler.running()]

    def _holder(self, job: Job, started_us: int) -> Holder:
        return Holder(
            run_id=job.id,
            queue=job.queue,
            had_s=max(self._clock.now_us() - started_us, 0) / 1e6,
            left_s=self._scheduler.left_s(job.id),
            rate=self._budgets.rate(needs_of(job)),
            seen=self._seen.get(job.id, NOTHING),
        )


def needs_of(job: Job) -> Resources:
    """What the job asks for, in the runs' words."""
    workers = max(job.workers, job.max_workers)
    return Resources(
        cpus=job.cpus,
        memory_bytes=job.memory_bytes,
        accelerators=job.accelerators,
        accelerator_types=job.types,
        workers=workers,
    )
