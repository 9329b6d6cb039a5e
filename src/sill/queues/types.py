"""Queues, their quotas and budgets, and what is booked for a span of time."""

from typing import Literal

from sill.core.values import Value


class QueueSpec(Value, frozen=True, kw_only=True):
    """One queue of the tree. Quantities are by resource: `cpus`, `memory_bytes`, `accelerators`, `accelerators/TYPE`.

    Attributes:
        project: always empty: queues belong to the platform, not to one project.
        parent: the queue above; empty for one directly under the root.
        projects: those whose runs wait here. A queue with queues below it has none; a project has one queue.
        guarantee: what it gets whenever it asks.
        ceiling: what it and all queues below may hold at most; no limit when absent.
        borrow: how much above its guarantee it may take of what others leave; no limit when absent.
        lend: how much of its guarantee others may use while it does not; all of it when absent.
        weight: its part of what is left after guarantees, relative to its siblings.
        priority: queues of a higher one are served first.
        half_life_s: over which past use counts in its share; 0 for present use only.
        strict: nothing overtakes its first run.
        patience_s: how long its first blocked run may be overtaken; None for the policy's.
        budget: what its runs and those below may come to in a calendar month (UTC): `usd`, `energy_kwh`, `carbon_kg`.
        when_spent: runs that would pass the budget are stopped and wait for the next month (`defer`), or are ended (`stop`).
        revision: what the change was made from; 0 for a new queue.
    """

    name: str
    project: str = ""
    parent: str = ""
    projects: tuple[str, ...] = ()
    guarantee: dict[str, float] = {}
    ceiling: dict[str, float] = {}
    borrow: dict[str, float] = {}
    lend: dict[str, float] = {}
    weight: float = 1.0
    priority: int = 0
    half_life_s: float = 0.0
    strict: bool = False
    patience_s: float | None = None
    budget: dict[str, float] = {}
    when_spent: Literal["defer", "stop"] = "defer"
    revision: int = 0


class BookingSpec(Value, frozen=True, kw_only=True):
    """Something that holds for a span of time.

    Attributes:
        project: always empty, as of queues.
        kind: `reservation`: `resources` are kept for `queue` alone; `maintenance`: `node` takes no new work.
        start_us, end_us: from when until when, in microseconds since 1970 UTC.
        note: what it is for.
    """

    name: str
    kind: Literal["reservation", "maintenance"]
    start_us: int
    end_us: int
    project: str = ""
    queue: str = ""
    resources: dict[str, float] = {}
    node: str = ""
    note: str = ""
    revision: int = 0


class Declared(Value, frozen=True, kw_only=True):
    """All that is declared, and a version that changes with every change of it."""

    queues: tuple[QueueSpec, ...] = ()
    bookings: tuple[BookingSpec, ...] = ()
    version: str = ""
