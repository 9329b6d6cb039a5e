"""S4: Philly on 512 GPUs; estimates are wrong by a factor e^N(0,1), and large gangs must not starve."""

import random
from collections.abc import Callable, Iterator
from math import exp
from pathlib import Path

from bench.scheduler.tables import HEAD, goal, line_of, rows, sizes
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import mean, report, wait_of_large
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import philly

SEEDS = range(10)
LARGE = 16
AVERAGE_S, LARGE_S, P99_S, PREEMPTED = 12_000.0, 25_000.0, 80_000.0, 0.08
PUBLISHED = ("FIFO + skip 93,008 s, EASY 214,747 s", "FIFO + skip 1,525,393 s, EASY 525,666 s")
"""Baselines in the study this bench follows, with true run times: average wait, and that of large jobs."""
BASELINES = ("fifo-skip", "sjf-skip", "sjf")


def measure(folder: Path) -> Iterator[str]:
    """Baselines once with true run times, ours over ten seeds of wrong estimates."""
    knowing = philly(folder)
    lines = []
    for name in BASELINES:
        outcome = simulate(knowing, policy_named(name))
        lines.append((*line_of(report(outcome)), f"{wait_of_large(outcome, LARGE):,.0f}"))
    large: list[float] = []
    reports = []
    for seed in SEEDS:
        outcome = simulate(philly(folder, estimate=wrong(seed)), policy_named("drain"))
        found = report(outcome)
        reports.append(found)
        large.append(wait_of_large(outcome, LARGE))
        name, *cells = line_of(found)
        lines.append((f"{name} seed {seed}", *cells, f"{large[-1]:,.0f}"))
    yield from rows((*HEAD, f"wait >= {LARGE}"), lines)
    yield from sizes(reports[0])
    yield goal(
        f"average wait, {len(SEEDS)} seeds",
        mean([each.wait_mean_s for each in reports]),
        AVERAGE_S,
        " s",
        published=PUBLISHED[0],
    )
    yield goal("worst seed's average wait", max(each.wait_mean_s for each in reports), AVERAGE_S, " s")
    yield goal(f"wait of jobs of {LARGE} GPUs and more", mean(large), LARGE_S, " s", published=PUBLISHED[1])
    yield goal("worst seed's wait of those", max(large), LARGE_S, " s")
    yield goal("p99 wait, mean of seeds", mean([each.wait_p99_s for each in reports]), P99_S, " s")
    yield goal("preemptions per job", mean([each.preempted for each in reports]), PREEMPTED)


def wrong(seed: int, sigma: float = 1.0) -> Callable[[float], float]:
    """Estimates that are wrong by a log-normal factor; the seed makes them the same each time."""
    source = random.Random(seed)
    return lambda runtime_s: max(1.0, runtime_s * exp(source.gauss(0, sigma)))
