"""Builders that read as sentences, and generated clusters, queues and jobs."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sill.core.accelerators import AcceleratorType
from sill.scheduler.machines import MILLI
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.types import Workload
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Job, Node, Queue

GIB = 1024**3
DEVICES = 4
"""Of each of the four nodes of `workloads`."""
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def cluster(nodes: int = 2, gpus: int = 8, *, racks: int = 1, kind: str = "gpu") -> Cluster:
    """Equal nodes, spread over racks."""
    made = tuple(
        Node(
            name=f"n{at}",
            cpus=64,
            memory_bytes=256 * GIB,
            accelerators={kind: gpus},
            domains=(f"r{at * racks // nodes}",),
        )
        for at in range(nodes)
    )
    return Cluster(nodes=made, types=(AcceleratorType(name=kind),), levels=("rack",))


def job(name: str, gpus: float = 1, workers: int = 1, **more: object) -> Job:
    """A job that asks for devices only."""
    return Job(id=name, accelerators=gpus, workers=workers, **more)  # type: ignore[arg-type]


def state(what: Cluster | None = None, policy: str = "fifo-skip", *queues: Queue) -> State:
    """A state on two nodes of eight devices."""
    return State(what or cluster(), policy_named(policy), queues)


def at_s(seconds: float) -> int:
    """Microseconds."""
    return round(seconds * 1e6)


queue_names = st.sampled_from(["a", "b", "c"])
amounts = st.integers(0, 24).map(float)


@st.composite
def queue_trees(draw: st.DrawFn) -> tuple[Queue, ...]:
    """Three leaves under one inner queue, with limits here and there."""

    def queue(name: str, parent: str) -> Queue:
        def limits() -> dict[str, float]:
            return {"accelerators": draw(amounts)} if draw(st.booleans()) else {}

        guarantee = limits()
        return Queue(
            name=name,
            parent=parent,
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            guarantee=guarantee,
            lend=limits() if guarantee else {},
            ceiling=limits(),
            borrow=limits(),
        )

    return (Queue(name="top"), *(queue(name, "top") for name in ("a", "b", "c")))


@st.composite
def jobs(draw: st.DrawFn, number: int) -> Job:
    """Any job that has room on an empty cluster of `workloads`."""
    workers = draw(st.sampled_from([1, 1, 1, 2, 3]))
    gpus = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0 if workers < 3 else 2.0]))
    return Job(
        id=f"j{number}",
        queue=draw(queue_names),
        workers=workers,
        accelerators=gpus,
        cpus=draw(st.sampled_from([0.5, 1.0, 8.0])),
        memory_bytes=draw(st.sampled_from([0, GIB, 16 * GIB])),
        level=draw(st.sampled_from(["", "", "rack"])),
        priority=draw(st.integers(-1, 1)),
        submitted_us=at_s(draw(st.integers(0, 4_000))),
        estimate_s=float(draw(st.sampled_from([0, 10, 100, 5_000]))),
        restart_s=float(draw(st.sampled_from([0, 5]))),
        runtime_min_s=float(draw(st.sampled_from([0, 60]))),
        preemptible=draw(st.booleans()),
        can_checkpoint=draw(st.booleans()),
    )


@st.composite
def workloads(draw: st.DrawFn, *, with_queues: bool = True) -> Workload:
    """Up to a dozen jobs on four nodes of four devices in two racks."""
    made = tuple(draw(jobs(number)) for number in range(draw(st.integers(1, 12))))
    runtimes = tuple(float(draw(st.sampled_from([1, 30, 300, 6_000]))) for _ in made)
    queues = draw(queue_trees()) if with_queues else ()
    return Workload(name="made", cluster=cluster(4, 4, racks=2), jobs=made, runtimes_s=runtimes, queues=queues)


def check_nothing_is_given_twice(state: State) -> None:
    """What runs holds what the ledger says, to the single device, and gangs run whole."""
    held: dict[tuple[str, int], int] = {}
    cpus: dict[str, int] = {}
    for entry in state.running.values():
        need = entry.need
        assert sum(slot.workers for slot in entry.placed) == need.workers  # whole or not at all
        for slot in entry.placed:
            cpus[slot.node] = cpus.get(slot.node, 0) + slot.workers * need.cpus
            assert len(slot.devices) == slot.workers * max(need.milli // MILLI, 1 if need.milli else 0)
            for device in slot.devices:
                held[slot.node, device] = held.get((slot.node, device), 0) + min(need.milli, MILLI)
    for machine in state.ledger.machines:
        free = machine.devices["gpu"]
        assert free == [MILLI - held.get((machine.spec.name, device), 0) for device in range(DEVICES)]
        assert min(free) >= 0
        assert machine.cpus_free == machine.total_cpus - cpus.get(machine.spec.name, 0) >= 0
        for wanted in range(1, DEVICES + 1):
            assert (state.ledger.devices["gpu"].unused(wanted) >> machine.index & 1) == (free.count(MILLI) >= wanted)
