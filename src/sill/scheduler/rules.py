"""The scheduler as other stages see it: hand it what happened, ask what to do, ask why. Pure; the state lives in it."""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from sill.scheduler.carbon import blend
from sill.scheduler.decide import decide
from sill.scheduler.entries import Phase
from sill.scheduler.explain import Explanation, explain, reason
from sill.scheduler.folding import happen
from sill.scheduler.forecasting import Forecaster as SeriesForecaster
from sill.scheduler.forks import cluster_of, fork
from sill.scheduler.policies import policy_named
from sill.scheduler.possible import Possible
from sill.scheduler.queues import check_queues as check_by_name
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.types import Outcome, Report
from sill.scheduler.standing import standing
from sill.scheduler.starts import Forecaster, StartInterval
from sill.scheduler.state import State
from sill.scheduler.types import (
    Action,
    Cluster,
    Ended,
    Event,
    Job,
    Node,
    Policy,
    Queue,
    QueuesSet,
    Running,
    Standing,
    Submitted,
    Tick,
    Withdrawn,
)
from sill.scheduler.whatif import again, from_now, machines

Played = tuple[Outcome, Report]


class Change(NamedTuple):
    """What a what-if changes: machines that come, and the policy (empty for the same)."""

    add: dict[str, float]
    policy: str


class Scheduler:
    """One scheduler: a cluster, a policy, a tree of queues, and all jobs that wait or run."""

    def __init__(self, cluster: Cluster, policy: str | Policy = "local", queues: tuple[Queue, ...] = ()) -> None:
        chosen = policy_named(policy) if isinstance(policy, str) else policy
        chosen = msgspec.structs.replace(chosen, resizes_by_restart=True)  # what it decides about are processes
        self.state = State(cluster, chosen, queues)
        self._possible = Possible(cluster, chosen, queues)
        self._forecaster = Forecaster()

    def take(self, event: Event, now_us: int) -> None:
        """Take in what happened."""
        happen(self.state, event, now_us)
        if isinstance(event, QueuesSet):
            self._possible.declare(event.queues)

    def decide(self, now_us: int) -> list[Action]:
        """What to do now; it is taken to be done."""
        actions = decide(self.state, Tick(), now_us)
        self._forecaster.saw(self.state, actions)
        return actions

    def explain(self, job_id: str) -> Explanation:
        """Why a job waits.

        Raises:
            NotFound: it is not known.
        """
        return explain(self.state, job_id)

    def reason(self, job_id: str) -> str:
        """Why a job that is known waits, in words alone: cheap enough to be noted for many."""
        return reason(self.state, job_id)

    def forecast(self, job_id: str) -> StartInterval | None:
        """When a job that waits will start, four times of five; None if it does not wait or nothing can be said.

        It runs the scheduler forward on a fork: for one job that somebody asks about, not for all.
        """
        return self._forecaster.forecast(self.state, job_id)

    def waiting(self, most: int) -> list[str]:
        """Ids of jobs that wait, each queue's first ones, at most so many of each class."""
        return [entry.job.id for line in self.state.lines for _, entry in line.waiting[:most]]

    def longest_waiting(self, most: int, chosen: Callable[[str], bool]) -> list[Job]:
        """Jobs that do not run, of those that `chosen` takes by id, the first submitted first."""
        waiting = (
            entry
            for name, entry in self.state.entries.items()
            if entry.phase in (Phase.WAITING, Phase.AWAY) and chosen(name)
        )
        first = heapq.nsmallest(most, waiting, key=lambda entry: (entry.job.submitted_us, entry.number))
        return [entry.job for entry in first]

    def is_waiting(self, job_id: str) -> bool:
        """True if the job is known and does not run."""
        entry = self.state.entries.get(job_id)
        return entry is not None and entry.phase in (Phase.WAITING, Phase.AWAY)

    def attempt(self, job_id: str) -> int:
        """Number of the running, or last, attempt of a job that is known."""
        return self.state.entries[job_id].attempt

    def check_possible(self, job: Job) -> None:
        """Refuse at submission what could never start, with what comes nearest.

        Raises:
            InvalidValue: a quantity is negative, no number, or part of a device beyond the first.
            Refused: it needs more than there is, or than its queue may ever hold.
        """
        self._possible.check(job)

    def is_seated(self, job_id: str, queue: str) -> bool:
        """True if a job that is known waits or runs in that queue as the queue was declared last."""
        entry = self.state.entries[job_id]
        return entry.job.queue == queue and self.state.tree.by_name.get(queue) is entry.leaf

    def move(self, job_id: str, queue: str, now_us: int) -> None:
        """Let a job wait or run in that queue from now on; one that is put aside waits again.

        One that is being stopped stays where it is until it is gone.
        """
        entry = self.state.entries[job_id]
        if entry.phase is Phase.STOPPING:
            return
        job = msgspec.structs.replace(entry.job, queue=queue)
        if entry.phase is not Phase.RUNNING:
            self.take(Withdrawn(job_id=job_id), now_us)
            self.take(Submitted(job=job), now_us)
            return
        found = Running(
            job=job,
            attempt=entry.attempt,
            slots=entry.placed,
            accelerator=entry.accelerator,
            started_us=entry.started_us,
            attained_s=entry.attained_us / 1e6,
        )
        self.take(Ended(job_id=job_id, attempt=entry.attempt, is_success=False), now_us)
        self.take(found, now_us)

    def foresee(self, policy: Policy, now_us: int) -> list[Action]:
        """What another policy would decide now, on a fork; nothing is changed."""
        return decide(fork(self.state, policy), Tick(), now_us)

    def jobs(self) -> list[Job]:
        """All that wait or run."""
        return [entry.job for entry in self.state.entries.values()]

    def fork_for(self, change: Change) -> tuple[State, State, tuple[Node, ...]]:
        """Two states that go on from this one, the second under the other policy, and machines that come: for
        `compare_now`."""
        policy = policy_named(change.policy) if change.policy else None
        nodes = machines(self.nodes(), change.add) if change.add else ()
        return fork(self.state), fork(self.state, policy), nodes

    def nodes(self) -> tuple[Node, ...]:
        """The machines."""
        return tuple(machine.spec for machine in self.state.ledger.machines)

    def standing(self) -> Standing:
        """How the cluster and its queues stand."""
        return standing(self.state)

    def job(self, job_id: str) -> Job:
        """A job that is known."""
        return self.state.entries[job_id].job

    def left_s(self, job_id: str) -> float:
        """How long a job that is known will run from now on, by prediction."""
        entry = self.state.entries[job_id]
        return self.state.predictor.left_s(entry.job, entry.work_us(self.state.now_us) / 1e6)

    def running(self) -> list[tuple[Job, int]]:
        """Jobs that hold their places, and since when."""
        return [(entry.job, entry.started_us) for entry in self.state.running.values()]


