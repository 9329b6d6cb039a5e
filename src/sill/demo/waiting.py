"""Waiting for the platform to come to a state, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

from sill.core.errors import NotFound, Unavailable

T = TypeVar("T")


def until(look: Callable[[], T | None], seconds: float, what: str, every_s: float = 0.1) -> T:
    """What `look` returns once that is true-ish; a thing that is not there yet is waited for.

    Raises:
        Unavailable: it did not come in `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except NotFound:
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise Unavailable(
                f"waited {seconds:.0f} s, and it did not come that {what}.", fix="Look at the platform's logs."
            )
        time.sleep(every_s)
