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


class Ids:
    """Makes ids such as `run-01jd…`: a prefix, 48 bits of milliseconds, 50 random bits. They sort by time.

    Source of the form: ULID specification, shortened.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str) -> str:
        """A fresh id. Names the kind of thing by its prefix: run, mv, inc, req ..."""
        number = (self._clock.now_us() // 1_000) << 50 | secrets.randbits(50)
        digits = []
        for _ in range(20):
            number, digit = divmod(number, 32)
            digits.append(_ALPHABET[digit])
        return f"{prefix}-{''.join(reversed(digits))}"


def iso(at_us: int) -> str:
    """`2026-11-21T06:00:00.000000Z` for microseconds since 1970 UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
