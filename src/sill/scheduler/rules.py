"""Which waiting runs start now. Pure: the same snapshot gives the same plan, with a reason for each run that waits.

Runs are taken in the order of their priority, then of their submission; one that has waited very long comes first of
all. A gang starts whole or not at all. A later run may overtake a blocked one at first; once that has lost patience,
what it is short of is kept for it, so that nobody waits for ever.
Source of the idea: Lifka, "The ANL/IBM SP scheduling system", 1995 (EASY); without run times, patience bounds it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sill.core.clock import iso
from sill.core.errors import Refused
from sill.scheduler.types import Capacity, Plan, RunningRun, Snapshot, WaitingRun

PATIENCE_S = 60.0
"""How long later runs may overtake the first blocked one."""
STARVED_S = 3600.0
"""A run that has waited this long comes before all others, whatever their priority."""

_ROUNDING = 1e-9  # sums of fractions of cpus


def decide(snapshot: Snapshot, now_us: int) -> Plan:
    """The runs to start now, in order, and the reason each other one waits.

    Promises: what runs and what is started never exceeds the capacity, nor a project's quota (unless what runs does so
    already); every waiting run is either started or has a reason.
    """
    passing = _Pass(snapshot)
    for run in sorted(snapshot.waiting, key=lambda one: _order(one, now_us)):
        passing.judge(run, now_us)
    return Plan(start=tuple(passing.start), reasons=passing.reasons)


def check_possible(need: Capacity, capacity: Capacity, quota: Capacity | None = None) -> None:
    """Refuse at submission what could never start.

    Raises:
        Refused: it needs more than there is, or than the project may use.
    """
    for bound, whose in ((capacity, "there are"), (quota, "the project may use")):
        over = None if bound is None else _shortage(need, bound, [])
        if over is not None:
            raise Refused(
                f"the run needs {over.need}, {whose} {over.total} in all; it could never start.",
                fix="Ask for less, or for fewer workers.",
                field=f"resources.{over.resource}",
            )


class _Short(NamedTuple):
    """One resource there is too little of, in words."""

    resource: str
    need: str
    free: str
    total: str


class _Pass:
    """One walk over the waiting runs."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.start: list[str] = []
        self.reasons: dict[str, str] = {}
        self._capacity = snapshot.capacity
        self._quotas = snapshot.quotas
        self._used = _sum(snapshot.running)
        self._used_by: dict[str, _Holds] = {
            project: _sum(run for run in snapshot.running if run.project == project) for project in snapshot.quotas
        }
        self._kept: WaitingRun | None = None
        self._before = 0

    def judge(self, run: WaitingRun, now_us: int) -> None:
        """Start the run, or note why it waits."""
        if run.not_before_us > now_us:
            self.reasons[run.id] = f"waits until {iso(run.not_before_us)} before it is tried again"
            return
        reason = self._over_quota(run) or self._over_capacity(run, now_us)
        if reason:
            ahead = f"; {self._before} {'run' if self._before == 1 else 'runs'} before it" if self._before else ""
            self.reasons[run.id] = reason + ahead
            self._before += 1
            return
        self.start.append(run.id)
        self._used = _sum([self._used, run])
        if run.project in self._quotas:
            self._used_by[run.project] = _sum([self._used_by[run.project], run])

    def _over_quota(self, run: WaitingRun) -> str:
        quota = self._quotas.get(run.project)
        short = None if quota is None else _shortage(run, quota, [self._used_by[run.project]])
        if short is None:
            return ""
        return f"needs {short.need}, {short.free} of project {run.project!r}'s quota of {short.total} are free"

    def _over_capacity(self, run: WaitingRun, now_us: int) -> str:
        short = _shortage(run, self._capacity, [self._used])
        if short is not None:
            if self._kept is None and now_us - _since_us(run) >= PATIENCE_S * 1e6:
                self._kept = run
            return f"needs {short.need}, {short.free} of {short.total} are free"
        if self._kept is not None and _shortage(run, self._capacity, [self._used, self._kept]) is not None:
            return f"would fit, but what is free is kept for {self._kept.id}, which has waited long"
        return ""


_Holds = WaitingRun | RunningRun | Capacity
_ROUNDING = 1e-9  # sums of fractions of cpus


def _order(run: WaitingRun, now_us: int) -> tuple[bool, int, int, str]:
    is_starved = now_us - _since_us(run) >= STARVED_S * 1e6
    return (not is_starved, 0 if is_starved else -run.priority, run.submitted_us, run.id)


def _since_us(run: WaitingRun) -> int:
    """From when it could have started."""
    return max(run.submitted_us, run.not_before_us)


def _shortage(need: _Holds, total: Capacity, held: Iterable[_Holds]) -> _Short | None:
    """The first resource that `need` asks for and that is too little free, or None if it fits."""
    used = _sum(held)
    free_cpus, free_accelerators = total.cpus - used.cpus, total.accelerators - used.accelerators
    free_bytes = total.memory_bytes - used.memory_bytes
    if need.cpus > max(free_cpus, 0) + _ROUNDING:
        return _Short("cpus", f"{need.cpus:g} cpus", _is(free_cpus), f"{total.cpus:g}")
    if need.accelerators > max(free_accelerators, 0) + _ROUNDING:
        wanted = f"{need.accelerators:g} accelerators"
        return _Short("accelerators", wanted, _is(free_accelerators), f"{total.accelerators:g}")
    if need.memory_bytes > max(free_bytes, 0):
        wanted = f"{_gib(need.memory_bytes)} GiB of memory"
        return _Short("memory_bytes", wanted, _gib(max(free_bytes, 0)), f"{_gib(total.memory_bytes)}")
    return None


def _sum(held: Iterable[_Holds]) -> Capacity:
    every = list(held)
    return Capacity(
        cpus=round(sum(one.cpus for one in every), 9),
        memory_bytes=sum(one.memory_bytes for one in every),
        accelerators=round(sum(one.accelerators for one in every), 9),
    )


def _is(amount: float) -> str:
    return f"{max(amount, 0):g}"


def _gib(amount_bytes: int) -> str:
    return f"{amount_bytes / 1024**3:.3g}"
