"""Shares by rounds: equal device-time, or the worst finish-time fairness as low as it can be."""

import pytest

from sill.scheduler.policies import policy_named
from sill.scheduler.rounds import ROUND_US, Asking, finish_time, max_min
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node


def asking(devices: float, age_s: float = 0.0, left_s: float = 100.0) -> Asking:
    return Asking(devices, age_s, left_s, left_s)


@pytest.mark.parametrize(
    ("held", "devices", "shares"),
    [
        ((1, 1), 1.0, [0.5, 0.5]),
        ((1, 1), 4.0, [1.0, 1.0]),
        ((1, 4), 4.0, [1.0, 0.75]),
        ((2, 4), 4.0, [1.0, 0.5]),
        ((4, 4, 1), 4.0, [0.375, 0.375, 1.0]),
        ((), 4.0, []),
    ],
)
def test_all_get_the_same_device_time_but_none_more_than_all_of_its_time(
    held: tuple[int, ...], devices: float, shares: list[float]
) -> None:
    assert max_min([asking(each) for each in held], devices) == pytest.approx(shares)


def test_the_older_and_longer_get_more_so_that_nobody_is_treated_worst() -> None:
    jobs = [asking(1), asking(1, age_s=100.0), asking(1, left_s=300.0)]
    shares = finish_time(jobs, 1.0)
    ratios = [(job.age_s + job.left_s / share) / (job.total_s * 3) for job, share in zip(jobs, shares, strict=True)]

    assert sum(shares) == pytest.approx(1.0)
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert finish_time([], 1.0) == []


@pytest.mark.parametrize("policy", ["gavel", "themis"])
def test_two_jobs_share_a_device_by_rounds(policy: str) -> None:
    rounds = 20
    runtime_s = rounds * ROUND_US / 1e6
    jobs = tuple(Job(id=name, accelerators=1, estimate_s=runtime_s) for name in ("a", "b"))
    workload = Workload(
        name="test",
        cluster=Cluster(nodes=(Node(name="n", accelerators={"gpu": 1}),)),
        jobs=jobs,
        runtimes_s=(runtime_s, runtime_s),
    )
    outcome = simulate(workload, policy_named(policy))

    assert sum(record.preemptions for record in outcome.records) >= rounds // 2
    assert min(record.ended_s for record in outcome.records) > 1.8 * runtime_s
