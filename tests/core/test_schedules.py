"""Schedules: intervals aligned to 1970, cron in UTC, nothing more often than every ten seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.core.schedules import next_due_us

HOUR_US = 3_600_000_000


@given(st.integers(0, 4_000_000_000_000_000), st.sampled_from(["10s", "15m", "1h", "1d"]))
def test_next_due_is_later_and_within_one_period(after_us: int, every: str) -> None:
    seconds = {"10s": 10, "15m": 900, "1h": 3_600, "1d": 86_400}[every]

    due = next_due_us(every, after_us)

    assert 0 < due - after_us <= seconds * 1_000_000


def test_an_interval_is_aligned_so_that_a_restart_does_not_shift_it() -> None:
    assert next_due_us("1h", 5 * HOUR_US + 7) == 6 * HOUR_US


def test_cron_is_read_in_utc() -> None:
    assert next_due_us("30 2 * * *", 0) == 2 * HOUR_US + HOUR_US // 2


@pytest.mark.parametrize(
    "schedule", ["", "1", "1w", "5s", "0m", "* * * *", "61 * * * *", "* * * * * *", "1h; rm", "-1h"]
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(InvalidValue):
        next_due_us(schedule, 0)
