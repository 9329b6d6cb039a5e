"""Jobs and machines to simulate: from a table of jobs, or a public trace in a folder."""

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.scheduler.possible import check_job
from sill.scheduler.simulation import traces
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node

JOBS_MAX = 1_000_000
NODES_MAX = 100_000
GIB = 1024**3
NEEDED = ("submitted_s", "runtime_s")
TEXTS = ("id", "queue", "user", "template")
NUMBERS = (*NEEDED, "accelerators", "workers", "cpus", "memory_gib", "priority", "estimate_s", "restart_s")
TRACES = ("philly", *(f"itp-{number:02}" for number in range(1, 11)), *(f"muri-{number}" for number in range(1, 5)))


def from_trace(name: str, nodes: int) -> Workload:
    """A public trace, from the folder TRACES. `nodes` is 0 for as many as it is published for.

    Raises:
        InvalidValue: there is none of that name.
        NotFound: it is not in the folder; the message says where it is published.
    """
    folder = Path(os.environ.get("TRACES", "../shared/traces"))
    kind, _, which = name.partition("-")
    if name not in TRACES:
        raise InvalidValue(
            f"trace {shorten(name)!r} is not known; {', '.join(TRACES)} are.", fix="Or give --jobs FILE."
        )
    if kind == "philly":
        return traces.philly(folder, nodes=nodes or 64)
    if kind == "itp":
        return traces.itp(folder, which, nodes=nodes or 72)
    return traces.muri(folder, which)


def from_table(path: Path, nodes: int, per_node: int, cpus: float, memory_gib: float) -> Workload:
    """Jobs of a CSV file with a title line, on equal machines.

    Raises:
        InvalidValue: a column is missing or unknown, or a value means nothing; the message says the line.
    """
    if not 1 <= nodes <= NODES_MAX:
        raise InvalidValue(f"--nodes {nodes} is outside 1 to {NODES_MAX:,}.", field="nodes")
    every = list(_rows(path))
    kind = "accelerator"
    node = {"cpus": cpus, "memory_bytes": round(memory_gib * GIB), "accelerators": {kind: per_node} if per_node else {}}
    return Workload(
        name=path.stem,
        cluster=Cluster(
            nodes=tuple(Node(name=f"n{at:05}", **node) for at in range(nodes)),  # type: ignore[arg-type]
            types=(AcceleratorType(name=kind),),
        ),
        jobs=tuple(job for job, _ in every),
        runtimes_s=tuple(runtime_s for _, runtime_s in every),
    )


def _rows(path: Path) -> Iterator[tuple[Job, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        wrong = [each for each in columns if each not in (*TEXTS, *NUMBERS)] or [
            each for each in NEEDED if each not in columns
        ]
        if wrong:
            raise InvalidValue(
                f"{path.name}: column {shorten(wrong[0] or '')!r} is unknown or missing; "
                f"{', '.join((*NUMBERS, *TEXTS))} are known, {' and '.join(NEEDED)} needed.",
                fix="Name the columns in the first line.",
            )
        for number, row in enumerate(rows):
            if number >= JOBS_MAX:
                raise InvalidValue(f"{path.name} has more than {JOBS_MAX:,} jobs.", fix="Take fewer.")
            yield _job(path.name, number, row)


def _job(file: str, number: int, row: dict[str, str]) -> tuple[Job, float]:
    try:
        given = {name: float(row[name]) for name in NUMBERS if row.get(name)}
        if None in row or not all(map(math.isfinite, given.values())):
            raise ValueError("a value is no number, or there are too many")
        job = Job(
            id=row.get("id") or f"job-{number + 1}",
            queue=row.get("queue") or "",
            user=row.get("user") or "",
            template=row.get("template") or "",
            submitted_us=round(given["submitted_s"] * 1e6),
            workers=int(given.get("workers", 1)),
            accelerators=given.get("accelerators", 0.0),
            cpus=given.get("cpus", 0.0),
            memory_bytes=round(given.get("memory_gib", 0.0) * GIB),
            priority=int(given.get("priority", 0)),
            estimate_s=given.get("estimate_s", 0.0),
            restart_s=given.get("restart_s", 0.0),
        )
        check_job(job)
        if given["runtime_s"] < 0 or given["submitted_s"] < 0:
            raise ValueError("a time is below 0")
    except (KeyError, ValueError, InvalidValue) as wrong:
        raise InvalidValue(f"{file}, line {number + 2}: {wrong}", fix="Correct the line.") from wrong
    return job, given["runtime_s"]
