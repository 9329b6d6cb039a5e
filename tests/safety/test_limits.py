"""Token buckets, in-flight limits and the memory budget."""

from random import Random

import pytest
from hypothesis import given, settings
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


def fill(in_flight: InFlight, tenant: str) -> int:
    """How many more are let in at once."""
    count = 0
    while in_flight.try_enter("health", tenant):
        count += 1
    return count


def test_a_tenant_alone_may_have_nearly_all_and_the_next_one_finds_room() -> None:
    in_flight = InFlight(100)
    assert fill(in_flight, "greedy") == 90
    assert fill(in_flight, "modest") == 10
    with pytest.raises(Limited):
        in_flight.take("health", "greedy")
    in_flight.leave(1, "greedy")
    assert not in_flight.try_enter("health", "greedy")
    assert in_flight.try_enter("health", "third")


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(20, 200), st.randoms(use_true_random=False))
def test_who_wants_all_comes_to_have_his_part_however_quick_others_are(
    tenants: int, places: int, chance: Random
) -> None:
    in_flight, names = InFlight(places), [str(number) for number in range(tenants)]
    held = [name for name in names for _ in range(fill(in_flight, name))]
    for _ in range(6 * places):  # one is answered, and everybody tries again, the first of them first
        in_flight.leave(1, held.pop(chance.randrange(len(held))))
        held += [name for name in names if in_flight.try_enter("health", name)]
    assert min(held.count(name) for name in names) >= places // (tenants + 1)
    assert len(held) >= places * 9 // 10 - 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200), st.integers(1, 12))
def test_whoever_has_none_is_let_in_while_there_is_room(moves: list[tuple[str, bool]], places: int) -> None:
    in_flight, held = InFlight(places), dict.fromkeys("abc", 0)
    for tenant, comes in moves:
        if comes:
            had_room, is_in = in_flight.count < places, in_flight.try_enter("health", tenant)
            assert is_in or held[tenant] or not had_room
            held[tenant] += is_in
        elif held[tenant]:
            in_flight.leave(1, tenant)
            held[tenant] -= 1
        assert in_flight.count == sum(held.values()) <= places


def test_one_tenants_bodies_leave_memory_for_others() -> None:
    budget = MemoryBudget(1_000)
    first, second = budget.reserve(500, "greedy"), budget.reserve(400, "greedy")
    with pytest.raises(Limited):
        second.grow(1)
    budget.reserve(90, "modest").release()
    second.release()
    first.grow(450)  # what is held by one request alone is never too much for its tenant
    first.release()
    assert budget.used_bytes == 0
    budget.reserve(900, "greedy")


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
