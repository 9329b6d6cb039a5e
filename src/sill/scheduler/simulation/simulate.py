"""Runs a workload through `decide`, with a heap of what happens next in place of machines.

The simulator knows what the scheduler does not: run times. A stopped job does again what it lost since its last checkpoint
and pays `restart_s` at its next start; devices are held meanwhile. A gang whose workers are apart runs as much slower as
the workload says. Equal times are decided on once.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from sill.scheduler.decide import choose
from sill.scheduler.elastic import sizes_of
from sill.scheduler.folding import happen
from sill.scheduler.simulation.meter import Meter
from sill.scheduler.simulation.types import Outcome, Record, Workload
from sill.scheduler.state import State
from sill.scheduler.types import (
    Action,
    Ended,
    Event,
    Job,
    Policy,
    Preempt,
    Resize,
    Slot,
    Start,
    Step,
    Stopped,
    Submitted,
    Tick,
)

SECOND_US = 1_000_000
HORIZON_S = 100 * 365 * 24 * 3600.0
"""No workload is followed longer than this."""
STUCK_WAKES_MAX = 10_000
"""So many times in a row may time pass without anything happening."""


class _Life:
    """What the simulator knows of one job."""

    __slots__ = (
        "accelerator",
        "attempt",
        "began_us",
        "ended_us",
        "ends",
        "held",
        "job",
        "left_us",
        "lost_us",
        "preemptions",
        "resizes",
        "slow",
        "slowdowns",
        "slowed_us",
        "speed",
        "started_us",
        "total_us",
    )

    def __init__(self, job: Job, runtime_s: float, slowdowns: dict[str, float]) -> None:
        self.job = job
        self.slowdowns = slowdowns
        self.slow = 1.0
        """How many times slower it runs where it is."""
        self.slowed_us = 0
        self.speed = 1.0
        """How many times as fast as with `Job.workers` an elastic gang runs with those it has."""
        self.held = 0.0
        """Devices it holds."""
        self.total_us = max(round(runtime_s * SECOND_US), 1)
        self.left_us = self.total_us
        self.attempt = 0
        self.accelerator = ""
        self.began_us = -1
        self.started_us = -1
        self.ended_us = -1
        self.ends = -1
        """Number of the end that is expected."""
        self.preemptions = self.resizes = 0
        self.lost_us = 0


class Simulation:
    """One workload under one policy.

    Args:
        timer: seconds from a monotonic clock, to measure decisions; none is measured without.
        observe: called after each decision with the state and the actions.
    """

    def __init__(
        self,
        workload: Workload,
        policy: Policy,
        *,
        timer: Callable[[], float] | None = None,
        observe: Callable[[State, list[Action]], None] | None = None,
        horizon_s: float = HORIZON_S,
        keep_journal: bool = False,
    ) -> None:
        self.state = State(workload.cluster, policy, workload.queues)
        self.journal: list[Step] = []
        slowdowns = workload.slowdowns or ({},) * len(workload.jobs)
        self._lives = {
            job.id: _Life(job, runtime_s, slower)
            for job, runtime_s, slower in zip(workload.jobs, workload.runtimes_s, slowdowns, strict=True)
        }
        self._arrivals = sorted(workload.jobs, key=lambda job: job.submitted_us)
        self._next = 0
        self._others = workload.events
        self._next_other = 0
        self._ends: list[tuple[int, int, str, int]] = []
        self._stops: list[Stopped] = []
        self._timer = timer
        self._observe = observe
        self._horizon_us = round(horizon_s * SECOND_US)
        self._keeps = keep_journal
        self._number = 0
        self._meter = Meter(workload)
        self._events = self._decisions = self._actions = 0
        self._slowest_s = 0.0

    def run(self) -> Outcome:
        """Until nothing more can happen."""
        idle = 0
        while (now_us := self._next_us()) >= 0 and now_us <= self._horizon_us and idle < STUCK_WAKES_MAX:
            expected = len(self._ends)
            events = list(self._due(now_us))
            idle = 0 if events or len(self._ends) < expected else idle + 1  # ends of stopped attempts come to nothing
            self._decide(events or [Tick()], now_us)
        return self._outcome()

    def _next_us(self) -> int:
        """When something happens next; -1 when nothing will."""
        if self._stops:
            return self.state.now_us
        times = []
        if self._next < len(self._arrivals):
            times.append(self._arrivals[self._next].submitted_us)
        if self._ends:
            times.append(self._ends[0][0])
        if self._next_other < len(self._others) and (times or self.state.entries):
            times.append(self._others[self._next_other][0])
        if self.state.wake_us and (times or self.state.entries):
            times.append(max(self.state.wake_us, self.state.now_us))
        return min(times, default=-1)

    def _due(self, now_us: int) -> Iterator[Event]:
        yield from self._stops
        self._stops = []
        while self._ends and self._ends[0][0] <= now_us:
            _, number, job_id, attempt = heappop(self._ends)
            life = self._lives[job_id]
            if life.ends == number and life.began_us >= 0:
                self._meter.add(life.accelerator, life.held, life.began_us, now_us)
                life.slowed_us += round(life.left_us / life.speed * (life.slow - 1))
                life.began_us, life.left_us, life.ended_us = -1, 0, now_us
                yield Ended(job_id=job_id, attempt=attempt)
        while self._next_other < len(self._others) and self._others[self._next_other][0] <= now_us:
            yield self._others[self._next_other][1]
            self._next_other += 1
        while self._next < len(self._arrivals) and self._arrivals[self._next].submitted_us <= now_us:
            yield Submitted(job=self._arrivals[self._next])
            self._next += 1

    def _decide(self, events: list[Event], now_us: int) -> None:
        began = self._timer() if self._timer else 0.0
        for event in events:
            happen(self.state, event, now_us)
        actions = choose(self.state)
        if self._timer:
            self._slowest_s = max(self._slowest_s, self._timer() - began)
        if self._keeps:
            self.journal += [Step(now_us, event, is_decided=False) for event in events[:-1]]
            self.journal.append(Step(now_us, events[-1], tuple(actions)))
        self._events += len(events)
        self._decisions += 1
        self._actions += len(actions)
        for action in actions:
            if isinstance(action, Start):
                self._start(action, now_us)
            elif isinstance(action, Preempt):
                self._stop(action, now_us)
            elif isinstance(action, Resize):
                self._resize(action, now_us)
        if self._observe:
            self._observe(self.state, actions)

    def _start(self, action: Start, now_us: int) -> None:
        life = self._lives[action.job_id]
        life.attempt, life.accelerator = action.attempt, action.accelerator
        if life.started_us < 0:
            life.started_us = now_us
        self._seat(life, action.slots, now_us)

    def _seat(self, life: _Life, slots: tuple[Slot, ...], now_us: int) -> None:
        """It runs there from now on, at that pace."""
        job = life.job
        workers = sum(slot.workers for slot in slots)
        life.began_us = now_us
        life.held = workers * (job.accelerators or job.cpus)
        life.speed = 1.0 if workers == job.workers else dict(sizes_of(job))[workers]
        life.slow = self._slowdown(life.slowdowns, slots) if life.slowdowns else 1.0
        self._number += 1
        life.ends = self._number
        ends_us = now_us + self._restart_us(life) + round(life.left_us / life.speed * life.slow)
        heappush(self._ends, (ends_us, self._number, job.id, life.attempt))

    def _resize(self, action: Resize, now_us: int) -> None:
        life = self._lives[action.job_id]
        life.left_us = max(life.left_us - self._leave(life, now_us), 1)
        life.resizes += 1
        self._seat(life, action.slots, now_us)

    def _leave(self, life: _Life, now_us: int) -> int:
        """It stops where it is; the work it did there, in microseconds at the pace of `Job.workers`."""
        ran_us = max(now_us - life.began_us - self._restart_us(life), 0)
        worked_us = round(ran_us * life.speed / life.slow)
        life.slowed_us += round(ran_us * (1 - 1 / life.slow))
        self._meter.add(life.accelerator, life.held, life.began_us, now_us)
        return worked_us

    def _stop(self, action: Preempt, now_us: int) -> None:
        life = self._lives[action.job_id]
        worked_us = self._leave(life, now_us)
        lost_us = self._lost_us(life, worked_us)
        life.left_us -= worked_us - lost_us
        life.lost_us += lost_us
        life.preemptions += 1
        life.began_us = -1
        self._stops.append(Stopped(job_id=action.job_id, attempt=action.attempt, lost_s=lost_us / SECOND_US))

    def _slowdown(self, slowdowns: dict[str, float], slots: tuple[Slot, ...]) -> float:
        """How many times slower a gang runs on these nodes."""
        ledger = self.state.ledger
        places = [(*ledger.machines[at].domains, at) for at in (ledger.by_name[slot.node] for slot in slots)]
        names = (*ledger.levels, "node")
        apart = (name for at, name in enumerate(names) if any(place[at] != places[0][at] for place in places))
        return max((slowdowns.get(name, 1.0) for name in apart), default=1.0)

    def _restart_us(self, life: _Life) -> int:
        pays = life.attempt > 1 or (self.state.policy.elastic and life.job.max_workers)
        return round(life.job.restart_s * SECOND_US) if pays else 0

    def _lost_us(self, life: _Life, worked_us: int) -> int:
        if not life.job.can_checkpoint:
            return worked_us
        every_us = round(life.job.checkpoint_every_s * SECOND_US)
        return worked_us % every_us if every_us else 0

    def _outcome(self) -> Outcome:
        machines = self.state.ledger.machines
        devices = sum(sum(machine.spec.accelerators.values()) for machine in machines)
        done = [life for life in self._lives.values() if life.ended_us >= 0]
        return Outcome(
            policy=self.state.policy.name,
            records=tuple(_record(life) for life in done),
            left=len(self._lives) - len(done),
            devices=devices or sum(machine.spec.cpus for machine in machines),
            busy_s=self._meter.busy_us / SECOND_US,
            events=self._events,
            decisions=self._decisions,
            actions=self._actions,
            slowest_s=self._slowest_s,
            usd=self._meter.usd,
            energy_wh=self._meter.energy_wh,
            carbon_g=self._meter.carbon_g,
        )


def simulate(workload: Workload, policy: Policy) -> Outcome:
    """What comes of the workload under the policy."""
    return Simulation(workload, policy).run()


def _devices(job: Job) -> float:
    return job.workers * (job.accelerators or job.cpus)


def _record(life: _Life) -> Record:
    return Record(
        life.job.id,
        life.job.queue,
        life.job.user,
        _devices(life.job),
        life.job.submitted_us / SECOND_US,
        life.started_us / SECOND_US,
        life.ended_us / SECOND_US,
        life.total_us / SECOND_US,
        life.preemptions,
        life.lost_us / SECOND_US,
        life.slowed_us / SECOND_US,
        life.resizes,
    )