def named_policy(name: str) -> Policy:
    """The policy of that name.

    Raises:
        NotFound: there is none.
    """
    return policy_named(name)


def check_queues(queues: Sequence[Queue]) -> None:
    """Refuse a tree that is none, and quantities that mean nothing.

    Raises:
        InvalidValue: it names the queue and what is wrong.
    """
    check_by_name({queue.name: queue for queue in queues})


def compare_now(state: State, other: State, nodes: tuple[Node, ...]) -> tuple[Played, Played]:
    """What becomes of all that waits and runs, as it is and as it would be. Takes the two forks for itself."""
    before, after = from_now(state, ()), from_now(other, nodes)
    return (before, report(before)), (after, report(after))


def compare_past(
    scheduler: Scheduler, queues: tuple[Queue, ...], past: Sequence[tuple[Job, float]], change: Change
) -> tuple[Played, Played]:
    """What had become of jobs of the past (each with the seconds it ran), as it is and as it would have been."""
    cluster, policy = cluster_of(scheduler.state), scheduler.state.policy
    other = policy_named(change.policy) if change.policy else policy
    nodes = machines(cluster.nodes, change.add) if change.add else ()
    before, after = again(cluster, policy, queues, past, ()), again(cluster, other, queues, past, nodes)
    return (before, report(before)), (after, report(after))


def forecast_series(values: Sequence[float], hours: int) -> list[float]:
    """The next hours of a series of hours, from its past alone."""
    forecaster = SeriesForecaster(horizon=max(hours, 1))
    for value in values:
        forecaster.observe(value)
    return list(forecaster.forecast()[:hours])


def blended(usd_per_kwh: Sequence[float], carbon_g_per_kwh: Sequence[float], usd_per_kg: float) -> tuple[float, ...]:
    """One price for each hour: money, and carbon at a shadow price; carbon alone where nothing has a price."""
    if not usd_per_kg and not any(usd_per_kwh):
        return tuple(carbon_g_per_kwh)
    return blend(usd_per_kwh, carbon_g_per_kwh, usd_per_kg)
