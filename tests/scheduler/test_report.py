"""What is reported of a simulated run: money, energy and carbon as devices were held, slowdowns, fairness, size classes."""

import pytest

from sill.core.accelerators import AcceleratorType
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import jain, quantile, report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.types import Report, Workload
from sill.scheduler.types import Cluster, Job, Node

KIND = AcceleratorType(name="gpu", price_usd_per_h=2.0, power_w=500.0)
CLUSTER = Cluster(nodes=(Node(name="n", accelerators={"gpu": 4}),), types=(KIND,))


def run(*jobs: tuple[Job, float], policy: str = "fifo", grams: tuple[float, ...] = ()) -> Report:
    workload = Workload(
        name="test",
        cluster=CLUSTER,
        jobs=tuple(job for job, _ in jobs),
        runtimes_s=tuple(runtime_s for _, runtime_s in jobs),
        carbon_g_per_kwh=grams,
    )
    return report(simulate(workload, policy_named(policy)))


def test_money_energy_and_carbon_are_of_the_devices_held() -> None:
    found = run((Job(id="a", accelerators=4), 7_200.0), grams=(100.0, 300.0))

    assert (found.cost_usd, found.energy_kwh) == (16.0, 4.0)
    assert found.carbon_kg == pytest.approx(0.8)


def test_without_a_series_of_carbon_none_is_counted() -> None:
    assert run((Job(id="a", accelerators=1), 3_600.0)).carbon_kg == 0.0


def test_work_that_was_stopped_and_done_again_is_paid_twice() -> None:
    long = Job(id="a", accelerators=4, can_checkpoint=False, estimate_s=3_600.0)
    short = Job(id="b", accelerators=4, submitted_us=1_800_000_000, estimate_s=60.0)
    found = run((long, 3_600.0), (short, 60.0), policy="srtf")

    assert found.lost_device_h == pytest.approx(2.0)
    assert found.cost_usd == pytest.approx(8.0 + 4.0 + 4 * 2.0 / 60)


def test_waits_are_told_by_size() -> None:
    small, large = Job(id="a", accelerators=4), Job(id="b", accelerators=1)
    found = run((small, 100.0), (large, 50.0))

    assert [(each.least, each.jobs, each.wait_mean_s) for each in found.by_size] == [(1.0, 1, 100.0), (4.0, 1, 0.0)]
    assert found.makespan_s == 150.0
    assert found.utilisation == pytest.approx((400 + 50) / 600)


def test_bounded_slowdown_takes_short_runs_as_ten_seconds() -> None:
    found = run((Job(id="a", accelerators=4), 10.0), (Job(id="b", accelerators=4), 1.0))

    assert found.slowdown_mean == pytest.approx((1.0 + 1.1) / 2)


def test_quantiles_and_fairness_of_nothing_are_defined() -> None:
    assert quantile([], 0.99) == 0.0
    assert jain([]) == 1.0
    assert jain([1.0, 0.0]) == 0.5
