"""When a job is said to start: the scheduler run forward, and an interval that learns from its misses."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sill.scheduler.calibration import COVERAGE, Calibration
from sill.scheduler.decide import choose, decide
from sill.scheduler.folding import happen
from sill.scheduler.forks import fork
from sill.scheduler.policies import POLICIES, policy_named
from sill.scheduler.rules import Scheduler
from sill.scheduler.simulation.types import Workload
from sill.scheduler.starts import run_forward
from sill.scheduler.state import State
from sill.scheduler.types import Submitted, Tick
from sill.testing.scheduling import at_s, cluster, job, state, workloads


def test_a_job_starts_when_the_one_before_it_is_expected_to_end() -> None:
    of = state(cluster(1, 8))
    decide(of, Submitted(job=job("runs", 8, estimate_s=600)), 0)
    decide(of, Submitted(job=job("waits", 8, estimate_s=60)), at_s(100))

    assert run_forward(of, "waits") == pytest.approx(500, abs=1)
    assert "waits" not in of.running


def test_what_never_starts_has_no_forecast() -> None:
    of = state(cluster(1, 8))
    decide(of, Submitted(job=job("impossible", 8, workers=2)), 0)

    assert run_forward(of, "impossible") is None


def test_the_interval_is_shown_for_one_that_waits_and_not_for_one_that_runs() -> None:
    scheduler = Scheduler(cluster(1, 8))
    scheduler.take(Submitted(job=job("runs", 8, estimate_s=600)), 0)
    scheduler.take(Submitted(job=job("waits", 8, estimate_s=60)), 0)
    scheduler.decide(0)

    found = scheduler.forecast("waits")
    assert found is not None
    assert 0 <= found.low_us <= found.expected_us == at_s(600) <= found.high_us
    assert scheduler.forecast("runs") is None


@pytest.mark.parametrize("delay", [0, 50])
def test_the_interval_holds_as_often_as_it_says_while_waits_grow_and_reports_are_late(delay: int) -> None:
    calibration, told, held = Calibration(), [], []
    for number in range(4_000):
        low_s, high_s = calibration.around(1_000)
        calibration.low.tell()
        calibration.high.tell()
        was_s = 1_000 * 2 ** ((number * 7_919 % 1_000) / 100 - 3 + number / 1_000)  # drifts to sixteen times as long
        told.append((low_s, high_s, was_s))
        held.append(low_s <= was_s <= high_s)
        if number >= delay:
            low_s, high_s, was_s = told[number - delay]
            calibration.low.judge(was_s < low_s)
            calibration.high.judge(was_s > high_s)
            calibration.learn(1_000, was_s)

    assert sum(held) / len(held) == pytest.approx(COVERAGE, abs=0.03)


def test_what_has_not_started_when_its_interval_ends_has_missed_by_then() -> None:
    scheduler = Scheduler(cluster(1, 8))
    for name in ("runs", "waits"):
        scheduler.take(Submitted(job=job(name, 8, estimate_s=600)), 0)
    scheduler.decide(0)
    first = scheduler.forecast("waits")
    assert first is not None

    scheduler.take(Tick(), first.high_us + 1)
    scheduler.decide(first.high_us + 1)
    scheduler.take(Submitted(job=job("later", 8, estimate_s=600)), first.high_us + 2)
    again = scheduler.forecast("waits")
    assert again is not None
    told, now = (each.high_us - each.made_us for each in (first, again))
    assert now / (again.expected_us - again.made_us + 60e6) > told / (first.expected_us - first.made_us + 60e6)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(workload=workloads(), name=st.sampled_from(sorted(POLICIES)))
def test_a_fork_decides_as_the_original_does(workload: Workload, name: str) -> None:
    of = State(workload.cluster, policy_named(name), workload.queues)
    for each in sorted(workload.jobs, key=lambda one: one.submitted_us)[:-1]:
        happen(of, Submitted(job=each), each.submitted_us)
        choose(of)
    other = fork(of)
    last = max(workload.jobs, key=lambda one: one.submitted_us)
    for one in (of, other):
        happen(one, Submitted(job=last), last.submitted_us)

    assert {name: entry.placed for name, entry in other.running.items()} == {
        name: entry.placed for name, entry in of.running.items()
    }
    started = {action.job_id for action in choose(of)}
    assert {action.job_id for action in choose(other)} <= started | set(of.entries)
