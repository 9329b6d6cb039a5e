"""S7, and S1's part on FGD: how much of Alibaba's 6,212 GPUs is given when pods for 130 % of them have come.

Pods come in an order shuffled by the seed, again from the first when all have come; each is placed at once or turned away,
none leaves. The placements are those of the core; what is typical is taught beforehand, as FGD knows its workload.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import stdev

import msgspec

from bench.scheduler.tables import goal, rows
from sill.scheduler.decide import decide
from sill.scheduler.folding import happen
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import mean
from sill.scheduler.simulation.traces import openb, read_rows
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Job, Observed, Submitted, Withdrawn

ARRIVED = 1.3
SEEDS = range(42, 52)
"""The numbers the published runs have; orders of arrival differ from theirs all the same."""
OURS = "least_fragmentation"
REPLICATED = {"scattered": "01-Random", "least_left": "05-BestFit"}
AWAY_POINTS = 1.5
BEATEN = 14
RUN_S = 10.0


def measure(folder: Path) -> Iterator[str]:
    """Each variant: FGD's published numbers, and ours; the two baselines on the default variant."""
    published = _published(folder)
    variants = sorted({variant for variant, _ in published})
    yield f"{len(SEEDS)} seeds, {len(variants)} variants; run times are processor time"
    lines: list[tuple[str, ...]] = []
    above, ours, theirs, slowest = 0, [], [], 0.0
    for variant in variants:
        cluster, jobs = openb(folder, variant)
        found = []
        for seed in SEEDS:
            began_s = time.process_time()
            found.append(allocated_pct(cluster, jobs, OURS, seed))
            slowest = max(slowest, time.process_time() - began_s)
        ours.append(mean(found))
        theirs.append(published[variant, "06-FGD"])
        above += ours[-1] >= theirs[-1]
        cells = (published[variant, "05-BestFit"], theirs[-1], ours[-1], stdev(found), ours[-1] - theirs[-1])
        lines.append((variant, *(f"{value:.2f}" for value in cells)))
    titles = (
        "% allocated, mean of seeds",
        "BestFit (published)",
        "FGD (published)",
        "ours",
        "our spread",
        "difference",
    )
    yield from rows(titles, lines)
    yield goal("variants at or above FGD", above, BEATEN, least=True, published="FGD")
    yield goal(
        "mean over variants, above FGD's",
        mean(ours) - mean(theirs),
        0.0,
        " points",
        least=True,
        published=f"FGD {mean(theirs):.2f} %",
    )
    yield goal("slowest run, processor time", slowest, RUN_S, " s", published="10 min")


def replicate(folder: Path) -> Iterator[str]:
    """FGD's Random and BestFit with our core."""
    published = _published(folder)
    lines, worst = [], 0.0
    for variant in ("default", "gpushare100"):
        cluster, jobs = openb(folder, variant)
        for placement, name in REPLICATED.items():
            theirs, ours = published[variant, name], allocated_pct(cluster, jobs, placement, SEEDS[0])
            worst = max(worst, abs(ours - theirs))
            lines.append((f"{name[3:]} {variant}", f"{theirs:.2f}", f"{ours:.2f}", f"{ours - theirs:+.2f}"))
    yield from rows(("FGD's simulator, 6,212 GPUs", "published % allocated", "ours", "points away"), lines)
    yield goal("worst distance of an allocation", worst, AWAY_POINTS, " points", published="FGD's simulator")


def allocated_pct(cluster: Cluster, jobs: tuple[Job, ...], placement: str, seed: int) -> float:
    """Percent of all devices given when jobs for `ARRIVED` times as many have come."""
    state = State(cluster, msgspec.structs.replace(policy_named("fifo-skip"), placement=placement))
    order = list(jobs)
    random.Random(seed).shuffle(order)
    for job in order:
        happen(state, Observed(job=job, runtime_s=1.0), 0)
    total = sum(sum(node.accelerators.values()) for node in cluster.nodes)
    came = held = 0.0
    for number, job in enumerate(cycle(order)):
        if came >= ARRIVED * total:
            return held / total * 100
        name = f"{number}"
        came += job.accelerators
        if decide(state, Submitted(job=msgspec.structs.replace(job, id=name)), number):
            held += job.accelerators
        else:
            happen(state, Withdrawn(job_id=name), number)
    return 0.0


def _published(folder: Path) -> dict[tuple[str, str], float]:
    """Mean over the published seeds, by variant and policy."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in read_rows(folder, "fgd_published_alloc.csv.gz"):
        found[row["variant"], row["policy"]].append(float(row["alloc_pct_at_last"]))
    return {key: mean(values) for key, values in found.items()}
