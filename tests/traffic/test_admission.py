"""What cannot be answered in time is refused at once, the less important first; what can is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue, Unavailable
from sill.traffic.admission import (
    BACKGROUND,
    BATCH,
    INTERACTIVE,
    WAIT_S_MAX,
    Admission,
    batch_rows,
    priority_of,
    shared_rows,
)


def dear() -> Admission:
    """100 rows a second, in batches of ten."""
    return Admission(row_ms=10.0, more_ms=10.0, rows_max=10, lanes=1)


def test_a_request_that_would_come_too_late_is_refused_and_told_when_to_come_again() -> None:
    dear().check(rows_ahead=20, rows=1, left_s=0.5)

    with pytest.raises(Unavailable) as refused:
        dear().check(rows_ahead=90, rows=1, left_s=0.5)
    assert 0.1 <= refused.value.details["retry_after_s"] <= 1


def test_the_less_important_is_refused_first() -> None:
    queue = {INTERACTIVE: 50, BATCH: 30, BACKGROUND: 10}
    for priority, rows_ahead in queue.items():
        dear().check(rows_ahead, 1, 1.0, priority)
        with pytest.raises(Unavailable, match=priority):
            dear().check(rows_ahead + 30, 1, 1.0, priority)


def test_however_far_the_deadline_the_queue_is_bounded_in_time() -> None:
    with pytest.raises(Unavailable):
        dear().check(rows_ahead=round(100 * WAIT_S_MAX), rows=1, left_s=3_600.0)


def test_a_model_that_turned_slow_lets_less_in() -> None:
    admission = dear()
    for _ in range(50):
        admission.observe(rows=10, took_s=1.0)

    with pytest.raises(Unavailable):
        admission.check(rows_ahead=30, rows=1, left_s=0.5)


@given(st.integers(0, 10_000), st.integers(1, 100))
def test_more_ahead_never_means_a_shorter_wait(rows: int, more: int) -> None:
    assert dear().wait_s(rows + more) > dear().wait_s(rows)


def test_a_request_to_an_idle_model_is_let_in_whatever_it_takes() -> None:
    Admission(row_ms=900.0, more_ms=900.0, rows_max=1, lanes=2).check(0, 1, 1.0, BACKGROUND)


def test_an_unknown_class_is_refused() -> None:
    assert priority_of("") == INTERACTIVE
    with pytest.raises(InvalidValue, match="batch"):
        priority_of("urgent")


@pytest.mark.parametrize(
    ("row_ms", "more_ms", "rows"),
    [(0.02, 0.001, 256), (0.5, 0.2, 38), (1.0, 1.0, 2), (10.0, 10.0, 1), (100.0, 1.0, 256), (100.0, 20.0, 16)],
)
def test_a_batch_has_no_more_rows_than_are_worth_it_or_the_next_request_can_wait_for(
    row_ms: float, more_ms: float, rows: int
) -> None:
    assert batch_rows(row_ms, more_ms, 256) == rows


@pytest.mark.parametrize(
    ("row_ms", "more_ms", "rows"), [(0.9, 0.9, 1), (10.0, 8.0, 1), (10.0, 2.0, 7), (10.0, 0.1, 64), (30.0, 60.0, 1)]
)
def test_while_several_tenants_ask_a_batch_is_hardly_longer_than_a_row_unless_much_is_gained(
    row_ms: float, more_ms: float, rows: int
) -> None:
    assert shared_rows(row_ms, more_ms, 64) == rows
