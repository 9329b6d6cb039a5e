"""ElasticFlow's jobs with deadlines on A100 clusters: any number of devices up to 64, as fast as their tables say.

Source: Gu et al., "ElasticFlow: an elastic serverless training platform for distributed deep learning", ASPLOS 2023, and its
artifact: ITP's jobs of ten clusters, each with a model, iterations and a deadline of 0.5 to 1.5 times its run time.
"""

import csv
from collections import defaultdict
from math import log2
from pathlib import Path

from sill.scheduler.simulation.traces import gpu_cluster, read_published, read_rows
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Job

NODES = {
    f"cluster{number:02}": nodes for number, nodes in enumerate((64, 64, 64, 128, 64, 64, 128, 128, 128, 32), start=1)
}
"""Nodes of eight A100 that each cluster has in the paper's figure 8b."""
DEVICES_MAX = 64
LARGE = 256
"""From so many devices on, starting costs more in their model of overheads."""


def elasticflow(folder: Path, cluster: str) -> Workload:
    """The jobs of one of the ten clusters. A start or a change of size costs what their simulator charges.

    Raises:
        NotFound: the trace or the table of speeds is not in the folder.
    """
    rows = [row for row in read_rows(folder, "itp2021_elasticflow_jobs.csv.gz") if row["trace"] == cluster]
    speeds = speeds_of(folder)
    nodes = NODES[cluster]
    fixed_s = 7.0 if nodes * 8 >= LARGE else 2.0
    jobs, runtimes = [], []
    for number, row in enumerate(rows):
        scaling = speeds[row["model"], row["global_batch"]]
        runtimes.append(float(row["iterations"]) / scaling[1])
        jobs.append(
            Job(
                id=f"e{number}",
                workers=1,
                accelerators=1,
                min_workers=1,
                max_workers=DEVICES_MAX,
                scaling=scaling,
                submitted_us=round(float(row["submit_s"]) * 1e6),
                deadline_us=round(float(row["deadline_s"]) * 1e6),
                estimate_s=runtimes[-1],
                restart_s=fixed_s + 2 * (log2(max(int(row["gpus"]), 1)) + 1),
            )
        )
    return Workload(
        name=f"elasticflow-{cluster}",
        cluster=gpu_cluster(nodes),
        jobs=tuple(jobs),
        runtimes_s=tuple(runtimes),
    )


def speeds_of(folder: Path) -> dict[tuple[str, str], dict[int, float]]:
    """Iterations a second on A100 by number of devices, by model and global batch."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in csv.DictReader(read_published(folder, "elasticflow_throughput.csv").splitlines()):
        devices, speed = int(row["n_gpus"]), float(row["iters_per_s"])
        if row["gpu"] == "A100" and speed and devices <= DEVICES_MAX:
            found[row["model"], row["global_batch"]][devices] = speed
    return dict(found)
