"""S1, replication: what other people's simulators came to, with their policies in ours.

Muri's simulator packs all jobs anew at each event, so that its GPUs are one pool; so they are here.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.scheduler import s6, s7
from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import gpu_cluster, muri, read_published
from sill.scheduler.simulation.types import Workload

TOLERANCE_PCT = 7.0


def measure(folder: Path) -> Iterator[str]:
    """Muri's SRTF and SRSF on its eight workloads."""
    published = json.loads(read_published(folder, "muri_published_results.json"))
    lines: list[tuple[str, ...]] = []
    worst = 0.0
    for at, column in enumerate(published["columns"]):
        workload = pooled(muri(folder, column[0], at_once="'" in column, knows=True))
        for policy in ("srtf", "srsf"):
            theirs = published["results"][policy.upper()]["avg_jct_s"][at]
            ours = report(simulate(workload, policy_named(policy))).jct_mean_s
            away = (ours / theirs - 1) * 100
            worst = max(worst, abs(away))
            lines.append((f"{policy} trace {column}", f"{theirs:,.0f}", f"{ours:,.0f}", f"{away:+.1f} %"))
    yield from rows(("Muri, 64 GPUs", "published avg jct", "ours", "away"), lines)
    yield goal("worst distance of an average jct", worst, TOLERANCE_PCT, " %", published="Muri's simulator")
    yield from s6.replicate(folder)
    yield from s7.replicate(folder)


def pooled(workload: Workload, devices: int = 64) -> Workload:
    """The same jobs on one pool of devices, where the node a device is in does not matter."""
    jobs = tuple(
        msgspec.structs.replace(job, workers=1, accelerators=job.workers * job.accelerators) for job in workload.jobs
    )
    return msgspec.structs.replace(workload, cluster=gpu_cluster(1, devices), jobs=jobs)
