"""The order `critical`: shortest first, but what would be last anyway is never made to wait."""

from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import finish_time_fairness, report
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.traces import gpu_cluster
from sill.scheduler.simulation.types import Outcome, Workload
from sill.scheduler.types import Job


def run(policy: str, *runtimes_s: float) -> Outcome:
    jobs = tuple(Job(id=f"j{at}", accelerators=1, estimate_s=runtime_s) for at, runtime_s in enumerate(runtimes_s))
    workload = Workload(name="test", cluster=gpu_cluster(1, 2), jobs=jobs, runtimes_s=runtimes_s)
    return simulate(workload, policy_named(policy))


def test_one_long_job_runs_beside_all_the_short_ones() -> None:
    short_first, ours = (report(run(policy, 110.0, *[10.0] * 10)) for policy in ("srtf", "critical"))

    assert short_first.makespan_s == 160.0
    assert ours.makespan_s == 110.0


def test_without_a_long_job_the_shortest_goes_first() -> None:
    ended_s = {record.id: record.ended_s for record in run("critical", 30.0, 30.0, 10.0, 10.0).records}

    assert (ended_s["j2"], ended_s["j3"]) == (10.0, 10.0)


def test_finish_time_fairness_is_one_for_an_equal_part_of_the_devices() -> None:
    outcome = run("fifo", 10.0, 10.0, 10.0, 10.0)

    assert finish_time_fairness(outcome) == [0.5, 0.5, 1.0, 1.0]
