"""Reads the public traces into workloads. The folder is given by whoever calls; this project ships no trace."""

import csv
import gzip
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.core.errors import NotFound
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node

PUBLISHED = {
    "itp2021_jobs.csv.gz": "github.com/microsoft/elasticflow-traces",
    "philly2017_jobs.csv.gz": "github.com/msr-fiddle/philly-traces",
    "muri_philly_jobs.csv.gz": "github.com/Rivendile/Muri",
    "muri_published_results.json": "github.com/Rivendile/Muri",
    "shockwave_jobs.csv.gz": "github.com/uw-mad-dash/shockwave",
    "openb2023_nodes.csv.gz": "github.com/alibaba/clusterdata",
    "openb2023_pods.csv.gz": "github.com/hkust-adsl/kubernetes-scheduler-simulator",
    "fgd_published_alloc.csv.gz": "github.com/hkust-adsl/kubernetes-scheduler-simulator",
    "gaia_pai-100k.csv.gz": "github.com/umassos/GAIA",
    "eia2022_carbon_hourly.csv.gz": "github.com/HewlettPackard/dc-rl",
    "itp2021_elasticflow_jobs.csv.gz": "github.com/microsoft/elasticflow-traces",
    "elasticflow_throughput.csv": "github.com/pkusys/ElasticFlow",
    "gavel_throughput_isolated.csv.gz": "github.com/stanford-futuredata/gavel",
    "gavel_throughput_colocated.csv.gz": "github.com/stanford-futuredata/gavel",
    "pollux_step_times.csv.gz": "github.com/pkusys/ElasticFlow",
    "lingjun2023_topology.csv.gz": "github.com/alibaba/alibaba-lingjun-dataset-2023",
    "shockwave_published_results.csv": "github.com/uw-mad-dash/shockwave",
}


def read_rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Rows of one gzipped CSV of the traces.

    Raises:
        NotFound: it is not in the folder; the message says where it is published.
    """
    with gzip.open(_find(folder, name), "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def read_published(folder: Path, name: str) -> str:
    """A file of published results, as text.

    Raises:
        NotFound: it is not in the folder.
    """
    return _find(folder, name).read_text(encoding="utf-8")


def gpu_cluster(nodes: int, per_node: int = 8, kind: str = "gpu") -> Cluster:
    """Equal nodes with nothing but devices, as the papers' simulators have them."""
    made = tuple(Node(name=f"n{at:05}", accelerators={kind: per_node}) for at in range(nodes))
    return Cluster(nodes=made, types=(AcceleratorType(name=kind),))


def gang(gpus: int, per_node: int = 8) -> tuple[int, float]:
    """Workers, and devices for each: consolidated on as few nodes as can be, all workers alike."""
    workers = ceil(gpus / per_node)
    while gpus % workers:
        workers += 1
    return workers, gpus / workers


def philly(folder: Path, *, nodes: int = 64, estimate: Callable[[float], float] = float) -> Workload:
    """Microsoft Philly 2017 (the Pollux artifact's jobs); `estimate` makes a job's estimate from its run time."""
    rows = sorted(read_rows(folder, "philly2017_jobs.csv.gz"), key=lambda row: float(row["submit_s"]))
    jobs, runtimes = [], []
    for number, row in enumerate(rows):
        runtimes.append(float(row["duration_s"]))
        jobs.append(_job(f"p{number}", row, user=row["vc"], estimate_s=estimate(runtimes[-1]), restart_s=60.0))
    return Workload(name="philly", cluster=gpu_cluster(nodes), jobs=tuple(jobs), runtimes_s=tuple(runtimes))


def itp(
    folder: Path, cluster: str = "04", *, nodes: int = 72, knows: bool = False, restart_s: float = 10.0
) -> Workload:
    """One of Microsoft's ten ITP clusters of 2021; with `knows` estimates are the true run times."""
    rows = [row for row in read_rows(folder, "itp2021_jobs.csv.gz") if row["cluster"] == cluster]
    runtimes = [float(row["duration_s"]) for row in rows]
    jobs = [
        _job(f"i{number}", row, estimate_s=runtimes[number] if knows else 0.0, restart_s=restart_s)
        for number, row in enumerate(rows)
    ]
    return Workload(name=f"itp-{cluster}", cluster=gpu_cluster(nodes), jobs=tuple(jobs), runtimes_s=tuple(runtimes))


def muri(folder: Path, trace: str, *, at_once: bool = False, knows: bool = False, restart_s: float = 8.0) -> Workload:
    """One of Muri's four traces on 8 x 8 GPUs; `at_once` is the paper's primed variant: all jobs come at 0."""
    rows = [row for row in read_rows(folder, "muri_philly_jobs.csv.gz") if row["trace"] == trace]
    jobs, runtimes = [], []
    for number, row in enumerate(rows):
        runtime_s = float(row["duration_s"])
        runtimes.append(runtime_s)
        submit = {"submit_s": "0"} if at_once else {}
        jobs.append(_job(f"m{number}", row | submit, estimate_s=runtime_s if knows else 0.0, restart_s=restart_s))
    name = f"muri-{trace}{'p' if at_once else ''}"
    return Workload(name=name, cluster=gpu_cluster(8), jobs=tuple(jobs), runtimes_s=tuple(runtimes))


def openb(folder: Path, variant: str = "default") -> tuple[Cluster, tuple[Job, ...]]:
    """Alibaba's 2023 cluster of 1,523 nodes with 6,212 GPUs, and the pods of one of FGD's variants, in no queue."""
    nodes = []
    for row in read_rows(folder, "openb2023_nodes.csv.gz"):
        kind = {row["model"]: int(row["gpus"])} if int(row["gpus"]) else {}
        cpus, memory_bytes = int(row["cpu_milli"]) / 1000, int(row["mem_mib"]) * 2**20
        nodes.append(Node(name=f"n{row['node']}", cpus=cpus, memory_bytes=memory_bytes, accelerators=kind))
    kinds = sorted({kind for node in nodes for kind in node.accelerators})
    rows = (row for row in read_rows(folder, "openb2023_pods.csv.gz") if row["variant"] == variant)
    jobs = tuple(_pod(row) for row in rows)
    return Cluster(nodes=tuple(nodes), types=tuple(AcceleratorType(name=kind) for kind in kinds)), jobs


def _pod(row: dict[str, str]) -> Job:
    gpus = int(row["gpus"])
    return Job(
        id=row["pod"],
        cpus=int(row["cpu_milli"]) / 1000,
        memory_bytes=int(row["mem_mib"]) * 2**20,
        accelerators=int(row["gpu_milli"]) / 1000 if gpus == 1 else gpus,
        types=tuple(dict.fromkeys(row["gpu_spec"].split("|"))) if row["gpu_spec"] else (),
    )


def _job(name: str, row: dict[str, str], *, user: str = "", estimate_s: float, restart_s: float) -> Job:
    workers, each = gang(int(row["gpus"]))
    return Job(
        id=name,
        user=user,
        workers=workers,
        accelerators=each,
        submitted_us=round(float(row["submit_s"]) * 1e6),
        estimate_s=estimate_s,
        restart_s=restart_s,
    )


def _find(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        where = PUBLISHED.get(name, "the page that names it")
        raise NotFound(f"no trace {name} in {folder}.", fix=f"It is published at {where}; set TRACES to its folder.")
    return path
