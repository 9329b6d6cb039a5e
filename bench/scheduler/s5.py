"""S5: Philly's virtual clusters: guarantees with borrowing, beside each alone on machines of its own.

Quotas are the eleven sizes of Helios' study divided by four (16 to 2 nodes, 88 in all), the larger for those with more
demand, because this subset of the trace would leave the full sizes idle. Estimates are wrong by a factor e^N(0,1). Jobs
larger than their own partition and the 18 jobs of four tiny clusters are left out on both sides.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.scheduler.s4 import wrong
from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import GRACE_S, policy_named
from sill.scheduler.simulation.report import mean, quantile
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import gpu_cluster, philly
from sill.scheduler.simulation.types import Record, Workload
from sill.scheduler.types import Job, Queue

NODES = (16, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2)
PER_NODE = 8
SEED = 0
RATIO = 0.5


def measure(folder: Path) -> Iterator[str]:
    """Wait of each virtual cluster, alone and together."""
    everything = philly(folder, estimate=wrong(SEED))
    quotas = _quotas(everything)
    alone: dict[str, list[Record]] = {}
    kept: list[tuple[Job, float]] = []
    for name, nodes in quotas.items():
        own = [
            (msgspec.structs.replace(job, queue=name), runtime_s)
            for job, runtime_s in zip(everything.jobs, everything.runtimes_s, strict=True)
            if job.user == name and job.workers * job.accelerators <= nodes * PER_NODE
        ]
        kept += own
        alone[name] = list(simulate(_workload(own, nodes, ()), policy_named("sill")).records)
    queues = tuple(Queue(name=name, guarantee={"accelerators": nodes * PER_NODE}) for name, nodes in quotas.items())
    outcome = simulate(_workload(kept, sum(quotas.values()), queues), policy_named("sill"))
    together: dict[str, list[Record]] = defaultdict(list)
    for record in outcome.records:
        together[record.queue].append(record)
    lines: list[tuple[str, ...]] = []
    worst = 0.0
    for name, nodes in quotas.items():
        late, now = _p95(alone[name]), _p95(together[name])
        worst = max(worst, now - late)
        means = (mean([each.wait_s for each in some]) for some in (alone[name], together[name]))
        jobs = f"{len(together[name]):,}"
        lines.append((name, f"{nodes}", jobs, *(f"{value:,.0f}" for value in (*means, late, now, now - late))))
    yield from rows(("virtual cluster", "nodes", "jobs", "mean alone", "mean", "p95 alone", "p95", "more"), lines)
    before = mean([each.wait_s for some in alone.values() for each in some])
    after = mean([each.wait_s for each in outcome.records])
    preempted = sum(each.preemptions for each in outcome.records) / len(outcome.records)
    yield f"average wait: {before:,.0f} s alone, {after:,.0f} s together; {preempted:.3f} preemptions a job"
    yield goal("most that a p95 wait is longer than alone", worst, GRACE_S, " s")
    yield goal("average wait / static partition's", after / before, RATIO, published="static partition 1")


def _quotas(workload: Workload) -> dict[str, int]:
    """Nodes by virtual cluster: the larger quota for the larger demand."""
    demand: dict[str, float] = defaultdict(float)
    for job, runtime_s in zip(workload.jobs, workload.runtimes_s, strict=True):
        demand[job.user] += job.workers * job.accelerators * runtime_s
    return dict(zip(sorted(demand, key=lambda name: -demand[name]), NODES, strict=False))


def _workload(jobs: list[tuple[Job, float]], nodes: int, queues: tuple[Queue, ...]) -> Workload:
    ordered = sorted(jobs, key=lambda each: each[0].submitted_us)
    return Workload(
        name="philly-vc",
        cluster=gpu_cluster(nodes, PER_NODE),
        jobs=tuple(job for job, _ in ordered),
        runtimes_s=tuple(runtime_s for _, runtime_s in ordered),
        queues=queues,
    )


def _p95(records: list[Record]) -> float:
    return quantile(sorted(record.wait_s for record in records), 0.95)
