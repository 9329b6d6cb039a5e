"""S11: how fast decisions are at 12,500 nodes, 100,000 accelerators and 1,000 queues, with quotas, racks, labels and reasons."""

import gc
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal
from sill.core.accelerators import AcceleratorType
from sill.scheduler.decide import choose
from sill.scheduler.folding import happen
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import quantile
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Ended, Job, Node, Queue, Start, Submitted

NODES, PER_NODE, PER_RACK, QUEUES, ORGANISATIONS = 12_500, 8, 16, 1_000, 20
PENDING = 50_000
EVENTS = 4_000
FILLS = 3
SEED = 1
SHAPES = ((1, 1, 60), (2, 1, 12), (4, 1, 10), (8, 1, 12), (8, 2, 3), (8, 4, 2), (8, 8, 1))
"""(devices of a worker, workers, weight)."""


def measure(folder: Path) -> Iterator[str]:
    """Fill the empty cluster (the middle of three times), replan a full one, then one event after the other."""
    fills = []
    for _ in range(FILLS):
        source = random.Random(SEED)
        state = State(_cluster(), policy_named("sill"), _queues())
        for number in range(PENDING):
            happen(state, Submitted(job=_job(source, number)), 0)
        gc.collect()  # what the fill before left behind is not this one's to clean up
        began, began_cpu = time.perf_counter(), time.process_time()
        placed = sum(isinstance(action, Start) for action in choose(state))
        fills.append((time.process_time() - began_cpu, time.perf_counter() - began))
    cpu_s, fill_s = sorted(fills)[FILLS // 2]
    held = sum(entry.devices for entry in state.running.values())
    yield f"{placed:,} of {PENDING:,} jobs placed on {held:,.0f} of {NODES * PER_NODE:,} devices in {fill_s:.2f} s"
    yield f"in {FILLS} runs {', '.join(f'{placed / each:,.0f}' for each, _ in fills)} a second of processor time"
    for number in range(PENDING, 2 * PENDING):
        happen(state, Submitted(job=_job(source, number)), 1)
    for name in list(state.running)[::10]:
        happen(state, Ended(job_id=name, attempt=state.running[name].attempt), 1)
    waiting = sum(len(line.waiting) for line in state.lines)
    began = time.perf_counter()
    more = len(choose(state))
    replan_s = time.perf_counter() - began
    yield f"one decision with {waiting:,} jobs waiting, a tenth of what ran ended: {replan_s:.2f} s, {more:,} actions"
    yield from _events(state, source)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield goal(
        "placements for each second of processor time, the middle run",
        placed / cpu_s,
        30_000,
        least=True,
        published="Armada 49,000",
    )
    yield goal("replan of a full cluster", replan_s, 2, " s")
    yield goal("memory of the process", megabytes, 1024, " MiB")


def _events(state: State, source: random.Random) -> Iterator[str]:
    """A job ends, another comes, and so on."""
    took, started = [], 0
    for number in range(EVENTS):
        name = next(iter(state.running)) if number % 2 else ""
        began = time.perf_counter()
        if name:
            happen(state, Ended(job_id=name, attempt=state.running[name].attempt), 2 + number)
        else:
            happen(state, Submitted(job=_job(source, 10**6 + number)), 2 + number)
        started += len(choose(state))
        took.append(time.perf_counter() - began)
    took.sort()
    per_s, middle_ms = EVENTS / sum(took), took[EVENTS // 2] * 1e3
    yield f"{EVENTS:,} single events, {started:,} actions: {per_s:,.0f} events/s, p50 {middle_ms:.2f} ms"
    yield goal("p99 of one event", quantile(took, 0.99) * 1e3, 50, " ms")


def _cluster() -> Cluster:
    nodes = tuple(
        Node(
            name=f"n{at:05}",
            cpus=128,
            memory_bytes=2**40,
            accelerators={"h100": PER_NODE},
            labels={"zone": "ab"[at % 2], "image": "new" if at % 10 else "old"},
            domains=(f"b{at // (PER_RACK * 16)}", f"r{at // PER_RACK}"),
        )
        for at in range(NODES)
    )
    return Cluster(nodes=nodes, types=(AcceleratorType(name="h100"),), levels=("block", "rack"))


def _queues() -> tuple[Queue, ...]:
    each = NODES * PER_NODE / QUEUES
    return (
        *(
            Queue(name=f"o{at}", ceiling={"accelerators": each * QUEUES / ORGANISATIONS * 2})
            for at in range(ORGANISATIONS)
        ),
        *(
            Queue(
                name=f"q{at}",
                parent=f"o{at % ORGANISATIONS}",
                guarantee={"accelerators": each},
                borrow={"accelerators": each * 4},
                weight=1 + at % 3,
            )
            for at in range(QUEUES)
        ),
    )


def _job(source: random.Random, number: int) -> Job:
    devices, workers, _ = source.choices(SHAPES, [weight for *_, weight in SHAPES])[0]
    return Job(
        id=f"j{number}",
        queue=f"q{source.randrange(QUEUES)}",
        workers=workers,
        accelerators=devices,
        cpus=4 * devices,
        memory_bytes=devices * 2**35,
        level="rack" if workers > 1 else "",
        labels={"image": "new"} if number % 5 == 0 else {},
        estimate_s=source.choice((60.0, 600.0, 6_000.0)),
    )
