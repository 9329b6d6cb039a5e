"""Token buckets, in-flight limits and the memory budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.clock import ManualClock
from sill.core.errors import InvalidValue, Limited, TooLarge, Unavailable
from sill.safety.limits import CLASSES, InFlight, MemoryBudget, TokenBuckets


def test_burst_then_rate() -> None:
    clock = ManualClock()
    buckets = TokenBuckets(rate_per_s=2, burst=3, clock=clock)
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(Limited) as caught:
        buckets.take("a")
    assert caught.value.details["retry_after_s"] == 0.5
    clock.advance(0.5)
    buckets.take("a")


def test_one_key_does_not_use_up_another() -> None:
    buckets = TokenBuckets(1, 1, ManualClock())
    buckets.take("a")
    buckets.take("b")
    with pytest.raises(Limited):
        buckets.take("a")


def test_table_of_keys_is_bounded() -> None:
    buckets = TokenBuckets(1, 1, ManualClock(), keys_max=10)
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets) == 10


@given(st.lists(st.floats(0, 5), max_size=60))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    clock = ManualClock()
    buckets = TokenBuckets(rate_per_s=2, burst=4, clock=clock)
    started, taken = clock.monotonic_s(), 0
    for pause in pauses:
        clock.advance(pause)
        try:
            buckets.take("a")
        except Limited:
            continue
        taken += 1
    assert taken <= 4 + 2 * (clock.monotonic_s() - started) + 1e-6


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_senseless_rates_are_refused(values: tuple[float, float, int]) -> None:
    with pytest.raises(InvalidValue):
        TokenBuckets(values[0], values[1], ManualClock(), values[2])


def test_unimportant_classes_are_refused_first() -> None:
    in_flight, entered = InFlight(100), dict.fromkeys(CLASSES, 0)
    held = []
    for kind in reversed(CLASSES):
        while True:
            block = in_flight.enter(kind)
            try:
                block.__enter__()
            except Limited:
                break
            held.append(block)
            entered[kind] += 1
    assert list(entered.values()) == [5, 5, 20, 20, 50]


def test_slot_is_given_back_after_an_error() -> None:
    in_flight = InFlight(1)
    with pytest.raises(KeyError), in_flight.enter("health"):
        raise KeyError
    assert in_flight.count == 0


def test_memory_is_given_back() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(60) as reservation:
        reservation.grow(40)
        with pytest.raises(Unavailable):
            reservation.grow(1)
    assert budget.used_bytes == 0


def test_more_than_the_whole_budget_is_too_large() -> None:
    with pytest.raises(TooLarge):
        MemoryBudget(100).reserve(101)
