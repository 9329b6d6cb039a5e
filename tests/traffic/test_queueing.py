"""Who is next: a lone tenant's queue is one batch if it can be; the important go first, and the rest get their turn too."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import Limited
from sill.traffic.admission import BATCH, INTERACTIVE
from sill.traffic.queueing import GONE_MAX, LOWER_TURN, SHARED_NS, WAITING_MAX, FairQueue
from sill.traffic.waiting import Waiting

LATER_S, NOW_S = 10.0, 5.0


def waiting(rows: int = 1, form: tuple[Any, ...] | None = None, deadline_s: float = LATER_S) -> Waiting:
    return Waiting(rows, deadline_s, lambda _: None, form=form)


requests = st.lists(
    st.builds(
        waiting,
        rows=st.integers(1, 4),
        form=st.sampled_from([None, (1,), (2,)]),
        deadline_s=st.sampled_from([LATER_S, LATER_S, LATER_S, 1.0]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(every=requests, tenants=st.integers(1, 3), rows_max=st.integers(1, 9))
def test_everybody_is_taken_once_in_order_in_batches_of_one_form(
    every: list[Waiting], tenants: int, rows_max: int
) -> None:
    queue = FairQueue()
    for number, one in enumerate(every):
        queue.put(one, f"t{number % tenants}", INTERACTIVE)
    taken: list[Waiting] = []
    late: list[Waiting] = []
    while queue.requests:
        batch, rows, passed = queue.take(rows_max, NOW_S)
        assert rows == sum(one.rows for one in batch)
        assert len({one.form for one in batch}) <= 1
        assert rows <= rows_max or len(batch) == 1
        taken += batch
        late += passed

    assert queue.rows == 0
    assert {id(one) for one in late} == {id(one) for one in every if one.deadline_s <= NOW_S}
    for tenant in range(tenants):
        own = [one for one in every[tenant::tenants] if one.deadline_s > NOW_S]
        assert [id(one) for one in taken if any(one is mine for mine in own)] == [id(one) for one in own]


def test_one_batch_in_some_is_of_a_lower_class_however_many_of_the_higher_wait() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.put(waiting(), "a", INTERACTIVE)
        queue.put(waiting(form=(7,)), "b", BATCH)

    forms = Counter(queue.take(1, NOW_S)[0][0].form for _ in range(4 * LOWER_TURN))

    assert forms == {None: 4 * (LOWER_TURN - 1), (7,): 4}


def test_who_had_less_is_next_and_nobody_saves_up_turns() -> None:
    queue = FairQueue()
    for _ in range(20):
        queue.put(waiting(form=("busy",)), "busy", INTERACTIVE)
    for _ in range(10):
        queue.take(1, NOW_S)
    for _ in range(3):
        queue.put(waiting(form=("quiet",)), "quiet", INTERACTIVE)

    told = [queue.take(1, NOW_S)[0][0].form for _ in range(6)]

    assert told == [("quiet",), ("busy",), ("quiet",), ("busy",), ("quiet",), ("busy",)]


def test_one_who_asks_again_and_again_does_not_pass_who_waits() -> None:
    queue = FairQueue()
    queue.put(waiting(form=("waits",)), "waits", INTERACTIVE)
    for tenant in ("a", "b"):
        queue.put(waiting(form=(tenant,)), tenant, INTERACTIVE)
    told = []
    for _ in range(9):
        ((tenant,),) = [one.form for one in queue.take(1, NOW_S)[0]]
        told.append(tenant)
        queue.put(waiting(form=(tenant,)), tenant, INTERACTIVE)

    assert Counter(told) == {"waits": 3, "a": 3, "b": 3}


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=2, max_size=5), rows_max=st.integers(1, 64))
def test_rows_are_shared_equally_while_all_wait_whatever_the_size_of_their_requests(
    sizes: list[int], rows_max: int
) -> None:
    queue, told = FairQueue(), Counter[str]()
    for number, size in enumerate(sizes):
        for _ in range(1 + 500 // size):
            queue.put(waiting(size, form=(number,)), f"t{number}", INTERACTIVE)

    while max(told.values(), default=0) < 400:
        batch, rows, _ = queue.take(rows_max, NOW_S)
        told[f"t{(batch[0].form or ())[0]}"] += rows

    assert max(told.values()) - min(told[f"t{number}"] for number in range(len(sizes))) <= 2 * max(rows_max, *sizes)


def test_tenants_who_came_once_are_forgotten() -> None:
    queue = FairQueue()
    for number in range(10 * GONE_MAX):
        queue.put(waiting(), f"t{number}", INTERACTIVE)
        queue.take(1, NOW_S)

    assert len(queue._first._due) <= 2 * GONE_MAX


def test_those_whose_time_ran_out_leave_and_the_others_stay() -> None:
    queue = FairQueue()
    stays, goes = waiting(), waiting(rows=3, deadline_s=1.0)
    queue.put(stays, "a", INTERACTIVE)
    queue.put(goes, "b", BATCH)

    assert queue.take_late(NOW_S) == [goes]
    assert (queue.requests, queue.rows) == (1, 1)
    assert queue.take_every() == [stays]


def test_a_full_queue_has_room_for_who_did_not_fill_it() -> None:
    queue = FairQueue()
    for _ in range(WAITING_MAX):
        queue.put(waiting(), "busy", INTERACTIVE)

    with pytest.raises(Limited):
        queue.room_for("busy", INTERACTIVE)
    queue.room_for("quiet", INTERACTIVE)
    assert queue.rows_ahead("quiet", INTERACTIVE) == 1


def test_a_queue_is_shared_for_a_while_after_two_tenants_asked() -> None:
    queue = FairQueue()
    for tenant in ("busy", "busy", "quiet", "busy"):
        assert not queue.is_shared(0) or tenant == "busy"
        last = waiting()
        queue.put(last, tenant, INTERACTIVE)

    assert queue.is_shared(last.came_ns + SHARED_NS - 1)
    assert not queue.is_shared(last.came_ns + SHARED_NS)
