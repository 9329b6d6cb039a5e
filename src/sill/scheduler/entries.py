"""A job as the state keeps it, the lines waiting jobs stand in, and the nodes kept for one."""

from bisect import bisect_left, insort
from enum import IntEnum

from msgspec import Struct

from sill.scheduler.elastic import Sizes
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Amounts, Need, Spread
from sill.scheduler.queues import QueueNode
from sill.scheduler.types import Job, Slot

Rank = tuple[int, int, float, int, int]
"""Sorts waiting jobs: higher priority, those sent back, the order's index, earlier submission, arrival."""


class Phase(IntEnum):
    """Where a job stands. `AWAY` waits for a time, `STOPPING` still holds its place."""

    WAITING = 0
    AWAY = 1
    RUNNING = 2
    STOPPING = 3
    GONE = 4


class Entry(Struct, eq=False, gc=False):
    """One job: what it asks for, where it stands, what it has had.

    Not followed by the collector of cycles: nothing an entry holds leads back to it.

    Attributes:
        number: order of arrival.
        attained_us: work done in attempts before this one, that was not lost.
        saved_us: when the running attempt last saved its state.
        away_us: until when one that is put aside stays there.
        waiting_us: since when it could start and did not.
        lost_at: how many jobs had ended when it was stopped and lost work; -1 for never.
        for_job: for which job it was stopped the last time.
        front: -1 for one that was stopped for others: it comes before its equals.
        changes_us: when the index of the running job changes next.
        sizes: of an elastic gang, numbers of workers it may have.
        workers: of an elastic gang, those it has now.
        speed: how many times as fast as with `Job.workers` an elastic gang runs with those it has.
        pays_start: `restart_s` of the time since `started_us` is no work: elastic gangs pay it at each start and change of
            size.
        is_promised: it was promised to make its deadline.
        going_on: workers that an elastic gang goes on with, which was stopped to have another number; 0 for any.
    """

    job: Job
    need: Need
    leaf: QueueNode
    number: int
    phase: Phase = Phase.AWAY
    attempt: int = 0
    attained_us: int = 0
    started_us: int = 0
    saved_us: int = 0
    away_us: int = 0
    waiting_us: int = 0
    preemptions: int = 0
    lost_at: int = -1
    for_job: str = ""
    front: int = 0
    key: float = 0.0
    changes_us: int = 0
    rank: Rank = (0, 0, 0.0, 0, 0)
    placed: tuple[Slot, ...] = ()
    accelerator: str = ""
    amounts: Amounts = ()
    is_withdrawn: bool = False
    sizes: Sizes = ()
    workers: int = 0
    speed: float = 1.0
    pays_start: bool = False
    is_promised: bool = False
    going_on: int = 0

    @property
    def devices(self) -> float:
        """Accelerators it asks for in all; its cpus if it needs none, so that orders by service work for both."""
        return (self.need.devices or self.need.cpus * self.need.workers or MILLI) / MILLI

    def work_us(self, now_us: int) -> int:
        """Work it has had so far. The start of a later attempt costs `restart_s`, which is no work."""
        if self.phase is not Phase.RUNNING and self.phase is not Phase.STOPPING:
            return self.attained_us
        passed = now_us - self.started_us
        if self.attempt > 1 or self.pays_start:
            passed -= round(self.job.restart_s * 1e6)
        return self.attained_us + round(max(passed, 0) * self.speed)

    def starting_s(self, now_us: int) -> float:
        """Seconds of `restart_s` still to pay."""
        if self.attempt > 1 or self.pays_start:
            return max(self.job.restart_s - (now_us - self.started_us) / 1e6, 0.0)
        return 0.0

    def slot_on(self, node: str) -> Slot:
        """Its workers on a node it has some on."""
        return next(slot for slot in self.placed if slot.node == node)


class Line(Struct, eq=False, gc=False):
    """Jobs of one queue and one class of need, the best first. Where its first does not fit, none does.

    Attributes:
        barred: the queue and resource whose limit holds the line back; None if none does.
    """

    leaf: QueueNode
    need: Need
    waiting: list[tuple[Rank, Entry]] = []
    barred: tuple[QueueNode, int] | None = None

    def add(self, entry: Entry) -> None:
        """Enter a job by its rank."""
        insort(self.waiting, (entry.rank, entry))

    def remove(self, entry: Entry) -> None:
        """Take a job out."""
        waiting = self.waiting
        del waiting[0 if waiting[0][1] is entry else bisect_left(waiting, (entry.rank,))]

    @property
    def head(self) -> Entry:
        """The first; the line must not be empty."""
        return self.waiting[0][1]


class Reservation:
    """Nodes kept for one job that waits, from now until it starts there or elsewhere."""

    __slots__ = ("accelerator", "entry", "made_us", "mask", "retry_us", "slack", "spread", "start_us", "victims")

    def __init__(self, entry: Entry, accelerator: str, spread: Spread, start_us: int, now_us: int) -> None:
        self.entry = entry
        self.accelerator = accelerator
        self.spread = spread
        self.start_us = start_us
        self.made_us = now_us
        self.mask = 0
        for index, _ in spread:
            self.mask |= 1 << index
        self.slack: dict[int, tuple[int, int, int]] = {}
        """Cpus, memory and devices on each node that are free at the start and not needed by it."""
        self.retry_us = 0
        """When it is looked at again because its nodes were not free in time."""
        self.victims: set[str] = set()
        """Jobs that were asked to stop for it and have not yet."""
