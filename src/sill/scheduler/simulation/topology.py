"""Jobs that suffer when their workers are apart, on a network as it was built: for placement by measured slowdowns.

Jobs are those of ITP's largest cluster, coming so much faster or slower that they ask for a given part of all devices. Each
is of one of the kinds of work that Gavel and Pollux have measured near and apart, by its number. The network is a part of
Alibaba's Lingjun cluster: hosts of eight devices under access switches (racks) in pods.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from statistics import median

from sill.core.accelerators import AcceleratorType
from sill.scheduler.simulation.traces import read_rows
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node

PER_NODE = 8
ITP = "04"
FARTHER = 1.17
"""What is measured is one node against several; leaving the pod costs this much more (the most that misaligned collectives
were found to lose; Lyu et al., "Arnold", 2025). Leaving the rack costs half of it."""
STRICT_EVERY = 10
"""One in so many gangs must have all workers in one rack, if one holds them."""
RACK_MAX = 32

Slowdowns = dict[int, list[float]]
"""Of each kind of work that was measured with so many devices: how many times slower apart."""


def lingjun(folder: Path, racks: int) -> Cluster:
    """So many racks of each of the three pods (all of them are 847 hosts in 119 racks)."""
    rows = list(read_rows(folder, "lingjun2023_topology.csv.gz"))
    kept: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["asw"] not in kept[row["psw"]] and len(kept[row["psw"]]) < racks:
            kept[row["psw"]].append(row["asw"])
    nodes = tuple(
        Node(name=f"h{row['host']}", accelerators={"gpu": PER_NODE}, domains=(row["psw"], f"{row['psw']}/{row['asw']}"))
        for row in rows
        if row["asw"] in kept[row["psw"]]
    )
    return Cluster(nodes=nodes, types=(AcceleratorType(name="gpu"),), levels=("pod", "rack"))


def spread_jobs(folder: Path, cluster: Cluster, *, load: float, knows: bool) -> Workload:
    """Jobs that ask for so much of a cluster's devices.

    Args:
        load: device-seconds asked for over those there are while jobs come, before any slowdown.
        knows: the scheduler is told of slowdowns; they are there in either case.
    """
    rows = [row for row in read_rows(folder, "itp2021_jobs.csv.gz") if row["cluster"] == ITP]
    measured = slowdowns_of(folder)
    asked = sum(float(row["duration_s"]) * int(row["gpus"]) for row in rows)
    devices = sum(node.accelerators["gpu"] for node in cluster.nodes)
    first_s, last_s = float(rows[0]["submit_s"]), float(rows[-1]["submit_s"])
    faster = (last_s - first_s) * load * devices / asked
    kinds = {count: cycle(some) for count, some in measured.items()}
    jobs, slowdowns = [], []
    for number, row in enumerate(rows):
        gpus = int(row["gpus"])
        slower = _slower(kinds, gpus)
        slowdowns.append(slower)
        jobs.append(
            Job(
                id=f"t{number}",
                workers=gpus,
                accelerators=1,
                level="rack" if number % STRICT_EVERY == 0 and 1 < gpus <= RACK_MAX else "",
                slowdowns=slower if knows else {},
                submitted_us=round((float(row["submit_s"]) - first_s) / faster * 1e6),
                estimate_s=float(row["duration_s"]),
            )
        )
    runtimes = tuple(float(row["duration_s"]) for row in rows)
    return Workload(name="spread", cluster=cluster, jobs=tuple(jobs), runtimes_s=runtimes, slowdowns=tuple(slowdowns))


def _slower(kinds: Mapping[int, Iterator[float]], gpus: int) -> dict[str, float]:
    """Of the next kind of work of that size. A gang that needs several nodes in any case loses by leaving its rack only."""
    if gpus == 1:
        return {}
    apart = next(kinds[max(count for count in kinds if count <= gpus)]) if gpus <= PER_NODE else 1.0
    return {"node": apart, "rack": apart * (1 + FARTHER) / 2, "pod": apart * FARTHER}


def slowdowns_of(folder: Path) -> Slowdowns:
    """How many times slower each measured kind of work runs apart, by its number of devices; never faster."""
    found: Slowdowns = defaultdict(list)
    speeds = {
        (row["job_type"], int(row["gpus"]), row["consolidated"]): float(row["iters_per_s"])
        for row in read_rows(folder, "gavel_throughput_isolated.csv.gz")
        if row["gpu"] == "v100"
    }
    for (name, gpus, consolidated), speed in speeds.items():
        apart = speeds.get((name, gpus, "0"), 0.0)
        if consolidated == "1" and gpus > 1 and speed and apart:
            found[gpus].append(max(speed / apart, 1.0))
    for gpus, ratio in _pollux(folder):
        found[gpus].append(ratio)
    return dict(found)


def _pollux(folder: Path) -> list[tuple[int, float]]:
    """The same of Pollux' models: two and four devices in one node against one in each, the median over batches."""
    steps: dict[tuple[str, str, str], float] = {}
    for row in read_rows(folder, "pollux_step_times.csv.gz"):
        if row["kind"] == "placement":
            steps[row["model"], row["gpus_per_node"], row["local_batch"]] = float(row["step_s"])
    ratios: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (model, placed, batch), step_s in steps.items():
        apart = steps.get((model, "1" * int(placed), batch)) if placed in ("2", "4") else None
        if apart:
            ratios[model, int(placed)].append(max(apart / step_s, 1.0))
    return [(gpus, median(some)) for (_, gpus), some in sorted(ratios.items())]
