"""The scheduler as other stages see it: hand it what happened, ask what to do, ask why. Pure; the state lives in it."""

import math

from sill.core.errors import InvalidValue, Refused
from sill.scheduler.decide import decide
from sill.scheduler.entries import Phase
from sill.scheduler.explain import Explanation, explain, no_room
from sill.scheduler.folding import happen
from sill.scheduler.ledger import DEVICES_MAX, MILLI
from sill.scheduler.placement import place
from sill.scheduler.policies import policy_named
from sill.scheduler.starts import Forecaster, StartInterval
from sill.scheduler.state import State
from sill.scheduler.types import Action, Cluster, Event, Job, Queue, Tick

GIB = 1024**3


class Scheduler:
    """One scheduler: a cluster, a policy, a tree of queues, and all jobs that wait or run."""

    def __init__(self, cluster: Cluster, policy: str = "local", queues: tuple[Queue, ...] = ()) -> None:
        self.state = State(cluster, policy_named(policy), queues)
        self._empty = State(cluster, policy_named(policy), queues)
        self._forecaster = Forecaster()

    def take(self, event: Event, now_us: int) -> None:
        """Take in what happened."""
        happen(self.state, event, now_us)

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

    def forecast(self, job_id: str) -> StartInterval | None:
        """When a job that waits will start, four times of five; None if it does not wait or nothing can be said.

        It runs the scheduler forward on a fork: for one job that somebody asks about, not for all.
        """
        return self._forecaster.forecast(self.state, job_id)

    def waiting(self, most: int) -> list[str]:
        """Ids of jobs that wait, each queue's first ones, at most so many of each class."""
        return [entry.job.id for line in self.state.lines for _, entry in line.waiting[:most]]

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
            Refused: it needs more than there is.
        """
        check_job(job)
        state = self._empty
        need = state.fresh_need(job)
        if place(state.ledger, need, need.types, 0, state.fit) is not None:
            return
        resources = state.resources
        for field, needs, has, what in (
            ("cpus", job.cpus * job.workers, resources.total[0] / MILLI, "cpus"),
            ("accelerators", job.accelerators * job.workers, resources.total[2] / MILLI, "accelerators"),
            ("memory_bytes", job.memory_bytes * job.workers / GIB, resources.total[1] / GIB, "GiB of memory"),
        ):
            if needs > has:
                raise Refused(
                    f"the run needs {needs:.6g} {what}, there are {has:.6g} in all; it could never start.",
                    fix="Ask for less, or for fewer workers.",
                    field=f"resources.{field}",
                )
        entry = state.admit(job)
        text = no_room(state, entry)
        state.forget(entry)
        raise Refused(
            f"the run could never start, even on an empty cluster: {text}.",
            fix="Ask for less on one node, for fewer workers, or for a wider level.",
            field="resources",
        )


def check_job(job: Job) -> None:
    """Refuse quantities that mean nothing.

    Raises:
        InvalidValue: it names the field.
    """
    for field in ("cpus", "memory_bytes", "accelerators", "estimate_s", "restart_s", "runtime_min_s"):
        amount = getattr(job, field)
        if not math.isfinite(amount) or amount < 0:
            raise InvalidValue(f"{field} {amount} is not 0 or more.", field=field)
    if job.workers < 1:
        raise InvalidValue(f"workers {job.workers} is not 1 or more.", field="workers")
    parts = job.accelerators * MILLI
    if job.accelerators > 1 and job.accelerators != int(job.accelerators):
        raise InvalidValue(
            f"accelerators {job.accelerators:g} is neither a part of one device nor a whole number.",
            fix="Ask for a part of one (such as 0.5), or for whole ones.",
            field="resources.accelerators",
        )
    if 0 < parts < 1:
        raise InvalidValue(
            f"accelerators {job.accelerators} is less than a thousandth of a device.", field="resources.accelerators"
        )
    if job.accelerators > DEVICES_MAX:
        raise InvalidValue(
            f"{job.accelerators:g} accelerators for one worker; a node has at most {DEVICES_MAX}.",
            fix="Ask for more workers.",
            field="resources.accelerators",
        )
