"""S10: carbon saved by starting work that may wait a day when the grid is cleaner, on the EIA's hours of 2022.

20,000 of the PAI jobs (every fifth of the year's), energy proportional to cpus times hours. The forecast of each hour is
made from the hours before it alone; run times are known, as in the published studies. The machines are never full.
"""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from bench.scheduler.tables import goal, rows
from sill.scheduler.carbon import Prices
from sill.scheduler.forecasting import Forecaster
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import read_rows
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Event, Job, Node, Priced

HOUR_US = 3_600_000_000
JOBS, EVERY = 20_000, 5
SLACK_H = 24
CPUS = 100_000
ORACLE = {"CA": (22.9, 20.5), "TX": (12.5, 2.7), "AZ": (8.4, 6.2), "WA": (8.0, 4.1), "VA": (3.9, 1.9)}
"""Saved with a perfect forecast, and with yesterday as the forecast, in the study this bench follows."""
GOALS = {"CA": 20.0, "TX": 6.0}


def measure(folder: Path) -> Iterator[str]:
    """Every region: our forecast, yesterday as the forecast, a perfect forecast; late starts."""
    series = _series(folder)
    jobs = tuple(_jobs(folder))
    lines: list[tuple[str, ...]] = []
    goals: list[str] = []
    missed = 0
    for region, hours in series.items():
        saved = {}
        for name, events in (
            ("learned", learned(hours)),
            ("yesterday", yesterday(hours)),
            ("perfect", perfect(hours)),
        ):
            saved[name], late = _saved_pct(jobs, hours, events)
            missed += late
        published = ORACLE.get(region)
        theirs = f"{published[0]:.1f} / {published[1]:.1f}" if published else ""
        mean = sum(hours) / len(hours)
        lines.append((region, f"{mean:.0f}", *(f"{value:.1f} %" for value in saved.values()), theirs))
        if region in GOALS:
            bar = f"perfect {published[0]} %, yesterday's {published[1]} %" if published else ""
            goals.append(
                goal(f"{region}, carbon saved", saved["learned"], GOALS[region], " %", least=True, published=bar)
            )
    titles = ("region", "g/kWh", "learned forecast", "yesterday's", "perfect", "study: perfect / yesterday's")
    yield from rows(titles, lines)
    yield from goals
    yield goal("starts after the latest one agreed, all regions and forecasts", missed, 0)


def learned(hours: list[float]) -> Iterator[tuple[int, Event]]:
    """At each hour's begin, a forecast from the hours that are over."""
    forecaster = Forecaster()
    for at, value in enumerate(hours):
        if at:
            yield _priced(at, forecaster.forecast())
        forecaster.observe(value)


def yesterday(hours: list[float]) -> Iterator[tuple[int, Event]]:
    """The last 24 hours again."""
    for at in range(24, len(hours)):
        yield _priced(at, tuple(hours[at - 24 : at]) * 3)


def perfect(hours: list[float]) -> Iterator[tuple[int, Event]]:
    """What will be."""
    yield _priced(0, tuple(hours))


def _priced(at: int, values: tuple[float, ...]) -> tuple[int, Event]:
    return at * HOUR_US, Priced(start_us=at * HOUR_US, values=values)


def _saved_pct(jobs: tuple[Job, ...], hours: list[float], events: Iterator[tuple[int, Event]]) -> tuple[float, int]:
    """Carbon saved against starting at once, and how many started too late."""
    cluster = Cluster(nodes=(Node(name="site", cpus=CPUS),))
    runtimes = tuple(job.estimate_s for job in jobs)
    workload = Workload(name="pai", cluster=cluster, jobs=jobs, runtimes_s=runtimes, events=tuple(events))
    outcome = simulate(workload, policy_named("fifo-skip"))
    truth = Prices(0, 3600.0, hours)
    latest_us = {job.id: job.start_by_us for job in jobs}
    spent = at_once = 0.0
    late = outcome.left
    for record in outcome.records:
        spent += record.devices * truth.cost(round(record.started_s * 1e6), record.runtime_s)
        at_once += record.devices * truth.cost(round(record.submitted_s * 1e6), record.runtime_s)
        late += round(record.started_s * 1e6) > latest_us[record.id]
    return (1 - spent / at_once) * 100, late


def _series(folder: Path) -> dict[str, list[float]]:
    """Grams per kWh by region and hour; a blank hour is taken to be as the one before."""
    found: dict[str, list[float]] = {}
    for row in read_rows(folder, "eia2022_carbon_hourly.csv.gz"):
        for column, text in row.items():
            if column.endswith("_gco2_kwh"):
                hours = found.setdefault(column[:2], [])
                value = float(text or "nan")
                hours.append(value if isfinite(value) else hours[-1])
    return found


def _jobs(folder: Path) -> Iterator[Job]:
    """Every fifth job of the year, each with a day to start in."""
    every = list(read_rows(folder, "gaia_pai-100k.csv.gz"))[::EVERY][:JOBS]
    for number, row in enumerate(every):
        submitted_us = round(float(row["submit_h"]) * HOUR_US)
        yield Job(
            id=f"g{number}",
            cpus=float(row["cpus"]),
            submitted_us=submitted_us,
            start_by_us=submitted_us + SLACK_H * HOUR_US,
            estimate_s=float(row["duration_h"]) * 3600,
        )
