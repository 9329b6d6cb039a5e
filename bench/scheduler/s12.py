"""S12: the shapes of Kueue's own performance tests against the running daemon, every decision on disk.

Workloads come at Kueue's intervals into Kueue's queues and are done after Kueue's run times; submissions go through the
service, decisions through the board, starts and ends through the worker and the database (SQLite, an fsync for each commit).
Only processes are missing: the engine ends an attempt when its time is over, as Kueue's minimal controller does.
Source of the shapes: kubernetes-sigs/kueue, test/performance/scheduler/configs/{baseline,large-scale}/generator.yaml.
"""

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.scheduler.tables import goal
from sill.api.serving_life import YOUNG_MAX
from sill.core.actors import PLATFORM
from sill.core.clock import SystemClock
from sill.engines.types import Capacity
from sill.queues.store import QUEUES
from sill.queues.types import QueueSpec
from sill.runs.experiments import store as experiments
from sill.runs.store import RUNS
from sill.runs.types import Resources, RunSpec, RunState
from sill.scheduler.simulation.report import quantile
from sill.stores.database import Tx
from sill.testing.fake_engine import RUNTIME, FakeEngine
from sill.testing.virtual_daemon import Daemon, open_daemon

QUOTA, BORROW = 20.0, 100.0
TICK_S = 0.05
LIMIT_S = 300.0


class Class(NamedTuple):
    """Workloads of one kind in each queue."""

    name: str
    many: int
    interval_s: float
    runtime_s: float
    priority: int
    cpus: float


class Shape(NamedTuple):
    """One of Kueue's generator files."""

    name: str
    cohorts: int
    queues: int
    classes: tuple[Class, ...]
    kueue_s: float
    goal_s: float


BASELINE = Shape(
    "baseline",
    5,
    6,
    (
        Class("small", 350, 0.1, 0.2, 50, 1),
        Class("medium", 100, 0.5, 0.5, 100, 5),
        Class("large", 50, 1.2, 1.0, 200, 20),
    ),
    351.0,
    80.0,
)
LARGE = Shape(
    "large-scale",
    10,
    100,
    (
        Class("small", 35, 0.02, 0.05, 50, 1),
        Class("medium", 10, 0.05, 0.1, 100, 5),
        Class("large", 5, 0.2, 0.2, 200, 20),
    ),
    1179.0,
    40.0,
)


def measure(folder: Path) -> Iterator[str]:
    """Both shapes, one after the other."""
    del folder
    gc.set_threshold(YOUNG_MAX)  # as the control plane's process does
    for shape in (BASELINE, LARGE):
        yield from asyncio.run(_measure(shape))


async def _measure(shape: Shape) -> list[str]:
    queues = shape.cohorts * shape.queues
    with tempfile.TemporaryDirectory() as home:
        clock = SystemClock()
        capacity = Capacity(cpus=queues * QUOTA, memory_bytes=2**50)
        daemon = open_daemon(Path(home), clock, FakeEngine(clock, capacity))
        await _declare(daemon, shape)
        worker = asyncio.create_task(daemon.worker.run())
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        await _submit(daemon, shape)
        submitted_s = time.monotonic() - began_s
        while await _left(daemon):
            await asyncio.sleep(0.1)
            if time.monotonic() - began_s > LIMIT_S:
                break
        took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
        runs = await daemon.database.read(RUNS.every)
        daemon.close()
    done = [run for run in runs if run.state is RunState.FINISHED]
    many = len(done)
    lines = [
        f"{shape.name}: {many:,} workloads of {queues:,} queues done in {took_s:.1f} s, {many / took_s:,.0f} a second "
        f"(Kueue's CI {shape.kueue_s:,.0f} s); submitted in {submitted_s:.1f} s; "
        f"{cpu_s / max(many, 1) * 1e3:.2f} ms of processor time each",
        goal(
            f"{shape.name}, all done",
            took_s if many == len(runs) else LIMIT_S,
            shape.goal_s,
            " s",
            published=f"Kueue {shape.kueue_s:,.0f} s",
        ),
    ]
    for each in shape.classes:
        waits = sorted((run.started_us - run.created_us) / 1e6 for run in done if run.spec.priority == each.priority)
        lines.append(
            f"  {each.name}: admitted after {sum(waits) / max(len(waits), 1):.2f} s on average, p99 {quantile(waits, 0.99):.2f} s"
        )
    return lines


async def _declare(daemon: Daemon, shape: Shape) -> None:
    for cohort in range(shape.cohorts):
        await daemon.queues.put(PLATFORM, QueueSpec(name=f"cohort-{cohort}"))
    every = [
        QueueSpec(
            name=f"queue-{name}",
            parent=f"cohort-{name.partition('-')[0]}",
            projects=(f"p-{name}",),
            guarantee={"cpus": QUOTA},
            borrow={"cpus": BORROW},
        )
        for name in _names(shape)
    ]
    await daemon.database.write(lambda tx: _keep(tx, every))


def _keep(tx: Tx, every: list[QueueSpec]) -> None:
    """Queues, and the experiment that each project gets with its first run, as Kueue's runner makes its namespaces first."""
    QUEUES.create_many(tx, every)
    for queue in every:
        experiments.place(tx, queue.projects[0], "default", PLATFORM.id)


def _names(shape: Shape) -> list[str]:
    return [f"{cohort}-{queue}" for cohort in range(shape.cohorts) for queue in range(shape.queues)]


async def _submit(daemon: Daemon, shape: Shape) -> None:
    """Each class of each queue at its own interval; what is due at a tick is sent together, project by project."""
    sent = [0] * len(shape.classes)
    began_s = time.monotonic()
    while any(done < each.many for done, each in zip(sent, shape.classes, strict=True)):
        passed_s = time.monotonic() - began_s
        specs: list[RunSpec] = []
        for at, each in enumerate(shape.classes):
            due = min(int(passed_s / each.interval_s) + 1, each.many)
            specs += [_spec(each)] * (due - sent[at])
            sent[at] = due
        if specs:
            await asyncio.gather(*(daemon.runs.submit_many(PLATFORM, f"p-{name}", specs) for name in _names(shape)))
        await asyncio.sleep(TICK_S)


def _spec(each: Class) -> RunSpec:
    return RunSpec(
        name=each.name,
        command=("true",),
        env={RUNTIME: repr(each.runtime_s)},
        priority=each.priority,
        resources=Resources(cpus=each.cpus, memory_bytes=1024**2),
    )


async def _left(daemon: Daemon) -> int:
    waiting = (RunState.QUEUED, RunState.RUNNING)
    return await daemon.database.read(lambda connection: RUNS.count(connection, state=waiting))
