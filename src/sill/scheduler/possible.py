"""What could ever start: refused at submission, with what comes nearest. Pure; it looks at an empty cluster."""

import math

import msgspec

from sill.core.errors import InvalidValue, Refused
from sill.scheduler.explain import no_room
from sill.scheduler.machines import DEVICES_MAX, MILLI
from sill.scheduler.placement import place
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Job, Policy, Queue

GIB = 1024**3


class Possible:
    """The cluster with nothing on it, and the limits of the queues."""

    def __init__(self, cluster: Cluster, policy: Policy, queues: tuple[Queue, ...]) -> None:
        self._empty = State(cluster, policy, queues)

    def declare(self, queues: tuple[Queue, ...]) -> None:
        """Take a new declaration of queues."""
        self._empty.tree.declare(queues)

    def check(self, job: Job) -> None:
        """Refuse at submission what could never start, with what comes nearest.

        Raises:
            InvalidValue: a quantity is negative, no number, or part of a device beyond the first.
            Refused: it needs more than there is.
        """
        check_job(job)
        state = self._empty
        if self._fits(job):
            self._check_limits(job)
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
                    fix=f"Ask for less: {self._nearest(job)}.",
                    field=f"resources.{field}",
                )
        entry = state.admit(job)
        text = no_room(state, entry)
        state.forget(entry)
        raise Refused(
            f"the run could never start, even on an empty cluster: {text}.",
            fix=f"Ask for less: {self._nearest(job)}.",
            field="resources",
        )

    def _fits(self, job: Job) -> bool:
        """True if the empty cluster has room."""
        state = self._empty
        need = state.fresh_need(job)
        return place(state.ledger, need, need.types, 0, state.fit) is not None

    def _check_limits(self, job: Job) -> None:
        """Refuse what the limits of its queue would never let start."""
        state = self._empty
        leaf = state.tree.by_name.get(job.queue)
        if leaf is None:
            return
        need = state.fresh_need(job)
        found = [
            state.tree.over(leaf, state.resources.of_workers(need, each, need.workers)) for each in need.types or ("",)
        ]
        if any(over is None for over in found):
            return
        assert found[0] is not None
        queue, resource = found[0]
        unit, name = state.resources.unit(resource), state.resources.names[resource]
        if queue is state.tree.root:
            raise Refused(
                f"the run needs more {name} than other queues leave it: they keep the rest for themselves.",
                fix="Ask for less, or let those queues lend more.",
                field="resources",
            )
        most = min(queue.ceiling[resource], queue.guarantee[resource] + queue.borrow[resource]) / unit
        raise Refused(
            f"queue {queue.spec.name!r} may hold at most {most:.6g} {name}; the run needs more and could never start.",
            fix=f"Ask for at most {most:.6g} {name} in all, or raise the queue's limits.",
            field="resources",
        )

    def _nearest(self, job: Job) -> str:
        """What comes closest to the job and could start on the empty cluster."""
        few, many = 0, job.workers  # `few` workers fit, `many` do not
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (middle, many) if self._fits(msgspec.structs.replace(job, workers=middle)) else (few, middle)
        if few:
            return f"{few} of these workers would fit" if few > 1 else "one of these workers would fit"
        best = max(
            (machine.spec for machine in self._empty.ledger.machines),
            key=lambda node: (
                sum(node.accelerators.values()) >= job.accelerators,
                node.cpus >= job.cpus,
                node.memory_bytes >= job.memory_bytes,
                sum(node.accelerators.values()),
                node.cpus,
                node.memory_bytes,
            ),
        )
        devices = [f"{count} {name}" for name, count in best.accelerators.items()] or ["no accelerators"]
        return f"one worker can have {best.cpus:g} cpus, {best.memory_bytes / GIB:.4g} GiB and {', '.join(devices)}"


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
