"""The snapshot a decision is made on, and the plan it comes to."""

from sill.core.values import Value


class Capacity(Value, frozen=True, kw_only=True):
    """What an engine has, or what is free of it."""

    cpus: float
    memory_bytes: int
    accelerators: float = 0.0


class WaitingRun(Value, frozen=True, kw_only=True):
    """A run that wants to start. Resources are for the whole gang."""

    id: str
    project: str
    priority: int
    submitted_us: int
    not_before_us: int
    cpus: float
    memory_bytes: int
    accelerators: float = 0.0


class RunningRun(Value, frozen=True, kw_only=True):
    """A run that holds resources."""

    id: str
    project: str
    cpus: float
    memory_bytes: int
    accelerators: float = 0.0


class Snapshot(Value, frozen=True, kw_only=True):
    """All that a decision may look at."""

    capacity: Capacity
    waiting: tuple[WaitingRun, ...]
    running: tuple[RunningRun, ...]
    quotas: dict[str, Capacity] = {}


class Plan(Value, frozen=True, kw_only=True):
    """Runs to start now, in order, and the reason each other one waits."""

    start: tuple[str, ...]
    reasons: dict[str, str]
