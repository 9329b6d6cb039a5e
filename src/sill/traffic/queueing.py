"""Who is next before one model: every tenant in turn, the important before the rest, nobody who waits no more.

Source of the idea: deficit round robin (Shreedhar and Varghese, 1995) with a quantum of one request.
"""

from collections import deque
from typing import Any

from sill.core.errors import Limited
from sill.traffic.admission import INTERACTIVE
from sill.traffic.waiting import Waiting

WAITING_MAX = 2_048
"""Requests that may wait for one model; beyond it a tenant may still hold its part of as many again."""
LOWER_TURN = 8
"""Every so manieth batch is of a lower class, however many of the higher wait."""

SHARED_NS = 1_000_000_000
"""So long after requests of two tenants came one after the other, the queue is a shared one, though just one waits now."""

Queues = dict[str, deque[Waiting]]


class FairQueue:
    """Requests by class and tenant.

    Attributes:
        requests, rows: that wait.
    """

    __slots__ = ("_first", "_last", "_lower", "_shared_ns", "_turns", "requests", "rows")

    def __init__(self) -> None:
        self.requests = self.rows = 0
        self._first: Queues = {}
        self._lower: Queues = {}
        self._turns = 0
        self._last = ""
        self._shared_ns = -SHARED_NS

    def put(self, one: Waiting, tenant: str, priority: str) -> None:
        """Behind the others of its tenant."""
        if tenant != self._last:
            self._shared_ns = one.came_ns if self._last else self._shared_ns
            self._last = tenant
        queues = self._first if priority == INTERACTIVE else self._lower
        queue = queues.get(tenant)
        if queue is None:
            queue = queues[tenant] = deque()
        queue.append(one)
        self.requests += 1
        self.rows += one.rows

    def take(self, rows_max: int, now_s: float) -> tuple[list[Waiting], int, list[Waiting]]:
        """The next batch and its rows, one request of each tenant in turn; and those it passed whose time ran out.

        A batch is of one form. It has more than `rows_max` rows only if its first request has.
        """
        self._turns += 1
        is_lower = bool(self._lower) and (not self._first or self._turns % LOWER_TURN == 0)
        queues = self._lower if is_lower else self._first
        if len(queues) == 1:
            batch, rows = self._take_all(queues, rows_max, now_s)
            if batch:
                return batch, rows, []
        return self._take_in_turn(queues, rows_max, now_s)

    def is_shared(self, now_ns: int) -> bool:
        """True while several tenants ask. `now_ns` is on the clock of `Waiting.came_ns`."""
        return now_ns - self._shared_ns < SHARED_NS

    def room_for(self, tenant: str, priority: str) -> None:
        """Return if one more of a tenant may wait. A queue that is full refuses those who filled it first.

        Raises:
            Limited: it may not.
        """
        if self.requests < WAITING_MAX:
            return
        queue = (self._first if priority == INTERACTIVE else self._lower).get(tenant)
        held = 0 if queue is None else len(queue)
        tenants = len(self._first) + len(self._lower) + (queue is None)
        if held >= WAITING_MAX // tenants or self.requests >= 2 * WAITING_MAX:
            raise Limited(
                f"{self.requests} requests wait for this model already.", fix="Try again in a second.", retry_after_s=1
            )

    def rows_ahead(self, tenant: str, priority: str) -> int:
        """About how many rows are answered before one more of a tenant.

        It waits, by its turns, for no more of another's requests than it has itself in the queue.
        """
        queue = (self._first if priority == INTERACTIVE else self._lower).get(tenant)
        held = 0 if queue is None else len(queue)
        before = (self._first,) if priority == INTERACTIVE else (self._first, self._lower)
        turns = sum(min(len(one), held + (one is not queue)) for queues in before for one in queues.values())
        return self.rows * turns // max(self.requests, 1)

    def take_late(self, now_s: float) -> list[Waiting]:
        """Those whose time ran out, and those nobody waits for."""
        late: list[Waiting] = []
        for queues in (self._first, self._lower):
            for tenant in tuple(queues):
                stays = deque(one for one in queues[tenant] if not _is_late(one, now_s))
                late += [one for one in queues[tenant] if _is_late(one, now_s)]
                queues[tenant] = stays
                if not stays:
                    del queues[tenant]
        for one in late:
            self._left(one)
        return late

    def take_every(self) -> list[Waiting]:
        """All of them."""
        every = [one for queues in (self._first, self._lower) for queue in queues.values() for one in queue]
        self._first, self._lower = {}, {}
        self.requests = self.rows = 0
        return every

    def _take_all(self, queues: Queues, rows_max: int, now_s: float) -> tuple[list[Waiting], int]:
        """A lone tenant's whole queue, if it is one batch as it stands; else nothing."""
        ((tenant, queue),) = queues.items()
        form: tuple[Any, ...] | None = queue[0].form
        rows = 0
        for one in queue:
            rows += one.rows
            if one.form != form or one.is_cancelled or one.deadline_s <= now_s:
                return [], 0
        if rows > rows_max:
            return [], 0
        del queues[tenant]
        self.requests -= len(queue)
        self.rows -= rows
        return list(queue), rows

    def _take_in_turn(self, queues: Queues, rows_max: int, now_s: float) -> tuple[list[Waiting], int, list[Waiting]]:
        batch: list[Waiting] = []
        late: list[Waiting] = []
        rows = 0
        while queues:
            for tenant in tuple(queues):
                queue = queues[tenant]
                one = queue[0]
                if _is_late(one, now_s):
                    late.append(one)
                elif batch and (one.form != batch[0].form or rows + one.rows > rows_max):
                    _rotate(queues, tenant)
                    return batch, rows, late
                else:
                    batch.append(one)
                    rows += one.rows
                queue.popleft()
                self._left(one)
                if not queue:
                    del queues[tenant]
        return batch, rows, late

    def _left(self, one: Waiting) -> None:
        self.requests -= 1
        self.rows -= one.rows


def _is_late(one: Waiting, now_s: float) -> bool:
    return one.is_cancelled or one.deadline_s <= now_s


def _rotate(queues: Queues, first: str) -> None:
    """Let the next batch begin with the tenant this one had no room for."""
    for tenant in tuple(queues):
        if tenant == first:
            return
        queues[tenant] = queues.pop(tenant)
