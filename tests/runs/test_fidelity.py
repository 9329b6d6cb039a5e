"""The daemon and the simulator come to the same: one function decides for both."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.engines.types import Capacity
from sill.queues.rules import to_scheduler
from sill.queues.types import QueueSpec
from sill.runs.jobs import cluster_of, job_of
from sill.runs.store import RUNS
from sill.runs.types import Resources, Run, RunState
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.types import Report, Workload
from sill.scheduler.types import Job
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Arrival, live_through, open_daemon

pytestmark = pytest.mark.anyio
CAPACITY = Capacity(cpus=8, memory_bytes=1024**3)
DAY_S = 24 * 3600


def generated(jobs: int, start_us: int, seed: int = 1) -> list[Arrival]:
    """A day of runs that keep eight cpus busy and queues waiting."""
    draw = random.Random(seed)
    found = []
    for number in range(jobs):
        cpus = draw.choice((1, 1, 1, 2, 4))
        runs_s = round(min(draw.lognormvariate(0, 1.2) * DAY_S * 8 * 0.6 / jobs / cpus, DAY_S / 4), 3)
        found.append(
            Arrival(
                name=f"job-{number:05}",
                at_us=start_us + round(draw.uniform(0, DAY_S) * 1e6),
                project=draw.choice(("vision", "speech", "search")),
                runtime_s=runs_s,
                cpus=cpus,
                workers=draw.choice((1, 1, 2)) if cpus < 4 else 1,
                priority=draw.choice((0, 0, 5)),
            )
        )
    return found


QUEUES = (
    QueueSpec(name="research", ceiling={"cpus": 6}),
    QueueSpec(name="vision-q", parent="research", projects=("vision",), guarantee={"cpus": 2}),
    QueueSpec(name="speech-q", parent="research", projects=("speech",), weight=2.0),
)


def simulated(arrivals: list[Arrival]) -> Report:
    queue_of = {project: queue.name for queue in QUEUES for project in queue.projects}
    jobs = tuple(
        Job(
            id=each.name,
            queue=queue_of.get(each.project, each.project),
            user=PLATFORM.id,
            workers=each.workers,
            cpus=each.cpus,
            memory_bytes=1024**2,
            level="node",
            priority=each.priority,
            submitted_us=each.at_us,
            template=each.name,
            preemptible=False,
        )
        for each in arrivals
    )
    workload = Workload(
        name="day",
        cluster=cluster_of(CAPACITY),
        jobs=jobs,
        runtimes_s=tuple(each.runtime_s for each in arrivals),
        queues=tuple(to_scheduler(queue) for queue in QUEUES),
    )
    return report(simulate(workload, policy_named("local")))


def measured(runs: list[Run]) -> tuple[float, float]:
    """Mean completion time and makespan in seconds."""
    assert {run.state for run in runs} == {RunState.FINISHED}
    jcts = [(run.ended_us - run.created_us) / 1e6 for run in runs]
    first, last = min(run.created_us for run in runs), max(run.ended_us for run in runs)
    return sum(jcts) / len(jcts), (last - first) / 1e6


@pytest.mark.parametrize("jobs", [60, pytest.param(400, marks=pytest.mark.slow)])
async def test_daemon_and_simulator_agree_within_two_percent(tmp_path: Path, jobs: int) -> None:
    clock = ManualClock()
    arrivals = generated(jobs, clock.now_us())
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, CAPACITY))
    for queue in QUEUES:
        await daemon.queues.put(PLATFORM, queue)
    await live_through(daemon, clock, arrivals)
    jct_s, makespan_s = measured(await daemon.database.read(RUNS.every))
    daemon.close()

    told = simulated(arrivals)
    assert told.wait_mean_s > 60  # there is something to agree on
    assert jct_s == pytest.approx(told.jct_mean_s, rel=0.02)
    assert makespan_s == pytest.approx(told.makespan_s, rel=0.02)


@pytest.mark.slow
async def test_real_processes_and_the_simulator_agree_within_five_percent(
    working: Any, ada: Actor, over: Any, program: Any
) -> None:
    # Users see the time from submission to end. The simulator is told how long each process was asked to work, and what
    # the engine took to start and to clear up after others before: a place is held meanwhile.
    draw = random.Random(2)

    async def submit(work_s: float) -> Run:
        needs = Resources(cpus=draw.choice((1, 1, 2)), memory_bytes=64 * 1024**2)
        run: Run = await working.runs.submit(ada, "p", program(f"import time; time.sleep({work_s})", resources=needs))
        return run

    before = [await over(run) for run in [await submit(1.0) for _ in range(12)]]
    handling_s = sum((run.ended_us - run.attempt_us) / 1e6 - 1.0 for run in before) / len(before)
    work_s = [round(draw.uniform(1.0, 6.0), 2) for _ in range(24)]
    submitted = []
    for each_s in work_s:
        submitted.append(await submit(each_s))
        await asyncio.sleep(draw.uniform(0, 0.4))
    runs = [await over(run) for run in submitted]

    jct_s, makespan_s = measured(runs)
    workload = Workload(
        name="processes",
        cluster=cluster_of(working.engine.capacity()),
        jobs=tuple(job_of(run, "p") for run in runs),
        runtimes_s=tuple(each_s + handling_s for each_s in work_s),
    )
    told = report(simulate(workload, policy_named("local")))
    assert told.wait_mean_s > 1
    assert jct_s == pytest.approx(told.jct_mean_s, rel=0.05)
    assert makespan_s == pytest.approx(told.makespan_s, rel=0.05)
