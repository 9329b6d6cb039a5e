"""Runs in the scheduler's words: a run is a job, the engine's machine a node. Pure."""

from sill.engines.types import Capacity
from sill.runs import rules
from sill.runs.types import Resources, Run
from sill.scheduler.types import AcceleratorType, Cluster, Job, Node, Running, Slot

NODE = "local"
ACCELERATORS = "accelerators"
"""Type of the local machine's devices; what they are does not matter where all are alike."""


def cluster_of(capacity: Capacity) -> Cluster:
    """The machine of a local engine."""
    count = int(capacity.accelerators)
    node = Node(
        name=NODE,
        cpus=capacity.cpus,
        memory_bytes=capacity.memory_bytes,
        accelerators={ACCELERATORS: count} if count else {},
    )
    return Cluster(nodes=(node,), types=(AcceleratorType(name=ACCELERATORS),))


def resources_of(cluster: Cluster) -> tuple[str, ...]:
    """Names of what the cluster's machines have, as quotas name it."""
    types = sorted({name for node in cluster.nodes for name in node.accelerators})
    return ("cpus", "memory_bytes", "accelerators", *(f"accelerators/{name}" for name in types))


def job_of(run: Run, queue: str) -> Job:
    """What the scheduler needs to know of a run. Scripts are not stopped for others unless they say that they may be:
    nobody knows what they would lose."""
    needs: Resources = run.spec.resources
    return Job(
        id=run.id,
        queue=queue,
        user=run.actor,
        workers=needs.workers,
        cpus=needs.cpus,
        memory_bytes=needs.memory_bytes,
        accelerators=needs.accelerators,
        level="node",
        priority=run.spec.priority,
        submitted_us=run.created_us,
        not_before_us=run.not_before_us,
        template=rules.training_of(run.spec) or run.name,
        preemptible=run.spec.preemptible,
        start_by_us=run.start_by_us,
    )


def running_of(run: Run, queue: str) -> Running:
    """The run as one that is found running."""
    needs = run.spec.resources
    slots = (Slot(NODE, needs.workers),)
    accelerator = ACCELERATORS if needs.accelerators else ""
    return Running(job=job_of(run, queue), attempt=1, slots=slots, accelerator=accelerator, started_us=run.attempt_us)
