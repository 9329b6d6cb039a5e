"""Time and randomness as arguments, so that tests and simulations own them."""

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never run backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move. For tests and simulations."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / 1e6

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._now_us += round(seconds * 1e6)


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_RANDOM_MASK = 2**50 - 1
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]  # ten bits at once: ids are made for every request


class Ids:
    """Makes ids such as `run-01jd…`: a prefix, 48 bits of milliseconds, 50 bits that began at random. They sort by time.

    Source of the form: ULID specification, shortened; within a millisecond they count on, as its monotonic form does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = secrets.randbits(50)
        self._stride = secrets.randbits(30) | 1
        self._at_ms, self._time_part = -1, ""

    def new(self, prefix: str) -> str:
        """A fresh id. Names the kind of thing by its prefix: run, mv, inc, req ..."""
        self._count = n = (self._count + self._stride) & _RANDOM_MASK
        t, p = self._clock.now_us() // 1_000, _PAIRS
        if t != self._at_ms:  # many are made in one millisecond
            self._time_part = (
                f"{p[t >> 40 & 1023]}{p[t >> 30 & 1023]}{p[t >> 20 & 1023]}{p[t >> 10 & 1023]}{p[t & 1023]}"
            )
            self._at_ms = t
        return f"{prefix}-{self._time_part}{p[n >> 40]}{p[n >> 30 & 1023]}{p[n >> 20 & 1023]}{p[n >> 10 & 1023]}{p[n & 1023]}"


def iso(at_us: int) -> str:
    """`2026-11-21T06:00:00.000000Z` for microseconds since 1970 UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
