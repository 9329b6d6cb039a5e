"""An outcome in numbers."""

from collections.abc import Iterable, Sequence

from sill.scheduler.simulation.types import Outcome, Record, Report, SizeClass

SIZES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Where a class of sizes begins, in devices."""
SHORT_S = 10.0
"""Shorter run times count as this in slowdowns."""


def report(outcome: Outcome) -> Report:
    """All that is usually asked of a run."""
    records = outcome.records
    jcts = sorted(record.jct_s for record in records)
    waits = sorted(record.wait_s for record in records)
    slowdowns = sorted(slowdown(record) for record in records)
    first_s = min((record.submitted_s for record in records), default=0.0)
    makespan_s = max((record.ended_s for record in records), default=0.0) - first_s
    preemptions = sum(record.preemptions for record in records)
    return Report(
        policy=outcome.policy,
        jobs=len(records),
        left=outcome.left,
        jct_mean_s=mean(jcts),
        jct_p50_s=quantile(jcts, 0.5),
        jct_p99_s=quantile(jcts, 0.99),
        wait_mean_s=mean(waits),
        wait_p50_s=quantile(waits, 0.5),
        wait_p99_s=quantile(waits, 0.99),
        wait_max_s=waits[-1] if waits else 0.0,
        slowdown_mean=mean(slowdowns),
        slowdown_p99=quantile(slowdowns, 0.99),
        makespan_s=makespan_s,
        utilisation=outcome.busy_s / (outcome.devices * makespan_s) if makespan_s and outcome.devices else 0.0,
        preemptions=preemptions,
        preempted=preemptions / len(records) if records else 0.0,
        lost_device_h=sum(record.lost_s * record.devices for record in records) / 3600,
        slowed_device_h=sum(record.slowed_s * record.devices for record in records) / 3600,
        cost_usd=outcome.usd,
        energy_kwh=outcome.energy_wh / 1e3,
        carbon_kg=outcome.carbon_g / 1e3,
        fairness_jain=jain(_slowdowns_by_owner(records)),
        by_size=tuple(_size_classes(records)),
    )


def slowdown(record: Record) -> float:
    """Bounded slowdown of one job. Source: Feitelson and Rudolph, JSSPP 1998."""
    return max(record.jct_s / max(record.runtime_s, SHORT_S), 1.0)


def wait_of_large(outcome: Outcome, least: float) -> float:
    """Mean wait in seconds of jobs with at least so many devices."""
    return mean([record.wait_s for record in outcome.records if record.devices >= least])


def finish_time_fairness(outcome: Outcome) -> list[float]:
    """Of each job: its completion time over that with an equal part of the devices for itself; above 1 it was treated
    unfairly. Source: Mahajan et al., "Themis", NSDI 2020, with the fixed contention of Shockwave (jobs over devices)."""
    contention = max(len(outcome.records) / outcome.devices, 1.0) if outcome.devices else 1.0
    return [record.jct_s / (record.runtime_s * contention) for record in outcome.records]


def mean(values: Sequence[float]) -> float:
    """The mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value that `part` of the ordered values do not pass."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 if all are equal, 1/n if one has everything. Source: Jain, Chiu and Hawe, DEC-TR-301, 1984."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _slowdowns_by_owner(records: Iterable[Record]) -> list[float]:
    by_owner: dict[str, list[float]] = {}
    for record in records:
        by_owner.setdefault(record.user or record.queue, []).append(slowdown(record))
    return [mean(values) for values in by_owner.values()]


def _size_classes(records: Iterable[Record]) -> Iterable[SizeClass]:
    by_class: dict[int, list[Record]] = {}
    for record in records:
        by_class.setdefault(sum(record.devices >= size for size in SIZES) - 1, []).append(record)
    for _, some in sorted(by_class.items()):
        waits = sorted(record.wait_s for record in some)
        yield SizeClass(
            least=min(record.devices for record in some),
            most=max(record.devices for record in some),
            jobs=len(some),
            wait_mean_s=mean(waits),
            wait_p99_s=quantile(waits, 0.99),
            wait_max_s=waits[-1],
        )
