"""Who is next before one model: who had less, the important before the rest, nobody who waits no more.

Source of the order among tenants: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), all weights one, the cost
of a request its rows. Who asks for less than its share finds nobody before it but what runs already.
"""

from collections import deque
from heapq import heapify, heappop, heapreplace
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
GONE_MAX = 64
"""Of so many tenants who do not wait it is always known when they are due again; of more for a while."""


class Lines:
    """The tenants of one class who wait, each with its requests in their order.

    Attributes:
        of: by tenant. Never an empty one.
    """

    __slots__ = ("_due", "_now", "of")

    def __init__(self) -> None:
        self.of: dict[str, deque[Waiting]] = {}
        self._due: dict[str, int] = {}
        """Tenant → when its next request is due, in rows; who comes anew is due now, or when it was due before."""
        self._now = 0
        """When what was taken last was due."""

    def put(self, one: Waiting, tenant: str) -> None:
        """Behind the others of its tenant."""
        line = self.of.get(tenant)
        if line is None:
            line = self.of[tenant] = deque()
            self._due[tenant] = max(self._due.get(tenant, 0), self._now)
        line.append(one)

    def took(self, tenant: str, rows: int) -> int:
        """So many rows of a tenant were taken off its line, which may be empty now. When its next is due."""
        due = self._due[tenant]
        self._now = max(self._now, due)
        due = self._due[tenant] = due + max(rows, 1)
        self.tidy(tenant)
        return due

    def tidy(self, tenant: str) -> None:
        """Forget a line that is empty; when its tenant is due again is known for a while."""
        if self.of[tenant]:
            return
        del self.of[tenant]
        if len(self._due) > len(self.of) + 2 * GONE_MAX:
            gone = sorted(self._due.keys() - self.of.keys(), key=self._due.__getitem__)
            for name in gone[:-GONE_MAX]:  # they would be due first, and are so as newcomers too
                del self._due[name]

    def in_turn(self) -> list[tuple[int, int, str]]:
        """Who waits, as a heap: when it is due, a number that nobody else has, and its name."""
        heap = [(self._due[tenant], number, tenant) for number, tenant in enumerate(self.of)]
        heapify(heap)
        return heap


class FairQueue:
    """Requests by class and tenant.

    Attributes:
        requests, rows: that wait.
    """

    __slots__ = ("_first", "_last", "_lower", "_shared_ns", "_turns", "requests", "rows")

    def __init__(self) -> None:
        self.requests = self.rows = 0
        self._first = Lines()
        self._lower = Lines()
        self._turns = 0
        self._last = ""
        self._shared_ns = -SHARED_NS

    def put(self, one: Waiting, tenant: str, priority: str) -> None:
        """Behind the others of its tenant."""
        if tenant != self._last:
            self._shared_ns = one.came_ns if self._last else self._shared_ns
            self._last = tenant
        (self._first if priority == INTERACTIVE else self._lower).put(one, tenant)
        self.requests += 1
        self.rows += one.rows

    def take(self, rows_max: int, now_s: float) -> tuple[list[Waiting], int, list[Waiting]]:
        """The next batch and its rows, and those it passed whose time ran out.

        A batch is of one form. It has more than `rows_max` rows only if its first request has.
        """
        self._turns += 1
        is_lower = bool(self._lower.of) and (not self._first.of or self._turns % LOWER_TURN == 0)
        lines = self._lower if is_lower else self._first
        if len(lines.of) == 1:
            batch, rows = self._take_all(lines, rows_max, now_s)
            if batch:
                return batch, rows, []
        return self._take_in_turn(lines, rows_max, now_s)

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
        line = (self._first if priority == INTERACTIVE else self._lower).of.get(tenant)
        held = 0 if line is None else len(line)
        tenants = len(self._first.of) + len(self._lower.of) + (line is None)
        if held >= WAITING_MAX // tenants or self.requests >= 2 * WAITING_MAX:
            raise Limited(
                f"{self.requests} requests wait for this model already.", fix="Try again in a second.", retry_after_s=1
            )

    def rows_ahead(self, tenant: str, priority: str) -> int:
        """About how many rows are answered before one more of a tenant.

        It waits, by its turns, for no more of another's requests than it has itself in the queue.
        """
        own = (self._first if priority == INTERACTIVE else self._lower).of.get(tenant)
        held = 0 if own is None else len(own)
        before = (self._first,) if priority == INTERACTIVE else (self._first, self._lower)
        turns = sum(min(len(line), held + (line is not own)) for lines in before for line in lines.of.values())
        return self.rows * turns // max(self.requests, 1)

    def take_late(self, now_s: float) -> list[Waiting]:
        """Those whose time ran out, and those nobody waits for."""
        late: list[Waiting] = []
        for lines in (self._first, self._lower):
            for tenant, line in tuple(lines.of.items()):
                stays = deque(one for one in line if not _is_late(one, now_s))
                late += [one for one in line if _is_late(one, now_s)]
                lines.of[tenant] = stays
                lines.tidy(tenant)
        for one in late:
            self._left(one)
        return late

    def take_every(self) -> list[Waiting]:
        """All of them."""
        every = [one for lines in (self._first, self._lower) for line in lines.of.values() for one in line]
        self._first, self._lower = Lines(), Lines()
        self.requests = self.rows = 0
        return every

    def _take_all(self, lines: Lines, rows_max: int, now_s: float) -> tuple[list[Waiting], int]:
        """A lone tenant's whole line, if it is one batch as it stands; else nothing."""
        ((tenant, line),) = lines.of.items()
        form: tuple[Any, ...] | None = line[0].form
        rows = 0
        for one in line:
            rows += one.rows
            if one.form != form or one.is_cancelled or one.deadline_s <= now_s:
                return [], 0
        if rows > rows_max:
            return [], 0
        batch = list(line)
        line.clear()
        lines.took(tenant, rows)
        self.requests -= len(batch)
        self.rows -= rows
        return batch, rows

    def _take_in_turn(self, lines: Lines, rows_max: int, now_s: float) -> tuple[list[Waiting], int, list[Waiting]]:
        batch: list[Waiting] = []
        late: list[Waiting] = []
        rows = 0
        heap = lines.in_turn()
        while heap:
            due, number, tenant = heap[0]
            line = lines.of[tenant]
            one = line[0]
            is_late = _is_late(one, now_s)
            if not is_late and batch and (one.form != batch[0].form or rows + one.rows > rows_max):
                break
            line.popleft()
            self._left(one)
            if is_late:
                late.append(one)
                lines.tidy(tenant)
            else:
                batch.append(one)
                rows += one.rows
                due = lines.took(tenant, one.rows)
            if line:
                heapreplace(heap, (due, number, tenant))
            else:
                heappop(heap)
        return batch, rows, late

    def _left(self, one: Waiting) -> None:
        self.requests -= 1
        self.rows -= one.rows


def _is_late(one: Waiting, now_s: float) -> bool:
    return one.is_cancelled or one.deadline_s <= now_s
