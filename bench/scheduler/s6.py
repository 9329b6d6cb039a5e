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
from sill.scheduler.simulation.simulate import Simulation, simulate
from sill.scheduler.simulation.traces import read_published
from sill.scheduler.simulation.types import Outcome

OURS = "critical"
BASELINES = ("gavel", "themis", "srtf", "sill", "gittins")
REPLICATED = {"gavel": "Gavel (max-min)", "themis": "Themis (FTF)"}
"""Baselines of ours by their name in the published table."""
AWAY_PCT = 10.0
RATIO = 1.05
WORST = 1.8
UNFAIR_FROM = 1.05
UNFAIR_PCT = 5.0
DECISION_MS = 50.0


def measure(folder: Path) -> Iterator[str]:
    """Published policies, ours and some baselines on the same jobs."""
    published = _published(folder)
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
    makespan_s, jct_s = float(bar["makespan_s"]), float(bar["avg_jct_s"])
    yield goal("makespan / Shockwave's", found.makespan_s / makespan_s, RATIO, published=f"{makespan_s:,.0f} s")
    yield goal("average jct / Shockwave's", found.jct_mean_s / jct_s, RATIO, published=f"{jct_s:,.0f} s")
    yield goal("worst finish-time fairness", max(fairness), WORST, published=bar["worst_ftf"])
    yield goal(
        "jobs treated unfairly", unfair_pct(fairness), UNFAIR_PCT, " %", published=f"{bar['unfair_pct_ftf_gt_1_05']} %"
    )
    yield goal("slowest decision, processor time", ours.slowest_s * 1000, DECISION_MS, " ms")


def replicate(folder: Path) -> Iterator[str]:
    """Gavel's max-min fairness and Themis with our core, as Shockwave's simulator ran them."""
    published = {row["policy"]: row for row in _published(folder)}
    workload = shockwave(folder)
    lines: list[tuple[str, ...]] = []
    worst = 0.0
    for name, of in REPLICATED.items():
        ours, theirs = report(simulate(workload, policy_named(name))), published[of]
        pairs = (("makespan_s", ours.makespan_s), ("avg_jct_s", ours.jct_mean_s), ("p99_jct_s", ours.jct_p99_s))
        for column, found in pairs:
            bar = float(theirs[column])
            away = (found / bar - 1) * 100
            worst = max(worst, abs(away))
            lines.append((f"{of}: {column[:-2].replace('_', ' ')}", f"{bar:,.0f}", f"{found:,.0f}", f"{away:+.1f} %"))
    yield from rows(("Shockwave's 120 jobs, 32 GPUs", "published, s", "ours", "away"), lines)
    yield goal("Gavel and Themis, worst distance", worst, AWAY_PCT, " %", published="Shockwave's simulator")


def _published(folder: Path) -> list[dict[str, str]]:
    """The rows of this experiment."""
    every = csv.DictReader(read_published(folder, "shockwave_published_results.csv").splitlines())
    return [row for row in every if row["set"] == "tacc_32gpus"]


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
