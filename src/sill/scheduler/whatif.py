"""What would be otherwise: the jobs of now, or of the past, with more machines or another policy. Pure; nothing is changed.

From now on, two forks of the live state are played to the end of all that waits and runs, with the same run times drawn from
what was learned. For the past, jobs are simulated again with the run times they had. Both by the function that decides.
"""

from collections.abc import Iterable, Sequence
from math import ceil

from sill.core.errors import InvalidValue
from sill.scheduler.folding import happen
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.types import Outcome, Record, Workload
from sill.scheduler.starts import play
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Ended, Job, Node, NodeJoined, Policy, Preempt, Queue, Start

PER_NODE = 8
"""Accelerators that are added come in machines of at most so many."""
ADDED_MAX = 100_000
DECISIONS_MAX = 200_000
PLAIN = ("cpus", "memory_bytes")


def machines(cluster: Sequence[Node], add: dict[str, float]) -> tuple[Node, ...]:
    """The machines that `{"a100": 8}`, `{"cpus": 64}` or both add. Beside accelerators stand the cpus and memory of the
    largest machine there is, unless they are given too.

    Raises:
        InvalidValue: a quantity means nothing, or is too much.
    """
    for name, amount in add.items():
        if not 0 < amount <= (2.0**50 if name == "memory_bytes" else ADDED_MAX):
            raise InvalidValue(f"{name}={amount:g} cannot be added: above 0 to {ADDED_MAX:,} can.", field="add")
    devices = {name.removeprefix("accelerators/"): amount for name, amount in add.items() if name not in PLAIN}
    if any(amount != int(amount) for amount in devices.values()):
        raise InvalidValue("accelerators are added whole.", field="add")
    largest = max(cluster, key=lambda node: (node.cpus, node.memory_bytes), default=Node(name=""))
    counts = [ceil(amount / PER_NODE) for amount in devices.values()]
    many = max(sum(counts), 1)
    cpus = add.get("cpus", 0.0) / many if "cpus" in add else largest.cpus
    memory = round(add.get("memory_bytes", 0.0) / many) if "memory_bytes" in add else largest.memory_bytes
    found: list[Node] = []
    for name, amount in devices.items():
        left = int(amount)
        while left:
            here = min(left, PER_NODE)
            found.append(_node(len(found), cpus, memory, {name: here}, largest))
            left -= here
    return tuple(found) or (_node(0, cpus, memory, {}, largest),)


def from_now(ahead: State, added: Iterable[Node], draw: int = 0) -> Outcome:
    """What becomes of all that waits and runs, if nothing more is submitted. The state is changed, so it is a fork."""
    for node in added:
        happen(ahead, NodeJoined(node=node), ahead.now_us)
    began_us = ahead.now_us
    jobs = {entry.job.id: entry.job for entry in ahead.entries.values()}
    started = {name: entry.started_us for name, entry in ahead.running.items()}
    ended: dict[str, int] = {}
    stops: dict[str, int] = {}
    decisions = 0
    for at_us, what in play(ahead, draw, DECISIONS_MAX):
        decisions += 1
        if isinstance(what, Start):
            started.setdefault(what.job_id, at_us)
        elif isinstance(what, Preempt):
            stops[what.job_id] = stops.get(what.job_id, 0) + 1
        elif isinstance(what, Ended):
            ended[what.job_id] = at_us
    records = tuple(
        Record(
            name,
            job.queue,
            job.user,
            _devices(job),
            began_us / 1e6,
            started[name] / 1e6,
            ended[name] / 1e6,
            (ended[name] - max(started[name], began_us)) / 1e6,
            stops.get(name, 0),
            0.0,
        )
        for name, job in jobs.items()
        if name in ended
    )
    specs = [machine.spec for machine in ahead.ledger.machines]
    accelerators = sum(count for spec in specs for count in spec.accelerators.values())
    devices = float(accelerators) or sum(spec.cpus for spec in specs)
    return Outcome(
        policy=ahead.policy.name,
        records=records,
        left=len(jobs) - len(records),
        devices=devices,
        busy_s=sum(record.runtime_s * record.devices for record in records),
        events=decisions,
        decisions=decisions,
        actions=decisions,
        slowest_s=0.0,
    )


def again(
    cluster: Cluster,
    policy: Policy,
    queues: tuple[Queue, ...],
    jobs: Sequence[tuple[Job, float]],
    added: tuple[Node, ...],
) -> Outcome:
    """What had become of jobs of the past, each with the seconds it ran."""
    grown = Cluster(nodes=cluster.nodes + added, types=cluster.types, sites=cluster.sites, levels=cluster.levels)
    workload = Workload(
        name="past",
        cluster=grown,
        jobs=tuple(job for job, _ in jobs),
        runtimes_s=tuple(runtime_s for _, runtime_s in jobs),
        queues=queues,
    )
    return Simulation(workload, policy).run()


def _node(number: int, cpus: float, memory: int, devices: dict[str, int], like: Node) -> Node:
    return Node(
        name=f"added-{number}",
        site=like.site,
        cpus=cpus,
        memory_bytes=memory,
        accelerators=devices,
        domains=like.domains,
        labels=like.labels,
    )


def _devices(job: Job) -> float:
    return job.workers * (job.accelerators or job.cpus)
