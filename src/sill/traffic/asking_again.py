"""Whether a request whose model's process died is asked once more of the fresh one. What killed it is not known yet."""

import time

from sill.core.clock import SystemClock
from sill.core.errors import Limited
from sill.runtimes.port import WorkerDied
from sill.safety.limits import TokenBuckets

AT_ONCE, PER_S = 20.0, 2.0
"""Requests of one model that may be asked again: so many at once, then so many a second. A fresh process costs."""


class Again:
    """The budget of one model. Thread-safe. An answer changes nothing, so any request may be asked twice."""

    def __init__(self) -> None:
        self._left = TokenBuckets(PER_S, AT_ONCE, SystemClock(), keys_max=1)

    def may(self, failed: Exception, deadline_s: float) -> bool:
        """Whether this failure may be tried once more, which counts.

        Args:
            deadline_s: the request's, on the monotonic clock.
        """
        if not isinstance(failed, WorkerDied) or time.monotonic() >= deadline_s:
            return False
        try:
            self._left.take("")
        except Limited:
            return False
        return True
