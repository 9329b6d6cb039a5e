"""When a schedule is next due: `15m`, `1h`, `1d`, or a cron expression in UTC."""

import re
from datetime import UTC, datetime

from sill.core.errors import InvalidValue
from sill.core.names import shorten

SECONDS_MIN = 10
_EVERY = re.compile(r"(\d{1,6})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def check_schedule(schedule: str) -> str:
    """The schedule itself, if it can be read and is not due more than every 10 seconds.

    Raises:
        InvalidValue: it is neither an interval nor a cron expression of five fields.
    """
    next_due_us(schedule, 0)
    return schedule


def next_due_us(schedule: str, after_us: int) -> int:
    """The first time after `after_us` (microseconds since 1970 UTC) that the schedule is due.

    Intervals are aligned to 1970, so that a restart does not shift them.

    Raises:
        InvalidValue: it is neither an interval nor a cron expression of five fields.
    """
    every = _EVERY.fullmatch(schedule.strip())
    if every:
        seconds = int(every[1]) * _UNIT_S[every[2]]
        if seconds < SECONDS_MIN:
            raise InvalidValue(
                f"schedule {schedule!r} is due more often than every {SECONDS_MIN} s.", fix="Choose a longer interval."
            )
        period_us = seconds * 1_000_000
        return (after_us // period_us + 1) * period_us
    from croniter import croniter

    fields = schedule.split()
    if len(fields) != 5 or not croniter.is_valid(schedule):
        raise InvalidValue(
            f"schedule {shorten(schedule)!r} is not one: an interval such as 15m, 1h, 1d, "
            "or a cron expression of five fields is.",
            fix="See docs/triggers.md.",
            field="schedule",
        )
    start = datetime.fromtimestamp(after_us / 1e6, UTC)
    return int(croniter(schedule, start).get_next(float) * 1e6)
