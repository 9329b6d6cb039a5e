"""S2: Muri's workloads with no knowledge of run times and no sharing, beside the published blind policies."""

import json
from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import muri, read_published

LIMITS = {"1": 0.6, "2": 0.6, "3": 0.8, "4": 0.8}
"""Most of Tiresias' published average jct, by trace."""
THEMIS_LEAST = 6


def measure(folder: Path) -> Iterator[str]:
    """Ours on 8 x 8 GPUs with consolidated placement; theirs as published."""
    published = json.loads(read_published(folder, "muri_published_results.json"))
    lines: list[tuple[str, ...]] = []
    goals: list[str] = []
    beaten = 0
    for at, column in enumerate(published["columns"]):
        workload = muri(folder, column[0], at_once="'" in column)
        theirs = {name: values["avg_jct_s"][at] for name, values in published["results"].items()}
        ours = {name: report(simulate(workload, policy_named(name))) for name in ("las", "mlfq", "gittins")}
        best = ours["gittins"].jct_mean_s
        beaten += best <= theirs["themis"]
        cells = (theirs["Tiresias_L"], theirs["themis"], theirs["Muri_L"])
        mine = (each.jct_mean_s for each in ours.values())
        ratio = best / theirs["Tiresias_L"]
        per_job = ours["gittins"].preempted
        lines.append((column, *(f"{value:,.0f}" for value in (*cells, *mine)), f"{ratio:.2f}", f"{per_job:.2f}"))
        if column in LIMITS:
            goals.append(
                goal(
                    f"trace {column}, gittins / Tiresias-L",
                    ratio,
                    LIMITS[column],
                    published=f"{theirs['Tiresias_L']:,.0f} s",
                )
            )
    titles = ("avg jct, trace", "Tiresias-L", "Themis", "Muri-L", "our las", "our mlfq", "our gittins")
    yield from rows((*titles, "/ Tiresias", "preempt/job"), lines)
    yield from goals
    yield goal("workloads at or below Themis", beaten, THEMIS_LEAST, least=True, published="Themis")
