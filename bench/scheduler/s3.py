"""S3: ITP cluster 04 on 576 GPUs without knowledge of run times, beside the oracle that knows them all."""

from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import HEAD, goal, line_of, rows, sizes
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import itp

ORACLE_S = 20_837.0
"""Average jct of the SRSF oracle in the study this bench follows."""
RATIO = 1.03
PREEMPTED = 0.3


def measure(folder: Path) -> Iterator[str]:
    """Baselines, oracles and blind policies."""
    blind, knowing = itp(folder, "04"), itp(folder, "04", knows=True)
    runs = [report(simulate(blind, policy_named(name))) for name in ("fifo-skip", "mlfq", "gittins")]
    runs += [report(simulate(knowing, policy_named(name))) for name in ("sjf-skip", "srsf")]
    yield from rows(HEAD, [line_of(each) for each in runs])
    gittins, oracle = runs[2], runs[4]
    yield from sizes(gittins)
    yield goal(
        f"gittins / SRSF oracle of {ORACLE_S:,.0f} s",
        gittins.jct_mean_s / ORACLE_S,
        RATIO,
        published="1; FIFO + skip 1.32",
    )
    yield goal("gittins / our own SRSF oracle", gittins.jct_mean_s / oracle.jct_mean_s, RATIO)
    yield goal("preemptions per job", gittins.preempted, PREEMPTED)
