"""How many replicas follow from a series of load: enough in time, not one too many for long, and no to and fro."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from sill.gateway.scaling import HISTORY_S, Scaling, decide

WANTED = Scaling(least=1, most=8, in_flight=10.0)


def over_time(series: list[float], wanted: Scaling = WANTED) -> list[int]:
    """The number at each second, as a gateway would decide it."""
    return [decide(series[max(0, end - HISTORY_S) : end], wanted) for end in range(1, len(series) + 1)]


def test_a_steady_load_gets_what_it_needs_and_nothing_more() -> None:
    assert set(over_time([25.0] * 200)) == {3}


def test_without_load_the_least_remain() -> None:
    assert set(over_time([0.0] * 100, Scaling(least=2, most=4, in_flight=10.0))) == {2}


def test_a_sudden_load_is_met_within_seconds_and_never_with_more_than_the_most() -> None:
    decided = over_time([5.0] * 60 + [300.0] * 60)

    assert decided[62] == 8
    assert max(decided) == 8


def test_a_rising_load_is_met_before_it_is_there() -> None:
    rising = [20.0] * 30 + [20.0 + 0.5 * second for second in range(80)]
    decided = over_time(rising)

    needed_at = next(second for second, load in enumerate(rising) if load > 50.0)
    assert decided[needed_at - 5] >= 6


def test_what_is_too_many_ends_only_after_a_calm_time() -> None:
    decided = over_time([75.0] * 30 + [5.0] * 120)

    assert min(decided[: 30 + WANTED.calm_s - 1]) == 8
    assert decided[-1] == 1


def test_a_load_that_swings_keeps_what_its_peaks_need() -> None:
    swinging = [35.0 if second % 40 < 20 else 5.0 for second in range(600)]

    assert len(set(over_time(swinging)[60:])) == 1


def test_noise_starts_and_ends_nothing() -> None:
    dice = random.Random(7)
    decided = over_time([25.0 + dice.gauss(0.0, 1.5) for _ in range(600)])

    changes = sum(one != other for one, other in itertools.pairwise(decided[60:]))
    assert changes <= 2
    assert set(decided[60:]) <= {3, 4}


@given(st.lists(st.floats(0.0, 1e6), max_size=200), st.integers(1, 4), st.integers(0, 6))
def test_the_bounds_hold_for_any_load(series: list[float], least: int, more: int) -> None:
    assert least <= decide(series, Scaling(least=least, most=least + more, in_flight=7.0)) <= least + more
