"""What a model's queue lets in: what can still be answered in time, the important first. Pure; it has no clock of its own.

What would come too late is refused at once, before it costs anything, so that under any load the model works on
answers somebody still waits for. Source of the idea: Little's law; Zhou et al., "Overload control for scaling WeChat
microservices" (2018), shed by class; Welsh and Culler, "Adaptive overload control" (2003), shed by measured delay.
"""

from math import ceil, sqrt

from sill.core.errors import InvalidValue, Unavailable
from sill.core.names import shorten

INTERACTIVE, BATCH, BACKGROUND = PRIORITIES = ("interactive", "batch", "background")
"""From the most to the least important. Who waits is interactive; a job that can wait is batch; the rest background."""
SHARES = {INTERACTIVE: 0.6, BATCH: 0.4, BACKGROUND: 0.2}
"""The part of its own time a request of a class may spend waiting, by prediction; the rest is room for error."""
WAIT_S_MAX = 2.0
"""Longest predicted wait anybody is let in to, however far its deadline: so soon is a queue empty after an overload."""
WAIT_S_FREE = 0.005
"""A shorter predicted wait is not looked at closer."""
RETRY_S_MIN, RETRY_S_MAX = 0.1, 10.0
BATCH_MS_MAX = 50.0
"""A batch is expected to take no longer, or `BATCH_TIMES_MAX` times what a row alone takes: who comes next must wait for
its end, and rows that gain nothing by being together are better spread over the lanes."""
BATCH_TIMES_MAX = 4.0
BATCH_LOSS_MAX = 0.05
"""The part of the rows a second that batches without end would give, which is given up for shorter ones."""
SHARED_TIMES = 1.25
"""While several tenants ask, a batch is expected to take no longer than so many times what a row alone takes: that is what
one tenant's many rows add to another's wait. Where batches gain more, by the root of the gain: half of it, in proportion."""
TURN_MS = 0.1
"""What a batch costs besides the model's time, in a lane."""
SLOWNESS_MIN, SLOWNESS_MAX = 0.05, 100.0
SLOWER_RATE, FASTER_RATE = 0.2, 0.1
"""Weight of the newest batch in the running mean of how much slower than calibrated the model is. Bad news count more:
who is let in by an old, better figure comes too late."""


def priority_of(given: str) -> str:
    """The class a client asked for; interactive when it asked for none.

    Raises:
        InvalidValue: there is no such class.
    """
    if not given:
        return INTERACTIVE
    if given not in PRIORITIES:
        raise InvalidValue(
            f"priority {shorten(given)!r} is not known; {', '.join(PRIORITIES)} are.", field="x-sill-priority"
        )
    return given


def batch_rows(row_ms: float, more_ms: float, rows_max: int) -> int:
    """How many rows one batch should have, by what the first takes and each further one.

    No more than the next request can wait for; and no more than are worth it, so that nobody waits for others' rows where
    that makes none of them sooner: a batch of n rows gives n / (first + (n - 1) * more) rows a time, at best 1 / more.
    """
    more_ms = max(more_ms, 1e-5)
    time_ms = max(BATCH_MS_MAX, BATCH_TIMES_MAX * row_ms)
    bearable = 1 + max(0, int((time_ms - row_ms) / more_ms))
    worth = ceil((1 / BATCH_LOSS_MAX - 1) * max(row_ms + TURN_MS - more_ms, 0.0) / more_ms)
    return max(1, min(rows_max, bearable, worth))


def shared_rows(row_ms: float, more_ms: float, rows_max: int) -> int:
    """How many rows one batch should have while several tenants ask; see `batch_rows`."""
    alone_ms, more_ms = row_ms + TURN_MS, max(more_ms, 1e-5)
    time_ms = alone_ms * max(SHARED_TIMES, sqrt(alone_ms / more_ms))
    return max(1, min(rows_max, 1 + int((time_ms - alone_ms) / more_ms)))


class Admission:
    """Of one model. A batch of n rows is taken to last `row_ms + (n - 1) * more_ms`, times a slowness that is measured.

    Args:
        row_ms: what one row alone takes.
        more_ms: what each further row of a batch takes.
        rows_max: rows of one batch.
        lanes: batches that run at once.
    """

    def __init__(self, row_ms: float, more_ms: float, rows_max: int, lanes: int) -> None:
        self.slowness = 1.0
        self.rows_free = 0
        """So many rows may wait without a closer look."""
        self.calibrate(row_ms, more_ms, rows_max, lanes)

    def calibrate(self, row_ms: float, more_ms: float, rows_max: int, lanes: int) -> None:
        """Start over from measured times."""
        self._first_s, self._more_s = max(row_ms, 1e-4) / 1e3, max(more_ms, 1e-5) / 1e3
        self._rows_max, self._lanes = rows_max, lanes
        self.slowness = 1.0
        self.rows_free = self._free()

    def observe(self, rows: int, took_s: float) -> None:
        """A batch of so many rows took so long."""
        ratio = took_s / self.batch_s(max(rows, 1))
        more = min(max(ratio, SLOWNESS_MIN), SLOWNESS_MAX) - self.slowness
        self.slowness += (SLOWER_RATE if more > 0 else FASTER_RATE) * more
        self.rows_free = self._free()

    def batch_s(self, rows: int) -> float:
        """What a batch takes by calibration alone."""
        return self._first_s + (rows - 1) * self._more_s

    def wait_s(self, rows: int) -> float:
        """Until so many rows are answered, by prediction."""
        full, rest = divmod(rows, self._rows_max)
        alone_s = full * self.batch_s(self._rows_max) + (self.batch_s(rest) if rest else 0.0)
        return alone_s * self.slowness / self._lanes

    def check(self, rows_ahead: int, rows: int, left_s: float, priority: str = INTERACTIVE) -> None:
        """Return if so many rows, behind others, can be answered in the time that is left.

        Args:
            left_s: until the request's deadline.
        Raises:
            Unavailable: they cannot; `retry_after_s` says when they could.
        """
        own_s = self.batch_s(min(max(rows, 1), self._rows_max)) * self.slowness
        last_s = (
            self.batch_s(min(rows_ahead + rows, self._rows_max)) * self.slowness
        )  # its batch is answered as a whole
        predicted_s = self.wait_s(rows_ahead) + max(last_s, self.wait_s(rows))
        allowed_s = max(min(left_s, WAIT_S_MAX) * SHARES[priority], min(2 * own_s, left_s))
        if predicted_s <= allowed_s:
            return
        raise Unavailable(
            f"the answer would take {predicted_s * 1e3:.0f} ms, and a request of class {priority} may wait "
            f"{allowed_s * 1e3:.0f} ms.",
            fix="Try again when told, send fewer at once, or allow more time.",
            retry_after_s=round(min(max(predicted_s - allowed_s, RETRY_S_MIN), RETRY_S_MAX), 3),
        )

    def _free(self) -> int:
        """The rows whose predicted wait is short enough for everybody; none if already one row takes too long."""
        first_s, more_s = self._first_s * self.slowness, self._more_s * self.slowness
        if first_s > WAIT_S_FREE:
            return 0
        return min(int((WAIT_S_FREE - first_s) / more_s) + 1, self._rows_max)
