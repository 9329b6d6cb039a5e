"""S13: KAI's reclaim benchmark: one queue runs 4,000 jobs on all 500 nodes, another asks for 4,000 and takes back its half."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal
from sill.scheduler.decide import choose
from sill.scheduler.folding import happen
from sill.scheduler.policies import GRACE_S, policy_named
from sill.scheduler.simulation.traces import gpu_cluster
from sill.scheduler.state import State
from sill.scheduler.types import Job, Preempt, Queue, Start, Stopped, Submitted, Tick

NODES, PER_NODE = 500, 8
JOBS = NODES * PER_NODE
GRACE_US = round(GRACE_S * 1e6)
PUBLISHED_S = 165.6


def measure(folder: Path) -> Iterator[str]:
    """From the decision to stop, over each report that one has stopped, to the last start."""
    half = {"accelerators": JOBS / 2}
    queues = (Queue(name="holds", guarantee=half), Queue(name="asks", guarantee=half))
    state = State(gpu_cluster(NODES, PER_NODE), policy_named("sill"), queues)
    for number in range(JOBS):
        happen(state, Submitted(job=Job(id=f"r{number}", queue="holds", accelerators=1)), 0)
    choose(state)
    for number in range(JOBS):
        happen(state, Submitted(job=Job(id=f"p{number}", queue="asks", accelerators=1)), 1)
    choose(state)
    began = time.perf_counter()
    happen(state, Tick(), GRACE_US + 2)
    stopped = [action for action in choose(state) if isinstance(action, Preempt)]
    decided_s = time.perf_counter() - began
    started = 0
    for action in stopped:
        happen(state, Stopped(job_id=action.job_id, attempt=action.attempt), GRACE_US + 3)
        started += sum(isinstance(each, Start) and each.job_id[0] == "p" for each in choose(state))
    took_s = time.perf_counter() - began
    yield (
        f"{JOBS:,} running, {JOBS:,} waiting: {len(stopped):,} stopped in one decision of {decided_s:.2f} s, "
        f"{started:,} started in their place, each report decided on by itself"
    )
    yield goal("from the first decision to the last start", took_s, 1, " s", published=f"KAI {PUBLISHED_S:g} s")
