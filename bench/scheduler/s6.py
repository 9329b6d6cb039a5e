"""S6: Shockwave's 120 jobs on 32 GPUs: the end of the whole, the mean, and fairness, beside seven published policies.

Our policy is told the run time a job was submitted with, and nothing of how its batch size will grow (`foresees` knows it).
Fairness is theirs: completion time over run time times jobs per GPU; a job above 1.05 counts as treated unfairly.
"""

import csv
import time
from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import finish_time_fairness, mean, report
from sill.scheduler.simulation.shockwave import shockwave
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.traces import read_published
from sill.scheduler.simulation.types import Outcome

OURS = "critical"
BASELINES = ("srtf", "sill", "gittins")
RATIO = 1.05
WORST = 1.8
UNFAIR_FROM = 1.05
UNFAIR_PCT = 5.0
DECISION_MS = 50.0


def measure(folder: Path) -> Iterator[str]:
    """Published policies, ours and some baselines on the same jobs."""
    published = [
        row
        for row in csv.DictReader(read_published(folder, "shockwave_published_results.csv").splitlines())
        if row["set"] == "tacc_32gpus"
    ]
    lines = [_published_line(row) for row in published]
    workload, foreseen = shockwave(folder), shockwave(folder, knows=True)
    ours = Simulation(workload, policy_named(OURS), timer=time.thread_time).run()
    lines.append(_line(OURS, ours))
    lines.append(_line(f"{OURS}, foresees", Simulation(foreseen, policy_named(OURS)).run()))
    lines += [_line(name, Simulation(workload, policy_named(name)).run()) for name in BASELINES]
    titles = ("120 jobs, 32 GPUs", "makespan", "avg jct", "p99 jct", "worst ftf", "unfair %", "util", "preempt")
    yield from rows(titles, lines)
    bar = next(row for row in published if row["policy"] == "Shockwave")
    found, fairness = report(ours), finish_time_fairness(ours)
    yield goal("makespan / Shockwave's", found.makespan_s / float(bar["makespan_s"]), RATIO)
    yield goal("average jct / Shockwave's", found.jct_mean_s / float(bar["avg_jct_s"]), RATIO)
    yield goal("worst finish-time fairness", max(fairness), WORST)
    yield goal("jobs treated unfairly", unfair_pct(fairness), UNFAIR_PCT, " %")
    yield goal("slowest decision, processor time", ours.slowest_s * 1000, DECISION_MS, " ms")


def unfair_pct(fairness: list[float]) -> float:
    """Percent of jobs above what counts as fair."""
    return mean([float(each > UNFAIR_FROM) for each in fairness]) * 100


def _published_line(row: dict[str, str]) -> tuple[str, ...]:
    seconds = (f"{float(row[name]):,.0f}" for name in ("makespan_s", "avg_jct_s", "p99_jct_s"))
    return (
        f"{row['policy']} (published)",
        *seconds,
        row["worst_ftf"],
        row["unfair_pct_ftf_gt_1_05"],
        row["cluster_util"],
        "",
    )


def _line(name: str, outcome: Outcome) -> tuple[str, ...]:
    found, fairness = report(outcome), finish_time_fairness(outcome)
    return (
        name,
        *(f"{value:,.0f}" for value in (found.makespan_s, found.jct_mean_s, found.jct_p99_s)),
        f"{max(fairness):.3f}",
        f"{unfair_pct(fairness):.1f}",
        f"{found.utilisation:.3f}",
        f"{found.preemptions}",
    )
