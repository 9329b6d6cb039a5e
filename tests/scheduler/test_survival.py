"""How long jobs run, learned from those that ended and those that run still."""

import pytest

from sill.scheduler.orders import gittins_indexes
from sill.scheduler.policies import policy_named
from sill.scheduler.prediction import BINS, RunTimes, bin_of
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.types import Workload
from sill.scheduler.starts import Forecaster
from sill.scheduler.state import State
from sill.scheduler.survival import expected_lengths, lengths
from sill.scheduler.types import Action, Job
from sill.testing.scheduling import at_s, cluster


def counted(*seconds: float) -> list[float]:
    found = [0.0] * BINS
    for each in seconds:
        found[bin_of(each)] += 1
    return found


def test_without_anybody_alive_it_is_what_was_seen() -> None:
    assert lengths(counted(10, 10, 500), None) == counted(10, 10, 500)


def test_those_alive_are_taken_to_end_as_those_who_came_so_far_did() -> None:
    found = lengths(counted(10, 1_000), counted(100, 100))

    assert found[bin_of(10)] == pytest.approx(1.0)  # one of four
    assert found[bin_of(1_000)] == pytest.approx(3.0)  # all others, who came past 10 s
    assert sum(found) == pytest.approx(4.0)


def test_what_outlives_all_ends_later_than_any_end_seen() -> None:
    found = lengths(counted(10), counted(50_000, 50_000, 50_000))

    assert found[bin_of(10)] == pytest.approx(1.0)
    assert sum(found[bin_of(50_000) :]) == pytest.approx(3.0)


def test_jobs_that_do_not_end_make_a_group_wait_for_others() -> None:
    group = RunTimes(1)
    for seconds in (10.0, 20.0, 30.0):
        group.add(seconds)
    quick = gittins_indexes(expected_lengths(group, group, {}))[0]
    slow = gittins_indexes(expected_lengths(group, group, {1: counted(*[5_000] * 30)}))[0]

    assert slow > 3 * quick


def test_a_forecast_teaches_the_order_nothing() -> None:
    """A fork surveys its own jobs; decisions with and without forecasts are the same."""
    jobs = tuple(Job(id=f"j{at}", accelerators=1 + at % 4, submitted_us=at_s(30 * at)) for at in range(40))
    runtimes = tuple(float(20 + 400 * (at % 7)) for at in range(40))
    workload = Workload(name="some", cluster=cluster(2, 4), jobs=jobs, runtimes_s=runtimes)

    def story(asks: bool) -> list[Action]:
        told: list[Action] = []
        forecaster = Forecaster()

        def look(state: State, actions: list[Action]) -> None:
            told.extend(actions)
            for name in [line.head.job.id for line in state.lines] if asks else []:
                forecaster.forecast(state, name)

        Simulation(workload, policy_named("gittins"), observe=look).run()
        return told

    assert story(asks=True) == story(asks=False)
