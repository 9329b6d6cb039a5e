"""Runs in the scheduler's words: a run is a job, the engine's machine a node. Pure."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from sill.engines.types import Capacity
from sill.runs import rules
from sill.runs.types import Resources, Run
from sill.scheduler.types import Cluster, Job, Node, Running, Slot

NODE = "local"
RESTART_S = 30.0
"""What it costs to stop a gang at a checkpoint and to start it with another number of workers: a guess, to grow seldom."""


def cluster_of(capacity: Capacity) -> Cluster:
    """The machine of a local engine."""
    node = Node(
        name=NODE,
        cpus=capacity.cpus,
        memory_bytes=capacity.memory_bytes,
        accelerators=dict(Counter(device.type for device in capacity.devices)),
    )
    return Cluster(nodes=(node,), types=capacity.types)


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
        types=needs.accelerator_types,
        capabilities=needs.capabilities,
        min_workers=needs.workers_min,
        max_workers=needs.workers_max,
        restart_s=RESTART_S,
        level="node",
        priority=run.spec.priority,
        submitted_us=run.created_us,
        not_before_us=run.not_before_us,
        template=rules.training_of(run.spec) or run.name,
        preemptible=run.spec.preemptible,
        start_by_us=run.start_by_us,
        deadline_us=run.deadline_us,
    )


def running_of(run: Run, queue: str, devices: Mapping[str, int]) -> Running:
    """The run as one that is found running. Its devices may be gone since: then it holds none.

    Args:
        devices: of the machine, by type.
    """
    job, workers = job_of(run, queue), run.workers or run.spec.resources.workers
    accelerator = run.accelerator if job.accelerators else ""
    if any(index >= devices.get(accelerator, 0) for index in run.devices) or (job.accelerators and not run.devices):
        job, accelerator = msgspec.structs.replace(job, accelerators=0.0, types=(), capabilities=()), ""
    slots = (Slot(NODE, workers, run.devices if accelerator else ()),)
    return Running(job=job, attempt=1, slots=slots, accelerator=accelerator, started_us=run.attempt_us)
